// SPDX-License-Identifier: Apache-2.0

package images_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/models/images"
)

const (
	trainImages = "train-images-idx3-ubyte"
	trainLabels = "train-labels-idx1-ubyte"
	testImages  = "t10k-images-idx3-ubyte"
	testLabels  = "t10k-labels-idx1-ubyte"
)

func idx(magic uint32, dims []uint32, data []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, magic)
	for _, d := range dims {
		b = binary.BigEndian.AppendUint32(b, d)
	}
	return append(b, data...)
}

func packed(b []byte) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	w.Write(b)
	w.Close()
	return buf.Bytes()
}

func noise(n int) []byte {
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.UintN(256))
	}
	return b
}

func labels(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i % 10)
	}
	return b
}

// mnist returns sound files of 30 training and 12 test images of 5x4.
func mnist() map[string][]byte {
	return map[string][]byte{
		trainImages: idx(0x803, []uint32{30, 5, 4}, noise(600)),
		trainLabels: idx(0x801, []uint32{30}, labels(30)),
		testImages:  idx(0x803, []uint32{12, 5, 4}, noise(240)),
		testLabels:  idx(0x801, []uint32{12}, labels(12)),
	}
}

func records(n int) []byte {
	b := noise(n * 3073)
	for i := range n {
		b[i*3073] = byte(i % 10)
	}
	return b
}

func cifar() map[string][]byte {
	return map[string][]byte{"data_batch_2.bin": records(7), "data_batch_5.bin": records(4), "test_batch.bin": records(5)}
}

func write(t testing.TB, files map[string][]byte) string {
	dir := t.TempDir()
	for name, b := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o666))
	}
	return dir
}

func zipped(files map[string][]byte) map[string][]byte {
	z := map[string][]byte{}
	for name, b := range files {
		z[name+".gz"] = packed(b)
	}
	return z
}

// checkSet compares a set with the bytes it was made of, through Mean and Std.
func checkSet(t *testing.T, s *images.Set, part images.Split, pixels, ls []byte) {
	t.Helper()
	require.Len(t, part.Labels, len(ls))
	require.Len(t, part.Images, len(pixels))
	for i, l := range ls {
		assert.Equal(t, int(l), part.Labels[i])
	}
	plane := s.Height * s.Width
	for i, p := range pixels {
		c := i / plane % s.Channels
		assert.InDelta(t, float64(p)/255, float64(part.Images[i]*s.Std[c]+s.Mean[c]), 1e-6)
	}
}

func checkNormalised(t *testing.T, s *images.Set) {
	t.Helper()
	plane := s.Height * s.Width
	for c := range s.Channels {
		sum, square, n := 0.0, 0.0, 0.0
		for at := c * plane; at < len(s.Train.Images); at += s.Channels * plane {
			for _, v := range s.Train.Images[at : at+plane] {
				sum, square, n = sum+float64(v), square+float64(v)*float64(v), n+1
			}
		}
		assert.InDelta(t, 0, sum/n, 1e-5)
		assert.InDelta(t, 1, square/n, 1e-5)
	}
}

func TestLoadIDX(t *testing.T) {
	for name, files := range map[string]map[string][]byte{"plain": mnist(), "gz": zipped(mnist())} {
		t.Run(name, func(t *testing.T) {
			s, err := images.Load(write(t, files), 0)
			require.NoError(t, err)
			assert.Equal(t, [3]int{1, 5, 4}, s.Shape())
			assert.Len(t, s.Classes, 10)
			checkSet(t, s, s.Train, noise(600), labels(30))
			checkSet(t, s, s.Test, noise(240), labels(12))
			checkNormalised(t, s)
		})
	}
}

func TestLoadCIFAR(t *testing.T) {
	var pixels, ls []byte
	for _, b := range [][]byte{records(7), records(4)} {
		for at := 0; at < len(b); at += 3073 {
			ls = append(ls, b[at])
			pixels = append(pixels, b[at+1:at+3073]...)
		}
	}
	for name, files := range map[string]map[string][]byte{"plain": cifar(), "gz": zipped(cifar())} {
		t.Run(name, func(t *testing.T) {
			s, err := images.Load(write(t, files), 0)
			require.NoError(t, err)
			assert.Equal(t, [3]int{3, 32, 32}, s.Shape())
			assert.Equal(t, "truck", s.Classes[9])
			assert.Equal(t, 5, s.Test.Len())
			checkSet(t, s, s.Train, pixels, ls)
			checkNormalised(t, s)
		})
	}
}

func TestLoadCIFAR100(t *testing.T) {
	pixels, ls, file := []byte{}, []byte{}, []byte{}
	for i := range 12 {
		one := noise(3072 + i)[i:]
		pixels, ls = append(pixels, one...), append(ls, byte(9*i))
		file = append(append(file, 19, byte(9*i)), one...) // the coarse label comes first
	}
	sound := map[string][]byte{"train.bin": file, "test.bin": file[:2*3074]}
	for name, files := range map[string]map[string][]byte{"plain": sound, "gz": zipped(sound)} {
		t.Run(name, func(t *testing.T) {
			s, err := images.Load(write(t, files), 0)
			require.NoError(t, err)
			assert.Equal(t, [3]int{3, 32, 32}, s.Shape())
			require.Len(t, s.Classes, 100)
			assert.Equal(t, []string{"apple", "girl", "worm"}, []string{s.Classes[0], s.Classes[35], s.Classes[99]})
			checkSet(t, s, s.Train, pixels, ls)
			checkSet(t, s, s.Test, pixels[:2*3072], ls[:2])
			checkNormalised(t, s)
		})
	}
	file[3*3074+1] = 100
	_, err := images.Load(write(t, map[string][]byte{"train.bin": file, "test.bin": file}), 0)
	assert.ErrorContains(t, err, "label 3: want 0..99, got 100")
	_, err = images.Load(write(t, map[string][]byte{"train.bin": records(4), "test.bin": file}), 0)
	assert.ErrorContains(t, err, "records of 3074 bytes")
	_, err = images.Load(write(t, map[string][]byte{"train.bin": file, "data_batch_1.bin": records(4)}), 0)
	assert.ErrorContains(t, err, "got files of several")
}

func TestLimit(t *testing.T) {
	s, err := images.Load(write(t, mnist()), 11)
	require.NoError(t, err)
	checkSet(t, s, s.Train, noise(600)[:220], labels(11))
	checkSet(t, s, s.Test, noise(240)[:60], labels(3))
	checkNormalised(t, s) // by the images used

	for _, test := range []struct{ limit, train, test int }{{3, 3, 1}, {9, 9, 2}, {100, 11, 5}} {
		s, err = images.Load(write(t, cifar()), test.limit)
		require.NoError(t, err)
		assert.Equal(t, [2]int{test.train, test.test}, [2]int{s.Train.Len(), s.Test.Len()}, "limit %d", test.limit)
	}
	_, err = images.Load(write(t, cifar()), -1)
	assert.ErrorContains(t, err, "got -1")
	first := s.Test.First(2)
	assert.Equal(t, 2, first.Len())
	assert.Len(t, first.Images, 2*3072)
	assert.Equal(t, 5, s.Test.First(9).Len())
}

// TestConstantImages has no variance to divide by.
func TestConstantImages(t *testing.T) {
	f := mnist()
	copy(f[trainImages][16:], bytes.Repeat([]byte{7}, 600))
	s, err := images.Load(write(t, f), 0)
	require.NoError(t, err)
	for _, v := range s.Train.Images {
		assert.Zero(t, v)
	}
}

// TestBadFiles spoils one file of a sound directory at a time.
func TestBadFiles(t *testing.T) {
	type files = map[string][]byte
	for name, test := range map[string]struct {
		sound func() files
		spoil func(files)
		want  []string // the file, what was wanted, what was there
	}{
		"empty directory":    {mnist, func(f files) { clear(f) }, []string{"want " + trainImages, "data_batch_1.bin", "got none of them"}},
		"no labels":          {mnist, func(f files) { delete(f, trainLabels) }, []string{"want " + trainLabels, "no such file"}},
		"no test images":     {mnist, func(f files) { delete(f, testImages) }, []string{"want " + testImages, "no such file"}},
		"both kinds":         {mnist, func(f files) { f["data_batch_1.bin"] = records(1) }, []string{"got files of several"}},
		"wrong magic":        {mnist, func(f files) { f[trainImages][3] = 1 }, []string{trainImages, "want the magic number 0x00000803", "got 0x00000801"}},
		"labels for images":  {mnist, func(f files) { f[trainLabels] = f[trainImages] }, []string{trainLabels, "want the magic number 0x00000801", "got 0x00000803"}},
		"empty file":         {mnist, func(f files) { f[testLabels] = nil }, []string{testLabels, "header of 8 bytes", "file of 0"}},
		"half a header":      {mnist, func(f files) { f[trainImages] = f[trainImages][:9] }, []string{trainImages, "header of 16 bytes", "file of 9"}},
		"truncated":          {mnist, func(f files) { f[trainImages] = f[trainImages][:600] }, []string{trainImages, "want 600 bytes", "584"}},
		"too long":           {mnist, func(f files) { f[trainImages] = append(f[trainImages], 0) }, []string{trainImages, "want 600 bytes", "got more"}},
		"lying count":        {mnist, func(f files) { copy(f[trainImages][4:], "\x7f\xff\xff\xff") }, []string{trainImages, "want 42949672940 bytes", "600"}},
		"lying sides":        {mnist, func(f files) { copy(f[trainImages][8:], "\xff\xff\xff\xff\xff\xff\xff\xff") }, []string{trainImages, "sides 1..4096", "4294967295"}},
		"no images":          {mnist, func(f files) { copy(f[trainImages][4:], "\x00\x00\x00\x00") }, []string{trainImages, "at least one"}},
		"flat images":        {mnist, func(f files) { copy(f[trainImages][8:], "\x00\x00\x00\x00") }, []string{trainImages, "sides 1..4096", "with 0"}},
		"label out of range": {mnist, func(f files) { f[testLabels][8+5] = 10 }, []string{testLabels, "label 5", "want 0..9", "got 10"}},
		"count mismatch": {mnist, func(f files) { f[trainLabels] = idx(0x801, []uint32{29}, labels(29)) },
			[]string{trainLabels, "want 30 labels", trainImages, "got 29"}},
		"other test shape": {mnist, func(f files) { f[testImages] = idx(0x803, []uint32{12, 4, 5}, noise(240)) },
			[]string{testImages, "want images of 5x4", "got 4x5"}},

		"gz truncated":    {gz(mnist), func(f files) { cut(f, trainImages+".gz", 100) }, []string{trainImages + ".gz", "truncated"}},
		"gz without tail": {gz(mnist), func(f files) { cut(f, trainImages+".gz", 3) }, []string{trainImages + ".gz", "truncated"}},
		"gz empty":        {gz(mnist), func(f files) { f[testLabels+".gz"] = nil }, []string{testLabels + ".gz", "this is an empty file"}},
		"gz corrupt":      {gz(mnist), func(f files) { f[trainImages+".gz"][len(f[trainImages+".gz"])-7] ^= 1 }, []string{trainImages + ".gz", "corrupt"}},
		"gz bad block":    {gz(mnist), func(f files) { f[trainImages+".gz"][10] = 0xff }, []string{trainImages + ".gz", "corrupt"}},
		"gz of less":      {gz(mnist), func(f files) { f[trainImages+".gz"] = packed(mnist()[trainImages][:500]) }, []string{trainImages + ".gz", "want 600 bytes", "got 484"}},
		"gz lying count": {gz(mnist), func(f files) {
			b := mnist()[trainImages]
			copy(b[4:], "\x7f\xff\xff\xff")
			f[trainImages+".gz"] = packed(b)
		}, []string{trainImages + ".gz", "cannot hold"}},
		"gz trailing junk": {gz(mnist), func(f files) { f[testImages+".gz"] = append(f[testImages+".gz"], 1, 2, 3) }, []string{testImages + ".gz", "truncated"}},
		"gz trailing tail": {gz(mnist), func(f files) { f[testImages+".gz"] = append(f[testImages+".gz"], make([]byte, 99)...) }, []string{testImages + ".gz", "want nothing behind the gzip stream"}},
		"cifar gz tail":    {gz(cifar), func(f files) { f["test_batch.bin.gz"] = append(f["test_batch.bin.gz"], make([]byte, 99)...) }, []string{"test_batch.bin.gz", "want nothing behind the gzip stream"}},
		"gz of HTML":       {gz(mnist), func(f files) { f[trainImages+".gz"] = []byte("<html><body>Sign in</body></html>") }, []string{trainImages + ".gz", "magic number", "this is an HTML page"}},
		"LFS pointer":      {gz(cifar), func(f files) { f["test_batch.bin.gz"] = []byte("version https://git-lfs.github.com/spec/v1\noid") }, []string{"test_batch.bin.gz", "records of 3073 bytes", "this is a Git LFS pointer"}},
		"pickle":           {cifar, func(f files) { f["test_batch.bin"] = []byte("\x80\x02}q\x00(U\x0b") }, []string{"test_batch.bin", "this is a Python pickle"}},

		"cifar without test": {cifar, func(f files) { delete(f, "test_batch.bin") }, []string{"want test_batch.bin"}},
		"cifar test only":    {cifar, func(f files) { delete(f, "data_batch_2.bin"); delete(f, "data_batch_5.bin") }, []string{"data_batch_1.bin", "got none of them"}},
		"cifar truncated":    {cifar, func(f files) { cut(f, "data_batch_5.bin", 1) }, []string{"data_batch_5.bin", "records of 3073 bytes", "got 12291 bytes"}},
		"cifar empty":        {cifar, func(f files) { f["test_batch.bin"] = nil }, []string{"test_batch.bin", "got 0 bytes"}},
		"cifar label":        {cifar, func(f files) { f["data_batch_2.bin"][3*3073] = 255 }, []string{"data_batch_2.bin", "label 3", "want 0..9", "got 255"}},
		"cifar gz truncated": {gz(cifar), func(f files) { cut(f, "data_batch_2.bin.gz", 5000) }, []string{"data_batch_2.bin.gz", "truncated"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := test.sound()
			test.spoil(f)
			_, err := images.Load(write(t, f), 0)
			require.Error(t, err)
			assert.True(t, strings.HasPrefix(err.Error(), "images: "))
			assert.NotContains(t, err.Error(), "\n")
			for _, w := range test.want {
				assert.ErrorContains(t, err, w)
			}
		})
	}
}

func gz(sound func() map[string][]byte) func() map[string][]byte {
	return func() map[string][]byte { return zipped(sound()) }
}

func cut(f map[string][]byte, name string, n int) { f[name] = f[name][:len(f[name])-n] }

func TestBadDirectory(t *testing.T) {
	dir := write(t, mnist())
	_, err := images.Load(filepath.Join(dir, "nowhere"), 0)
	assert.ErrorIs(t, err, os.ErrNotExist)
	assert.ErrorContains(t, err, "nowhere")
	_, err = images.Load(filepath.Join(dir, trainImages), 0)
	assert.ErrorContains(t, err, "want a folder or a tar archive with a set of images, got an idx file of images")

	require.NoError(t, os.Remove(filepath.Join(dir, testLabels)))
	require.NoError(t, os.Mkdir(filepath.Join(dir, testLabels), 0o777))
	_, err = images.Load(dir, 0)
	assert.ErrorContains(t, err, "want t10k-labels-idx1-ubyte[.gz], got no such file")

	if os.Getuid() != 0 {
		require.NoError(t, os.Chmod(dir, 0))
		_, err = images.Load(dir, 0)
		assert.ErrorIs(t, err, os.ErrPermission)
		require.NoError(t, os.Chmod(dir, 0o777))
	}
}

// TestLyingHeader promises 330 MB in a gzip file that could just hold them, and gets no
// more memory than the file has pixels for.
func TestLyingHeader(t *testing.T) {
	f := mnist()
	b := idx(0x803, []uint32{20000, 128, 128}, bytes.Repeat([]byte{1}, 1000))
	z := packed(b)
	z = append(z, packed(noise(4<<20))...) // a second member: multi-stream gzip
	delete(f, trainImages)
	f[trainImages+".gz"] = z
	dir := write(t, f)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := images.Load(dir, 0)
	runtime.ReadMemStats(&after)
	assert.ErrorContains(t, err, "want 327680000 bytes")
	assert.ErrorContains(t, err, "got 4195304")
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<20))
}

// data returns a directory of the data sets that tests may read, which are no
// part of the module.
func data(t *testing.T, name string) string {
	root := os.Getenv("KERNELFOLD_DATA")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared", "data")
	}
	dir := filepath.Join(root, name)
	if _, err := os.Stat(dir); err != nil {
		if os.Getenv("KERNELFOLD_REQUIRE_DATA") == "1" {
			t.Fatalf("want %s, as KERNELFOLD_REQUIRE_DATA=1 says, got %v", name, err)
		}
		t.Skipf("no %s: set KERNELFOLD_DATA to the directory that holds %s", dir, name)
	}
	return dir
}

func TestFashionMNIST(t *testing.T) {
	dir := data(t, "fashion-mnist")
	if testing.Short() {
		t.Skip("-short: 70,000 images")
	}
	s, err := images.Load(dir, 0)
	require.NoError(t, err)
	assert.Equal(t, "fashion-mnist", s.Name)
	assert.Equal(t, [3]int{1, 28, 28}, s.Shape())
	assert.Equal(t, 60000, s.Train.Len())
	assert.Equal(t, 10000, s.Test.Len())
	// The mean and standard deviation that everyone uses for it.
	assert.InDelta(t, 0.2860, s.Mean[0], 5e-5)
	assert.InDelta(t, 0.3530, s.Std[0], 5e-5)
	for _, part := range []images.Split{s.Train, s.Test} {
		var count [10]int
		for _, l := range part.Labels {
			count[l]++
		}
		for c, n := range count {
			assert.Equal(t, part.Len()/10, n, "class %d", c)
		}
	}
	assert.Equal(t, []int{9, 0, 0, 3, 0, 2, 7, 2, 5, 5}, s.Train.Labels[:10])
}

func TestCIFAR10(t *testing.T) {
	dir := data(t, "cifar10")
	if testing.Short() {
		t.Skip("-short: 20,000 images")
	}
	s, err := images.Load(dir, 12000)
	require.NoError(t, err)
	assert.Equal(t, [3]int{3, 32, 32}, s.Shape())
	assert.Equal(t, 12000, s.Train.Len())
	assert.Equal(t, 2400, s.Test.Len())
	for c, want := range []float64{0.491, 0.482, 0.447} {
		assert.InDelta(t, want, s.Mean[c], 0.005)
	}
	assert.Equal(t, []int{6, 9, 9, 4, 1}, s.Train.Labels[:5])
	assert.False(t, math.IsNaN(float64(s.Test.Images[0])))
}

// FuzzIDX feeds any bytes as the training images.
func FuzzIDX(f *testing.F) {
	f.Add(mnist()[trainImages], false)
	f.Add(packed(mnist()[trainImages]), true)
	f.Add(idx(0x803, []uint32{1, 4096, 4096}, nil), false)
	files := mnist()
	delete(files, trainImages)
	dir := write(f, files)
	f.Fuzz(func(t *testing.T, b []byte, z bool) {
		path := filepath.Join(dir, trainImages)
		if z {
			path += ".gz"
		}
		require.NoError(t, os.WriteFile(path, b, 0o666))
		defer os.Remove(path)
		s, err := images.Load(dir, 0)
		if err == nil {
			assert.Len(t, s.Train.Images, s.Train.Len()*s.Height*s.Width)
			return
		}
		assert.NotContains(t, err.Error(), "\n")
	})
}

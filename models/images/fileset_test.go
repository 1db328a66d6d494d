// SPDX-License-Identifier: Apache-2.0

package images_test

import (
	"archive/tar"
	"bytes"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/models/images"
)

// files are contents by names.
type files = map[string][]byte

// layout writes files with folders in their names.
func layout(t testing.TB, all files) string {
	dir := t.TempDir()
	for name, b := range all {
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
		require.NoError(t, os.WriteFile(path, b, 0o666))
	}
	return dir
}

// within puts files into a folder.
func within(folder string, files map[string][]byte) map[string][]byte {
	in := map[string][]byte{}
	for name, b := range files {
		in[folder+"/"+name] = b
	}
	return in
}

// archive makes a tar archive, of the files in an order that is not that of their names.
func archive(t testing.TB, files map[string][]byte) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	names := slices.Sorted(maps.Keys(files))
	slices.Reverse(names)
	for _, name := range names {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o666, Size: int64(len(files[name]))}))
		_, err := w.Write(files[name])
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

// sparse makes a tar archive of a file of n bytes, of which it contains the first: the others are a hole.
func sparse(t testing.TB, name string, n int) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	records := map[string]string{"NOT.sparse.numblocks": "1", "NOT.sparse.map": "0,1", "NOT.sparse.size": strconv.Itoa(n)}
	require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o666, Size: 1, Format: tar.FormatPAX, PAXRecords: records}))
	_, err := w.Write([]byte{1})
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return bytes.ReplaceAll(b.Bytes(), []byte("NOT.sparse"), []byte("GNU.sparse")) // which a tar.Writer leaves out
}

func join(all ...map[string][]byte) map[string][]byte {
	sum := map[string][]byte{}
	for _, m := range all {
		maps.Copy(sum, m)
	}
	return sum
}

// Sets are found in the layouts that people have, and are the same.
func TestLoadLayouts(t *testing.T) {
	dotted := files{
		"train-images.idx3-ubyte": mnist()[trainImages], "train-labels.idx1-ubyte.gz": packed(mnist()[trainLabels]),
		"t10k-images.idx3-ubyte.GZ": packed(mnist()[testImages]), "t10k_labels_idx1_ubyte": mnist()[testLabels],
	}
	swapped := files{ // a name that says gzip and a file that is not, and the other way round
		trainImages + ".gz": mnist()[trainImages], trainLabels: packed(mnist()[trainLabels]),
		testImages: packed(mnist()[testImages]), testLabels + ".gz": mnist()[testLabels],
	}
	both := join(mnist(), files{trainImages + ".gz": []byte("not looked at")})
	folders := join(within(trainImages, files{trainImages: nil}), within(testLabels, files{"readme": nil})) // called as the files are
	junk := files{"readme.html": []byte("<html>"), ".git/" + trainImages: nil, "deep/er/and/deeper/" + trainImages: nil}
	tgz := packed(archive(t, within("cifar-10-batches-bin", join(cifar(), files{"batches.meta.txt": []byte("cat"), "readme.html": nil}))))
	for name, c := range map[string]struct {
		files files
		of    func() files
	}{
		"dots and hyphens":    {dotted, mnist},
		"names that mislead":  {swapped, mnist},
		"plain before packed": {both, mnist},
		"folders of the names": {join(folders, files{
			"train-images.idx3-ubyte": mnist()[trainImages], trainLabels: mnist()[trainLabels],
			testImages: mnist()[testImages], testLabels + ".gz": packed(mnist()[testLabels]),
		}), mnist},
		"torchvision":          {join(junk, within("MNIST/raw", join(mnist(), zipped(mnist())))), mnist},
		"three folders deeper": {within("a/b/c", mnist()), mnist},
		"folder of CIFAR-10":   {join(junk, within("cifar-10-batches-bin", cifar())), cifar},
		"beside the archive":   {join(files{"cifar-10-binary.tar.gz": nil}, within("cifar-10-batches-bin", cifar())), cifar},
		"archive":              {files{"data/cifar-10-binary.tar.gz": tgz}, cifar},
		"archive, unpacked":    {files{"cifar-10-binary.tar.gz": archive(t, within("cifar-10-batches-bin", cifar()))}, cifar},
		"packed in an archive": {files{"cifar-10-binary.tar": archive(t, zipped(cifar()))}, cifar},
	} {
		t.Run(name, func(t *testing.T) {
			want, err := images.Load(write(t, c.of()), 0)
			require.NoError(t, err)
			got, err := images.Load(layout(t, c.files), 0)
			require.NoError(t, err)
			got.Name = want.Name
			assert.Equal(t, want, got)
		})
	}
	dir := layout(t, files{"cifar-10-binary.tar.gz": tgz})
	got, err := images.Load(filepath.Join(dir, "cifar-10-binary.tar.gz"), 9)
	require.NoError(t, err)
	assert.Equal(t, "cifar-10-binary", got.Name)
	want, err := images.Load(write(t, cifar()), 9)
	require.NoError(t, err)
	assert.Equal(t, want.Train, got.Train)
}

func TestBadLayouts(t *testing.T) {
	python := files{"data_batch_1": []byte("\x80\x02}q\x00(U\x0bbatch_label"), "test_batch": []byte("\x80\x02}q\x00(U\x0b")}
	tgz := packed(archive(t, within("cifar-10-batches-bin", cifar())))
	for name, c := range map[string]struct {
		files files
		path  string
		want  []string
	}{
		"two sets":            {join(within("MNIST/raw", mnist()), within("FashionMNIST/raw", mnist())), "", []string{"want one set of images", "FashionMNIST", "MNIST"}},
		"a set and archive":   {join(within("MNIST", mnist()), files{"cifar-10-binary.tar.gz": tgz}), "", []string{"want one set of images", "MNIST", "cifar-10-binary.tar.gz"}},
		"each in a folder":    {join(within("a", files{trainImages: mnist()[trainImages]}), within("b", files{trainLabels: mnist()[trainLabels]})), "", []string{"a: want train-labels-idx1-ubyte[.gz], got no such file"}},
		"too deep":            {within("a/b/c/d", mnist()), "", []string{"got none of them"}},
		"python under a name": {join(cifar(), files{"data_batch_2.bin": python["data_batch_1"]}), "", []string{"data_batch_2.bin: want records of 3073 bytes", "this is a Python pickle"}},
		"python":              {within("cifar-10-batches-py", python), "", []string{"cifar-10-batches-py", "want the binary version of CIFAR", "got the Python version"}},
		"python archive":      {files{"cifar-10-python.tar.gz": packed(archive(t, python))}, "", []string{"cifar-10-python.tar.gz", "got the Python version"}},
		"python archive read": {files{"a.tar.gz": packed(archive(t, within("x", python)))}, "a.tar.gz", []string{"a.tar.gz", "got the Python version"}},
		"other archive":       {files{"a.tar.gz": packed(archive(t, files{"b": nil}))}, "a.tar.gz", []string{"want an archive with data_batch_1.bin"}},
		"archive cut":         {files{"a.tar.gz": tgz[:len(tgz)-500]}, "a.tar.gz", []string{"a.tar.gz", "truncated"}},
		"plain archive cut":   {files{"a.tar": archive(t, cifar())[:5000]}, "a.tar", []string{"a.tar", "truncated"}},
		"a file cut within":   {files{"a.tar": archive(t, files{"data_batch_1.bin": records(2)[:4000], "test_batch.bin": records(1)})}, "a.tar", []string{"a.tar:data_batch_1.bin", "records of 3073 bytes"}},
		"a pickle":            {files{"weights.pth": []byte("\x80\x02}q\x00(U\x0b")}, "weights.pth", []string{"want a folder or a tar archive", "got a Python pickle"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := images.Load(filepath.Join(layout(t, c.files), c.path), 0)
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "\n")
			for _, w := range c.want {
				assert.ErrorContains(t, err, w)
			}
		})
	}
}

// The content of a small file that unpacks to a large one is not kept.
func TestBombs(t *testing.T) {
	zeros := make([]byte, 32<<20/3073*3073)
	bomb := packed(zeros)
	for name, f := range map[string]files{
		"CIFAR":        {"data_batch_1.bin.gz": bomb, "test_batch.bin": records(1)},
		"idx":          join(mnist(), files{trainImages: packed(idx(0x803, []uint32{32 << 10, 32, 32}, zeros))}),
		"archive":      {"cifar-10-binary.tar.gz": packed(archive(t, files{"data_batch_1.bin": zeros}))},
		"sparse":       {"cifar-10-binary.tar.gz": packed(sparse(t, "data_batch_1.bin", 256<<20))},
		"archive, off": {"cifar-10-binary.tar.gz": packed(archive(t, files{"zeros": zeros}))},
	} {
		t.Run(name, func(t *testing.T) {
			dir := layout(t, f)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := images.Load(dir, 0)
			runtime.ReadMemStats(&after)
			require.Error(t, err)
			assert.Regexp(t, "want at most .* bytes in the gzip stream|cannot hold more than", err.Error())
			assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(24<<20))
		})
	}
}

// A limit beyond all images keeps all of both parts.
func TestLargestLimit(t *testing.T) {
	for _, limit := range []int{math.MaxInt, math.MaxInt - 4} {
		s, err := images.Load(write(t, mnist()), limit)
		require.NoError(t, err)
		assert.Equal(t, [2]int{30, 12}, [2]int{s.Train.Len(), s.Test.Len()})
	}
}

// FuzzArchive: no archive makes Load panic. The inputs are single edits, so that the fuzzer has little to minimise.
func FuzzArchive(f *testing.F) {
	sound := archive(f, files{"data_batch_1.bin": records(1), "x/test_batch.bin.gz": packed(records(1))})
	path := filepath.Join(f.TempDir(), "a.tar")
	f.Add(uint16(0), "", uint16(0), false)
	f.Add(uint16(0), "y/train.bin", uint16(700), true)
	f.Add(uint16(124), "77777777777", uint16(0), false) // a size
	f.Fuzz(func(t *testing.T, at uint16, text string, cut uint16, zip bool) {
		b := bytes.Clone(sound)
		copy(b[int(at)%len(b):], text)
		b = b[:max(0, len(b)-int(cut))]
		if zip {
			b = packed(b)
		}
		require.NoError(t, os.WriteFile(path, b, 0o666))
		s, err := images.Load(path, 3)
		if err != nil {
			assert.NotContains(t, err.Error(), "\n")
			return
		}
		assert.Len(t, s.Train.Images, s.Train.Len()*s.Channels*s.Height*s.Width)
	})
}

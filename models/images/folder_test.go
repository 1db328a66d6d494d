// SPDX-License-Identifier: Apache-2.0

package images_test

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/models/images"
)

// plain is a PNG picture of one colour.
func plain(t testing.TB, r, g, b byte) []byte {
	im := image.NewNRGBA(image.Rect(0, 0, 12, 9))
	for i := range 12 * 9 {
		im.Set(i%12, i/12, color.NRGBA{r, g, b, 255})
	}
	var to bytes.Buffer
	require.NoError(t, png.Encode(&to, im))
	return to.Bytes()
}

// names returns the names and labels of all pictures.
func names(p *images.Pictures) (all []string) {
	for i := range p.Len() {
		all = append(all, fmt.Sprint(p.Name(i), " ", p.Label(i)))
	}
	return all
}

func TestFolder(t *testing.T) {
	dir := layout(t, files{
		"dog/1.png": plain(t, 255, 0, 0), "dog/far/er/2.JPEG": plain(t, 0, 255, 0), "dog/.hidden.png": nil, "dog/readme.txt": nil,
		"cat/0.png": plain(t, 0, 0, 255), "readme.md": nil, ".git/a.png": nil,
	})
	p, err := images.Folder(dir, images.FolderOptions{Preprocessing: images.Preprocessing{Size: 4, Mean: []float32{0, 0, 0}, Std: []float32{1, 1, 1}}})
	require.NoError(t, err)
	assert.Equal(t, []string{"cat", "dog"}, p.Classes)
	assert.Equal(t, []string{"cat/0.png 0", "dog/1.png 1", "dog/far/er/2.JPEG 1"}, names(p))
	assert.Equal(t, []int{1, 2}, p.Counts())
	assert.Equal(t, []float32{1.5, 0.75}, p.ClassWeights())

	x, y := make([]float32, 3*16), make([]float32, 2)
	require.NoError(t, p.Example(2, []any{x, y}, nil))
	assert.Equal(t, []float32{0, 1, 0}, []float32{x[0], x[16], x[47]})
	assert.Equal(t, []float32{0, 1}, y)
	p.Weights = p.ClassWeights()
	wide := make([]float64, 3*16)
	require.NoError(t, p.Example(0, []any{wide, y}, rand.New(rand.NewPCG(1, 2))))
	assert.Equal(t, []float32{1.5, 0}, y)
	assert.Equal(t, []float64{0, 0, 1}, []float64{wide[0], wide[16], wide[47]})
	assert.ErrorContains(t, p.Example(0, []any{x[:7]}, nil), "want a net for images of 3 x 4 x 4, 48 numbers, got one for 7 numbers")

	p, err = images.Folder(dir, images.FolderOptions{Classes: []string{"dog", "eel", "cat"}})
	require.NoError(t, err)
	assert.Equal(t, []string{"cat/0.png 2", "dog/1.png 0", "dog/far/er/2.JPEG 0"}, names(p))
	_, err = images.Folder(dir, images.FolderOptions{Classes: []string{"dog"}})
	assert.ErrorContains(t, err, `want one of the 1 classes of the net, got "cat"`)
}

func TestFolderLabels(t *testing.T) {
	dir := layout(t, files{"a/1.png": nil, "2.png": nil})
	for text, want := range map[string][]string{
		"a/1.png,10\n2.png,9\n": {"a/1.png 1", "2.png 0"},
		"\ufeffLabel,else,File\nb,,./a/1.png\n\"b, c\",\"x\ny\", 2.png ": {"a/1.png 0", "2.png 1"},
	} {
		list := filepath.Join(t.TempDir(), "labels.csv")
		require.NoError(t, os.WriteFile(list, []byte(text), 0o666))
		p, err := images.Folder(dir, images.FolderOptions{Labels: list})
		require.NoError(t, err)
		assert.Equal(t, want, names(p))
	}
	for text, want := range map[string]string{
		"a.png,1\n../b.png,2":    `labels.csv:2: want the path of a picture below the folder, got "../b.png"`,
		"a.png,1\n\nb.png":       "labels.csv:3: want a name and a label, got 1 columns",
		"a.png,1\nb/../a.png,2":  `labels.csv:2: want each picture once, got "a.png" again`,
		"a.png, \n":              `labels.csv:1: want a label, got none for "a.png"`,
		"a.png,\"x\ny":           "want a CSV file",
		"":                       "want pictures, got none",
		"file,class\n":           "want pictures, got none",
		"a.png,1\n/etc/b.png,12": "labels.csv:2: want the path of a picture below the folder",
	} {
		list := filepath.Join(t.TempDir(), "labels.csv")
		require.NoError(t, os.WriteFile(list, []byte(text), 0o666))
		_, err := images.Folder(dir, images.FolderOptions{Labels: list})
		assert.ErrorContains(t, err, want, "%q", text)
	}
}

// Fields that change after Folder have the defaults and the checks that they have there.
func TestPicturesFields(t *testing.T) {
	dir := layout(t, files{"a/1.png": plain(t, 1, 2, 3)})
	p, err := images.Folder(dir, images.FolderOptions{Preprocessing: images.Preprocessing{Size: 4}})
	require.NoError(t, err)
	again, err := images.Folder(dir, images.FolderOptions{Preprocessing: p.Preprocessing, Transform: p.Transform})
	require.NoError(t, err)
	assert.Equal(t, p, again)
	example := func() (x []float32, err error) {
		x = make([]float32, 3*p.Size*p.Size)
		return x, p.Example(0, []any{x, make([]float32, 1)}, rand.New(rand.NewPCG(1, 1)))
	}
	m := image.NewGray(image.Rect(0, 0, 64, 64))
	for i := range m.Pix {
		m.Pix[i] = byte(i % 64)
	}
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, m))
	require.NoError(t, os.WriteFile(p.Path(0), b.Bytes(), 0o666))
	p.Transform = images.Transform{Scale: [2]float64{1, 1}, Ratio: [2]float64{3. / 4, 4. / 3}}
	want, err := example()
	require.NoError(t, err)
	p.Transform.Ratio = [2]float64{}
	got, err := example()
	require.NoError(t, err)
	assert.Equal(t, want, got)
	for want, spoil := range map[string]func(){
		"want a weight for each of 1 classes, got 2": func() { p.Weights = make([]float32, 2) },
		"want crops of a share of the area":          func() { p.Transform.Scale[0] = -1 },
		"want a mean and a standard deviation":       func() { p.Mean = p.Mean[:1] },
		"want a size of 1..4096 pixels":              func() { p.Size = -1 },
	} {
		saved := *p
		spoil()
		_, err := example()
		assert.ErrorContains(t, err, want)
		*p = saved
	}
	p.Size = -1
	_, _, err = p.Statistics(context.Background(), 0)
	assert.ErrorContains(t, err, "want a size")
}

// Parts have their share of each class, no picture twice, and are the same for a seed.
func TestPicturesParts(t *testing.T) {
	all := files{}
	for i := range 60 {
		all[fmt.Sprintf("%c/%d.png", 'a'+i%3*(i%2), i)] = nil
	}
	p, err := images.Folder(layout(t, all), images.FolderOptions{})
	require.NoError(t, err)
	require.Equal(t, []int{40, 10, 10}, p.Counts())
	rest, held, err := p.Holdout(12, 5)
	require.NoError(t, err)
	assert.Equal(t, [][]int{{32, 8, 8}, {8, 2, 2}}, [][]int{rest.Counts(), held.Counts()})
	assert.ElementsMatch(t, names(p), append(names(rest), names(held)...))
	_, again, err := p.Holdout(12, 5)
	require.NoError(t, err)
	assert.Equal(t, names(held), names(again))

	parts, err := p.Split(3, 0.7, 0.2, 0.1)
	require.NoError(t, err)
	assert.Equal(t, [][]int{{28, 7, 7}, {8, 2, 2}, {4, 1, 1}}, [][]int{parts[0].Counts(), parts[1].Counts(), parts[2].Counts()})
	assert.ElementsMatch(t, names(p), append(append(names(parts[0]), names(parts[1])...), names(parts[2])...))
	whole, err := p.Split(3, 1)
	require.NoError(t, err)
	assert.NotSame(t, p, whole[0], "changes of p show in a part")
	assert.Equal(t, p, whole[0])
	for _, shares := range [][]float64{{0.5, 0.6}, {0}, {0.001}} {
		_, err = p.Split(1, shares...)
		assert.Error(t, err, "%v", shares)
	}

	only, err := p.Only("c", "a")
	require.NoError(t, err)
	assert.Equal(t, []string{"c", "a"}, only.Classes)
	assert.Equal(t, []int{10, 40}, only.Counts())
	_, err = p.Only("z")
	assert.ErrorContains(t, err, `want classes that are there, got "z"`)
}

// A broken picture is named, or skipped and counted.
func TestBrokenPictures(t *testing.T) {
	dir := layout(t, files{"a/1.png": plain(t, 1, 2, 3), "a/2.png": plain(t, 1, 2, 3)[:40], "a/3.jpg": nil, "b/1.png": []byte("<html>")})
	pre := images.Preprocessing{Size: 2}
	p, err := images.Folder(dir, images.FolderOptions{Preprocessing: pre})
	require.NoError(t, err)
	x := make([]float32, 12)
	var wrong *images.PictureError
	err = p.Example(1, []any{x}, nil)
	require.ErrorAs(t, err, &wrong)
	assert.Equal(t, p.Path(1), wrong.Path)
	assert.ErrorIs(t, err, images.ErrDamaged)
	err = p.Example(2, []any{x}, nil)
	assert.ErrorIs(t, err, images.ErrFormat)
	assert.ErrorContains(t, err, "3.jpg: want a JPEG, PNG, GIF, WebP, BMP or TIFF picture, got an empty file")

	p, err = images.Folder(dir, images.FolderOptions{Preprocessing: pre, Skip: true})
	require.NoError(t, err)
	for range 2 {
		require.NoError(t, p.Example(1, []any{x}, nil))
	}
	assert.Len(t, p.Skipped(), 2)
	assert.ErrorContains(t, p.Skipped()[0], "2.png")
	assert.ErrorContains(t, p.Example(3, []any{x}, nil), "got an HTML page") // no other of its class
	assert.Len(t, p.Skipped(), 3)
}

// Statistics are those of the pixels, and broken pictures are left out.
func TestSurvey(t *testing.T) {
	dir := layout(t, files{"a/1.png": plain(t, 255, 0, 51), "a/2.png": plain(t, 0, 0, 51), "b/1.png": plain(t, 255, 0, 51)[:50], "b/2.png": plain(t, 255, 0, 51)})
	o := images.FolderOptions{Preprocessing: images.Preprocessing{Size: 3}, Skip: true}
	p, err := images.Folder(dir, o)
	require.NoError(t, err)
	sound, err := p.Check(context.Background())
	require.NoError(t, err)
	assert.Equal(t, []string{"a/1.png 0", "a/2.png 0", "b/2.png 1"}, names(sound))
	require.Len(t, p.Skipped(), 1)
	assert.ErrorContains(t, p.Skipped()[0], "b/1.png")
	mean, std, err := sound.Statistics(context.Background(), 0)
	require.NoError(t, err)
	assert.InDeltaSlice(t, []float32{2. / 3, 0, 0.2}, mean, 1e-6)
	assert.InDeltaSlice(t, []float64{math.Sqrt(2) / 3, 1, 1}, std, 1e-6)
	mean, _, err = sound.Statistics(context.Background(), 1)
	require.NoError(t, err)
	assert.Equal(t, float32(1), mean[0])

	o.Skip = false
	p, err = images.Folder(dir, o)
	require.NoError(t, err)
	_, err = p.Check(context.Background())
	assert.ErrorIs(t, err, images.ErrDamaged)
	stopped, stop := context.WithCancel(context.Background())
	stop()
	_, err = p.Check(stopped)
	assert.ErrorIs(t, err, context.Canceled)
}

// FuzzLabels: no file of labels makes Folder panic, and no picture of one lies beside the folder.
func FuzzLabels(f *testing.F) {
	for _, text := range []string{"a/1.png,10\n2.png,9\n", "\ufefflabel,else,file\nb,,./a/1.png\n", "a,\"x\ny\"\n", "../a,b", "file,class"} {
		f.Add([]byte(text))
	}
	dir := f.TempDir()
	list := filepath.Join(f.TempDir(), "labels.csv")
	f.Fuzz(func(t *testing.T, text []byte) {
		require.NoError(t, os.WriteFile(list, text, 0o666))
		p, err := images.Folder(dir, images.FolderOptions{Labels: list})
		if err != nil {
			return
		}
		for i := range p.Len() {
			inside, err := filepath.Rel(dir, p.Path(i))
			require.NoError(t, err)
			require.True(t, filepath.IsLocal(inside) && inside != ".")
			require.True(t, p.Label(i) >= 0 && p.Label(i) < len(p.Classes))
		}
	})
}

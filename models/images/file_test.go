// SPDX-License-Identifier: Apache-2.0

package images_test

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/models/images"
)

// picture draws the image i of a part, denormalised, as a picture.
func picture(set *images.Set, part images.Split, i int) *image.RGBA {
	im := image.NewRGBA(image.Rect(0, 0, set.Width, set.Height))
	plane := set.Height * set.Width
	for k := range plane {
		var v [3]uint8
		for c := range v {
			of := c % set.Channels
			v[c] = uint8(255*(part.Images[(i*set.Channels+of)*plane+k]*set.Std[of]+set.Mean[of]) + 0.5)
		}
		im.Set(k%set.Width, k/set.Width, color.RGBA{v[0], v[1], v[2], 255})
	}
	return im
}

func saved(t *testing.T, name string, encode func(*bytes.Buffer) error) string {
	var b bytes.Buffer
	require.NoError(t, encode(&b))
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, b.Bytes(), 0o666))
	return path
}

func savedPNG(t *testing.T, im image.Image) string {
	return saved(t, "a.png", func(b *bytes.Buffer) error { return png.Encode(b, im) })
}

// An image of the set that is written as a PNG of its size is read back as it was, also when it
// is larger by a border that is cut off.
func TestLoadImage(t *testing.T) {
	grey, err := images.Digits(1, 20, 4, images.DigitOptions{})
	require.NoError(t, err)
	colour, err := images.Load(write(t, cifar()), 0)
	require.NoError(t, err)
	for _, set := range []*images.Set{grey, colour} {
		size := set.Channels * set.Height * set.Width
		want := set.Train.Images[3*size : 4*size]
		im := picture(set, set.Train, 3)
		x, err := set.LoadImage(savedPNG(t, im))
		require.NoError(t, err)
		assert.InDeltaSlice(t, want, x, 1e-2, set.Name) // a byte is 1/255/Std = 0.01 to 0.02 apart from the next

		wide := image.NewRGBA(image.Rect(0, 0, set.Width+6, set.Height))
		for y := range set.Height {
			for x := range set.Width {
				wide.Set(x+3, y, im.At(x, y))
			}
		}
		x, err = set.LoadImage(savedPNG(t, wide))
		require.NoError(t, err)
		assert.InDeltaSlice(t, want, x, 1e-2, set.Name)
	}
}

func TestLoadImageScales(t *testing.T) {
	set := &images.Set{Channels: 3, Height: 8, Width: 8, Mean: []float32{0.5, 0.25, 0}, Std: []float32{0.5, 0.25, 1}}
	im := image.NewRGBA(image.Rect(0, 0, 300, 200))
	for i := range 300 * 200 {
		im.Set(i%300, i/300, color.RGBA{255, 128, 0, 255})
	}
	path := saved(t, "a.jpg", func(b *bytes.Buffer) error { return jpeg.Encode(b, im, &jpeg.Options{Quality: 95}) })
	x, err := set.LoadImage(path)
	require.NoError(t, err)
	require.Len(t, x, 3*64)
	for i := range 64 {
		assert.InDelta(t, 1, x[i], 0.05)
		assert.InDelta(t, 1, x[64+i], 0.05)
		assert.InDelta(t, 0, x[128+i], 0.05)
	}
	// What is transparent is black.
	x, err = set.LoadImage(savedPNG(t, image.NewNRGBA(image.Rect(0, 0, 5, 900))))
	require.NoError(t, err)
	assert.Equal(t, float32(-1), x[0])
}

func TestLoadImageRefuses(t *testing.T) {
	set := &images.Set{Channels: 1, Height: 8, Width: 8, Mean: []float32{0}, Std: []float32{1}}
	_, err := set.LoadImage("nowhere.png")
	assert.ErrorIs(t, err, os.ErrNotExist)
	text := saved(t, "a.png", func(b *bytes.Buffer) error { b.WriteString("text"); return nil })
	_, err = set.LoadImage(text)
	assert.ErrorContains(t, err, "want a PNG or JPEG picture")
	whole := savedPNG(t, picture(&images.Set{Channels: 1, Height: 40, Width: 40, Mean: set.Mean, Std: set.Std}, images.Split{Images: make([]float32, 1600)}, 0))
	b, err := os.ReadFile(whole)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(whole, b[:len(b)-30], 0o666))
	_, err = set.LoadImage(whole)
	assert.ErrorContains(t, err, "want a whole picture")

	// A header that promises 2^60 pixels.
	copy(b[16:24], []byte{0x40, 0, 0, 0, 0x40, 0, 0, 0})
	require.NoError(t, os.WriteFile(whole, b, 0o666))
	_, err = set.LoadImage(whole)
	assert.Error(t, err)

	_, err = (&images.Set{Channels: 2}).LoadImage(text)
	assert.ErrorContains(t, err, "1 or 3 channels")
	_, err = (&images.Set{Channels: 3, Height: 8, Width: 8}).LoadImage(text)
	assert.ErrorContains(t, err, "want a set with a mean")
}

// SPDX-License-Identifier: Apache-2.0

package images_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"slices"
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
	// Transparent parts become black.
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
	assert.ErrorContains(t, err, "want a JPEG, PNG, GIF, WebP, BMP or TIFF picture, got a text")
	_, err = set.LoadImage(t.TempDir())
	assert.ErrorContains(t, err, "want a regular file, got a directory")
	whole := savedPNG(t, picture(&images.Set{Channels: 1, Height: 40, Width: 40, Mean: set.Mean, Std: set.Std}, images.Split{Images: make([]float32, 1600)}, 0))
	b, err := os.ReadFile(whole)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(whole, b[:len(b)-30], 0o666))
	_, err = set.LoadImage(whole)
	assert.ErrorContains(t, err, "want a PNG picture that is whole, got a damaged one")
	cut := saved(t, "a.png", func(w *bytes.Buffer) error { _, err := w.Write(b[:20]); return err })
	_, err = set.LoadImage(cut)
	assert.ErrorContains(t, err, "got a damaged one")

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

// exif is a segment with one other tag and the orientation of the picture.
func exif(order binary.AppendByteOrder, o uint16) []byte {
	b := []byte("II*\x00")
	if order == binary.BigEndian {
		b = []byte("MM\x00*")
	}
	b = order.AppendUint32(b, 8)
	b = order.AppendUint16(b, 2)
	for _, e := range [][2]uint16{{0x0100, 9}, {0x0112, o}} { // ImageWidth, Orientation
		b = order.AppendUint16(order.AppendUint16(b, e[0]), 3)
		b = order.AppendUint32(b, 1)
		b = order.AppendUint16(order.AppendUint16(b, e[1]), 0)
	}
	return order.AppendUint32(b, 0)
}

// withExif puts a segment into a JPEG or PNG file.
func withExif(file, exif []byte) []byte {
	if file[0] == 0xff {
		const size = 2
		exif = append([]byte("Exif\x00\x00"), exif...)
		segment := binary.BigEndian.AppendUint16([]byte{0xff, 0xe1}, uint16(size+len(exif)))
		return slices.Concat(file[:2], segment, exif, file[2:])
	}
	const header = 8 + 12 + 13 // the signature and IHDR
	chunk := append(binary.BigEndian.AppendUint32(nil, uint32(len(exif))), append([]byte("eXIf"), exif...)...)
	return slices.Concat(file[:header], binary.BigEndian.AppendUint32(chunk, crc32.ChecksumIEEE(chunk[4:])), file[header:])
}

// Pictures are turned as the camera was held. The table says which side of the scene the first row and the first column of
// the picture are, as the standard does.
func TestOrientation(t *testing.T) {
	set := &images.Set{Channels: 3, Height: 16, Width: 24, Mean: []float32{0, 0, 0}, Std: []float32{1, 1, 1}}
	scene := image.NewRGBA(image.Rect(0, 0, 48, 32))
	for y := range 32 {
		for x := range 48 {
			scene.Set(x, y, color.RGBA{uint8(5 * x), uint8(7 * y), uint8(200 * (x / 40) * (y / 24)), 255})
		}
	}
	want, err := set.LoadImage(savedPNG(t, scene))
	require.NoError(t, err)
	for i, sides := range [][2]string{
		{"top", "left"}, {"top", "right"}, {"bottom", "right"}, {"bottom", "left"}, {"left", "top"}, {"right", "top"}, {"right", "bottom"}, {"left", "bottom"},
	} {
		w, h := 48, 32
		if sides[1] == "top" || sides[1] == "bottom" {
			w, h = h, w
		}
		stored := image.NewRGBA(image.Rect(0, 0, w, h))
		for row := range h {
			for column := range w {
				var x, y int
				for k, from := range []int{row, column} { // the first row is at the side, the others further from it
					switch sides[k] {
					case "top":
						y = from
					case "bottom":
						y = 31 - from
					case "left":
						x = from
					case "right":
						x = 47 - from
					}
				}
				stored.Set(column, row, scene.At(x, y))
			}
		}
		for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
			segment := exif(order, uint16(i+1))
			png := saved(t, "a.png", func(b *bytes.Buffer) error {
				err := png.Encode(b, stored)
				*b = *bytes.NewBuffer(withExif(bytes.Clone(b.Bytes()), segment))
				return err
			})
			got, err := set.LoadImage(png)
			require.NoError(t, err)
			assert.InDeltaSlice(t, want, got, 0.005, "PNG, orientation %d", i+1) // rounding when scaling in both directions

			jpg := saved(t, "a.jpg", func(b *bytes.Buffer) error {
				err := jpeg.Encode(b, stored, &jpeg.Options{Quality: 100})
				*b = *bytes.NewBuffer(withExif(bytes.Clone(b.Bytes()), segment))
				return err
			})
			got, err = set.LoadImage(jpg)
			require.NoError(t, err)
			assert.InDeltaSlice(t, want, got, 0.15, "JPEG, orientation %d", i+1) // colours have a lower resolution, which shows at the edge of the blue square
		}
	}
}

// A truncated or malformed segment is ignored.
func TestBrokenExif(t *testing.T) {
	set := &images.Set{Channels: 1, Height: 8, Width: 8, Mean: []float32{0}, Std: []float32{1}}
	im := image.NewGray(image.Rect(0, 0, 8, 8))
	im.Pix[3] = 255
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, im))
	want, err := set.LoadImage(savedPNG(t, im))
	require.NoError(t, err)
	whole := exif(binary.BigEndian, 3)
	far := bytes.Clone(whole)
	copy(far[4:], "\xff\xff\xff\xff")
	for _, segment := range [][]byte{nil, whole[:7], whole[:9], whole[:30], far, exif(binary.LittleEndian, 0), exif(binary.LittleEndian, 9)} {
		got, err := set.LoadImage(saved(t, "a.png", func(to *bytes.Buffer) error { _, err := to.Write(withExif(b.Bytes(), segment)); return err }))
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
}

// A WebP picture with an orientation, as another program turns it: testdata/turned.py.
func TestWebP(t *testing.T) {
	set := &images.Set{Channels: 3, Height: 12, Width: 8, Mean: []float32{0, 0, 0}, Std: []float32{1, 1, 1}}
	want, err := set.LoadImage("testdata/upright.png")
	require.NoError(t, err)
	got, err := set.LoadImage("testdata/turned.webp")
	require.NoError(t, err)
	assert.InDeltaSlice(t, want, got, 0.005)
}

// The memory that a picture takes is known before it is unpacked: pictures of zeros are small files.
func TestLargePictures(t *testing.T) {
	set := &images.Set{Channels: 1, Height: 8, Width: 8, Mean: []float32{0}, Std: []float32{1}}
	header := func(depth, colour, interlaced byte) []byte {
		ihdr := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32([]byte("IHDR"), 8192), 8192)
		ihdr = append(ihdr, depth, colour, 0, 0, interlaced)
		b := binary.BigEndian.AppendUint32([]byte("\x89PNG\r\n\x1a\n"), 13)
		return binary.BigEndian.AppendUint32(append(b, ihdr...), crc32.ChecksumIEEE(ihdr))
	}
	jpeg := func(progressive bool) []byte {
		var b bytes.Buffer
		require.NoError(t, jpeg.Encode(&b, image.NewRGBA(image.Rect(0, 0, 16, 16)), nil))
		at := bytes.Index(b.Bytes(), []byte{0xff, 0xc0})
		copy(b.Bytes()[at+5:], []byte{0x20, 0, 0x20, 0})
		if progressive {
			b.Bytes()[at+1] = 0xc2
		}
		return b.Bytes()
	}
	transparent := func(png []byte) []byte { // one shade of a turned picture
		chunk := []byte("tRNS\x00\x07")
		png = binary.BigEndian.AppendUint32(withExif(png, exif(binary.BigEndian, 3)), 2)
		return binary.BigEndian.AppendUint32(append(png, chunk...), crc32.ChecksumIEEE(chunk))
	}
	cmyk := func() []byte {
		b, err := os.ReadFile("testdata/formats/cmyk.jpg")
		require.NoError(t, err)
		at := bytes.Index(b, []byte{0xff, 0xc0})
		copy(b[at+5:], []byte{0x20, 0, 0x20, 0})
		return b
	}
	rgb := func() []byte {
		b := jpeg(false)
		at := bytes.Index(b, []byte{0xff, 0xc0})
		b[at+10], b[at+13], b[at+16] = 'R', 'G', 'B' // names of the components
		return b
	}
	webp := func(file string) []byte { // with a frame of 16383 x 16383 behind a small VP8X
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		at := bytes.Index(b, []byte("VP8L"))
		copy(b[at+9:], "\xff\xff\xff\x0f")
		return b
	}
	for name, c := range map[string]struct {
		file []byte
		mib  string // "" for a picture that is unpacked, which fails since it is cut
	}{
		"RGBA":             {header(8, 6, 0), ""},
		"RGBA, interlaced": {header(8, 6, 1), "512"},
		"16 bits":          {header(16, 6, 0), "512"},
		"grey, 16 bits":    {header(16, 0, 0), ""},
		"grey with alpha":  {transparent(header(8, 0, 1)), "512"},
		"all of these":     {transparent(header(16, 0, 1)), "1024"},
		"JPEG":             {jpeg(false), ""},
		"progressive JPEG": {jpeg(true), "480"},
		"CMYK JPEG":        {cmyk(), "512"},
		"RGB JPEG":         {rgb(), "352"},
		"WebP":             {webp("testdata/turned.webp"), "2048"},
	} {
		path := saved(t, name, func(b *bytes.Buffer) error { _, err := b.Write(c.file); return err })
		_, err := set.LoadImage(path)
		if c.mib == "" {
			assert.ErrorContains(t, err, "damaged", name)
		} else {
			assert.ErrorContains(t, err, "takes at most 256 MiB", name)
			assert.ErrorContains(t, err, "that takes "+c.mib, name)
		}
	}
}

// FuzzPicture: no file makes a decoder panic, and what it reads is an image of finite numbers.
func FuzzPicture(f *testing.F) {
	all, err := filepath.Glob("testdata/formats/*")
	require.NoError(f, err)
	for _, path := range all {
		b, err := os.ReadFile(path)
		require.NoError(f, err)
		f.Add(b)
	}
	by := images.Preprocessing{Size: 4, Mean: []float32{0, 0, 0}, Std: []float32{1, 1, 1}}
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := by.Read(bytes.NewReader(b), "picture")
		if err != nil {
			assert.NotContains(t, err.Error(), "\n")
			var wrong *images.PictureError
			require.ErrorAs(t, err, &wrong)
			assert.True(t, errors.Is(err, images.ErrFormat) || errors.Is(err, images.ErrDamaged) || errors.Is(err, images.ErrTooLarge))
			return
		}
		assert.Len(t, x, 48)
		for _, v := range x {
			require.True(t, v >= 0 && v <= 1)
		}
	})
}

// SPDX-License-Identifier: Apache-2.0

package images

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"image"
	"image/jpeg"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Pictures of all formats are read as Pillow reads them: testdata/formats.py.
func TestFormats(t *testing.T) {
	b, err := os.ReadFile("testdata/formats.json")
	require.NoError(t, err)
	var all map[string]struct {
		Width, Height int
		Pixels        []int
	}
	require.NoError(t, json.Unmarshal(b, &all))
	for name, want := range all {
		t.Run(name, func(t *testing.T) {
			m, err := readPicture("testdata/formats/" + name)
			if strings.HasPrefix(name, "unknown") {
				assert.ErrorIs(t, err, ErrFormat)
				return
			}
			require.NoError(t, err)
			w, h := m.size()
			require.Equal(t, [2]int{want.Width, want.Height}, [2]int{w, h})
			tolerance := 0.
			switch {
			case strings.HasSuffix(name, ".jpg"):
				tolerance = 3 // the inverse cosine transforms differ
			case name == "lossy.webp":
				tolerance = 20 // four pixels share their colour, which Pillow interpolates
			case name == "grey-lossy.webp":
				tolerance = 1
			}
			got := ints(m.scaled(image.Rect(0, 0, w, h), w, h, image.Rect(0, 0, w, h), 3))
			assert.InDeltaSlice(t, want.Pixels, got, tolerance)
		})
	}
}

// withAlpha puts an alpha channel into a lossy WebP file of 10 x 7 pixels.
func withAlpha(file, alpha []byte) []byte {
	chunk := func(name string, b []byte) []byte {
		c := append(binary.LittleEndian.AppendUint32([]byte(name), uint32(len(b))), b...)
		return append(c, make([]byte, len(b)%2)...)
	}
	const header, hasAlpha = 12, 0x10
	return chunk("RIFF", slices.Concat([]byte("WEBP"), chunk("VP8X", []byte{hasAlpha, 0, 0, 0, 10 - 1, 0, 0, 7 - 1, 0, 0}),
		chunk("ALPH", append([]byte{0}, alpha...)), file[header:]))
}

// LoadImage has the colours that Preprocessing has, also of lossy WebP, and what is transparent is black.
func TestLossyWebP(t *testing.T) {
	file, err := os.ReadFile("testdata/formats/lossy.webp")
	require.NoError(t, err)
	alpha := make([]byte, 7*10)
	for i := range alpha {
		alpha[i] = byte(min(255, 3*i))
	}
	set := &Set{Channels: 3, Height: 7, Width: 10, Mean: []float32{0, 0, 0}, Std: []float32{1, 1, 1}}
	opaque, err := set.ReadImage(bytes.NewReader(file), "opaque")
	require.NoError(t, err)
	transparent, err := set.ReadImage(bytes.NewReader(withAlpha(file, alpha)), "transparent")
	require.NoError(t, err)
	area := image.Rect(0, 0, 10, 7)
	for _, b := range [][]byte{file, withAlpha(file, alpha)} { // Preprocessing leaves out alpha
		m, err := decode(b)
		require.NoError(t, err)
		for i, v := range ints(m.scaled(area, 10, 7, area, 3)) {
			a := float64(alpha[i%70]) / 255
			assert.InDelta(t, v, 255*opaque[i], 1, "sample %d", i)
			assert.InDelta(t, a*float64(v), 255*transparent[i], 1, "sample %d of alpha %v", i, a)
		}
	}
}

// What lies behind a JPEG picture, as the video of a telephone, or in a segment of it, is not counted as scans.
func TestJPEGScans(t *testing.T) {
	file, err := os.ReadFile("testdata/formats/progressive.jpg")
	require.NoError(t, err)
	many := bytes.Repeat([]byte{0xff, 0xda}, maxScans+1)
	segment := append(binary.BigEndian.AppendUint16([]byte{0xff, 0xe5}, uint16(2+len(many))), many...)
	for name, b := range map[string][]byte{"as it is": file, "behind": append(bytes.Clone(file), many...), "in a segment": slices.Concat(file[:2], segment, file[2:])} {
		assert.Equal(t, bytes.Count(file, many[:2]), scans(b), name)
		_, err = decode(b)
		assert.NoError(t, err, name)
	}
	var b bytes.Buffer
	require.NoError(t, jpeg.Encode(&b, image.NewGray(image.Rect(0, 0, 64, 64)), nil))
	assert.Equal(t, 1, scans(b.Bytes()))
	for n := range b.Len() {
		assert.LessOrEqual(t, scans(b.Bytes()[:n]), 1)
	}
}

// The work of the scans of a picture has a limit: 33 scans of 5700 x 5700 pixels are within it. Of the large pictures, one is decoded at a time.
func TestJPEGWork(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, jpeg.Encode(&b, image.NewGray(image.Rect(0, 0, 16, 16)), nil))
	file := b.Bytes()
	scan := bytes.Index(file, []byte{0xff, 0xda})
	of := func(side, scans int) []byte {
		f := append(bytes.Clone(file[:scan]), bytes.Repeat(file[scan:len(file)-2], scans)...)
		size := f[bytes.Index(f, []byte{0xff, 0xc0})+5:]
		binary.BigEndian.PutUint16(size, uint16(side))
		binary.BigEndian.PutUint16(size[2:], uint16(side))
		return f
	}
	for _, c := range []struct {
		side, scans int
		want        string
	}{
		{16, 500, ""},
		{16, 501, "want a JPEG picture of at most 500 scans, got 501"},
		{5700, 33, ""},
		{5700, 34, "want a JPEG picture whose scans have at most 1073741824 pixels together, got 34 scans of 5700x5700 pixels"},
	} {
		_, err := readHeader(of(c.side, c.scans))
		if c.want == "" {
			assert.NoError(t, err)
		} else {
			assert.EqualError(t, err, c.want)
		}
	}
	for side, large := range map[int]bool{16: false, 5700: false, 8300: true} { // of a byte a pixel
		assert.Equal(t, large, Large(of(side, 1)), side)
	}
	assert.False(t, Large([]byte("text")))
	assert.False(t, Large(of(65000, 1)), "is refused")
}

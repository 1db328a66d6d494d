// SPDX-License-Identifier: Apache-2.0

package images

import (
	"image"
	"image/color"
)

// rowsOf returns a function that reads as many pixels of a picture as fit row, channel after channel, from (x, y) on, counted from
// the upper left corner: grey or red, green and blue, of 8 bits, without alpha.
func rowsOf(m image.Image, channels int) func(row []byte, x, y int) {
	rgb := rgbRowsOf(m)
	if channels == 3 {
		return rgb
	}
	if g, ok := m.(*image.Gray); ok {
		return func(row []byte, x, y int) { copy(row, g.Pix[y*g.Stride+x:]) }
	}
	var three []byte
	return func(row []byte, x, y int) {
		n := len(row)
		three = sized(&three, 3*n)
		rgb(three, x, y)
		for i := range row {
			row[i] = grey(three[i], three[n+i], three[2*n+i])
		}
	}
}

// grey is the luma of ITU-R 601 with the integer weights of Pillow and of image/color.
func grey(r, g, b byte) byte {
	return byte((19595*uint32(r) + 38470*uint32(g) + 7471*uint32(b) + 1<<15) >> 16)
}

func rgbRowsOf(m image.Image) func(row []byte, x, y int) {
	at := m.Bounds().Min
	switch m := m.(type) {
	case *image.YCbCr:
		return ycbcrRows(m, color.YCbCrToRGB)
	case video:
		return ycbcrRows(m.YCbCr, videoToRGB)
	case *image.Gray:
		return func(row []byte, x, y int) {
			n := len(row) / 3
			copy(row[:n], m.Pix[y*m.Stride+x:])
			copy(row[n:2*n], row[:n])
			copy(row[2*n:], row[:n])
		}
	case *image.NRGBA:
		return packedRows(m.Pix, m.Stride, 4, 1)
	case *image.NRGBA64:
		return packedRows(m.Pix, m.Stride, 8, 2)
	case *image.CMYK:
		return func(row []byte, x, y int) {
			n := len(row) / 3
			from := m.Pix[y*m.Stride+4*x:]
			for i := range n {
				row[i], row[n+i], row[2*n+i] = color.CMYKToRGB(from[4*i], from[4*i+1], from[4*i+2], from[4*i+3])
			}
		}
	case *image.Paletted:
		palette := make([][3]byte, 256) // an index without a colour is black
		for i, c := range m.Palette {
			palette[i] = plain(c)
		}
		return func(row []byte, x, y int) {
			n := len(row) / 3
			for i, p := range m.Pix[y*m.Stride+x:][:n] {
				c := &palette[p]
				row[i], row[n+i], row[2*n+i] = c[0], c[1], c[2]
			}
		}
	case *image.RGBA:
		if m.Opaque() {
			return packedRows(m.Pix, m.Stride, 4, 1)
		}
	case *image.RGBA64:
		if m.Opaque() {
			return packedRows(m.Pix, m.Stride, 8, 2)
		}
	}
	return func(row []byte, x, y int) {
		n := len(row) / 3
		for i := range n {
			c := plain(m.At(at.X+x+i, at.Y+y))
			row[i], row[n+i], row[2*n+i] = c[0], c[1], c[2]
		}
	}
}

// ycbcrRows reads the pixels of m, several of which may share their chroma.
func ycbcrRows(m *image.YCbCr, rgb func(y, cb, cr byte) (r, g, b byte)) func(row []byte, x, y int) {
	at := m.Rect.Min
	return func(row []byte, x, y int) {
		n := len(row) / 3
		luma := m.Y[m.YOffset(at.X+x, at.Y+y):][:n]
		red, green, blue := row[:n], row[n:2*n], row[2*n:]
		for i, l := range luma {
			c := m.COffset(at.X+x+i, at.Y+y)
			red[i], green[i], blue[i] = rgb(l, m.Cb[c], m.Cr[c])
		}
	}
}

// video is a picture whose colours are in the video range (ITU-R 601), like those of lossy WebP: black is 16 and white 235.
type video struct {
	*image.YCbCr
	alpha *image.NYCbCrA // the same picture with its alpha, or nil if all of it is opaque
}

// ColorModel implements image.Image.
func (video) ColorModel() color.Model { return color.NRGBAModel }

// Opaque reports whether the picture is without alpha.
func (v video) Opaque() bool { return v.alpha == nil }

// At implements image.Image.
func (v video) At(x, y int) color.Color {
	if !(image.Point{X: x, Y: y}).In(v.Rect) {
		return color.NRGBA{}
	}
	yi, ci := v.YOffset(x, y), v.COffset(x, y)
	r, g, b := videoToRGB(v.Y[yi], v.Cb[ci], v.Cr[ci])
	a := byte(255)
	if v.alpha != nil {
		a = v.alpha.A[v.alpha.AOffset(x, y)]
	}
	return color.NRGBA{r, g, b, a}
}

// RGBA64At implements image.RGBA64Image, which package draw prefers to At. The method of the embedded picture would give other colours.
func (v video) RGBA64At(x, y int) color.RGBA64 {
	r, g, b, a := v.At(x, y).RGBA()
	return color.RGBA64{R: uint16(r), G: uint16(g), B: uint16(b), A: uint16(a)}
}

// videoToRGB converts a colour, with factors in 2^16ths:
//
//	r = 1.164 (y - 16) + 1.596 (cr - 128)
//	g = 1.164 (y - 16) - 0.392 (cb - 128) - 0.813 (cr - 128)
//	b = 1.164 (y - 16) + 2.017 (cb - 128)
func videoToRGB(y, cb, cr byte) (r, g, b byte) {
	l, u, v := 76309*(int32(y)-16)+1<<15, int32(cb)-128, int32(cr)-128
	clip := func(x int32) byte { return byte(min(255, max(0, x>>16))) }
	return clip(l + 104597*v), clip(l - 25675*u - 53279*v), clip(l + 132201*u)
}

// packedRows reads pixels of the given size whose samples follow each other, the upper byte first.
func packedRows(pix []byte, stride, size, sample int) func(row []byte, x, y int) {
	return func(row []byte, x, y int) {
		n := len(row) / 3
		from := pix[y*stride+x*size:][:n*size]
		for i := range n {
			p := from[i*size:][:2*sample+1]
			row[i], row[n+i], row[2*n+i] = p[0], p[sample], p[2*sample]
		}
	}
}

// plain is a colour without its alpha.
func plain(c color.Color) [3]byte {
	if c, ok := c.(color.NRGBA); ok {
		return [3]byte{c.R, c.G, c.B}
	}
	n := color.NRGBA64Model.Convert(c).(color.NRGBA64)
	return [3]byte{byte(n.R >> 8), byte(n.G >> 8), byte(n.B >> 8)}
}

// SPDX-License-Identifier: Apache-2.0

package images

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
)

// traits are properties of the file of a picture that package image does not report.
type traits struct {
	width, height int         // as stored
	bytes         float64     // of memory that a pixel takes while it is decoded
	turn          orientation // 0 if the file says nothing
	inverted      bool        // black and white are exchanged after decoding
	plainCMYK     bool        // a JPEG file of four components without the segment of Adobe
}

// maxSegments is the largest number of segments of a file that are read.
const maxSegments = 10_000

// traitsOf reads the segments of a file. Damage in them is found when the picture is decoded.
func traitsOf(file []byte, format string, c image.Config) traits {
	t := traits{width: c.Width, height: c.Height, bytes: 4}
	switch format {
	case "jpeg":
		t.jpeg(file)
		if c.ColorModel == color.CMYKModel || c.ColorModel == color.RGBAModel {
			t.bytes += 4 // a picture of its own, made of the planes
		}
	case "png":
		switch c.ColorModel {
		case color.RGBA64Model, color.NRGBA64Model:
			t.bytes = 8
		case color.Gray16Model:
			t.bytes = 2
		case color.GrayModel:
			t.bytes = 1
		}
		t.png(file, c.ColorModel == color.GrayModel || c.ColorModel == color.Gray16Model)
	case "webp":
		t.bytes = 8 // lossless pictures, and lossy ones with alpha, are decoded through another picture of 4 bytes per pixel
		t.webp(file)
	case "gif":
		t.bytes = 6 // a frame of one byte a pixel, and the screen if it is larger
	case "tiff":
		t.tiff(file, c)
	}
	return t
}

// at returns n bytes of a file, or fewer where it ends.
func at(file []byte, offset int64, n int) []byte {
	rest := file[min(offset, int64(len(file))):]
	return rest[:min(n, len(rest))]
}

// jpeg looks at the segments before the pixels (ITU T.81, annex B). Samples of a progressive file are kept as coefficients of 4 bytes too.
func (t *traits) jpeg(file []byte) {
	const (
		app1  = 0xe1
		app14 = 0xee
		sos   = 0xda // the pixels follow
	)
	components, adobe := 0, false
	defer func() { t.plainCMYK = components == 4 && !adobe }()
	offset := int64(2)
	for range maxSegments {
		b := at(file, offset, 4)
		switch {
		case len(b) < 4 || b[0] != 0xff || b[1] == sos:
			return
		case b[1] == 0xff: // filling
			offset++
			continue
		}
		marker, size := b[1], int(binary.BigEndian.Uint16(b[2:]))
		if size < 2 {
			return
		}
		switch {
		case marker == app1 && t.turn == 0:
			t.turn = orientationOf(at(file, offset+4, size-2))
		case marker == app14:
			adobe = adobe || string(at(file, offset+4, 5)) == "Adobe"
		case marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc:
			frame := at(file, offset+4, size-2)
			t.bytes = samples(frame)
			if len(frame) > 5 {
				components = int(frame[5])
			}
			if marker == 0xc2 {
				t.bytes *= 5
			}
		}
		offset += 2 + int64(size)
	}
}

// scans counts the scans of a JPEG file. It takes markers as image/jpeg does, anywhere behind a segment, and ends where the picture does:
// telephones append a video.
func scans(file []byte) (n int) {
	const (
		rst0 = 0xd0
		rst7 = 0xd7
		eoi  = 0xd9
		sos  = 0xda
	)
	const soi = 2 // bytes
	for offset := soi; offset < len(file); {
		next := bytes.IndexByte(file[offset:], 0xff)
		if next < 0 {
			break
		}
		offset += next
		b := at(file, int64(offset), 4)
		switch {
		case len(b) < 4 || b[1] == eoi:
			return n
		case b[1] == 0, b[1] == 0xff, b[1] >= rst0 && b[1] <= rst7: // a byte of the pixels, filling, restart
			offset++
			continue
		case b[1] == sos:
			n++
		}
		offset += 2 + max(2, int(binary.BigEndian.Uint16(b[2:])))
	}
	return n
}

// samples returns how many there are for each pixel, by the sampling factors of a frame header.
func samples(frame []byte) float64 {
	const before = 6 // precision, height, width, number of components
	sum, most := 0, 1
	if len(frame) < before {
		return 4
	}
	frame = frame[before:]
	for ; len(frame) >= 3; frame = frame[3:] {
		n := max(1, int(frame[1]>>4)*int(frame[1]&15))
		sum, most = sum+n, max(most, n)
	}
	return max(1, float64(sum)/float64(most))
}

// png looks at the chunks (PNG, third edition, 5.3).
func (t *traits) png(file []byte, grey bool) {
	offset := int64(8)
	for range maxSegments {
		b := at(file, offset, 8)
		if len(b) < 8 {
			return
		}
		size, name := int64(binary.BigEndian.Uint32(b)), string(b[4:])
		switch name {
		case "IHDR":
			if h := at(file, offset+8, 13); len(h) == 13 && h[12] != 0 { // interlaced: passes are pictures of their own
				t.bytes *= 2
			}
		case "tRNS":
			if grey { // it becomes a picture of four channels
				t.bytes *= 4
				grey = false
			}
		case "eXIf":
			if t.turn == 0 {
				t.turn = orientationOf(at(file, offset+8, int(min(size, maxExif))))
			}
		}
		offset += 12 + size
	}
}

// webp looks at the chunks (RFC 9649). The frame may be larger than the file says in VP8X.
func (t *traits) webp(file []byte) {
	offset := int64(12)
	for range maxSegments {
		b := at(file, offset, 8)
		if len(b) < 8 {
			return
		}
		size, name := int64(binary.LittleEndian.Uint32(b[4:])), string(b[:4])
		switch name {
		case "VP8 ":
			if f := at(file, offset+8, 10); len(f) == 10 {
				t.frame(int(binary.LittleEndian.Uint16(f[6:])&0x3fff), int(binary.LittleEndian.Uint16(f[8:])&0x3fff))
			}
		case "VP8L":
			if f := at(file, offset+8, 5); len(f) == 5 {
				bits := binary.LittleEndian.Uint32(f[1:])
				t.frame(int(bits&0x3fff)+1, int(bits>>14&0x3fff)+1)
			}
		case "EXIF":
			t.turn = orientationOf(at(file, offset+8, int(min(size, maxExif))))
			return
		}
		offset += 8 + size + size%2
	}
}

func (t *traits) frame(width, height int) {
	t.width, t.height = max(t.width, width), max(t.height, height)
}

// orientation is the number that Exif gives to the eight ways to hold a camera (CIPA DC-008, 4.6.4): which sides of the scene
// the first row and the first column of the picture are. 0 is unknown.
type orientation uint8

// swaps reports whether rows of the picture are columns of the scene.
func (o orientation) swaps() bool { return o >= 5 }

// from returns where the pixel (x, y) of a scene of w x h lies in the picture.
func (o orientation) from(x, y, w, h int) (int, int) {
	switch o {
	case 2: // first row top, first column right
		return w - 1 - x, y
	case 3: // bottom, right
		return w - 1 - x, h - 1 - y
	case 4: // bottom, left
		return x, h - 1 - y
	case 5: // left, top
		return y, x
	case 6: // right, top
		return y, w - 1 - x
	case 7: // right, bottom
		return h - 1 - y, w - 1 - x
	case 8: // left, bottom
		return h - 1 - y, x
	}
	return x, y
}

// maxExif is the number of bytes of an Exif segment that are read, as many as a JPEG file can have.
const maxExif = 1 << 16

// orientationOf finds the orientation in the first directory of an Exif segment, which is a TIFF file
// without pictures.
func orientationOf(exif []byte) orientation {
	if v := tiffValue(bytes.TrimPrefix(exif, []byte("Exif\x00\x00")), 0x0112); v <= 8 {
		return orientation(v)
	}
	return 0
}

// tiff looks at the first directory (TIFF 6.0, section 2).
func (t *traits) tiff(file []byte, c image.Config) {
	const (
		compression  = 0x0103
		photometric  = 0x0106
		blackIsZero  = 1
		tileWidth    = 0x0142
		tileLength   = 0x0143
		rowsPerStrip = 0x0116
	)
	t.turn = orientationOf(file)
	switch c.ColorModel {
	case color.RGBA64Model, color.NRGBA64Model:
		t.bytes = 8
	case color.Gray16Model:
		t.bytes = 2
	case color.GrayModel:
		t.bytes = 1
	}
	// A strip or tile is unpacked to 8 bytes a pixel at most, in memory that doubles.
	block := float64(tiffValue(file, tileWidth)) * float64(tiffValue(file, tileLength))
	if block == 0 {
		rows := float64(t.height)
		if n := tiffValue(file, rowsPerStrip); n > 0 {
			rows = min(rows, float64(n))
		}
		block = rows * float64(t.width)
	}
	if t.width > 0 && t.height > 0 {
		t.bytes += 16 * block / (float64(t.width) * float64(t.height))
	}
	// Black runs of a fax are ones, which are black or white as the file says; the decoder takes them as black.
	fax := tiffValue(file, compression)
	t.inverted = fax >= 2 && fax <= 4 && tiffValue(file, photometric) == blackIsZero
}

// tiffValue returns the value of a tag of the first directory, or 0 if it is missing or not a single short or long integer.
func tiffValue(file []byte, tag uint16) uint32 {
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(file, []byte("II*\x00")):
		order = binary.LittleEndian
	case bytes.HasPrefix(file, []byte("MM\x00*")):
		order = binary.BigEndian
	}
	if order == nil || len(file) < 8 {
		return 0
	}
	directory := uint64(order.Uint32(file[4:]))
	if directory+2 > uint64(len(file)) {
		return 0
	}
	entries := file[directory+2:]
	for range order.Uint16(file[directory:]) {
		const (
			size  = 12
			short = 3
			long  = 4
		)
		if len(entries) < size {
			return 0
		}
		e := entries[:size]
		entries = entries[size:]
		if order.Uint16(e) != tag {
			continue
		}
		switch order.Uint16(e[2:]) {
		case short:
			return uint32(order.Uint16(e[8:]))
		case long:
			return order.Uint32(e[8:])
		}
		return 0
	}
	return 0
}

// SPDX-License-Identifier: Apache-2.0

package images

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"io/fs"
	"slices"
	"sync"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
	"golang.org/x/image/webp"

	"github.com/kernelfold/kernelfold/internal/files"
)

// PictureError is the error of a picture that cannot be used. Err is, or wraps, one of ErrFormat, ErrDamaged and ErrTooLarge, or
// the error of the file system, such as fs.ErrNotExist.
type PictureError struct {
	Path string
	Err  error
}

func (e *PictureError) Error() string {
	if p := (*fs.PathError)(nil); errors.As(e.Err, &p) && p.Path == e.Path {
		return fmt.Sprintf("images: %v", e.Err)
	}
	return fmt.Sprintf("images: %s: %v", e.Path, e.Err)
}

func (e *PictureError) Unwrap() error { return e.Err }

// What may be wrong with a picture.
var (
	// ErrFormat means that a file is not a picture in a supported format, whatever its name says.
	ErrFormat = errors.New("images: not a picture that can be read")
	// ErrDamaged means that a picture is truncated or damaged.
	ErrDamaged = errors.New("images: damaged picture")
	// ErrTooLarge means that a picture would take too much memory, or too much time.
	ErrTooLarge = errors.New("images: picture too large")
)

// fault is one of these errors with details. Its text is only the details.
type fault struct {
	kind    error
	details string
}

func (f *fault) Error() string        { return f.details }
func (f *fault) Is(target error) bool { return target == f.kind }

func faultf(kind error, format string, args ...any) error {
	return &fault{kind, fmt.Sprintf(format, args...)}
}

// pictureFormat is a format of pictures.
type pictureFormat struct {
	name   string
	kind   string // what files.Kind calls it
	config func(io.Reader) (image.Config, error)
	decode func(io.Reader) (image.Image, error)
}

var pictureFormats = []pictureFormat{
	{"jpeg", "a JPEG picture", jpeg.DecodeConfig, jpeg.Decode},
	{"png", "a PNG picture", png.DecodeConfig, png.Decode},
	{"gif", "a GIF picture", gif.DecodeConfig, gif.Decode},
	{"webp", "a WebP picture", webp.DecodeConfig, webp.Decode},
	{"bmp", "a BMP picture", bmp.DecodeConfig, bmp.Decode},
	{"tiff", "a TIFF picture", tiff.DecodeConfig, tiff.Decode},
}

// pictureBytes is the largest memory of an unpacked picture, and the largest size of its file.
const pictureBytes = 1 << 28

// largeBytes is the memory from which on pictures are decoded one at a time.
const largeBytes = 1 << 26

// large is held while a large picture is decoded and used.
var large sync.Mutex

// decoded is a picture in memory, as stored.
type decoded struct {
	image.Image
	turn orientation
	free func() // is called after the last use of the picture
}

// readPicture reads the picture of a file.
func readPicture(path string) (*decoded, error) {
	p, err := func() (*decoded, error) {
		f, size, err := files.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if size > pictureBytes {
			return nil, faultf(ErrTooLarge, "want a file of at most %d MiB, got %d", pictureBytes>>20, size>>20)
		}
		// Everything below reads the same bytes, even if the file changes.
		b := make([]byte, size)
		n, err := io.ReadFull(f, b)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return nil, err
		}
		return decode(b[:n])
	}()
	if err != nil {
		return nil, &PictureError{path, err}
	}
	return p, nil
}

// decodeFrom reads a picture that is called name in errors.
func decodeFrom(r io.Reader, name string) (*decoded, error) {
	b, err := io.ReadAll(io.LimitReader(r, pictureBytes+1))
	if err == nil && len(b) > pictureBytes {
		err = faultf(ErrTooLarge, "want at most %d MiB, got more", pictureBytes>>20)
	}
	if err != nil {
		return nil, &PictureError{name, err}
	}
	p, err := decode(b)
	if err != nil {
		return nil, &PictureError{name, err}
	}
	return p, nil
}

// header is what the head of a file says about a picture.
type header struct {
	traits
	format pictureFormat
	config image.Config
	large  bool // is decoded alone
}

// readHeader reads the head of a file, and refuses a picture that is too large. The contents determine the format.
func readHeader(b []byte) (h header, err error) {
	kind := files.Kind(b[:min(headBytes, len(b))])
	i := slices.IndexFunc(pictureFormats, func(f pictureFormat) bool { return f.kind == kind })
	if i < 0 {
		if kind == "" {
			kind = "something else"
		}
		return h, faultf(ErrFormat, "want a JPEG, PNG, GIF, WebP, BMP or TIFF picture, got %s", kind)
	}
	defer recovered(kind, &err)
	h.format = pictureFormats[i]
	if h.config, err = h.format.config(bytes.NewReader(b)); err != nil {
		return h, failed(kind, err)
	}
	h.traits = traitsOf(b, h.format.name, h.config)
	if h.width < 1 || h.height < 1 {
		return h, faultf(ErrDamaged, "want a picture of at least one pixel, got %dx%d", h.width, h.height)
	}
	pixels := float64(h.width) * float64(h.height)
	need := pixels * h.bytes
	if need > pictureBytes {
		return h, faultf(ErrTooLarge, "want a picture that takes at most %d MiB of memory, got one of %dx%d pixels that takes %.0f",
			pictureBytes>>20, h.width, h.height, need/(1<<20))
	}
	h.large = need+float64(len(b)) > largeBytes
	if h.format.name == "jpeg" {
		switch n := scans(b); {
		case n > maxScans:
			return h, faultf(ErrDamaged, "want a JPEG picture of at most %d scans, got %d", maxScans, n)
		case float64(n)*pixels > maxScanned:
			return h, faultf(ErrTooLarge, "want a JPEG picture whose scans have at most %d pixels together, got %d scans of %dx%d pixels", maxScanned, n, h.width, h.height)
		}
	}
	return h, nil
}

// Large reports whether the bytes of a file are a picture that would take more than 64 MiB of memory. Such pictures are decoded one at a time in
// a process, so a program that decodes several pictures at once can keep these from taking the place of others. It reads the head of the file only.
func Large(file []byte) bool {
	h, err := readHeader(file)
	return err == nil && h.large
}

// recovered turns the panic of a decoder, which has met a damaged file, into an error.
func recovered(kind string, err *error) {
	if v := recover(); v != nil {
		*err = faultf(ErrDamaged, "want %s, got a damaged one (%v)", kind, v)
	}
}

// decode unpacks a picture.
func decode(b []byte) (p *decoded, err error) {
	h, err := readHeader(b)
	if err != nil {
		return nil, err
	}
	defer recovered(h.format.kind, &err)
	free := func() {}
	if h.large {
		large.Lock()
		free = large.Unlock
	}
	defer func() {
		if p == nil {
			free()
		}
	}()
	if h.plainCMYK {
		b = slices.Concat(b[:2], adobe, b[2:])
	}
	m, err := h.format.decode(bytes.NewReader(b))
	if err != nil {
		return nil, failed(h.format.kind, err)
	}
	switch n := m.(type) {
	case *image.Paletted:
		if h.format.name == "gif" {
			m = onScreen(n, h.config, b)
		}
	case *image.Gray:
		if h.inverted {
			for i := range n.Pix {
				n.Pix[i] = ^n.Pix[i]
			}
		}
	case *image.YCbCr:
		if h.format.name == "webp" {
			m = video{n, nil}
		}
	case *image.NYCbCrA:
		if h.format.name == "webp" {
			m = video{&n.YCbCr, n}
		}
	}
	return &decoded{m, h.turn, free}, nil
}

// failed describes an error of a decoder.
func failed(kind string, err error) error {
	var (
		jpegs jpeg.UnsupportedError
		pngs  png.UnsupportedError
		tiffs tiff.UnsupportedError
	)
	if errors.As(err, &jpegs) || errors.As(err, &pngs) || errors.As(err, &tiffs) || errors.Is(err, bmp.ErrUnsupported) {
		return faultf(ErrFormat, "want %s of a common kind, got one that cannot be read (%v)", kind, err)
	}
	return faultf(ErrDamaged, "want %s that is whole, got a damaged one (%v)", kind, err)
}

// adobe is the segment that says that four components of a JPEG picture are cyan, magenta, yellow and black, inverted, as nearly
// all files have them.
var adobe = []byte("\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00")

// maxScans is the largest number of scans in a JPEG file, and maxScanned that of the pixels of all its scans, both more than programs write: each scan
// takes as much time as a whole picture, but only a few bytes of the file. A progressive picture has about 10 scans.
const (
	maxScans   = 500
	maxScanned = 1 << 30
)

// onScreen puts the first frame of a GIF picture in its place on the screen, which has the background colour elsewhere.
func onScreen(frame *image.Paletted, head image.Config, file []byte) image.Image {
	screen := image.Rect(0, 0, head.Width, head.Height)
	if frame.Rect == screen {
		return frame
	}
	full := image.NewNRGBA(screen)
	background := color.NRGBA{A: 255}
	const at = 11 // where the header says which colour that is
	if p, ok := head.ColorModel.(color.Palette); ok && int(file[at]) < len(p) {
		c := plain(p[file[at]])
		background = color.NRGBA{c[0], c[1], c[2], 255}
	}
	draw.Draw(full, screen, image.NewUniform(background), image.Point{}, draw.Src)
	rows := rowsOf(frame, 3)
	n := frame.Rect.Dx()
	row := make([]byte, 3*n)
	for y := range frame.Rect.Dy() {
		rows(row, 0, y)
		for x := range n {
			full.SetNRGBA(frame.Rect.Min.X+x, frame.Rect.Min.Y+y, color.NRGBA{row[x], row[n+x], row[2*n+x], 255})
		}
	}
	return full
}

// SPDX-License-Identifier: Apache-2.0

package images

import (
	"fmt"
	"image"
	"image/color"
	_ "image/jpeg" // a format that LoadImage reads
	_ "image/png"  // another one
	"io"

	"golang.org/x/image/draw"
	_ "golang.org/x/image/webp" // the third one

	"github.com/kernelfold/kernelfold/internal/files"
)

// LoadImage reads a picture, PNG, JPEG or WebP of any size, as an image of the set: turned as its Exif orientation says, the largest
// part in the middle that has the set's proportions, scaled to its height and width
// by Catmull-Rom interpolation, grey (ITU-R 601) if the set has one channel, and normalised by the
// set's Mean and Std. What is transparent is black. The set needs no images of its own.
//
// A picture that would take more than 256 MiB of memory is an error. That is one of 64 megapixels with 8 bits a channel, less if its JPEG file is progressive
// or its PNG file interlaced or of 16 bits.
//
// The result has channels x height x width numbers, as an image of a Split has.
func (s *Set) LoadImage(path string) ([]float32, error) {
	if s.Channels != 1 && s.Channels != 3 {
		return nil, fmt.Errorf("images: %s: want a set of 1 or 3 channels to read a picture for, got %d", path, s.Channels)
	}
	if len(s.Mean) != s.Channels || len(s.Std) != s.Channels || s.Height < 1 || s.Width < 1 {
		return nil, fmt.Errorf("images: %s: want a set with a mean and a standard deviation for each of its %d channels, and a size, got %d, %d and %dx%d",
			path, s.Channels, len(s.Mean), len(s.Std), s.Height, s.Width)
	}
	picture, turn, err := decode(path)
	if err != nil {
		return nil, err
	}
	stored := image.Rect(0, 0, s.Width, s.Height)
	if turn.swaps() {
		stored = image.Rect(0, 0, s.Height, s.Width)
	}
	small := image.NewRGBA(stored)
	draw.Draw(small, stored, image.NewUniform(color.Black), image.Point{}, draw.Src)
	draw.CatmullRom.Scale(small, stored, picture, middle(picture.Bounds(), stored.Dx(), stored.Dy()), draw.Over, nil)

	plane := s.Height * s.Width
	x := make([]float32, s.Channels*plane)
	for i := range plane {
		c := small.RGBAAt(turn.from(i%s.Width, i/s.Width, s.Width, s.Height))
		rgb := []byte{c.R, c.G, c.B}
		if s.Channels == 1 {
			grey := color.GrayModel.Convert(color.RGBA{c.R, c.G, c.B, 0xff}).(color.Gray)
			rgb = []byte{grey.Y}
		}
		for c, v := range rgb {
			x[c*plane+i] = (float32(v)/255 - s.Mean[c]) / s.Std[c]
		}
	}
	return x, nil
}

// pictureBytes is the most memory that a picture is unpacked to.
const pictureBytes = 1 << 28

// decode reads a picture, whose size it checks before it unpacks it, and how it is to be turned.
func decode(path string) (image.Image, orientation, error) {
	f, size, err := files.Open(path)
	if err != nil {
		return nil, 0, fmt.Errorf("images: %w", err)
	}
	defer f.Close()
	head, format, err := image.DecodeConfig(f)
	if err != nil {
		got := files.KindOf(f)
		switch got {
		case "":
			got = "something else"
		case "a PNG picture", "a JPEG picture", "a WebP picture":
			got = fmt.Sprintf("a damaged one (%v)", err)
		}
		return nil, 0, fmt.Errorf("images: %s: want a PNG, JPEG or WebP picture, got %s", path, got)
	}
	t := traitsOf(io.NewSectionReader(f, 0, size), format, head)
	if t.width < 1 || t.height < 1 {
		return nil, 0, fmt.Errorf("images: %s: want a picture of at least one pixel, got %dx%d", path, t.width, t.height)
	}
	if need := float64(t.width) * float64(t.height) * t.bytes; need > pictureBytes {
		return nil, 0, fmt.Errorf("images: %s: want a picture that takes at most %d MiB of memory, got one of %dx%d pixels that takes %.0f",
			path, pictureBytes>>20, t.width, t.height, need/(1<<20))
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, 0, fmt.Errorf("images: %w", err)
	}
	picture, _, err := image.Decode(f)
	if err != nil {
		return nil, 0, fmt.Errorf("images: %s: want a whole picture, got a damaged one (%v)", path, err)
	}
	return picture, t.turn, nil
}

// middle returns the largest rectangle in the middle of r of the proportions w:h.
func middle(r image.Rectangle, w, h int) image.Rectangle {
	width, height := int64(r.Dx()), int64(r.Dy())
	if width*int64(h) > height*int64(w) {
		width = max(1, height*int64(w)/int64(h))
	} else {
		height = max(1, width*int64(h)/int64(w))
	}
	at := r.Min.Add(image.Pt((r.Dx()-int(width))/2, (r.Dy()-int(height))/2))
	return image.Rectangle{at, at.Add(image.Pt(int(width), int(height)))}
}

// SPDX-License-Identifier: Apache-2.0

package images

import (
	"fmt"
	"image"
	"image/color"
	"io"

	"golang.org/x/image/draw"
)

// LoadImage reads a picture, JPEG, PNG, GIF, WebP, BMP or TIFF of any size, as an image of the set: turned as its Exif orientation says, the largest
// part in the middle that has the set's proportions, scaled to its height and width
// by Catmull-Rom interpolation, grey (ITU-R 601) if the set has one channel, and normalised by the
// set's Mean and Std. Transparent parts become black. The set needs no images of its own.
//
// A picture that would take more than 256 MiB of memory is an error. The limit is reached by 64 megapixels with 8 bits
// per channel, and by fewer if a JPEG file is progressive or CMYK, or a PNG file interlaced or of 16 bits. So is a JPEG file of more than 500 scans,
// or whose scans have more than 2^30 pixels together: a progressive picture usually has 10 scans. An error of the file is a *PictureError.
//
// The result has channels x height x width numbers, as an image of a Split has.
func (s *Set) LoadImage(path string) ([]float32, error) {
	return s.image(path, func() (*decoded, error) { return readPicture(path) })
}

// ReadImage is LoadImage for a picture that comes from r, such as an upload; its errors call it name. It reads 256 MiB at most.
func (s *Set) ReadImage(r io.Reader, name string) ([]float32, error) {
	return s.image(name, func() (*decoded, error) { return decodeFrom(r, name) })
}

func (s *Set) image(path string, read func() (*decoded, error)) ([]float32, error) {
	if s.Channels != 1 && s.Channels != 3 {
		return nil, fmt.Errorf("images: %s: want a set of 1 or 3 channels to read a picture for, got %d", path, s.Channels)
	}
	if len(s.Mean) != s.Channels || len(s.Std) != s.Channels || s.Height < 1 || s.Width < 1 {
		return nil, fmt.Errorf("images: %s: want a set with a mean and a standard deviation for each of its %d channels, and a size, got %d, %d and %dx%d",
			path, s.Channels, len(s.Mean), len(s.Std), s.Height, s.Width)
	}
	picture, err := read()
	if err != nil {
		return nil, err
	}
	defer picture.free()
	turn := picture.turn
	stored := image.Rect(0, 0, s.Width, s.Height)
	if turn.swaps() {
		stored = image.Rect(0, 0, s.Height, s.Width)
	}
	small := image.NewRGBA(stored)
	draw.Draw(small, stored, image.NewUniform(color.Black), image.Point{}, draw.Src)
	draw.CatmullRom.Scale(small, stored, picture.Image, middle(picture.Bounds(), stored.Dx(), stored.Dy()), draw.Over, nil)

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

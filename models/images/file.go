// SPDX-License-Identifier: Apache-2.0

package images

import (
	"fmt"
	"image"
	"image/color"
	_ "image/jpeg" // a format that LoadImage reads
	_ "image/png"  // the other one
	"io"
	"os"

	"golang.org/x/image/draw"
)

// filePixels is the largest picture that LoadImage unpacks.
const filePixels = 1 << 26

// LoadImage reads a picture, PNG or JPEG of any size, as an image of the set: the largest
// part in the middle that has the set's proportions, scaled to its height and width
// by Catmull-Rom interpolation, grey (ITU-R 601) if the set has one channel, and normalised by the
// set's Mean and Std. What is transparent is black. The set needs no images of its own.
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
	picture, err := decode(path)
	if err != nil {
		return nil, err
	}
	small := image.NewRGBA(image.Rect(0, 0, s.Width, s.Height))
	draw.Draw(small, small.Bounds(), image.NewUniform(color.Black), image.Point{}, draw.Src)
	draw.CatmullRom.Scale(small, small.Bounds(), picture, middle(picture.Bounds(), s.Width, s.Height), draw.Over, nil)

	plane := s.Height * s.Width
	x := make([]float32, s.Channels*plane)
	for i := range plane {
		rgb := small.Pix[4*i : 4*i+3]
		if s.Channels == 1 {
			grey := color.GrayModel.Convert(color.RGBA{rgb[0], rgb[1], rgb[2], 0xff}).(color.Gray)
			rgb = []byte{grey.Y}
		}
		for c, v := range rgb {
			x[c*plane+i] = (float32(v)/255 - s.Mean[c]) / s.Std[c]
		}
	}
	return x, nil
}

// decode reads a picture, whose size it checks before it unpacks it.
func decode(path string) (image.Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	defer f.Close()
	head, _, err := image.DecodeConfig(f)
	if err != nil {
		return nil, fmt.Errorf("images: %s: want a PNG or JPEG picture, got something else (%v)", path, err)
	}
	if head.Width < 1 || head.Height < 1 || head.Width > filePixels/head.Height {
		return nil, fmt.Errorf("images: %s: want a picture of 1 to %d pixels, got %dx%d", path, filePixels, head.Width, head.Height)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	picture, _, err := image.Decode(f)
	if err != nil {
		return nil, fmt.Errorf("images: %s: want a whole picture, got a damaged one (%v)", path, err)
	}
	return picture, nil
}

// middle returns the largest rectangle in the middle of r of the proportions w:h.
func middle(r image.Rectangle, w, h int) image.Rectangle {
	width, height := r.Dx(), r.Dy()
	if width*h > height*w {
		width = max(1, height*w/h)
	} else {
		height = max(1, width*h/w)
	}
	at := r.Min.Add(image.Pt((r.Dx()-width)/2, (r.Dy()-height)/2))
	return image.Rectangle{at, at.Add(image.Pt(width, height))}
}

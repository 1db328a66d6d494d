// SPDX-License-Identifier: Apache-2.0

package images

import (
	"fmt"
	"image"
	"io"
	"math"
)

// Preprocessing turns a picture of any size into the input of a net, as in torchvision: upright, without alpha, scaled
// bilinearly with antialiasing until its shorter side has Resize pixels, cropped to the Size x Size pixels in the middle, and normalised.
type Preprocessing struct {
	// Size is the side of the square: 224 by default.
	Size int
	// Resize is the length of the shorter side before the crop, at least Size: 8/7 of Size by default, 256 for 224.
	Resize int
	// Grey makes one channel (ITU-R 601) in place of red, green and blue.
	Grey bool
	// Mean and Std normalise each channel: (pixel/255 - Mean)/Std. By default they are those of ImageNet, 0.485, 0.456, 0.406 and
	// 0.229, 0.224, 0.225, and for grey pictures their means, 0.449 and 0.226.
	Mean, Std []float32
}

// Channels is 1 for grey pictures and 3 for others.
func (p Preprocessing) Channels() int {
	if p.Grey {
		return 1
	}
	return 3
}

// Shape returns channels, height and width.
func (p Preprocessing) Shape() [3]int { return [3]int{p.Channels(), p.Size, p.Size} }

// maxSize is the largest Size and Resize.
const maxSize = 4096

// withDefaults returns p with the default in each field that is zero, or an error.
func (p Preprocessing) withDefaults() (Preprocessing, error) {
	if p.Size == 0 {
		p.Size = 224
	}
	if p.Size < 1 || p.Size > maxSize {
		return p, fmt.Errorf("images: want a size of 1..%d pixels, got %d", maxSize, p.Size)
	}
	if p.Resize == 0 {
		p.Resize = int(math.Round(float64(p.Size) * 256 / 224))
	}
	if p.Resize < p.Size || p.Resize > 2*maxSize {
		return p, fmt.Errorf("images: want a shorter side of %d..%d pixels before the crop, got %d", p.Size, 2*maxSize, p.Resize)
	}
	if p.Mean == nil {
		p.Mean = []float32{0.485, 0.456, 0.406}
		if p.Grey {
			p.Mean = []float32{0.449}
		}
	}
	if p.Std == nil {
		p.Std = []float32{0.229, 0.224, 0.225}
		if p.Grey {
			p.Std = []float32{0.226}
		}
	}
	if n := p.Channels(); len(p.Mean) != n || len(p.Std) != n {
		return p, fmt.Errorf("images: want a mean and a standard deviation for each of %d channels, got %d and %d", n, len(p.Mean), len(p.Std))
	}
	for c, s := range p.Std {
		if !(s > 0) || math.IsInf(float64(s), 0) || math.IsNaN(float64(p.Mean[c])) || math.IsInf(float64(p.Mean[c]), 0) {
			return p, fmt.Errorf("images: channel %d: want a finite mean and a standard deviation above 0, got %v and %v", c, p.Mean[c], s)
		}
	}
	return p, nil
}

// Load reads the picture of a file, JPEG, PNG, GIF, WebP, BMP or TIFF, as channels x Size x Size numbers. Zero fields take their defaults.
// The error of a picture is a *PictureError.
func (p Preprocessing) Load(path string) ([]float32, error) {
	return p.of(func() (*decoded, error) { return readPicture(path) })
}

// Read is Load for a picture that comes from r, such as an upload; its errors call it name. It reads 256 MiB at most.
func (p Preprocessing) Read(r io.Reader, name string) ([]float32, error) {
	return p.of(func() (*decoded, error) { return decodeFrom(r, name) })
}

func (p Preprocessing) of(read func() (*decoded, error)) ([]float32, error) {
	p, err := p.withDefaults()
	if err != nil {
		return nil, err
	}
	m, err := read()
	if err != nil {
		return nil, err
	}
	defer m.free()
	x := make([]float32, p.Channels()*p.Size*p.Size)
	m.middle(p.Resize, p.Size, p.Channels()).floats(x, p)
	return x, nil
}

// size returns the size of the upright picture.
func (d *decoded) size() (width, height int) {
	b := d.Bounds()
	if d.turn.swaps() {
		return b.Dy(), b.Dx()
	}
	return b.Dx(), b.Dy()
}

// middle scales the shorter side to resize pixels and returns the square in the middle.
func (d *decoded) middle(resize, side, channels int) *planes {
	w, h := d.size()
	width, height := resize, resize
	if w < h {
		height = int(int64(resize) * int64(h) / int64(w))
	} else {
		width = int(int64(resize) * int64(w) / int64(h))
	}
	// An odd half is rounded to even, as Python does.
	left, top := int(math.RoundToEven(float64(width-side)/2)), int(math.RoundToEven(float64(height-side)/2))
	window := image.Rect(left, top, left+side, top+side)
	return d.scaled(image.Rect(0, 0, w, h), width, height, window, channels)
}

// scaled applies resample to the upright picture.
func (d *decoded) scaled(crop image.Rectangle, width, height int, window image.Rectangle, channels int) *planes {
	w, h := d.size()
	stored := d.turn.stored(crop, w, h)
	within := d.turn.stored(window, width, height)
	if d.turn.swaps() {
		width, height = height, width
	}
	return resample(d.Image, stored, width, height, within, channels).turned(d.turn)
}

// stored returns where a rectangle of a scene of w x h lies in the picture.
func (o orientation) stored(r image.Rectangle, w, h int) image.Rectangle {
	x0, y0 := o.from(r.Min.X, r.Min.Y, w, h)
	x1, y1 := o.from(r.Max.X-1, r.Max.Y-1, w, h)
	return image.Rect(min(x0, x1), min(y0, y1), max(x0, x1)+1, max(y0, y1)+1)
}

// turned returns p as an upright picture.
func (p *planes) turned(o orientation) *planes {
	if o <= 1 {
		return p
	}
	w, h := p.width, p.height
	if o.swaps() {
		w, h = h, w
	}
	to := newPlanes(len(p.pix), w, h)
	for y := range h {
		for x := range w {
			i, j := o.from(x, y, w, h)
			for c := range p.pix {
				to.pix[c][y*w+x] = p.pix[c][j*p.width+i]
			}
		}
	}
	return to
}

// floats writes the normalised pixels to x.
func (p *planes) floats(x []float32, by Preprocessing) {
	for c, plane := range p.pix {
		var table [256]float32
		for v := range table {
			table[v] = (float32(v)/255 - by.Mean[c]) / by.Std[c]
		}
		to := x[c*len(plane):][:len(plane)]
		for i, v := range plane {
			to[i] = table[v]
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package figure

import (
	"fmt"
	"image"
	"image/color"
	"math"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Images are rows of small pictures, all of one scale: digits, or the filters of a layer.
type Images struct {
	Title string
	Rows  []Row
	// Signed draws negative numbers blue, 0 white and positive numbers orange, from minus the largest magnitude to it. Otherwise
	// the smallest number is black and the largest white.
	Signed bool
	Size   Size // by default 0.42 inches a picture, at 110 dots an inch
}

// Row is a row of pictures with a name to the left of it.
type Row struct {
	Name   string
	Images []Image
}

// Image is a picture of Height rows of Width numbers.
type Image struct {
	Height, Width int
	Pixels        []float32
}

// Cut takes numbers apart into pictures: the slices of a layer's kernels, which lie one after the other.
func Cut(pixels []float32, height, width int) []Image {
	var images []Image
	for n := height * width; n > 0 && len(pixels) >= n; pixels = pixels[n:] {
		images = append(images, Image{height, width, pixels[:n]})
	}
	return images
}

// PNG draws the pictures. It fails on an image whose Pixels are not Height x Width finite numbers.
func (m Images) PNG() ([]byte, error) {
	longest, low, high := 1, math.Inf(1), math.Inf(-1)
	for _, r := range m.Rows {
		longest = max(longest, len(r.Images))
		for i, im := range r.Images {
			if im.Height < 1 || im.Width < 1 || len(im.Pixels) != im.Height*im.Width {
				return nil, fmt.Errorf("figure: %s: want %dx%d pixels in image %d, got %d", r.Name, im.Height, im.Width, i, len(im.Pixels))
			}
			for _, v := range im.Pixels {
				if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
					return nil, fmt.Errorf("figure: %s: want finite pixels in image %d, got %g", r.Name, i, v)
				}
				low, high = min(low, float64(v)), max(high, float64(v))
			}
		}
	}
	if m.Signed {
		high = max(-low, high)
		low = -high
	}
	if !(high > low) {
		high = low + 1
	}

	style := newPlot("", Axis{}, Axis{}).X.Label.TextStyle
	setFont(&style.Font, 10)
	style.XAlign, style.YAlign = draw.XLeft, draw.YCenter
	names := vg.Length(0)
	for _, r := range m.Rows {
		if r.Name != "" {
			names = max(names, style.Width(spaced(r.Name))+gap)
		}
	}
	const pitch, narrow, between = 0.42, 3, vg.Length(2)
	above := vg.Length(0)
	if m.Title != "" {
		above = heading - margin
	}
	to := newPage(m.Size.or(Size{
		max(narrow, float64((names+2*margin)/vg.Inch)+pitch*float64(longest)),
		float64((above+2*margin)/vg.Inch) + (pitch+0.05)*float64(len(m.Rows)), 110}))
	c := entitled(to.inside(), m.Title)
	size := c.Size()
	tile := min((size.X-names)/vg.Length(longest), size.Y/vg.Length(max(1, len(m.Rows))))
	for i, r := range m.Rows {
		top := c.Max.Y - vg.Length(i)*(size.Y/vg.Length(len(m.Rows)))
		c.FillText(style, vg.Point{X: c.Min.X, Y: top - tile/2}, spaced(r.Name))
		for k, im := range r.Images {
			left := c.Min.X + names + vg.Length(k)*tile
			frame := vg.Rectangle{
				Min: vg.Point{X: left + between/2, Y: top - tile + between/2},
				Max: vg.Point{X: left + tile - between/2, Y: top - between/2},
			}
			c.DrawImage(frame, im.picture(low, high, m.Signed))
			c.StrokeLines(draw.LineStyle{Color: color.Gray{0xb0}, Width: 0.5}, []vg.Point{
				frame.Min, {X: frame.Min.X, Y: frame.Max.Y}, frame.Max, {X: frame.Max.X, Y: frame.Min.Y}, frame.Min,
			})
		}
	}
	return to.png()
}

// picture turns numbers into colours. Each number becomes a square of several dots, because browsers would smooth single dots.
func (im Image) picture(low, high float64, signed bool) image.Image {
	const dots = 8
	p := image.NewRGBA(image.Rect(0, 0, im.Width*dots, im.Height*dots))
	for y := range im.Height * dots {
		for x := range im.Width * dots {
			t := (float64(im.Pixels[y/dots*im.Width+x/dots]) - low) / (high - low)
			c := color.RGBA{uint8(255*t + 0.5), uint8(255*t + 0.5), uint8(255*t + 0.5), 255}
			switch {
			case signed && t < 0.5:
				c = pale(colours[2], 1-2*t)
			case signed:
				c = pale(colours[1], 2*t-1)
			}
			p.SetRGBA(x, y, c)
		}
	}
	return p
}

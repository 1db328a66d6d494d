// SPDX-License-Identifier: Apache-2.0

package tensorboard

import (
	"bytes"
	"fmt"
	goimage "image"
	"image/color"
	"image/png"
	"math"

	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/dense"
)

// Pictures show at most mostSlices filters and channels, in squares of slice pixels or a few more.
const (
	mostSlices = 32
	slice      = 24
)

// colours are blue for the lowest, white for 0 and orange for the highest number, and grey between slices.
var colours = func() color.Palette {
	var p color.Palette
	mix := func(end color.RGBA, share float64) color.RGBA {
		part := func(c uint8) uint8 { return uint8(math.Round(255 + share*(float64(c)-255))) }
		return color.RGBA{part(end.R), part(end.G), part(end.B), 255}
	}
	for i := range 127 {
		p = append(p, mix(color.RGBA{0x00, 0x72, 0xb2, 255}, 1-float64(i)/127))
	}
	for i := range 128 {
		p = append(p, mix(color.RGBA{0xd5, 0x5e, 0x00, 255}, float64(i)/127))
	}
	return append(p, color.RGBA{0x99, 0x99, 0x99, 255})
}()

// white is the index of the colour of 0, and grey that of the lines between slices.
const (
	white = 127
	grey  = 255
)

// picture draws a kernel of shape (filters, channels, height, width), with one colour scale for all slices.
func picture(tag string, v dense.View, shape tensor.Shape) ([]byte, error) {
	if len(shape) != 4 {
		return nil, fmt.Errorf("want a kernel of rank 4, got shape %v", shape)
	}
	at := func(i int) float64 {
		if v.F64 != nil {
			return v.F64[i]
		}
		return float64(v.F32[i])
	}
	largest := 0.0
	for i := range v.Len() {
		largest = max(largest, math.Abs(at(i)))
	}
	if !(largest <= math.MaxFloat64) {
		return nil, fmt.Errorf("want finite weights, got largest element %g", largest)
	}
	h, w := shape[2], shape[3]
	rows, columns := min(mostSlices, shape[0]), min(mostSlices, shape[1])
	dots := max(1, (slice+max(h, w)-1)/max(h, w)) // for each weight
	high, wide := h*dots+1, w*dots+1              // of a slice, with its line
	im := goimage.NewPaletted(goimage.Rect(0, 0, columns*wide+1, rows*high+1), colours)
	for i := range im.Pix {
		im.Pix[i] = grey
	}
	for f := range rows {
		for c := range columns {
			for y := range h {
				for x := range w {
					level := uint8(white)
					if largest > 0 {
						level = uint8(white + math.Round(127*at(((f*shape[1]+c)*h+y)*w+x)/largest))
					}
					for dy := range dots {
						from := im.PixOffset(c*wide+1+x*dots, f*high+1+y*dots+dy)
						for dx := range dots {
							im.Pix[from+dx] = level
						}
					}
				}
			}
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, im); err != nil {
		return nil, err
	}
	return image(tag, im.Rect.Dy(), im.Rect.Dx(), b.Bytes()), nil
}

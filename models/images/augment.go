// SPDX-License-Identifier: Apache-2.0

package images

import (
	"fmt"
	"math/rand/v2"
)

// Augmentation varies the images of a training part at random, differently each time: a crop of the size of
// the image out of the image padded on all sides, and its mirror image half of the time (He, Zhang, Ren and
// Sun 2015, section 4.2, with Pad 4 for CIFAR). The zero value leaves images as they are.
type Augmentation struct {
	// Pad is the number of pixels added on each side before the crop, so the
	// image shifts by -Pad..Pad pixels along each axis.
	Pad int
	// Reflect pads with the mirror image of the inside, without repeating the border, instead of with zeros, the mean
	// colour.
	Reflect bool
	// Flip mirrors left and right with probability 1/2. It is not suitable for digits and letters.
	Flip bool
}

// Check returns an error if images of the shape (channels, height, width) cannot be varied in this way.
func (a Augmentation) Check(shape [3]int) error {
	side := min(shape[1], shape[2])
	switch {
	case a.Pad < 0:
		return fmt.Errorf("images: augmentation: want a padding of 0 at least, got %d", a.Pad)
	case a.Pad >= side:
		return fmt.Errorf("images: augmentation: want a padding below the side of %d, got %d", side, a.Pad)
	}
	return nil
}

// Apply writes to dst one variant of the image src, both of the shape (channels,
// height, width) and without overlap, with numbers from rng: always three of them,
// unless the augmentation is the zero value.
func (a Augmentation) Apply(dst, src []float32, shape [3]int, rng *rand.Rand) {
	if a == (Augmentation{}) {
		copy(dst, src)
		return
	}
	dy, dx := rng.IntN(2*a.Pad+1)-a.Pad, rng.IntN(2*a.Pad+1)-a.Pad
	flip := rng.Uint64()>>63 == 1 && a.Flip
	h, w := shape[1], shape[2]
	for c := range shape[0] {
		out, in := dst[c*h*w:(c+1)*h*w], src[c*h*w:(c+1)*h*w]
		for y := range h {
			row, sy := out[y*w:(y+1)*w], a.inside(y+dy, h)
			if sy < 0 {
				clear(row)
				continue
			}
			from := in[sy*w : (sy+1)*w]
			for x := range row {
				sx := x + dx
				if flip {
					sx = w - 1 - x + dx
				}
				if sx = a.inside(sx, w); sx < 0 {
					row[x] = 0
				} else {
					row[x] = from[sx]
				}
			}
		}
	}
}

// inside returns the index, 0..n-1, of the pixel that stands at i of the padded image, or
// a negative number where there is none.
func (a Augmentation) inside(i, n int) int {
	switch {
	case i >= 0 && i < n:
		return i
	case !a.Reflect:
		return -1
	case i < 0:
		return -i
	}
	return 2*(n-1) - i
}

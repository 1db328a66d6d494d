// SPDX-License-Identifier: Apache-2.0

package images_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/models/images"
)

// padded builds the padded image as it is defined and takes the crop at (y0, x0) out of
// it.
func padded(src []float32, shape [3]int, a images.Augmentation, y0, x0 int, flip bool) []float32 {
	h, w := shape[1], shape[2]
	var out []float32
	for c := range shape[0] {
		at := func(y, x int) float32 {
			y, x = y-a.Pad, x-a.Pad
			mirror := func(i, n int) int {
				if i < 0 {
					return -i
				} else if i >= n {
					return n - 2 - (i - n)
				}
				return i
			}
			if a.Reflect {
				y, x = mirror(y, h), mirror(x, w)
			}
			if y < 0 || y >= h || x < 0 || x >= w {
				return 0
			}
			return src[(c*h+y)*w+x]
		}
		for y := range h {
			var row []float32
			for x := range w {
				row = append(row, at(y0+y, x0+x))
			}
			if flip {
				slices.Reverse(row)
			}
			out = append(out, row...)
		}
	}
	return out
}

// Every variant is one of those that the definition gives, and all of them occur.
func TestAugmentation(t *testing.T) {
	shape := [3]int{2, 4, 5}
	src := make([]float32, 2*4*5)
	for i := range src {
		src[i] = float32(i + 1)
	}
	for _, a := range []images.Augmentation{{Flip: true}, {Pad: 1}, {Pad: 2, Flip: true}, {Pad: 3, Reflect: true, Flip: true}, {Reflect: true}} {
		require.NoError(t, a.Check(shape))
		variants, seen := map[string]bool{}, map[string]bool{}
		for y := range 2*a.Pad + 1 {
			for x := range 2*a.Pad + 1 {
				variants[fmt.Sprint(padded(src, shape, a, y, x, false))] = true
				if a.Flip {
					variants[fmt.Sprint(padded(src, shape, a, y, x, true))] = true
				}
			}
		}
		rng := rand.New(rand.NewPCG(1, 2))
		dst := make([]float32, len(src))
		for range 50 * len(variants) {
			for i := range dst {
				dst[i] = -1
			}
			a.Apply(dst, src, shape, rng)
			seen[fmt.Sprint(dst)] = true
		}
		assert.Equal(t, variants, seen, "%+v", a)
	}
}

func TestNoAugmentation(t *testing.T) {
	src, dst := []float32{1, 2, 3, 4}, make([]float32, 4)
	images.Augmentation{}.Apply(dst, src, [3]int{1, 2, 2}, nil)
	assert.Equal(t, src, dst)
}

func TestAugmentationChecks(t *testing.T) {
	assert.ErrorContains(t, images.Augmentation{Pad: -1}.Check([3]int{1, 4, 4}), "got -1")
	assert.ErrorContains(t, images.Augmentation{Pad: 4}.Check([3]int{1, 8, 4}), "below the side of 4, got 4")
	assert.NoError(t, images.Augmentation{Pad: 3, Reflect: true, Flip: true}.Check([3]int{1, 8, 4}))
}

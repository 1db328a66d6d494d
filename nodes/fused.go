// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"errors"
	"math"

	"github.com/kernelfold/kernelfold/internal/vec"
)

// convolver is the body of a convolution.
type convolver[T vec.Float] interface {
	body[T]
	// Convolve writes the convolution of x and w to out. It calls finish, concurrently, for each
	// region of the result while the region is in the cache. finish may overwrite the region.
	Convolve(out, x, w []T, finish func(region))
}

// region is a part of a result of shape (B, C, H, W): pixels pixel..pixels-1 of the channels
// channel..channels-1 of the images image..images-1.
type region struct{ image, images, channel, channels, pixel, pixels int }

// fused is a convolution in evaluation and what follows it: see Fuse.
type fused[T vec.Float] struct {
	convolver[T]
	channels, area int // of the result; area is the number of pixels of an image
	finish
	affine *affine
}

// finish describes what follows a convolution of result r:
//
//	y = ReLU(factor (a r + b) + addend).
//
// The operations are those of the nodes that it replaces, in their order, so the bits are the same.
type finish struct {
	norm    *batchNormLayer // gives a and b, or nil
	bias    bool            // an input is b
	addend  bool            // the last input is the addend
	factor  float64         // if there is an addend
	rectify bool
	top     float64 // of the rectifier; 0 means none
}

// affine has the factor and the addend of each channel, which each run computes.
type affine struct{ a, b []float64 }

func (f fused[T]) Forward(out []T, in [][]T) error {
	if err := f.coefficients(in[2:]); err != nil {
		return err
	}
	var addend []T
	if f.addend {
		addend = in[len(in)-1]
	}
	f.Convolve(out, in[0], in[1], func(r region) {
		for i := r.image; i < r.images; i++ {
			for c := r.channel; c < r.channels; c++ {
				from, to := (i*f.channels+c)*f.area+r.pixel, (i*f.channels+c)*f.area+r.pixels
				y := out[from:to]
				if f.norm != nil || f.bias {
					vec.Affine(y, y, f.affine.a[c], f.affine.b[c])
				}
				if f.addend {
					vec.Combine(y, f.factor, y, 1, addend[from:to])
				}
				if f.rectify {
					rectifyInto(y, y, f.top)
				}
			}
		}
	})
	return nil
}

// coefficients computes the factor and the addend of each channel. in are the inputs after x and w.
func (f fused[T]) coefficients(in [][]T) error {
	m := f.affine
	if m.a == nil {
		m.a, m.b = make([]float64, f.channels), make([]float64, f.channels)
	}
	switch {
	case f.norm != nil:
		return normaliser(f.norm, m.a, m.b, in[0], in[1])
	case f.bias:
		for c, v := range in[0] {
			m.a[c], m.b[c] = 1, float64(v)
		}
	}
	return nil
}

// normaliser computes the factor a and the addend b of each channel that remain of a batch normalisation in evaluation.
func normaliser[T vec.Float](l *batchNormLayer, a, b []float64, γ, β []T) error {
	s := l.statistics
	if err := s.check(len(a)); err != nil {
		return err
	}
	for c, v := range s.Variance {
		a[c] = 1 / math.Sqrt(v+l.epsilon) * float64(γ[c])
		b[c] = float64(β[c]) - a[c]*s.Mean[c]
	}
	return nil
}

// Backward is never called: the node has no gradient in any input.
func (f fused[T]) Backward([]T, int, [][]T, []T, []T) error {
	return errors.New("want no gradient of a node that Fuse has made")
}

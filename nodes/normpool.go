// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"math"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/vec"
)

// NormPool2D is pooling by the Euclidean norm: y[b,c,i,j] is the root of the sum of squares of the window of MaxPool2D, with zeros as padding, as in PyTorch
// LPPool2d with norm_type 2. If windows do not overlap it is 1-Lipschitz, and unlike average pooling it keeps the norm of images (Boureau, Ponce and LeCun 2010). Shapes,
// arguments and errors are those of MaxPool2D, but NaN is no error.
//
// The gradient is x/y for the elements of a window, 0 where y = 0; PyTorch computes NaN there.
func NormPool2D(x *gorgonia.Node, kernel tensor.Shape, pad, stride []int) (*gorgonia.Node, error) {
	const name = "nodes.NormPool2D"
	shape, w, err := newWindow(name, x, kernel, pad, stride)
	if err != nil {
		return nil, err
	}
	s := signature{name: name, in: []tensor.Shape{shape}, out: w.out(shape)}
	return apply(s, normPool[float32]{w}, normPool[float64]{w}, x)
}

type normPool[T vec.Float] struct{ window }

func (p normPool[T]) Forward(out []T, in [][]T) error {
	x := in[0]
	p.each(func(o, plane, top, bottom, left, right int) {
		norm := 0.0
		for u := top; u < bottom; u++ {
			for _, v := range x[plane+u*p.width+left : plane+u*p.width+right] {
				norm = math.Hypot(norm, float64(v))
			}
		}
		out[o] = T(norm)
	})
	return nil
}

func (p normPool[T]) Backward(dst []T, _ int, in [][]T, out, grad []T) error {
	x := in[0]
	clear(dst)
	p.each(func(o, plane, top, bottom, left, right int) {
		if out[o] == 0 {
			return
		}
		for u := top; u < bottom; u++ {
			for i := plane + u*p.width + left; i < plane+u*p.width+right; i++ {
				dst[i] += T(float64(x[i]) / float64(out[o]) * float64(grad[o]))
			}
		}
	})
	return nil
}

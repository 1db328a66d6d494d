// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"math"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/par"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Rectify is the rectified linear unit, y = max(x, 0), for any shape.
//
// It computes gorgonia.Rectify in one pass. The gradient at x = 0 is 1, as in gorgonia.Rectify; in
// PyTorch it is 0. NaN stays NaN and has gradient 0. Minus infinity gives 0; gorgonia.Rectify, which
// multiplies it by 0, gives NaN.
func Rectify(x *gorgonia.Node) (*gorgonia.Node, error) {
	const name = "nodes.Rectify"
	shapes, err := admit(name, []int{0}, x)
	if err != nil {
		return nil, err
	}
	return apply(signature{name: name, in: shapes, out: shapes[0]}, rectify[float32]{}, rectify[float64]{}, x)
}

type rectify[T vec.Float] struct{}

func (rectify[T]) Forward(out []T, in [][]T) error {
	par.Ranges(len(out), grain, func(from, to int) { vec.Rectify(out[from:to], in[0][from:to]) })
	return nil
}

func (rectify[T]) Backward(dst []T, _ int, in [][]T, _, grad []T) error {
	// x + least > 0 is equivalent to x >= 0, even where x is denormal or -0.
	least := math.SmallestNonzeroFloat64
	if !vec.Double[T]() {
		least = math.SmallestNonzeroFloat32
	}
	const block = 1 << 11 // stays in the first-level cache
	par.Ranges(len(dst), grain, func(from, to int) {
		for ; from < to; from += block {
			end := min(to, from+block)
			d := dst[from:end]
			vec.Shift(d, in[0][from:end], least)
			vec.RectifyBack(d, d, grad[from:end])
		}
	})
	return nil
}

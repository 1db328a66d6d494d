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
	par.Ranges(len(dst), grain, func(from, to int) {
		blocks(from, to, func(i, j int) { rectifyBack(dst[i:j], in[0][i:j], grad[i:j]) })
	})
	return nil
}

// rectifyBack sets dst to g where x >= 0 and to 0 elsewhere. dst may be x.
func rectifyBack[T vec.Float](dst, x, g []T) {
	// x + least > 0 is equivalent to x >= 0, even where x is denormal or -0.
	least := math.SmallestNonzeroFloat64
	if !vec.Double[T]() {
		least = math.SmallestNonzeroFloat32
	}
	vec.Shift(dst, x, least)
	vec.RectifyBack(dst, dst, g)
}

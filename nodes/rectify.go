// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"math"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/par"
	"github.com/kernelfold/kernelfold/internal/scratch"
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

// RectifyTo is the rectified linear unit with a bound, y = min(max(x, 0), top), for any shape. With top = 6 it is
// the ReLU6 of MobileNets (Sandler, Howard, Zhu, Zhmoginov and Chen 2018).
//
// The gradient is 1 for 0 <= x < top, else 0; in PyTorch it is 0 at x = 0. NaN stays NaN and has gradient 0.
//
// RectifyTo returns an error unless top is positive and finite.
func RectifyTo(x *gorgonia.Node, top float64) (*gorgonia.Node, error) {
	const name = "nodes.RectifyTo"
	shapes, err := admit(name, []int{0}, x)
	if err != nil {
		return nil, err
	}
	if err := checkTop(top); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return apply(signature{name: name, in: shapes, out: shapes[0]}, rectify[float32]{top}, rectify[float64]{top}, x)
}

func checkTop(top float64) error {
	if !(top > 0) || math.IsInf(top, 0) {
		return fmt.Errorf("want a positive and finite bound of a rectifier, got %v", top)
	}
	return nil
}

// rectify is the body of Rectify and RectifyTo. A top of 0 means none.
type rectify[T vec.Float] struct{ top float64 }

func (r rectify[T]) Forward(out []T, in [][]T) error {
	par.Ranges(len(out), grain, func(from, to int) { rectifyInto(out[from:to], in[0][from:to], r.top) })
	return nil
}

func (r rectify[T]) Backward(dst []T, _ int, in [][]T, _, grad []T) error {
	par.Ranges(len(dst), grain, func(from, to int) {
		blocks(from, to, func(i, j int) { rectifyBack(dst[i:j], in[0][i:j], grad[i:j], r.top) })
	})
	return nil
}

// rectifyInto sets dst to the rectified x.
func rectifyInto[T vec.Float](dst, x []T, top float64) {
	if top > 0 {
		vec.RectifyTo(dst, x, top)
	} else {
		vec.Rectify(dst, x)
	}
}

// rectifyBack sets dst to g where x >= 0 and, with a top, x < top, and to 0 elsewhere. dst may be x.
func rectifyBack[T vec.Float](dst, x, g []T, top float64) {
	if top > 0 {
		below := scratch.Get[T](len(x)) // g where x < top
		defer scratch.Put(below)
		vec.Affine(below, x, -1, top)
		vec.RectifyBack(below, below, g)
		g = below
	}
	// x + least > 0 is equivalent to x >= 0, even where x is denormal or -0.
	least := math.SmallestNonzeroFloat64
	if !vec.Double[T]() {
		least = math.SmallestNonzeroFloat32
	}
	vec.Shift(dst, x, least)
	vec.RectifyBack(dst, dst, g)
}

// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"slices"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/par"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Bias adds a number to each channel:
//
//	y[b,c,u,v] = x[b,c,u,v] + β[c].
//
// x has shape (B, C, H, W) and β (1, C, 1, 1), or x has (B, C) and β (1, C). It computes the same as
// gorgonia.BroadcastAdd over the axes 0, 2 and 3, but does not expand β.
//
// Wrong ranks and shapes are errors.
func Bias(x, bias *gorgonia.Node) (*gorgonia.Node, error) {
	const name = "nodes.Bias"
	shapes, err := admit(name, []int{0, 0}, x, bias)
	if err != nil {
		return nil, err
	}
	in := shapes[0]
	if len(in) != 2 && len(in) != 4 {
		return nil, fmt.Errorf("%s: want rank 2 or 4, got shape %v", name, in)
	}
	if want := perChannel(in); !slices.Equal(shapes[1], want) {
		return nil, fmt.Errorf("%s: want a bias of shape %v for an input of shape %v, got %v", name, want, in, shapes[1])
	}
	s := signature{name: name, in: shapes, out: in}
	area := in.TotalSize() / (in[0] * in[1])
	return apply(s, addBias[float32]{in[1], area}, addBias[float64]{in[1], area}, x, bias)
}

type addBias[T vec.Float] struct{ channels, area int }

func (a addBias[T]) Forward(out []T, in [][]T) error {
	x, β := in[0], in[1]
	if a.area == 1 {
		addRows(out, x, β)
		return nil
	}
	a.each(len(x), func(p, i, j int) { vec.Shift(out[i:j], x[i:j], float64(β[p%a.channels])) })
	return nil
}

// each calls f for every plane p, of the elements from i to j, on all cores. A core has the same images in all
// operations, and finds them in its cache.
func (a addBias[T]) each(elements int, f func(p, i, j int)) {
	par.Ranges(elements/a.area, 1+grain/a.area, func(from, to int) {
		for p := from; p < to; p++ {
			f(p, p*a.area, (p+1)*a.area)
		}
	})
}

func (a addBias[T]) Backward(dst []T, input int, _ [][]T, _, grad []T) error {
	switch {
	case input == 0:
		par.Ranges(len(dst), grain, func(from, to int) { copy(dst[from:to], grad[from:to]) })
	case a.area == 1:
		sumRows(dst, grad)
	default:
		sums := scratch.Get[float64](len(grad) / a.area)
		defer scratch.Put(sums)
		a.each(len(grad), func(p, i, j int) { sums[p] = vec.Sum(grad[i:j]) })
		for c := range dst {
			sum := 0.0
			for p := c; p < len(sums); p += a.channels {
				sum += sums[p]
			}
			dst[c] = T(sum)
		}
	}
	return nil
}

// addRows sets every row of dst to the row of x plus b.
func addRows[T vec.Float](dst, x, b []T) {
	copy(dst, x)
	for i := 0; i < len(dst); i += len(b) {
		vec.Add(dst[i:i+len(b)], b)
	}
}

// sumRows sets dst to the sum of the rows of x.
func sumRows[T vec.Float](dst, x []T) {
	sums := scratch.Get[float64](len(dst))
	clear(sums)
	for i := 0; i < len(x); i += len(dst) {
		for j, v := range x[i : i+len(dst)] {
			sums[j] += float64(v)
		}
	}
	for j, v := range sums {
		dst[j] = T(v)
	}
	scratch.Put(sums)
}

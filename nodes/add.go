// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"errors"
	"fmt"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/par"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Add is the sum of two or more nodes of one shape, of any rank, from left to right:
//
//	y[i] = x0[i] + x1[i] + ...
//
// It computes gorgonia.Add of two nodes in one pass on all cores, and allocates nothing in a run. The
// gradient with respect to every term is that of the sum, which is passed on without a copy.
//
// Fewer than two terms and terms of different shapes are errors.
func Add(terms ...*gorgonia.Node) (*gorgonia.Node, error) {
	o, err := addition(terms)
	if err != nil {
		return nil, err
	}
	n, err := gorgonia.ApplyOp(o, terms...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.name, err)
	}
	return n, nil
}

// addition returns the operation of Add.
func addition(terms []*gorgonia.Node) (*op, error) {
	const name = "nodes.Add"
	if len(terms) < 2 {
		return nil, fmt.Errorf("%s: want two nodes at least, got %d", name, len(terms))
	}
	shapes, err := admit(name, make([]int, len(terms)), terms...)
	if err != nil {
		return nil, err
	}
	for i, s := range shapes {
		if !slices.Equal(s, shapes[0]) {
			return nil, fmt.Errorf("%s: want nodes of one shape, got %v and, as input %d, %v", name, shapes[0], i, s)
		}
	}
	s := signature{name: name, in: shapes, out: append(tensor.Shape{}, shapes[0]...), passes: true}
	return &op{signature: s, f32: add[float32]{}, f64: add[float64]{}}, nil
}

type add[T vec.Float] struct{}

func (add[T]) Forward(out []T, in [][]T) error {
	par.Ranges(len(out), grain, func(from, to int) {
		blocks(from, to, func(i, j int) {
			vec.Combine(out[i:j], 1, in[0][i:j], 1, in[1][i:j])
			for _, x := range in[2:] {
				vec.Add(out[i:j], x[i:j])
			}
		})
	})
	return nil
}

// Backward is not called: the gradient with respect to a term is that with respect to the sum.
func (add[T]) Backward([]T, int, [][]T, []T, []T) error { return errPassed }

var errPassed = errors.New("want the gradient of the sum")

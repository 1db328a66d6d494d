// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/vec"
)

// Concat joins the channels of two or more nodes, one after the other: y[b] = x0[b], x1[b], ... The inputs have rank
// 2 or more and the same shape except for the channels, axis 1; the result has the sum of their channels.
//
// It computes gorgonia.Concat along axis 1, on all cores, and the gradient with respect to each input is a copy of its channels.
//
// Fewer than two nodes, ranks below 2 and shapes that do not agree are errors.
func Concat(x ...*gorgonia.Node) (*gorgonia.Node, error) {
	const name = "nodes.Concat"
	if len(x) < 2 {
		return nil, fmt.Errorf("%s: want two nodes at least, got %d", name, len(x))
	}
	shapes, err := admit(name, make([]int, len(x)), x...)
	if err != nil {
		return nil, err
	}
	out := shapes[0].Clone()
	if len(out) < 2 {
		return nil, fmt.Errorf("%s: want rank 2 at least, got shape %v", name, out)
	}
	out[1] = 0
	j := joint{images: out[0]}
	for i, s := range shapes {
		if len(s) != len(out) || s[0] != out[0] || !slices.Equal(s[2:], out[2:]) {
			return nil, fmt.Errorf("%s: want shapes that agree but for the channels, got %v and, as input %d, %v", name, shapes[0], i, s)
		}
		j.starts = append(j.starts, j.size)
		j.sizes = append(j.sizes, tensor.Shape(s[1:]).TotalSize())
		j.size += j.sizes[i]
		out[1] += s[1]
	}
	return apply(signature{name: name, in: shapes, out: out}, concat[float32]{j}, concat[float64]{j}, x...)
}

// joint says where the inputs of Concat lie in an image of the result.
type joint struct {
	images, size  int   // size is the number of elements of an image
	starts, sizes []int // of the part of each input
}

type concat[T vec.Float] struct{ joint }

// each calls f for each image and each input i, with the range of its part in the result and in the input. The cores
// divide the images.
func (c concat[T]) each(i int, f func(from, to, of int)) {
	parallel(c.images, c.images*c.sizes[i], func(first, last int) {
		for b := first; b < last; b++ {
			at := b*c.size + c.starts[i]
			f(at, at+c.sizes[i], b*c.sizes[i])
		}
	})
}

func (c concat[T]) Forward(out []T, in [][]T) error {
	for i, x := range in {
		c.each(i, func(from, to, of int) { copy(out[from:to], x[of:]) })
	}
	return nil
}

func (c concat[T]) Backward(dst []T, i int, _ [][]T, _, grad []T) error {
	c.each(i, func(from, to, of int) { copy(dst[of:], grad[from:to]) })
	return nil
}

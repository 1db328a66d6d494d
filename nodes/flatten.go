// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/vec"
)

// Flatten makes one vector of each image: x of shape (B, ...) becomes (B, n), where n is the product of the other sizes.
//
// It copies; gorgonia.Reshape shares memory, which can corrupt values. Linear needs neither. A rank below 2 is an error.
func Flatten(x *gorgonia.Node) (*gorgonia.Node, error) {
	const name = "nodes.Flatten"
	shapes, err := admit(name, []int{0}, x)
	if err != nil {
		return nil, err
	}
	in := shapes[0]
	if len(in) < 2 {
		return nil, fmt.Errorf("%s: want rank 2 at least, got shape %v", name, in)
	}
	out := tensor.Shape{in[0], tensor.Shape(in[1:]).TotalSize()}
	return apply(signature{name: name, in: shapes, out: out}, flatten[float32]{}, flatten[float64]{}, x)
}

type flatten[T vec.Float] struct{}

func (flatten[T]) Forward(out []T, in [][]T) error {
	copy(out, in[0])
	return nil
}

func (flatten[T]) Backward(dst []T, _ int, _ [][]T, _, grad []T) error {
	copy(dst, grad)
	return nil
}

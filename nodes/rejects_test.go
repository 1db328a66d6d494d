// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes/nodetest"
)

// zeros is an input node of zeros.
func zeros(g *gorgonia.ExprGraph, name string, of tensor.Dtype, shape ...int) *gorgonia.Node {
	v := tensor.New(tensor.Of(of), tensor.WithShape(shape...))
	return gorgonia.NewTensor(g, of, len(shape), gorgonia.WithName(name), gorgonia.WithValue(v))
}

// rejects checks that a node is refused when the graph is built, by an error that
// says what is wanted.
func rejects(t *testing.T, build nodetest.Build, want string, inputs ...*gorgonia.Node) {
	t.Helper()
	n, err := build(inputs)
	assert.ErrorContains(t, err, "nodes.")
	assert.ErrorContains(t, err, want)
	assert.Nil(t, n)
}

// images is an input for each shape that a node on images should be tried on.
func images() [][]int {
	return [][]int{
		{2, 3, 4, 4},
		{1, 2, 5, 3}, // one image, not square
		{3, 1, 4, 6}, // one channel
		{2, 4, 1, 1}, // one pixel
		{1, 1, 3, 3},
	}
}

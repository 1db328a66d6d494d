// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
)

// Nil graphs and nodes do not panic, and padding that no memory holds is refused at once.
func TestNilAndHuge(t *testing.T) {
	assert.ErrorContains(t, nodes.CheckGraph(nil), "want a graph, got nil")
	assert.NotPanics(t, func() { nodes.Plan(nil) })
	assert.Nil(t, nodes.StateOf(nil))
	_, ok := nodes.OperationOf(nil)
	assert.False(t, ok)

	g := gorgonia.NewGraph()
	x := gorgonia.NewTensor(g, tensor.Float32, 4, gorgonia.WithShape(1, 1, 4, 4), gorgonia.WithName("x"))
	w := gorgonia.NewTensor(g, tensor.Float32, 4, gorgonia.WithShape(1, 1, 3, 3), gorgonia.WithName("w"))
	_, err := nodes.Conv2d(x, w, tensor.Shape{3, 3}, []int{1<<20 + 1, 1}, []int{1, 1}, []int{1, 1})
	assert.ErrorContains(t, err, "want padding of at most 1048576")
}

// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
)

// The operation of a node has the name of its function; arguments are those that it was made with, but padding is what windows reach.
func TestOperationOf(t *testing.T) {
	for name, c := range constructors(t) {
		inputs, y, _ := c.graph(t)
		o, ok := nodes.OperationOf(y)
		require.True(t, ok, name)
		if name == "UnitNorm" { // which is a Normalize
			name = "Normalize"
		}
		assert.Equal(t, strings.TrimSuffix(name, "With"), o.Name)
		_, ok = nodes.OperationOf(inputs[0])
		assert.False(t, ok, "a leaf has none")
	}
	g := gorgonia.NewGraph()
	x, w := zeros(g, "x", tensor.Float32, 2, 4, 9, 8), zeros(g, "w", tensor.Float32, 6, 2, 3, 2)
	of := func(n *gorgonia.Node, err error) nodes.Operation {
		require.NoError(t, err)
		o, ok := nodes.OperationOf(n)
		require.True(t, ok)
		return o
	}
	pair := func(a, b int) [2]int { return [2]int{a, b} }
	assert.Equal(t, nodes.Operation{Name: "Conv2d", Kernel: pair(3, 2), Stride: pair(2, 3), Dilation: pair(1, 2), Pad: [4]int{1, 1, 2, 0}, Groups: 2},
		of(nodes.Conv2dWith(x, w, tensor.Shape{3, 2}, []int{1, 1, 2, 1}, []int{2, 3}, []int{1, 2}, nodes.Groups(2))), "a last column of padding is never read")
	assert.True(t, of(nodes.Conv2dWith(x, w, tensor.Shape{3, 2}, []int{1, 1}, []int{1, 1}, nil, nodes.Groups(2), nodes.Circular())).Circular)
	v := zeros(g, "v", tensor.Float32, 4, 3, 3, 3)
	assert.Equal(t, nodes.Operation{Name: "ConvTranspose2d", Kernel: pair(3, 3), Stride: pair(2, 3), Dilation: pair(1, 1), Pad: [4]int{1, 0, 0, 2}, OutputPadding: pair(1, 2), Groups: 2},
		of(nodes.ConvTranspose2d(x, v, tensor.Shape{3, 3}, []int{1, 0, 0, 2}, []int{2, 3}, nil, nodes.Groups(2), nodes.OutputPadding(1, 2))))
	assert.Equal(t, nodes.Operation{Name: "MaxPool2DCeil", Kernel: pair(3, 3), Stride: pair(2, 2), Dilation: pair(1, 1), Pad: [4]int{0, 0, 0, 1}},
		of(nodes.MaxPool2DCeil(x, tensor.Shape{3, 3}, []int{0, 0}, []int{2, 2})))
	assert.Equal(t, nodes.Operation{Name: "NormPool2D", Kernel: pair(3, 2), Stride: pair(2, 1), Dilation: pair(1, 1), Pad: [4]int{1, 1, 0, 0}},
		of(nodes.NormPool2D(x, tensor.Shape{3, 2}, []int{1, 0}, []int{2, 1})))
	assert.Equal(t, nodes.Operation{Name: "AOL", Groups: 2}, of(nodes.AOL(w, 2)))
	assert.Equal(t, nodes.Operation{Name: "RectifyTo", Top: 6}, of(nodes.RectifyTo(x, 6)))
	s := statistics(t, 4)
	γ, β := zeros(g, "γ", tensor.Float32, 1, 4, 1, 1), zeros(g, "β", tensor.Float32, 1, 4, 1, 1)
	assert.Equal(t, nodes.Operation{Name: "BatchNorm", Epsilon: 1e-3, Statistics: s, Plus: true, Rectified: true, Top: 6},
		of(nodes.BatchNormWith(x, γ, β, s, 1e-3, nodes.Plus(x), nodes.RectifiedTo(6))))
	assert.Equal(t, nodes.Operation{Name: "Shortcut", Stride: pair(2, 2), Before: 1, After: 2}, of(nodes.Shortcut(x, 7, 2, nodes.ZerosAround())))

	fused, err := nodes.Fuse(gorgonia.Must(nodes.Rectify(gorgonia.Must(nodes.Conv2dWith(x, w, tensor.Shape{3, 2}, nil, []int{1, 1}, nil, nodes.Groups(2))))))
	require.NoError(t, err)
	_, ok := nodes.OperationOf(fused[0])
	assert.False(t, ok, "a node that Fuse has made")
}

// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/nodes"
)

// Which input of a node is a filter, and of which a kernel is made.
func TestFilterAndKernelInputs(t *testing.T) {
	g := gorgonia.NewGraph()
	leaf := func(name string, shape ...int) *gorgonia.Node {
		return gorgonia.NewTensor(g, tensor.Float64, len(shape), gorgonia.WithShape(shape...), gorgonia.WithName(name))
	}
	x, w, gain, β := leaf("x", 2, 4, 5, 5), leaf("w", 4, 4, 3, 3), leaf("gain", 4, 1, 1, 1), leaf("beta", 1, 4, 1, 1)
	depthwise, base := leaf("depthwise", 4, 1, 3, 3), leaf("base", 4, 4, 3, 3)
	ones := []int{1, 1}
	kernel := tensor.Shape{3, 3}
	type node func() (*gorgonia.Node, error)
	for name, c := range map[string]struct {
		make           node
		filter, kernel int
	}{
		"Conv2d": {func() (*gorgonia.Node, error) { return nodes.Conv2d(x, w, kernel, ones, ones, ones) }, 1, -1},
		"Conv2dWith, groups": {func() (*gorgonia.Node, error) {
			return nodes.Conv2dWith(x, depthwise, kernel, ones, ones, ones, nodes.Groups(4))
		}, 1, -1},
		"Conv2dWith": {func() (*gorgonia.Node, error) {
			return nodes.Conv2dWith(x, w, kernel, ones, ones, ones, nodes.Circular())
		}, 1, -1},
		"ConvTranspose2d":       {func() (*gorgonia.Node, error) { return nodes.ConvTranspose2d(x, w, kernel, ones, ones, ones) }, 1, -1},
		"Normalize":             {func() (*gorgonia.Node, error) { return nodes.Normalize(w, manifolds.Sphere{}) }, -1, 0},
		"WeightNorm":            {func() (*gorgonia.Node, error) { return nodes.WeightNorm(w, gain) }, -1, 0},
		"CentredWeightNorm":     {func() (*gorgonia.Node, error) { return nodes.CentredWeightNorm(w, gain) }, -1, 0},
		"WeightStandardization": {func() (*gorgonia.Node, error) { return nodes.WeightStandardization(w, 1e-5) }, -1, 0},
		"Orthogonalize":         {func() (*gorgonia.Node, error) { return nodes.Orthogonalize(w, 3, manifolds.Unit) }, -1, 0},
		"SpectralNorm":          {func() (*gorgonia.Node, error) { return nodes.SpectralNorm(w, nodes.NewPowerIteration(1), 1) }, -1, 0},
		"ExpTrivialization":     {func() (*gorgonia.Node, error) { return nodes.ExpTrivialization(w, base) }, -1, 0},
		"CayleyTrivialization":  {func() (*gorgonia.Node, error) { return nodes.CayleyTrivialization(w, base) }, -1, 0},
		"OrthogonalConvKernel": {func() (*gorgonia.Node, error) {
			return nodes.OrthogonalConvKernel(leaf("matrix", 1, 1, 4, 4), leaf("projectors", 1, 4, 4, 2), 4, kernel, ones)
		}, -1, -1},
		"Bias":              {func() (*gorgonia.Node, error) { return nodes.Bias(x, β) }, -1, -1},
		"Rectify":           {func() (*gorgonia.Node, error) { return nodes.Rectify(x) }, -1, -1},
		"SoftOrthogonality": {func() (*gorgonia.Node, error) { return nodes.SoftOrthogonality(w) }, -1, -1},
	} {
		n, err := c.make()
		require.NoError(t, err, name)
		assert.Equal(t, c.filter, n.Op().(nodes.Convolution).FilterInput(), name)
		assert.Equal(t, c.kernel, n.Op().(nodes.KernelMap).KernelInput(), name)
	}
}

// The groups of a convolution, and whether it is transposed.
func TestFilterGroups(t *testing.T) {
	g := gorgonia.NewGraph()
	x, w := zeros(g, "x", tensor.Float64, 2, 4, 5, 5), zeros(g, "w", tensor.Float64, 4, 2, 3, 3)
	kernel, ones := tensor.Shape{3, 3}, []int{1, 1}
	ask := func(n *gorgonia.Node, err error) []any {
		require.NoError(t, err)
		groups, transposed := n.Op().(nodes.GroupedConvolution).FilterGroups()
		return []any{groups, transposed}
	}
	assert.Equal(t, []any{2, false}, ask(nodes.Conv2dWith(x, w, kernel, ones, ones, nil, nodes.Groups(2))))
	assert.Equal(t, []any{1, true}, ask(nodes.ConvTranspose2d(x, w, kernel, ones, ones, nil)))
	assert.Equal(t, []any{4, true}, ask(nodes.ConvTranspose2d(x, w, kernel, ones, ones, nil, nodes.Groups(4))))
	assert.Equal(t, []any{1, false}, ask(nodes.Conv2d(x, zeros(g, "v", tensor.Float64, 3, 4, 3, 3), kernel, ones, ones, nil)))
}

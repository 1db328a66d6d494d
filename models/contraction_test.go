// SPDX-License-Identifier: Apache-2.0

package models_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/nodes"
)

// The layers have the bounds and the learnables that their comments promise, and released they are plain.
func TestContractions(t *testing.T) {
	m, err := models.Build(models.Spec{Batch: 2, Shape: [3]int{4, 8, 8}, Classes: 3, Seed: 2}, func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
		x = b.AOL("conv1", x, 6, 3, 1, 1, nodes.Groups(2))
		x = b.MaxMin(b.Bias("conv1", x))
		x = b.NormPool(b.SLL("block", x, 9, 3), 2)
		x = b.Apply("maxmin", b.AOLLinear("hidden", x, 10), nodes.MaxMin)
		return b.UnitLinear("fc", x, 3)
	})
	require.NoError(t, err)
	b, err := models.Lipschitz(m)
	require.NoError(t, err)
	for _, l := range b.Layers[:len(b.Layers)-1] {
		assert.LessOrEqual(t, l.Total, 1+1e-5, "%s", b)
	}
	for i := range 3 {
		for j := range i {
			assert.LessOrEqual(t, b.Pair(i, j), 2+1e-6)
		}
	}
	released, err := models.Release(m)
	require.NoError(t, err)
	names := []string{}
	for _, l := range released.Learnables {
		names = append(names, l.Name())
	}
	assert.ElementsMatch(t, []string{"conv1.weight", "conv1.bias", "block.weight", "block.bias", "hidden.weight", "hidden.bias", "fc.weight", "fc.bias"}, names)
	x, _ := batch(m.Spec(), 3)
	assert.InDeltaSlice(t, logits(t, m.Net, x), logits(t, released, x), 1e-5)
	again, err := models.Lipschitz(released)
	require.NoError(t, err)
	assert.InEpsilon(t, b.Bound, again.Bound, 1e-4)

	for want, layers := range map[string]models.Layers{
		"models: block: nodes.ConvexPotential: want kernels of an odd height and width": func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
			return b.Linear("fc", b.SLL("block", x, 4, 2), 3)
		},
		"models: block: want a layer without groups, got 2": func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
			return b.Linear("fc", b.SLL("block", x, 4, 3, nodes.Groups(2)), 3)
		},
		"models: conv: want groups that divide 4 channels and 6 filters, got 4": func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
			return b.Linear("fc", b.AOL("conv", x, 6, 3, 1, 1, nodes.Groups(4)), 3)
		},
	} {
		_, err := models.Build(models.Spec{Batch: 2, Shape: [3]int{4, 8, 8}, Classes: 3}, layers)
		assert.ErrorContains(t, err, want)
	}
	_, err = models.Build(models.Spec{Batch: 2, Shape: [3]int{4, 8, 8}, Classes: 3, Margin: -1}, func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node { return b.Linear("fc", x, 3) })
	assert.ErrorContains(t, err, "want a finite margin of at least 0, got -1")
}

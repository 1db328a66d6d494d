// SPDX-License-Identifier: Apache-2.0

package roles_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/internal/roles"
	"github.com/kernelfold/kernelfold/models"
)

// In the nets of package models, which are differentiated when they are made, use and
// shape agree, and all learnables are judged by their use.
func TestModels(t *testing.T) {
	o := models.Options{Shape: [3]int{3, 16, 16}, Classes: 4, Seed: 1}
	for name, build := range map[string]func() (*models.Model, error){
		"CNN":             func() (*models.Model, error) { return models.CNN(2, o) },
		"ResNet":          func() (*models.Model, error) { return models.ResNet(2, 20, o) },
		"WideResNet":      func() (*models.Model, error) { return models.WideResNet(2, 10, 2, o) },
		"StochasticDepth": func() (*models.Model, error) { return models.StochasticDepth(2, 20, o) },
	} {
		t.Run(name, func(t *testing.T) {
			m, err := build()
			require.NoError(t, err)
			var r roles.Reader
			kernels := 0
			for _, n := range m.Learnables {
				a := r.Of(n, n.Shape())
				assert.True(t, a.ByUse, n.Name())
				assert.Equal(t, roles.ByShape(n.Shape()).Role, a.Role, n.Name())
				if a.Role == roles.Kernel {
					kernels++
					assert.Equal(t, "filter of Conv2d", a.Why, n.Name())
				}
			}
			assert.Positive(t, kernels)
		})
	}
}

// The result of a convolution goes to a batch normalisation and nowhere else, or it does not.
func TestNormalised(t *testing.T) {
	o := models.Options{Shape: [3]int{3, 16, 16}, Classes: 4, PreActivation: true, Projections: true}
	pre, err := models.ResNet(2, 8, o)
	require.NoError(t, err)
	o.PreActivation = false
	post, err := models.ResNet(2, 8, o)
	require.NoError(t, err)
	for _, test := range []struct {
		m     *models.Model
		scale map[string]string // by kernels
	}{
		{pre, map[string]string{"layer1.0.conv1.weight": "layer1.0.bn2.weight", "layer2.0.conv1.weight": "layer2.0.bn2.weight", "layer3.0.conv1.weight": "layer3.0.bn2.weight"}},
		{post, map[string]string{
			"conv1.weight":               "bn1.weight",
			"layer1.0.conv1.weight":      "layer1.0.bn1.weight",
			"layer1.0.conv2.weight":      "layer1.0.bn2.weight",
			"layer2.0.conv1.weight":      "layer2.0.bn1.weight",
			"layer2.0.conv2.weight":      "layer2.0.bn2.weight",
			"layer2.0.shortcut.0.weight": "layer2.0.shortcut.1.weight",
			"layer3.0.conv1.weight":      "layer3.0.bn1.weight",
			"layer3.0.conv2.weight":      "layer3.0.bn2.weight",
			"layer3.0.shortcut.0.weight": "layer3.0.shortcut.1.weight",
		}},
	} {
		got, r := map[string]string{}, roles.Read(test.m.Graph)
		for _, n := range test.m.Learnables {
			if scales, only := r.Normalised(n); only {
				require.Len(t, scales, 1)
				got[n.Name()] = scales[0].Name()
			}
		}
		assert.Equal(t, test.scale, got)
	}
}

// BenchmarkReader judges all parameters of a ResNet-110, as a solver does at its first step.
func BenchmarkReader(b *testing.B) {
	m, err := models.ResNet(1, 110, models.Options{Shape: [3]int{3, 8, 8}, Classes: 10, Seed: 1})
	require.NoError(b, err)
	for b.Loop() {
		var r roles.Reader
		for _, n := range m.Learnables {
			r.Of(n, n.Shape())
		}
	}
	b.ReportMetric(float64(len(m.Learnables)), "parameters")
	b.ReportMetric(float64(len(m.Graph.AllNodes())), "nodes")
}

// SPDX-License-Identifier: Apache-2.0

package models_test

import (
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/solvers"
)

func TestBuilderErrors(t *testing.T) {
	spec := models.Spec{Batch: 2, Shape: [3]int{3, 4, 4}, Classes: 5}
	type node = *gorgonia.Node
	for want, net := range map[string]models.Layers{
		"models: conv1: nodes.Conv2d: want":                                 func(b *models.Builder, x node) node { return b.Conv("conv1", x, 2, 7, 1, 0) },
		"models: conv1: want conv1.weight of positive sizes, got [0 3 3 3]": func(b *models.Builder, x node) node { return b.Conv("conv1", x, 0, 3, 1, 0) },
		"models: conv1: want images of rank 4, got shape (2, 5)":            func(b *models.Builder, x node) node { return b.Conv("conv1", b.Linear("fc", x, 5), 2, 3, 1, 0) },
		`models: layer1.0.conv1: want unique names, got "layer1.0.conv1.weight" tw`: func(b *models.Builder, x node) node {
			b = b.In("layer1").In("0")
			return b.Conv("conv1", b.Conv("conv1", x, 3, 3, 1, 1), 3, 3, 1, 1)
		},
		`models: drop: want unique names, got "drop" twice`:     func(b *models.Builder, x node) node { return b.Dropout("drop", b.Dropout("drop", x, 0.5), 0.5) },
		"models: drop: nodes.Dropout: want a probability":       func(b *models.Builder, x node) node { return b.Dropout("drop", x, 1.5) },
		"models: sum: want a node, got nil":                     func(b *models.Builder, x node) node { return b.Add(x, nil) },
		"models: rectify: want a node, got nil":                 func(b *models.Builder, _ node) node { return b.Rectify(nil) },
		"models: want logits of shape (2, 5), got nil":          func(*models.Builder, node) node { return nil },
		"models: want logits of shape (2, 5), got (2, 3, 4, 4)": func(_ *models.Builder, x node) node { return x },
		"models: mine: mine": func(b *models.Builder, x node) node {
			b.Fail("mine", errors.New("mine"))
			b.Fail("other", errNo)
			return nil
		},
		"models: step: no": func(b *models.Builder, x node) node {
			return b.Apply("step", x, func(node) (node, error) { return nil, errNo })
		},
		"models: survival: nodes.StochasticDepth: want a probability of survival": func(b *models.Builder, x node) node { return b.StochasticDepth("survival", x, x, 2) },
		"models: survival: nodes.StochasticDepth: input 1: want a node, got nil":  func(b *models.Builder, x node) node { return b.StochasticDepth("survival", x, nil, 1) },
		"models: shortcut: nodes.Shortcut: want at least the 3 channels":          func(b *models.Builder, x node) node { return b.Shortcut(x, 2, 1) },
		`models: bn: want a name other than those of`: func(b *models.Builder, x node) node {
			return b.Apply("bn", x, func(x node) (node, error) { return b.Weight("target", nil, 3, 3) })
		},
		"models: fc.gain: initial weights: nodes.HeNormal: want weights of rank 1, 2 or 4": func(b *models.Builder, x node) node {
			return b.Linear("fc", b.Apply("fc", x, func(x node) (node, error) {
				_, err := b.Weight("fc.gain", nil, 3, 3, 3)
				return x, err
			}), 5)
		},
	} {
		t.Run(want, func(t *testing.T) {
			m, err := models.Build(spec, net)
			assert.Nil(t, m)
			assert.ErrorContains(t, err, want)
		})
	}
}

var errNo = errors.New("no")

// TestNetMustRepeat builds nets that differ when the predictor builds them again.
func TestNetMustRepeat(t *testing.T) {
	spec := models.Spec{Batch: 2, Shape: [3]int{3, 4, 4}, Classes: 5}
	for want, second := range map[string]models.Layers{
		"want the learnables that the net had before, got other.weight of shape (48, 5)": func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
			return b.Linear("other", b.Dropout("drop", x, 0.5), 5)
		},
		"want the learnables that the net had before, got conv.weight": func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
			return b.Linear("fc", b.Conv("conv", b.Dropout("drop", x, 0.5), 1, 1, 1, 0), 5)
		},
		"want the buffers that the net had before, got bn": func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
			return b.Linear("fc", b.Dropout("bn", x, 0.5), 5)
		},
		"want 2 learnables and 1 buffers as in the first graph, got 2 and 0": func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
			return b.Linear("fc", x, 5)
		},
	} {
		calls := 0
		m, err := models.Build(spec, func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
			if calls++; calls > 1 {
				return second(b, x)
			}
			return b.Linear("fc", b.Dropout("drop", x, 0.5), 5)
		})
		require.NoError(t, err)
		_, err = m.Predictor()
		assert.ErrorContains(t, err, want)
	}
}

// TestOnManifold draws kernels on manifolds: a solver with the same constraint finds them
// there, they depend on seed and name alone, and other weights are as they were.
func TestOnManifold(t *testing.T) {
	for _, manifold := range []manifolds.Manifold{manifolds.Sphere{}, manifolds.CentredSphere{}, manifolds.Oblique{}, manifolds.Stiefel{}} {
		for _, opts := range [][]manifolds.Option{nil, {manifolds.PerFilter, manifolds.FilterNorm(2)}, {manifolds.FilterBank}} {
			build := func(seed uint64, init models.Init, projections bool) *models.Model {
				// 16 filters are more than the first layer has weights for each, but 3*9 > 16.
				m, err := models.ResNet(1, 8, models.Options{Shape: [3]int{3, 8, 8}, Classes: 4, Dtype: tensor.Float64, Seed: seed, Kernels: init, Projections: projections})
				require.NoError(t, err)
				return m
			}
			constraint := manifolds.On(manifold, opts...)
			t.Run(constraint.String(), func(t *testing.T) {
				init := models.OnManifold(manifold, opts...)
				m, plain, again, other := build(1, init, false), build(1, nil, false), build(1, init, true), build(2, init, false)
				shared := map[string]*gorgonia.Node{}
				for _, n := range again.Learnables {
					shared[n.Name()] = n
				}
				for i, n := range m.Learnables {
					w := n.Value().Data().([]float64)
					assert.Equal(t, w, shared[n.Name()].Value().Data(), "%s in a net with more layers", n.Name())
					if !solvers.IsKernel(n.Shape()) || n.Shape()[2] == 1 {
						assert.Equal(t, plain.Learnables[i].Value().Data(), w, n.Name())
						continue
					}
					assert.NotEqual(t, other.Learnables[i].Value().Data(), w, n.Name())
					piece, err := manifolds.Single(constraint.Bind(n.Shape(), math.NaN()))
					require.NoError(t, err)
					set, l := piece.Manifold, piece.Layout
					all, err := manifolds.Points64(w, 1, len(w), 1)
					require.NoError(t, err)
					points, err := manifolds.Points64(make([]float64, len(w)), l.K, l.N, l.P)
					require.NoError(t, err)
					require.NoError(t, l.Gather(points, all))
					assert.Less(t, set.Membership(points), 1e-13, n.Name())
				}
			})
		}
	}
	_, err := models.CNN(1, models.Options{Shape: [3]int{1, 8, 8}, Classes: 3, Widths: []int{2},
		Kernels: models.OnManifold(manifolds.Stiefel{}, manifolds.PerWeight, manifolds.Times(-1))})
	assert.ErrorContains(t, err, "models: conv1.weight: initial weights: nodes.ManifoldInit: ")
}

// An initialiser of package nodes draws what it draws from a seed of the layer's own.
func TestInit(t *testing.T) {
	var seeds []uint64
	m, err := models.CNN(1, models.Options{Shape: [3]int{1, 8, 8}, Classes: 3, Widths: []int{2, 2}, Kernels: func(seed uint64) gorgonia.InitWFn {
		seeds = append(seeds, seed)
		return nodes.Orthonormal(3, seed)
	}})
	require.NoError(t, err)
	require.Len(t, seeds, 2, "for the kernels alone")
	assert.NotEqual(t, seeds[0], seeds[1])
	assert.Equal(t, nodes.Orthonormal(3, seeds[0])(tensor.Float32, 2, 1, 3, 3), m.Learnables[0].Value().Data())
}

func TestBuildWithoutLayers(t *testing.T) {
	_, err := models.Build(models.Spec{Batch: 2, Shape: [3]int{1, 8, 8}, Classes: 2}, nil)
	assert.EqualError(t, err, "models: want layers, got nil")
}

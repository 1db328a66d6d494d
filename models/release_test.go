// SPDX-License-Identifier: Apache-2.0

package models_test

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/nodes"
)

// unsettle gives weights and statistics values that a trained net could have.
func unsettle(n *models.Net, rng *rand.Rand) {
	for _, l := range n.Learnables {
		switch x := l.Value().Data().(type) {
		case []float32:
			for i := range x {
				x[i] += float32(0.2 * rng.NormFloat64())
			}
		case []float64:
			for i := range x {
				x[i] += 0.2 * rng.NormFloat64()
			}
		}
	}
	for _, b := range n.Buffers {
		if s := b.Statistics; s != nil {
			for i := range s.Mean {
				s.Mean[i], s.Variance[i] = rng.NormFloat64(), 0.5+rng.Float64()
			}
		}
	}
}

// spoil makes a number of each weight and each mean NaN.
func spoil(n *models.Net) {
	for _, l := range n.Learnables {
		switch x := l.Value().Data().(type) {
		case []float32:
			x[0] = float32(math.NaN())
		case []float64:
			x[0] = math.NaN()
		}
	}
	for _, b := range n.Buffers {
		if s := b.Statistics; s != nil {
			s.Mean[0] = math.NaN()
		}
	}
}

func noise(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

func logits(t *testing.T, n *models.Net, images []float32) []float64 {
	t.Helper()
	p, err := n.Predictor()
	require.NoError(t, err)
	defer p.Close()
	out, err := p.Logits(images)
	require.NoError(t, err)
	return out
}

// constrained has every kind of node that Release folds: kernels normalised in the graph, a bias before a batch norm, a batch norm after
// a transposed convolution and a linear layer, a branch that is sometimes dropped, dropout.
func constrained(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
	conv := func(layer string, x *gorgonia.Node, filters int, plain func(v *gorgonia.Node) (*gorgonia.Node, error)) *gorgonia.Node {
		return b.Apply(layer, x, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			v, err := b.Weight(layer+".weight", b.Spec().Kernels, filters, x.Shape()[1], 3, 3)
			if err != nil {
				return nil, err
			}
			w, err := plain(v)
			if err != nil {
				return nil, err
			}
			var padding []nodes.ConvOption
			if layer == "conv2" {
				padding = append(padding, nodes.Circular())
			}
			return nodes.Conv2dWith(x, w, tensor.Shape{3, 3}, []int{1, 1}, []int{1, 1}, []int{1, 1}, padding...)
		})
	}
	x = b.Bias("conv1", conv("conv1", x, 4, func(v *gorgonia.Node) (*gorgonia.Node, error) {
		g, err := b.Weight("conv1.gain", b.Spec().Kernels, 4, 1, 1, 1)
		if err != nil {
			return nil, err
		}
		return nodes.WeightNorm(v, g)
	}))
	x = b.MaxPool(b.BatchNorm("bn1", x, nodes.Rectified()), 2)
	y := b.BatchNorm("bn2", conv("conv2", x, 4, func(v *gorgonia.Node) (*gorgonia.Node, error) { return nodes.Normalize(v, manifolds.Stiefel{}) }))
	x = b.Rectify(b.StochasticDepth("depth", y, x, 0.7))
	y = conv("conv3", x, 4, func(v *gorgonia.Node) (*gorgonia.Node, error) { return v, nil })
	x = b.BatchNormShortcut("bn3", y, func() *gorgonia.Node { return x }, nodes.Rectified())
	x = b.BatchNorm("bn5", b.Apply("up", x, func(x *gorgonia.Node) (*gorgonia.Node, error) {
		w, err := b.Weight("up.weight", b.Spec().Kernels, 4, 3, 2, 2)
		if err != nil {
			return nil, err
		}
		return nodes.ConvTranspose2d(x, w, tensor.Shape{2, 2}, nil, []int{2, 2}, nil, nodes.Groups(2))
	}), nodes.Rectified())
	x = b.Dropout("dropout", b.Rectify(b.BatchNorm("bn4", b.Linear("fc1", x, 6))), 0.5)
	return b.Linear("fc", x, 3)
}

func TestRelease(t *testing.T) {
	for _, of := range []tensor.Dtype{tensor.Float32, tensor.Float64} {
		tolerance := 2e-6 // of the largest logit: sums of some hundred products, through five layers
		if of == tensor.Float64 {
			tolerance = 4e-15
		}
		small := models.Options{Shape: [3]int{2, 8, 8}, Classes: 3, Dtype: of, Seed: 1}
		with := func(set func(o *models.Options)) models.Options {
			o := small
			set(&o)
			return o
		}
		for name, build := range map[string]func() (*models.Model, error){
			"constrained": func() (*models.Model, error) {
				return models.Build(models.Spec{Batch: 3, Shape: small.Shape, Classes: 3, Dtype: of, Seed: 1, Kernels: models.OnManifold(manifolds.Sphere{})}, constrained)
			},
			"CNN": func() (*models.Model, error) {
				return models.CNN(3, with(func(o *models.Options) { o.BatchNorm, o.Widths = true, []int{4, 6} }))
			},
			"ResNet": func() (*models.Model, error) { return models.ResNet(3, 8, small) },
			"ResNet with projections": func() (*models.Model, error) {
				return models.ResNet(3, 8, with(func(o *models.Options) { o.Projections = true }))
			},
			"StochasticDepth": func() (*models.Model, error) { return models.StochasticDepth(3, 8, small) },
			"LeNet": func() (*models.Model, error) {
				return models.LeNet(3, models.Options{Shape: [3]int{1, 28, 28}, Classes: 3, Dtype: of})
			},
		} {
			t.Run(of.String()+"/"+name, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(1, 2))
				m, err := build()
				require.NoError(t, err)
				unsettle(m.Net, rng)
				images := noise(rng, 5*m.Input.Shape().TotalSize()/3)
				want := logits(t, m.Net, images)
				r, err := models.Release(m)
				require.NoError(t, err)
				assert.Empty(t, r.Buffers)
				scale := 0.0
				for _, v := range want {
					scale = max(scale, math.Abs(v))
				}
				for _, l := range r.Learnables {
					assert.Regexp(t, `\.(weight|bias)$`, l.Name())
					assert.NotRegexp(t, `bn`, l.Name())
				}
				got := logits(t, r, images)
				assert.InDeltaSlice(t, want, got, tolerance*scale)

				unsettle(m.Net, rng) // the net trains on
				assert.Equal(t, got, logits(t, r, images))
				spoil(m.Net) // and diverges
				assert.Equal(t, got, logits(t, r, images))
			})
		}
	}
}

// What cannot be folded is named.
func TestReleaseRefuses(t *testing.T) {
	o := models.Options{Shape: [3]int{2, 8, 8}, Classes: 3, PreActivation: true}
	m, err := models.ResNet(2, 8, o)
	require.NoError(t, err)
	_, err = models.Release(m)
	require.ErrorContains(t, err, "models: release: nodes.Fold: ")
	require.ErrorContains(t, err, "nodes.BatchNorm[")
	require.ErrorContains(t, err, " with bn1.weight, bn1.bias: want a convolution or a linear layer")
	require.ErrorIs(t, err, nodes.ErrUnfoldable)
	assert.NotContains(t, err.Error(), "(%", "numbers of nodes say nothing")
	assert.Equal(t, 1, strings.Count(err.Error(), "want"), err)

	_, err = models.Release(&models.Net{})
	require.ErrorContains(t, err, "want a net made by New")

	// A kernel with two uses would need two names.
	m, err = models.Build(models.Spec{Batch: 2, Shape: [3]int{2, 8, 8}, Classes: 3}, func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
		return b.Linear("fc", b.Apply("twice", x, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			w, err := b.Weight("conv.weight", models.OnManifold(manifolds.Sphere{}), 2, 2, 3, 3)
			if err != nil {
				return nil, err
			}
			for _, layer := range []string{"bn1", "bn2"} {
				if x, err = nodes.Conv2d(x, w, tensor.Shape{3, 3}, []int{1, 1}, []int{1, 1}, nil); err != nil {
					return nil, err
				}
				x = b.BatchNorm(layer, x)
			}
			return x, nil
		}), 3)
	})
	require.NoError(t, err)
	_, err = models.Release(m)
	require.ErrorContains(t, err, "got a second use of conv.weight")
	require.ErrorIs(t, err, nodes.ErrUnfoldable)
}

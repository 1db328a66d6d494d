// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/solvers"
)

// robust tests the benefits that the paper expects from constraints: training at learning rates, scales of
// the weights and depths at which the unconstrained net fails. Only the nets of the last case have batch
// normalisation.
var robust = experiment{
	"robust",
	size{Train: 3000, Test: 2000, Epochs: 3, Batch: 32, seeds: 2},
	size{Train: 64, Test: 32, Epochs: 1, Batch: 32, seeds: 1},
	func(ctx context.Context, c *campaign) error {
		parts := []part{
			{[]string{ratesCase}, append(robustMethods(), steady()...), []float64{0.01, 0.03, 0.1, 0.3, 1, 3, 10}},
			{scaledCases, append(robustMethods(), initialScale), []float64{0.001, 0.003, 0.01, 0.03, 0.1}},
			{depthCases, append(robustMethods(), longer()...), []float64{0.01, 0.03, 0.1}},
		}
		for i := range parts {
			if c.quick {
				parts[i].rates = parts[i].rates[:1]
			}
		}
		return c.grid(ctx, parts, c.robustNet)
	},
}

// robustMethods are those that all parts compare.
func robustMethods() []method {
	list := []method{stockAdam, euclidean}
	for _, k := range constraints {
		list = append(list, k.method(""))
	}
	return list
}

// steady are the constraints with the geometric step of the paper, which is for large gradients.
func steady() []method {
	var list []method
	for _, k := range constraints {
		list = append(list, k.method(", g_t", solvers.SampledGeometricStep()))
	}
	return list
}

// longer are constraints with filters of norm √2: a rectifier halves the mean square of what
// passes through it, so that filters of norm 1 let signals fade with depth (He, Zhang, Ren, Sun 2015).
func longer() []method {
	var list []method
	for _, k := range constraints {
		list = append(list, method{
			name:    k.name + ", filter norm √2",
			options: []solvers.Option{solvers.Kernels(k.manifold, k.grouping, manifolds.FilterNorm(math.Sqrt2))},
		})
	}
	return list
}

// initialScale keeps the norms that filters have at first, whatever they are.
var initialScale = method{
	name:    "sphere per filter, initial scale",
	options: []solvers.Option{solvers.Kernels(manifolds.Sphere{}, manifolds.PerFilter, manifolds.Initial)},
}

// The cases.
const (
	ratesCase = "3 layers"
	scaledBy  = "layers 1 and 2 times %g and %g"
	deepBy    = "%d layers"
	deepNorm  = "%d layers, batch norm"
)

var (
	scaledCases = []string{fmt.Sprintf(scaledBy, 1.0, 1.0), fmt.Sprintf(scaledBy, 10.0, 0.1), fmt.Sprintf(scaledBy, 100.0, 0.01)}
	depthCases  = []string{fmt.Sprintf(deepBy, 4), fmt.Sprintf(deepBy, 8), fmt.Sprintf(deepBy, 16), fmt.Sprintf(deepBy, 32), fmt.Sprintf(deepNorm, 32)}
)

// robustNet returns the net of a case.
func (c *campaign) robustNet(kase string) func(seed uint64) (*models.Model, error) {
	var first, second float64
	if _, err := fmt.Sscanf(kase, scaledBy, &first, &second); err == nil {
		return c.scaledCNN(first, second)
	}
	var depth int
	if _, err := fmt.Sscanf(kase, deepBy, &depth); err == nil && kase != ratesCase {
		return c.plainNet(depth, kase == fmt.Sprintf(deepNorm, depth))
	}
	return c.smallCNN(plainCase)
}

// scaledCNN returns the small CNN with the first two kernels times two numbers whose product is
// 1. Since rectifiers and poolings are homogeneous and biases are 0 at first, it is the same function; its
// gradient in a kernel is that of the CNN divided by its number.
func (c *campaign) scaledCNN(first, second float64) func(seed uint64) (*models.Model, error) {
	return func(seed uint64) (*models.Model, error) {
		m, err := c.smallCNN(plainCase)(seed)
		if err != nil {
			return nil, err
		}
		for layer, by := range map[string]float64{"conv1.weight": first, "conv2.weight": second} {
			w, err := kernel(m, layer)
			if err != nil {
				return nil, err
			}
			for i := range w {
				w[i] = float32(float64(w[i]) * by)
			}
		}
		return m, nil
	}
}

func kernel(m *models.Model, name string) ([]float32, error) {
	for _, n := range m.Learnables {
		if w, ok := n.Value().Data().([]float32); ok && n.Name() == name {
			return w, nil
		}
	}
	return nil, fmt.Errorf("want a kernel %s of float32, got none", name)
}

// plainNet returns a net of so many convolutions 3x3 of 16 filters, without shortcuts. The first two are each
// followed by a pooling of 2x2, so that depth is cheap.
func (c *campaign) plainNet(depth int, norm bool) func(seed uint64) (*models.Model, error) {
	const width = 16
	return func(seed uint64) (*models.Model, error) {
		s := models.Spec{Batch: c.Batch, Shape: c.shape, Classes: c.classes, Seed: seed}
		return models.Build(s, func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
			for i := range depth {
				conv := fmt.Sprintf("conv%d", i+1)
				x = b.Conv(conv, x, width, 3, 1, 1)
				if norm {
					x = b.BatchNorm(fmt.Sprintf("bn%d", i+1), x)
				} else {
					x = b.Bias(conv, x)
				}
				if x = b.Rectify(x); i < 2 {
					x = b.MaxPool(x, 2)
				}
			}
			return b.Linear("fc", x, c.classes)
		})
	}
}

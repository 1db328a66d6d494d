// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/solvers"
)

// scale trains one CNN, with and without batch normalisation, at four learning rates under every
// manifold, grouping and scale, with the momentum of the paper: a constraint is good where the row is flat. docs/choosing.md has
// the results.
var scale = experiment{
	"scale",
	size{Train: 4000, Test: 800, Epochs: 3, Batch: 32, seeds: 1},
	size{Train: 128, Test: 64, Epochs: 1, Batch: 32, seeds: 1},
	func(ctx context.Context, c *campaign) error {
		return c.grid(ctx, []part{{normCases, scaleMethods(), []float64{0.01, 0.03, 0.1, 0.3}}}, c.smallCNN)
	},
}

func scaleMethods() []method {
	list := []method{{name: freeGrid}}
	for _, k := range []constraint{
		{"sphere per filter", manifolds.Sphere{}, manifolds.PerFilter},
		{"centred sphere per filter", manifolds.CentredSphere{}, manifolds.PerFilter},
		{"sphere per slice", manifolds.Sphere{}, manifolds.PerSlice},
		{"oblique per slice", manifolds.Oblique{}, manifolds.PerSlice},
		{"Stiefel bank", manifolds.Stiefel{}, manifolds.FilterBank},
		{"Stiefel per slice", manifolds.Stiefel{}, manifolds.PerSlice},
	} {
		add := func(s manifolds.Scale, suffix string, more ...solvers.Option) {
			list = append(list, method{
				name:    fmt.Sprintf("%s, %v%s", k.name, s, suffix),
				options: append([]solvers.Option{solvers.Kernels(k.manifold, k.grouping, s), solvers.AmbientMomentum()}, more...),
				minor:   s != manifolds.UnitFilters,
			})
		}
		if k.grouping == manifolds.PerSlice { // otherwise unit points are unit filters
			add(manifolds.Unit, "")
		}
		add(manifolds.UnitFilters, "")
		add(manifolds.UnitFilters, ", g_t", solvers.SampledGeometricStep())
		add(manifolds.FilterNorm(2), "")
		add(manifolds.Initial, "")
	}
	return list
}

// freeGrid is SGD without a constraint in the grid of scales.
const freeGrid = "Euclidean"

// The cases of a net without and with batch normalisation.
const (
	plainCase = "no batch norm"
	normCase  = "batch norm"
)

var normCases = []string{plainCase, normCase}

// smallCNN returns the net of a case: 8, 16 and 32 filters.
func (c *campaign) smallCNN(kase string) func(seed uint64) (*models.Model, error) {
	return func(seed uint64) (*models.Model, error) {
		return models.CNN(c.Batch, models.Options{
			Shape: c.shape, Classes: c.classes, Widths: []int{8, 16, 32}, BatchNorm: kase == normCase, Seed: seed,
		})
	}
}

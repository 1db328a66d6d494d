// SPDX-License-Identifier: Apache-2.0

package main

import (
	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// method is a solver under test.
type method struct {
	name    string
	stock   func(rate float64) gorgonia.Solver // of Gorgonia, or nil: SGD of package solvers
	options []solvers.Option
	times   float64 // a factor of the rates of the grid, 1 if it is 0
	minor   bool    // left out of plots that would have too many curves with it
}

// theta is the momentum of all methods that have one.
const theta = 0.9

// rate returns the rate that stands for one of the common grid.
func (m method) rate(common float64) float64 {
	if m.times == 0 {
		return common
	}
	// Grids are decimal, so is the factor: 0.3/10, and not 0.3*0.1, is 0.03.
	return common / (1 / m.times)
}

// solver makes the solver; more options are for SGD only.
func (m method) solver(more ...solvers.Option) func(rate float64) gorgonia.Solver {
	if m.stock != nil {
		return m.stock
	}
	return func(rate float64) gorgonia.Solver {
		o := append([]solvers.Option{solvers.LearnRate(rate), solvers.Momentum(theta)}, m.options...)
		return solvers.NewSGD(append(o, more...)...)
	}
}

// euclidean is the method that others are compared with.
var euclidean = method{name: "Euclidean SGD"}

var (
	stockMomentum = method{name: "stock Momentum", stock: func(rate float64) gorgonia.Solver {
		return gorgonia.NewMomentum(gorgonia.WithLearnRate(rate), gorgonia.WithMomentum(theta))
	}}
	stockAdam = method{name: "stock Adam", times: 0.1, stock: func(rate float64) gorgonia.Solver {
		return gorgonia.NewAdamSolver(gorgonia.WithLearnRate(rate))
	}}
)

// constraint is a manifold and a grouping.
type constraint struct {
	name     string
	manifold manifolds.Manifold
	grouping manifolds.Grouping
}

// constraints are the manifolds with the groupings that the experiments compare, at the default
// scale, filters of norm 1.
var constraints = []constraint{
	{"sphere per filter", manifolds.Sphere{}, manifolds.PerFilter},
	{"sphere per slice", manifolds.Sphere{}, manifolds.PerSlice},
	{"centred sphere per filter", manifolds.CentredSphere{}, manifolds.PerFilter},
	{"oblique per slice", manifolds.Oblique{}, manifolds.PerSlice},
	{"Stiefel per slice", manifolds.Stiefel{}, manifolds.PerSlice},
	{"Stiefel bank", manifolds.Stiefel{}, manifolds.FilterBank},
}

// method makes SGD on the manifold; the name says what more there is.
func (c constraint) method(suffix string, more ...solvers.Option) method {
	return method{name: c.name + suffix, options: append([]solvers.Option{solvers.Kernels(c.manifold, c.grouping)}, more...)}
}

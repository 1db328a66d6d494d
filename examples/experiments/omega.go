// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/solvers"
)

// omega compares free kernels, constrained kernels, ensembles and Muon at equal angular rates
//
//	omega = rate / r0^2,
//
// r0 the norm of a filter at first: before a batch norm a gradient g of a filter of norm r turns it by rate |g| / r, and
// |g| is proportional to 1/r. Everything but the kernels has one learning rate in all runs. docs/experiments.md has the questions and
// the analysis, which were fixed before the runs.
//
// In the first round every arm has every omega with the seeds 1 and 2. In the second, the two omegas of each arm that were best on the
// validation images have the other seeds. The arms of the first question have both rounds before the others begin.
var omega = experiment{
	"omega",
	size{Train: 28000, Validation: 2000, Test: 10000, Epochs: 10, Batch: 64, seeds: firstSeeds + 4},
	size{Train: 64, Validation: 32, Test: 48, Epochs: 2, Batch: 32, seeds: firstSeeds + 1},
	func(ctx context.Context, c *campaign) error {
		rates := omegas
		if c.quick {
			rates = omegas[1:4]
		}
		list := arms()
		list = slices.DeleteFunc(list, func(a arm) bool { return !c.wanted("", a.name) })
		first := min(c.seeds, firstSeeds)
		c.progress.expect(len(list) * (len(rates)*first + min(2, len(rates))*(c.seeds-first)))

		for _, later := range []bool{false, true} {
			var jobs []job
			now := slices.DeleteFunc(slices.Clone(list), func(a arm) bool { return a.later != later })
			for seed := range first {
				for _, o := range rates {
					for _, a := range now {
						jobs = append(jobs, c.omegaJob(8, a, a.spec(o, seed+1)))
					}
				}
			}
			if err := c.do(ctx, jobs); err != nil {
				return err
			}
			jobs = nil
			for seed := first; seed < c.seeds; seed++ {
				for _, a := range now {
					for _, o := range c.bestOmegas(a, rates, first) {
						jobs = append(jobs, c.omegaJob(8, a, a.spec(o, seed+1)))
					}
				}
			}
			if err := c.do(ctx, jobs); err != nil {
				return err
			}
			c.table.Reset()
			done := slices.DeleteFunc(slices.Clone(list), func(a arm) bool { return a.later && !later })
			if err := c.settle(c.results.measured(done, rates, c.seeds), rates); err != nil {
				return err
			}
		}
		return nil
	},
}

var omegas = []float64{0.0075, 0.015, 0.03, 0.06, 0.12}

const (
	firstSeeds = 2    // of the first round
	restRate   = 0.05 // the learning rate of everything but the kernels
)

// arm is a method of the comparison.
type arm struct {
	method // its times is r0^2, so that omega times it is the learning rate of the kernels
	init   models.Init
	muon   bool
	later  bool // not in the first question
}

// arms returns all arms. Kernels without a constraint start with filters of norm sqrt(2), the initialisation of He, Zhang, Ren and Sun
// (2015), or 1. The rates of Muon, whose steps have a length of their own, are angles: a third of omega.
func arms() []arm {
	norm1 := models.Init(func(seed uint64) gorgonia.InitWFn { return nodes.HeNormal(1, seed) })
	decay := solvers.Where(isKernel, nil).With(solvers.AmbientDecay(5e-4))
	on := func(name string, m manifolds.Manifold, opts ...manifolds.Option) arm {
		return arm{method: method{name: name, times: 1, options: []solvers.Option{solvers.Kernels(m, opts...)}}}
	}
	with := func(a arm, suffix string, more ...solvers.Option) arm {
		a.name += suffix
		a.options = append(slices.Clip(a.options), more...)
		return a
	}
	muon := func(a arm) arm {
		a.name, a.muon, a.times = a.name+", Muon", true, 1./3
		return a
	}
	free := arm{method: method{name: freeArm, times: 1}, init: norm1}
	freeHe := arm{method: method{name: "free, norm √2", times: 2}}
	sphere := on("sphere", manifolds.Sphere{}, manifolds.PerFilter)
	sphere2 := on("sphere, norm √2", manifolds.Sphere{}, manifolds.PerFilter, manifolds.FilterNorm(math.Sqrt2))
	sphere2.times = 2
	stiefel := on("Stiefel bank", manifolds.Stiefel{}, manifolds.FilterBank)
	ensemble := func(parts ...manifolds.Manifold) manifolds.Ensemble {
		return manifolds.Ensemble{Strategy: manifolds.PIO, Parts: manifolds.Equal(parts...), Seed: 1}
	}
	first := []arm{
		freeHe, with(freeHe, ", decay", decay), free, with(free, ", decay", decay),
		sphere, sphere2, on("centred sphere", manifolds.CentredSphere{}, manifolds.PerFilter), stiefel,
		on("slices on the sphere", manifolds.Sphere{}, manifolds.PerSlice),
	}
	others := []arm{
		on("slices on oblique", manifolds.Oblique{}, manifolds.PerSlice),
		on("slices on Stiefel", manifolds.Stiefel{}, manifolds.PerSlice),
		on("PIO", ensemble(manifolds.Sphere{}, manifolds.Oblique{}, manifolds.Stiefel{})),
		on("PIO with Euclidean", ensemble(manifolds.Sphere{}, manifolds.Oblique{}, manifolds.Stiefel{}, manifolds.Euclidean{})),
		with(sphere, ", sampled g_t", solvers.SampledGeometricStep()), with(sphere, ", predictable g_t", solvers.GeometricStep()),
		muon(free), muon(sphere), muon(stiefel),
	}
	for i := range others {
		others[i].later = true
	}
	return append(first, others...)
}

// freeArm is the name of the control: free kernels whose filters start with norm 1.
const freeArm = "free"

func isKernel(_ string, shape tensor.Shape) bool { return len(shape) == 4 }

// solver makes the solver of an arm for the given number of steps: a cosine schedule, momentum 0.9 in the tangent space, or Muon with its own. Linear
// layers, biases and batch norm are moved by SGD with restRate.
func (a arm) solver(steps int) func(rate float64) gorgonia.Solver {
	return func(rate float64) gorgonia.Solver {
		o := []solvers.Option{solvers.LearnRate(rate), solvers.Anneal(solvers.Cosine(steps, 0))}
		rest := []solvers.Option{solvers.LearnRate(restRate), solvers.Momentum(theta)}
		others := solvers.Where(func(name string, shape tensor.Shape) bool { return !isKernel(name, shape) }, nil)
		if a.muon {
			o = append(o, solvers.RestBy(solvers.NewSGD(rest...)), others.With(solvers.Rest()))
			return solvers.NewMuon(append(o, a.options...)...)
		}
		o = append(o, solvers.Momentum(theta), solvers.TangentMomentum(), others.With(solvers.LearnRate(restRate)))
		return solvers.NewSGD(append(o, a.options...)...)
	}
}

// spec is the run with an omega and a seed.
func (a arm) spec(omega float64, seed int) spec {
	return spec{Method: a.name, Rate: a.rate(omega), Seed: uint64(seed)}
}

// omegaJob trains a ResNet of a depth.
func (c *campaign) omegaJob(depth int, a arm, s spec) job {
	data, epochs := c.material(false)
	return job{
		spec: s,
		net: func(seed uint64) (*models.Model, error) {
			return models.ResNet(c.Batch, depth, models.Options{Shape: c.shape, Classes: c.classes, Seed: seed, Kernels: a.init})
		},
		solver:    a.solver(data.Len() / c.Batch * epochs),
		options:   train.Options{Augment: images.Augmentation{Pad: 4, Flip: true}},
		resumable: true, detailed: true,
	}
}

// bestOmegas returns the two omegas with which an arm was best on the validation images in the first round.
func (c *campaign) bestOmegas(a arm, rates []float64, seeds int) []float64 {
	mean := func(rate int) float64 {
		sum := 0.0
		for seed := range seeds {
			sum += c.results.of(a.spec(rates[rate], seed+1)).Validation
		}
		return sum / float64(seeds)
	}
	var best []float64
	for _, i := range twoBest(len(rates), mean) {
		best = append(best, rates[i])
	}
	return best
}

// angle returns the root mean square of the angles by which the last step turned the kernels, in radians. See solvers.ParameterReport.
func angle(s gorgonia.Solver) (float64, error) {
	r, ok := s.(interface{ Report() solvers.Report })
	if !ok {
		return 0, fmt.Errorf("want a solver with a report, got %T", s)
	}
	sum, n := 0.0, 0
	for _, p := range r.Report().Parameters {
		if p.Kernel {
			sum, n = sum+p.Angle*p.Angle, n+1
		}
	}
	if n == 0 {
		return 0, fmt.Errorf("want kernels in the report, got none")
	}
	return math.Sqrt(sum / float64(n)), nil
}

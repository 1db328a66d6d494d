// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"slices"
	"strings"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

type named[T any] struct {
	name  string
	value T
}

func namesOf[T any](list []named[T]) (names []string) {
	for _, n := range list {
		names = append(names, n.name)
	}
	return names
}

func find[T any](flag, name string, list []named[T]) (T, error) {
	for _, n := range list {
		if n.name == name {
			return n.value, nil
		}
	}
	var none T
	return none, cli.Usage("-%s: want one of %s, got %q", flag, strings.Join(namesOf(list), ", "), name)
}

// ours are the solvers of package solvers, stock the solvers of Gorgonia that work.
var (
	ours = []named[func(...solvers.Option) *solvers.Solver]{
		{"sgd", solvers.NewSGD}, {"adam", solvers.NewAdam}, {"adamw", solvers.NewAdamW},
		{"adagrad", solvers.NewAdagrad}, {"rmsprop", solvers.NewRMSProp}, {"muon", solvers.NewMuon},
		{"rdog", solvers.NewRDoG}, {"rdowg", solvers.NewRDoWG},
	}
	stock = []named[func(*settings) gorgonia.Solver]{
		{"stock-vanilla", func(s *settings) gorgonia.Solver {
			return gorgonia.NewVanillaSolver(gorgonia.WithLearnRate(s.LearnRate))
		}},
		{"stock-momentum", func(s *settings) gorgonia.Solver {
			return gorgonia.NewMomentum(gorgonia.WithLearnRate(s.LearnRate), gorgonia.WithMomentum(s.Momentum))
		}},
		{"stock-rmsprop", func(s *settings) gorgonia.Solver {
			return gorgonia.NewRMSPropSolver(gorgonia.WithLearnRate(s.LearnRate))
		}},
		{"stock-adam", func(s *settings) gorgonia.Solver { return gorgonia.NewAdamSolver(gorgonia.WithLearnRate(s.LearnRate)) }},
	}
	kinds = []named[manifolds.Manifold]{
		{"none", nil}, {"sphere", manifolds.Sphere{}}, {"centred", manifolds.CentredSphere{}},
		{"oblique", manifolds.Oblique{}}, {"stiefel", manifolds.Stiefel{}},
	}
	groupings = []named[[]manifolds.Option]{
		{"default", nil},
		{"slice", []manifolds.Option{manifolds.PerSlice}},
		{"filter", []manifolds.Option{manifolds.PerFilter}},
		{"channel", []manifolds.Option{manifolds.PerInputChannel}},
		{"tap", []manifolds.Option{manifolds.PerTap}},
		{"bank", []manifolds.Option{manifolds.FilterBank}},
	}
	scheduleNames = []string{"constant", "step", "cosine"}
)

func solverNames() []string   { return append(namesOf(ours), namesOf(stock)...) }
func manifoldNames() []string { return namesOf(kinds) }
func groupingNames() []string { return namesOf(groupings) }

// rates are the default learning rates: that of a solver applies to every manifold without a rate of its own. Adam
// divides by one second moment per point, so its steps are longer for larger points.
var rates = map[string]float64{
	"sgd": 0.1, "adam": 0.01, "adam-none": 0.003, "adam-stiefel": 0.03, "adamw": 0.01, "adamw-none": 0.003, "adamw-stiefel": 0.03,
	"adagrad": 0.1, "adagrad-none": 0.02, "adagrad-oblique": 0.05, "adagrad-stiefel": 0.2,
	"rmsprop": 0.01, "rmsprop-none": 0.003, "rmsprop-stiefel": 0.02,
	"muon": 0.02,
	"rdog": 1, "rdowg": 1,
	"stock-vanilla": 0.1, "stock-momentum": 0.05, "stock-rmsprop": 0.001, "stock-adam": 0.003,
}

// defaultRate is the learning rate where none is given.
func (s *settings) defaultRate() float64 {
	if r, ok := rates[s.Solver+"-"+s.Manifold]; ok {
		return r
	}
	return rates[s.Solver]
}

// schedule returns the factor of the learning rate over the given number of steps.
func (s *settings) schedule(steps int) solvers.Schedule {
	switch s.Schedule {
	case "step":
		return solvers.NewSchedule("divided by 10 after 1/2 and 3/4", func(t int) float64 {
			switch {
			case t < steps/2:
				return 1
			case t < steps*3/4:
				return 0.1
			}
			return 0.01
		})
	case "cosine":
		return solvers.Cosine(max(1, steps), 0)
	}
	return solvers.Constant()
}

// solver makes the solver of a run with the given number of steps, with the average of the weights if the settings ask for it.
func (s *settings) solver(steps int) (gorgonia.Solver, error) {
	if !(s.EMA >= 0 && s.EMA < 1) {
		return nil, cli.Usage("-ema: want a number above 0 and below 1, got %g", s.EMA)
	}
	of, err := s.stepper(steps)
	if err == nil && s.EMA > 0 {
		return solvers.NewEMA(of, s.EMA), nil
	}
	return of, err
}

// stepper makes the solver itself. A stock solver needs a learning rate
// for each step from outside: see rate.
func (s *settings) stepper(steps int) (gorgonia.Solver, error) {
	m, err := s.manifold()
	if err != nil {
		return nil, err
	}
	grouping, err := find("grouping", s.Grouping, groupings)
	if err != nil {
		return nil, err
	}
	if s.Import != "" && m != nil { // imported kernels keep their size
		grouping = append(slices.Clone(grouping), manifolds.Initial)
	}
	switch {
	case m == nil && s.Grouping != "default":
		return nil, cli.Usage("-grouping: want a manifold beside it, got -manifold none")
	case !(s.LearnRate >= 0) || math.IsInf(s.LearnRate, 0):
		return nil, cli.Usage("-lr: want a positive number, got %g", s.LearnRate)
	case !(s.Momentum >= 0 && s.Momentum < 1):
		return nil, cli.Usage("-momentum: want a number from 0 to less than 1, got %g", s.Momentum)
	case s.Ambient && (s.Solver != "sgd" || s.Momentum == 0):
		return nil, cli.Usage("-ambient: want -solver sgd with a momentum, got %s with %g", s.Solver, s.Momentum)
	case !(s.Decay >= 0) || math.IsInf(s.Decay, 0):
		return nil, cli.Usage("-decay: want a number of 0 or more, got %g", s.Decay)
	case !(s.SAM >= 0) || math.IsInf(s.SAM, 0):
		return nil, cli.Usage("-sam: want a positive number, got %g", s.SAM)
	case !slices.Contains(scheduleNames, s.Schedule):
		return nil, cli.Usage("-schedule: want one of %s, got %q", strings.Join(scheduleNames, ", "), s.Schedule)
	}
	if !s.ours() {
		make, err := find("solver", s.Solver, stock)
		if err != nil {
			return nil, cli.Usage("-solver: want one of %s, got %q", strings.Join(solverNames(), ", "), s.Solver)
		}
		if m == nil {
			return make(s), nil
		}
		return solvers.Constrain(make(s), m, grouping...), nil
	}
	options := []solvers.Option{solvers.LearnRate(s.LearnRate), solvers.Anneal(s.schedule(steps)), solvers.EuclideanDecay(s.Decay)}
	if s.Solver == "sgd" {
		options = append(options, solvers.Momentum(s.Momentum))
		if s.Ambient {
			options = append(options, solvers.AmbientMomentum())
		}
	}
	if m != nil {
		options = append(options, solvers.Kernels(m, grouping...))
	}
	if s.Freeze != "" {
		parts := s.frozen()
		options = append(options, solvers.Where(func(name string, _ tensor.Shape) bool {
			return slices.ContainsFunc(parts, func(p string) bool { return name == p || strings.HasPrefix(name, p+".") })
		}, nil).With(solvers.Frozen()))
	}
	make, err := find("solver", s.Solver, ours)
	if err == nil && s.SAM > 0 {
		return solvers.NewSAM(make(options...), s.SAM), nil
	}
	return make(options...), err
}

// manifold finds the manifold, or the ensemble of several.
func (s *settings) manifold() (manifolds.Manifold, error) {
	e, is, err := cli.Ensemble(s.Manifold, s.Seed, func(name string) (manifolds.Manifold, bool) {
		if name == "euclidean" {
			return manifolds.Euclidean{}, true
		}
		m, err := find("manifold", name, kinds)
		return m, err == nil && m != nil
	})
	switch {
	case !is:
		return find("manifold", s.Manifold, kinds)
	case err != nil:
		return nil, cli.Usage("-manifold: %v", err)
	}
	return e, nil
}

// frozen returns the parts of the net that stay as they are.
func (s *settings) frozen() []string { return strings.Split(s.Freeze, ",") }

// ours reports whether the solver is one of package solvers, whose state can be saved.
func (s *settings) ours() bool { return slices.Contains(namesOf(ours), s.Solver) }

// rate is the learning rate of a stock solver at a step; it is nil for other solvers, which have their own schedule.
func (s *settings) rate(steps int) func(step int) float64 {
	if s.ours() {
		return nil
	}
	schedule := s.schedule(steps)
	return func(step int) float64 { return s.LearnRate * schedule.At(step) }
}

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

// ours are the solvers of package solvers.
var ours = []cli.Named[func(...solvers.Option) *solvers.Solver]{
	{Name: "sgd", Value: solvers.NewSGD}, {Name: "adam", Value: solvers.NewAdam}, {Name: "adamw", Value: solvers.NewAdamW},
	{Name: "adagrad", Value: solvers.NewAdagrad}, {Name: "rmsprop", Value: solvers.NewRMSProp}, {Name: "muon", Value: solvers.NewMuon},
	{Name: "rdog", Value: solvers.NewRDoG}, {Name: "rdowg", Value: solvers.NewRDoWG},
}

var (
	kinds         = append([]cli.Named[manifolds.Manifold]{{Name: "none"}}, cli.Manifolds[1:]...)
	groupings     = append([]cli.Named[manifolds.Option]{{Name: "default"}}, cli.Groupings...)
	scheduleNames = []string{"constant", "step", "cosine"}
)

// solverNames returns the names of our solvers, and of those of Gorgonia.
func solverNames() []string {
	names := cli.Names(ours)
	for _, s := range cli.Stock {
		names = append(names, "stock-"+s.Name)
	}
	return names
}

// rates are the default learning rates: that of a solver applies to every manifold without a rate of its own. Adam
// divides by one second moment per point, so its steps are longer for larger points.
var rates = map[string]float64{
	"sgd": 0.1, "adam": 0.01, "adam-none": 0.003, "adam-stiefel": 0.03, "adam-grassmann": 0.03,
	"adamw": 0.01, "adamw-none": 0.003, "adamw-stiefel": 0.03, "adamw-grassmann": 0.03,
	"adagrad": 0.1, "adagrad-none": 0.02, "adagrad-oblique": 0.05, "adagrad-stiefel": 0.2, "adagrad-grassmann": 0.2,
	"rmsprop": 0.01, "rmsprop-none": 0.003, "rmsprop-stiefel": 0.02, "rmsprop-grassmann": 0.02,
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
	grouping, err := cli.Find("grouping", s.Grouping, groupings)
	if err != nil {
		return nil, err
	}
	var of []manifolds.Option // of the manifold
	if grouping != nil {
		of = append(of, grouping)
	}
	if s.Import != "" { // imported kernels keep their size
		of = append(of, manifolds.Initial)
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
		i := slices.IndexFunc(cli.Stock, func(o cli.StockSolver) bool { return s.Solver == "stock-"+o.Name })
		if i < 0 {
			return nil, cli.Usage("-solver: want one of %s, got %q", strings.Join(solverNames(), ", "), s.Solver)
		}
		stock := cli.Stock[i].Make(s.LearnRate, s.Momentum)
		if m == nil {
			return stock, nil
		}
		return solvers.Constrain(stock, m, of...), nil
	}
	options := []solvers.Option{solvers.LearnRate(s.LearnRate), solvers.Anneal(s.schedule(steps)), solvers.EuclideanDecay(s.Decay)}
	if s.Solver == "sgd" {
		options = append(options, solvers.Momentum(s.Momentum))
		if s.Ambient {
			options = append(options, solvers.AmbientMomentum())
		}
	}
	if m != nil {
		options = append(options, solvers.Kernels(m, of...))
	}
	if s.Freeze != "" {
		parts := s.frozen()
		options = append(options, solvers.Where(func(name string, _ tensor.Shape) bool {
			return slices.ContainsFunc(parts, func(p string) bool { return name == p || strings.HasPrefix(name, p+".") })
		}, nil).With(solvers.Frozen()))
	}
	make, err := cli.Find("solver", s.Solver, ours)
	if err == nil && s.SAM > 0 {
		return solvers.NewSAM(make(options...), s.SAM), nil
	}
	return make(options...), err
}

// manifold finds the manifold, or the ensemble of several.
func (s *settings) manifold() (manifolds.Manifold, error) {
	e, is, err := cli.Ensemble(s.Manifold, s.Seed)
	switch {
	case !is:
		return cli.Find("manifold", s.Manifold, kinds)
	case err != nil:
		return nil, cli.Usage("-manifold: %v", err)
	}
	return e, nil
}

// frozen returns the parts of the net that stay as they are.
func (s *settings) frozen() []string { return strings.Split(s.Freeze, ",") }

// ours reports whether the solver is one of package solvers, whose state can be saved.
func (s *settings) ours() bool { return slices.Contains(cli.Names(ours), s.Solver) }

// rate is the learning rate of a stock solver at a step; it is nil for other solvers, which have their own schedule.
func (s *settings) rate(steps int) func(step int) float64 {
	if s.ours() {
		return nil
	}
	schedule := s.schedule(steps)
	return func(step int) float64 { return s.LearnRate * schedule.At(step) }
}

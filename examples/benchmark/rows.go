// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"regexp"
	"slices"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// row is a comparison: time of ours against that of a peer. must and aim are bounds
// for their ratio; a row without a bar has none.
type row struct {
	what, peer string
	ours, its  cost
	must, aim  float64
	as         func(ratio float64) string // how the ratio is printed
}

// name tells the row from all others.
func (r row) name() string { return r.what + ", against " + r.peer }

// faster prints a ratio as how much faster ours is.
func faster(ratio float64) string {
	if ratio > 1 {
		return fmt.Sprintf("%.3gx slower", ratio)
	}
	return fmt.Sprintf("%.3gx faster", 1/ratio)
}

// ofItsTime prints a ratio as it is.
func ofItsTime(ratio float64) string { return fmt.Sprintf("%.2f of its time", ratio) }

// percent prints a ratio as a share.
func percent(ratio float64) string { return fmt.Sprintf("%.1f %%", 100*ratio) }

// momentumSGD is our solver of the rows on solver steps.
func momentumSGD(opts ...solvers.Option) func() gorgonia.Solver {
	return func() gorgonia.Solver {
		return solvers.NewSGD(append(opts, solvers.LearnRate(1e-3), solvers.Momentum(0.9))...)
	}
}

// constrainedAdam is our Adam with kernels on a manifold.
func constrainedAdam(m manifolds.Manifold) func() gorgonia.Solver {
	return func() gorgonia.Solver { return solvers.NewAdam(solvers.Kernels(m)) }
}

func stockMomentum() gorgonia.Solver {
	return gorgonia.NewMomentum(gorgonia.WithLearnRate(1e-3), gorgonia.WithMomentum(0.9))
}

// contests returns everything that the program compares.
func contests() (all []contest) {
	nets := []struct {
		name   string
		shapes shapes
		bars   // that differ between the nets
	}{
		{"ResNet-18", resNet18(), bars{bank: bar{2.5, 3}, sphere: bar{1 / 0.7, 1 / 0.5}}},
		{"ResNet-20", resNet20(), bars{bank: bar{4, 6}, sphere: bar{1 / 0.4, 1 / 0.3}}},
	}
	for _, n := range nets {
		all = append(all, bankContest(n.name, n.shapes, n.bank))
	}
	for _, n := range nets {
		all = append(all, sphereContest(n.name, n.shapes, n.sphere))
	}
	for _, n := range nets {
		all = append(all, kernelContests(n.name, n.shapes)...)
	}
	return append(all, trainingContest(plainNet), resNetContest())
}

// bar says how many times faster than the peer ours must be, and aims to be.
type bar struct{ must, aim float64 }

type bars struct{ bank, sphere bar }

// bankContest is the step on Stiefel, where every filter bank is one point.
func bankContest(net string, s shapes, b bar) contest {
	return contest{
		name: "Stiefel bank, " + net,
		entrants: []entrant{
			steps("ours", s, momentumSGD(solvers.Kernels(manifolds.Stiefel{}))),
			peerSteps("geoopt", "geoopt", "stiefel bank", s, false),
		},
		rows: []row{{
			what: "Stiefel SGD step, filter bank, " + net, peer: "geoopt RiemannianSGD, EuclideanStiefel",
			ours: of("ours"), its: of("geoopt"), must: 1 / b.must, aim: 1 / b.aim, as: faster,
		}},
	}
}

// sphereContest is the step on spheres, where every filter is a point.
func sphereContest(net string, s shapes, b bar) contest {
	what := "sphere SGD step, per filter, " + net
	against := func(entrant, peer string, must, aim float64, as func(float64) string) row {
		return row{what: what, peer: peer, ours: of("ours"), its: of(entrant), must: must, aim: aim, as: as}
	}
	return contest{
		name: "sphere, " + net,
		entrants: []entrant{
			steps("ours", s, momentumSGD(solvers.Kernels(manifolds.Sphere{}))),
			peerSteps("torch", "torch", "sgd", s, false),
			peerSteps("torch clearing", "torch", "sgd", s, true),
			steps("stock Momentum", s, stockMomentum),
			steps("stock Adam", s, stockAdam),
			peerSteps("geoopt", "geoopt", "sphere per filter", s, false),
		},
		rows: []row{
			against("torch", "torch SGD momentum, unconstrained", 1/b.must, 1/b.aim, ofItsTime),
			against("torch clearing", "the same and zero_grad, as every Gorgonia solver does", 0, 0, ofItsTime),
			against("stock Momentum", "stock Gorgonia Momentum, unconstrained", 1./3, 1./4, faster),
			against("stock Adam", "stock Gorgonia Adam, unconstrained", 1./15, 1./20, faster),
			against("geoopt", "geoopt RiemannianSGD, Sphere", 0, 0, faster),
		},
	}
}

// kernelContests are the steps where every 3x3 slice is a point, on the layers that have such.
func kernelContests(net string, s shapes) (all []contest) {
	s = s.kernels()
	for _, c := range []struct {
		name     string
		manifold manifolds.Manifold
		kind     string
		peer     string
		bar
	}{
		{"sphere", manifolds.Sphere{}, "sphere per slice", "geoopt RiemannianSGD, Sphere", bar{10, 20}},
		{"Stiefel", manifolds.Stiefel{}, "stiefel per slice", "geoopt RiemannianSGD, EuclideanStiefel", bar{25, 100}},
	} {
		all = append(all, contest{
			name: c.name + " per 3x3, " + net,
			entrants: []entrant{
				steps("ours", s, momentumSGD(solvers.Kernels(c.manifold, manifolds.PerSlice))),
				peerSteps("geoopt", "geoopt", c.kind, s, false),
			},
			rows: []row{{
				what: c.name + " SGD step, per 3x3, " + net, peer: c.peer,
				ours: of("ours"), its: of("geoopt"), must: 1 / c.must, aim: 1 / c.aim, as: faster,
			}},
		})
	}
	return all
}

// trainingContest is the whole training step, and what a constraint adds to it: the
// time that the solver takes beyond the unconstrained one, as a share of graph and
// constrained solver together.
func trainingContest(n netSpec) contest {
	c := contest{
		name:  "training step",
		least: 5,
		entrants: []entrant{
			n.trains("ours", ourOps, ourAdam),
			n.trains("stock", stockOps, stockAdam),
			n.peerTrains("torch"),
			n.trains("graph", ourOps, nil),
		},
		rows: []row{
			{what: "training step", peer: "stock Gorgonia", ours: of("ours"), its: of("stock"), must: 1. / 4, aim: 1. / 6, as: faster},
			{what: "training step", peer: "PyTorch", ours: of("ours"), its: of("torch"), must: 1.5, aim: 1, as: ofItsTime},
		},
	}
	for _, rule := range []struct {
		name        string
		free        func() gorgonia.Solver
		constrained func(manifolds.Manifold) func() gorgonia.Solver
	}{
		{"SGD", momentumSGD(), func(m manifolds.Manifold) func() gorgonia.Solver { return momentumSGD(solvers.Kernels(m)) }},
		{"Adam", ourAdam, constrainedAdam},
	} {
		free := rule.name + ", free"
		c.entrants = append(c.entrants, steps(free, n.shapes(), rule.free))
		for _, m := range []struct {
			name     string
			manifold manifolds.Manifold
		}{{"sphere per filter", manifolds.Sphere{}}, {"Stiefel bank", manifolds.Stiefel{}}} {
			kept := rule.name + ", " + m.name
			c.entrants = append(c.entrants, steps(kept, n.shapes(), rule.constrained(m.manifold)))
			c.rows = append(c.rows, row{
				what: "share of the constraint, " + kept, peer: "the whole training step",
				ours: of(kept).minus(free), its: of("graph").plus(kept), must: 0.05, aim: 0.02, as: percent,
			})
		}
	}
	return c
}

// solverEntrants are the solvers whose allocations are counted.
func solverEntrants(s shapes) []entrant {
	return []entrant{
		steps("SGD momentum", s, momentumSGD()),
		steps("SGD momentum, sphere per filter", s, momentumSGD(solvers.Kernels(manifolds.Sphere{}))),
		steps("SGD momentum, sphere per 3x3", s, momentumSGD(solvers.Kernels(manifolds.Sphere{}, manifolds.PerSlice))),
		steps("SGD momentum, centred sphere", s, momentumSGD(solvers.Kernels(manifolds.CentredSphere{}))),
		steps("SGD momentum, oblique", s, momentumSGD(solvers.Kernels(manifolds.Oblique{}))),
		steps("SGD momentum, Stiefel bank", s, momentumSGD(solvers.Kernels(manifolds.Stiefel{}))),
		steps("SGD momentum, Stiefel per 3x3", s, momentumSGD(solvers.Kernels(manifolds.Stiefel{}, manifolds.PerSlice))),
		steps("Adam", s, ourAdam),
		steps("Adam, sphere per filter", s, constrainedAdam(manifolds.Sphere{})),
		steps("Adam, Stiefel bank", s, constrainedAdam(manifolds.Stiefel{})),
		steps("stock Momentum", s, stockMomentum),
		steps("stock Momentum, Constrain to spheres", s, func() gorgonia.Solver { return solvers.Constrain(stockMomentum(), manifolds.Sphere{}) }),
		steps("stock Adam", s, stockAdam),
	}
}

// only keeps the rows whose name matches, and what they need.
func only(all []contest, names *regexp.Regexp) (kept []contest) {
	for _, c := range all {
		c.rows = slices.DeleteFunc(c.rows, func(r row) bool { return !names.MatchString(r.name()) })
		needed := map[string]bool{}
		for _, r := range c.rows {
			for _, p := range slices.Concat(r.ours, r.its) {
				needed[p.entrant] = true
			}
		}
		c.entrants = slices.DeleteFunc(c.entrants, func(e entrant) bool { return !needed[e.name] })
		if len(c.rows) > 0 {
			kept = append(kept, c)
		}
	}
	return kept
}

// result is a row as measured, or why it was not.
type result struct {
	row
	missing          missing
	ourTime, itsTime spread
}

// ratio is that of the medians.
func (r result) ratio() float64 { return r.ourTime.median / r.itsTime.median }

// verdict holds the ratio against the bar.
func (r result) verdict() string {
	switch {
	case r.missing != "":
		return "not measured: " + string(r.missing)
	case r.must == 0:
		return "no bar"
	case r.ratio() <= r.aim:
		return "met, and the aim"
	case r.ratio() <= r.must:
		return "met"
	}
	return "missed"
}

// judge makes results of times.
func (c contest) judge(t times, absent map[string]missing) (all []result) {
	for _, r := range c.rows {
		o := result{row: r}
		for _, p := range slices.Concat(r.ours, r.its) {
			if m, ok := absent[p.entrant]; ok {
				o.missing = m
			}
		}
		if o.missing == "" {
			o.ourTime, o.itsTime = r.ours.over(t), r.its.over(t)
			if math.IsNaN(o.ratio()) {
				o.missing = "no time passed"
			}
		}
		all = append(all, o)
	}
	return all
}

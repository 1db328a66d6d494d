// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"regexp"
	"slices"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// row is a comparison: our time against that of a peer, or something else that was counted.
type row struct {
	what, peer string
	ours, its  cost
	bar
	unit  string                     // where it is not ms
	as    func(ratio float64) string // how the ratio is printed
	given *premise                   // of the bar, or nil
}

// bar holds the bounds for the ratio of our time to the peer's, or zeros if there are none.
type bar struct{ must, aim float64 }

// timesFaster returns the bounds for being the given number of times as fast as the peer.
func timesFaster(must, aim float64) bar { return bar{1 / must, 1 / aim} }

// premise is a ratio above which the bounds of a row do not apply.
type premise struct {
	ours, its cost
	most      float64
	otherwise func(ratio float64) string // why there is none
}

// name returns a name that no other row has.
func (r row) name() string { return r.what + ", against " + r.peer }

// entrants returns the names of those that the row needs.
func (r row) entrants() (names []string) {
	parts := slices.Concat(r.ours, r.its)
	if r.given != nil {
		parts = slices.Concat(parts, r.given.ours, r.given.its)
	}
	for _, p := range parts {
		names = append(names, p.entrant)
	}
	return names
}

// missing returns why an entrant that the row needs is missing, or nothing.
func (r row) missing(absent map[string]missing) missing {
	for _, name := range r.entrants() {
		if m, ok := absent[name]; ok {
			return m
		}
	}
	return ""
}

// faster prints a ratio as how much faster ours is.
func faster(ratio float64) string {
	if ratio > 1 {
		return fmt.Sprintf("%.3gx slower", ratio)
	}
	return fmt.Sprintf("%.3gx faster", 1/ratio)
}

// ofItsTime prints a ratio as it is.
func ofItsTime(ratio float64) string { return fmt.Sprintf("%.2f of its time", ratio) }

// timesTheFloor prints a ratio to a lower bound.
func timesTheFloor(ratio float64) string { return fmt.Sprintf("%.2f times it", ratio) }

// percent prints a ratio as a share.
func percent(ratio float64) string { return fmt.Sprintf("%.1f %%", 100*ratio) }

// momentumSGD is our solver of the rows on solver steps.
func momentumSGD(opts ...solvers.Option) func() gorgonia.Solver {
	return func() gorgonia.Solver {
		return solvers.NewSGD(append(opts, solvers.LearnRate(1e-3), solvers.Momentum(0.9))...)
	}
}

// constrainedAdam is our Adam with kernels on a manifold.
func constrainedAdam(m manifolds.Manifold, opts ...manifolds.Option) func() gorgonia.Solver {
	return func() gorgonia.Solver { return solvers.NewAdam(solvers.Kernels(m, opts...)) }
}

func stockMomentum() gorgonia.Solver {
	return gorgonia.NewMomentum(gorgonia.WithLearnRate(1e-3), gorgonia.WithMomentum(0.9))
}

// pass holds the contests for a number of threads.
type pass struct {
	threads  int
	contests []contest
}

// passes returns the contests that have rows whose name matches, for each number of threads.
func passes(threads []int, names *regexp.Regexp) (all []pass) {
	for _, n := range threads {
		c := contests(n)
		if n > 1 && slices.Contains(threads, 1) {
			c = append(c, speedUpContest(n))
		}
		if c = only(c, names); len(c) > 0 {
			all = append(all, pass{n, c})
		}
	}
	return all
}

// contests returns everything that the program compares with the given number of threads. The bounds for several threads are those for 2.
func contests(threads int) (all []contest) {
	per := func(one, more bar) bar {
		if threads == 1 {
			return one
		}
		return more
	}
	nets := []struct {
		name                string
		shapes              shapes
		bank, sphere, floor bar
	}{
		{"ResNet-18", resNet18(), timesFaster(2.5, 3), bar{0.8, 0.7}, bar{1.35, 1.15}},
		{"ResNet-20", resNet20(), timesFaster(4, 6), bar{0.5, 0.4}, bar{}}, // fits into caches
	}
	for _, n := range nets {
		all = append(all, bankContest(n.name, n.shapes, n.bank))
	}
	for _, n := range nets {
		all = append(all, sphereContest(n.name, n.shapes, n.sphere, n.floor))
	}
	for _, n := range nets {
		all = append(all, kernelContests(n.name, n.shapes)...)
	}
	all = append(all, flopsContest("ResNet-20", resNet20()))
	all = append(all,
		trainingContest(plainNet, per(bar{0.8, 0.6}, bar{0.85, 0.65})),
		orthogonalContest(),
		transposedContest(),
		resNet(resNetBatch).contest(bar{0.85, 0.65}),
		wideResNet(wideResNetBatch).contest(bar{0.95, 0.75}),
		predictionContest(threads),
		memoryContest(resNet(256)),
		allocationContest(),
	)
	for _, r := range imageNets() {
		all = append(all, imageNetContest(r), memoryContest(r))
	}
	if threads > 1 {
		for _, c := range all {
			for i := range c.rows {
				c.rows[i].what += fmt.Sprintf(", %d threads", threads)
			}
		}
	}
	return all
}

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
			ours: of("ours"), its: of("geoopt"), bar: b, as: faster,
		}},
	}
}

// sphereContest is the step on spheres, where every filter is a point. Where memory bounds it, it is also held
// against the least that can be done to memory.
func sphereContest(net string, s shapes, b, floor bar) contest {
	against := func(entrant, peer string, b bar, as func(float64) string) row {
		return row{what: "sphere SGD step, per filter, " + net, peer: peer, ours: of("ours"), its: of(entrant), bar: b, as: as}
	}
	c := contest{
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
			against("torch clearing", "torch SGD momentum and zero_grad, unconstrained", b, ofItsTime),
			against("torch", "torch SGD momentum, unconstrained", bar{}, ofItsTime),
			against("stock Momentum", "stock Gorgonia Momentum, unconstrained", bar{}, faster),
			against("stock Adam", "stock Gorgonia Adam, unconstrained", bar{}, faster),
			against("geoopt", "geoopt RiemannianSGD, Sphere", bar{}, faster),
		},
	}
	if floor != (bar{}) {
		c.entrants = append(c.entrants, sweeps("floor", s))
		c.rows = slices.Insert(c.rows, 1, against("floor", "the floor that memory sets", floor, timesTheFloor))
	}
	return c
}

// kernelContests are the steps where every 3x3 slice is a point, on the layers with such slices.
func kernelContests(net string, s shapes) (all []contest) {
	s = s.kernels()
	for _, c := range []struct {
		name     string
		manifold manifolds.Manifold
		kind     string
		peer     string
		bar
	}{
		{"sphere", manifolds.Sphere{}, "sphere per slice", "geoopt RiemannianSGD, Sphere", timesFaster(10, 20)},
		{"Stiefel", manifolds.Stiefel{}, "stiefel per slice", "geoopt RiemannianSGD, EuclideanStiefel", timesFaster(25, 100)},
	} {
		all = append(all, contest{
			name: c.name + " per 3x3, " + net,
			entrants: []entrant{
				steps("ours", s, momentumSGD(solvers.Kernels(c.manifold, manifolds.PerSlice))),
				peerSteps("geoopt", "geoopt", c.kind, s, false),
			},
			rows: []row{{
				what: c.name + " SGD step, per 3x3, " + net, peer: c.peer,
				ours: of("ours"), its: of("geoopt"), bar: c.bar, as: faster,
			}},
		})
	}
	return all
}

// constraints are the manifolds whose share of a training step is measured.
var constraints = []struct {
	name     string
	manifold manifolds.Manifold
	opts     []manifolds.Option
}{
	{"sphere per filter", manifolds.Sphere{}, nil},
	{"Stiefel bank", manifolds.Stiefel{}, nil},
	{"Stiefel per 3x3", manifolds.Stiefel{}, []manifolds.Option{manifolds.PerSlice}},
}

// share is the row of the cost of a constraint in a training step: the additional time of the solver over the
// unconstrained one, as a share of the whole step with the constraint.
func share(what string, added, whole cost) row {
	return row{
		what: "share of the constraint, " + what, peer: "the whole training step",
		ours: added, its: whole, bar: bar{0.05, 0.03}, as: percent,
	}
}

// trainingContest is the whole training step, and what a constraint adds to it.
func trainingContest(n netSpec, torch bar) contest {
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
			{what: "training step", peer: "stock Gorgonia", ours: of("ours"), its: of("stock"), bar: timesFaster(4, 6), as: faster},
			{what: "training step", peer: "PyTorch", ours: of("ours"), its: of("torch"), bar: torch, as: ofItsTime},
		},
	}
	for _, rule := range []struct {
		name        string
		free        func() gorgonia.Solver
		constrained func(manifolds.Manifold, ...manifolds.Option) func() gorgonia.Solver
	}{
		{"SGD", momentumSGD(), func(m manifolds.Manifold, opts ...manifolds.Option) func() gorgonia.Solver {
			return momentumSGD(solvers.Kernels(m, opts...))
		}},
		{"Adam", ourAdam, constrainedAdam},
	} {
		free := rule.name + ", free"
		c.entrants = append(c.entrants, steps(free, n.shapes(), rule.free))
		for _, m := range constraints {
			kept := rule.name + ", " + m.name
			c.entrants = append(c.entrants, steps(kept, n.shapes(), rule.constrained(m.manifold, m.opts...)))
			c.rows = append(c.rows, share(kept, of(kept).minus(free), of("graph").plus(kept)))
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

// only keeps the rows whose name matches, and the entrants that they need.
func only(all []contest, names *regexp.Regexp) (kept []contest) {
	for _, c := range all {
		c.rows = slices.DeleteFunc(c.rows, func(r row) bool { return !names.MatchString(r.name()) })
		needed := map[string]bool{}
		for _, r := range c.rows {
			for _, name := range r.entrants() {
				needed[name] = true
			}
		}
		c.entrants = slices.DeleteFunc(c.entrants, func(e entrant) bool { return !needed[e.name] })
		if len(c.rows) > 0 {
			kept = append(kept, c)
		}
	}
	return kept
}

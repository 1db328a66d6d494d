// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"math"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/mpi"
	"github.com/kernelfold/kernelfold/internal/mpi/mpitest"
	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// Graphs that replace another of the same names while that one is still alive, and nets that are copies of each other.

// graph is a model with nodes in a graph of its own.
type graph gorgonia.Nodes

// graphOf makes a graph with copies of the weights.
func graphOf(m []*param) (n graph) {
	g := gorgonia.NewGraph()
	for _, p := range m {
		c := &param{p.name, p.w.Clone().(*tensor.Dense), p.g.Clone().(*tensor.Dense)}
		n = append(n, node(g, c))
	}
	return n
}

// copy makes a graph with copies of the weights of another.
func (n graph) copy() graph {
	var m []*param
	for _, v := range n {
		g, _ := v.Grad()
		m = append(m, &param{v.Name(), valueOf(v), g.(*tensor.Dense)})
	}
	return graphOf(m)
}

// take copies the weights of another graph.
func (n graph) take(other graph) {
	for i, v := range n {
		copy(valueOf(v).Float64s(), valueOf(other[i]).Float64s())
	}
}

func (n graph) weights() map[string][]float64 {
	out := map[string][]float64{}
	for _, v := range n {
		out[v.Name()] = get(valueOf(v))
	}
	return out
}

// slope gives the graph gradients of the seed: those of "offset" are always 0, like those of a bias that nothing depends on.
func (n graph) slope(seed uint64) []gorgonia.ValueGrad {
	var m []*param
	for _, v := range n {
		g, _ := v.Grad()
		m = append(m, &param{v.Name(), valueOf(v), g.(*tensor.Dense)})
	}
	gradients(m, seed)
	m[len(m)-1].g.Zero()
	return gorgonia.NodesToValueGrads(gorgonia.Nodes(n))
}

// lineage is what a model would be if its solver had no other.
type lineage struct {
	t      *testing.T
	of     func() stepper
	solver stepper
	m      []*param
}

func newLineage(t *testing.T, of func() stepper, m []*param) *lineage {
	return &lineage{t, of, of(), m}
}

// copy goes on from the state of now.
func (l *lineage) copy() *lineage {
	type keeper interface {
		Snapshot() (*solvers.Snapshot, error)
		Restore([]gorgonia.ValueGrad, *solvers.Snapshot) error
	}
	var m []*param
	for _, p := range l.m {
		m = append(m, &param{p.name, p.w.Clone().(*tensor.Dense), p.g.Clone().(*tensor.Dense)})
	}
	c := newLineage(l.t, l.of, m)
	snap, err := l.solver.(keeper).Snapshot()
	require.NoError(l.t, err)
	require.NoError(l.t, c.solver.(keeper).Restore(valueGrads(m), snap))
	return c
}

// step steps the graph by s as well as the lineage, and compares their weights.
func (l *lineage) step(s gorgonia.Solver, n graph, seed uint64) {
	l.t.Helper()
	require.NoError(l.t, s.Step(n.slope(seed)))
	gradients(l.m, seed)
	l.m[len(l.m)-1].g.Zero()
	require.NoError(l.t, l.solver.Step(valueGrads(l.m)))
	same(l.t, weights(l.m), n.weights(), " with the seed ", seed)
}

// everyOne calls f for every solver, with two constrained kernels and a frozen one.
func everyOne(t *testing.T, f func(t *testing.T, of func() stepper)) {
	for _, s := range native(0.01) {
		t.Run(s.name, func(t *testing.T) {
			f(t, func() stepper {
				return s.of(solvers.Param("conv1", manifolds.Stiefel{}), solvers.Param("conv2", manifolds.Sphere{}), solvers.Param("linear", nil).With(solvers.Frozen()))
			})
		})
	}
}

// A net and its copy go on from the state at the time of the copy, each on its own.
func TestCopyOfALiveNet(t *testing.T) {
	everyOne(t, func(t *testing.T, of func() stepper) {
		s, m := of(), model(tensor.Float64, 1)
		a, first := graphOf(m), newLineage(t, of, m)
		for seed := range uint64(3) {
			first.step(s, a, seed)
		}
		b, second := a.copy(), first.copy()
		c, third := a.copy(), first.copy()
		for seed := range uint64(4) {
			second.step(s, b, 10+seed)
			require.Len(t, s.Report().Parameters, 6, "the net before is not reported while it is not stepped")
		}
		third.step(s, c, 15)
		for seed := range uint64(8) {
			first.step(s, a, 20+seed)
			second.step(s, b, 30+seed)
			if seed%2 == 0 {
				third.step(s, c, 40+seed)
			}
		}
		r := s.Report()
		require.Len(t, r.Parameters, 18)
		rebuilt := map[string]int{}
		for _, p := range r.Parameters {
			rebuilt[p.Name] += p.Rebuilt
		}
		assert.Equal(t, 2, rebuilt["conv1"])
	})
}

// A net that is stepped after its copy was made starts the copy anew: the weights of the copy are not those of the last step.
func TestCopyThatComesLater(t *testing.T) {
	everyOne(t, func(t *testing.T, of func() stepper) {
		s, m := of(), model(tensor.Float64, 1)
		a, first := graphOf(m), newLineage(t, of, m)
		first.step(s, a, 1)
		b := a.copy()
		second := newLineage(t, of, first.copy().m)
		second.m[4].w, second.m[5].w = m[4].w.Clone().(*tensor.Dense), m[5].w.Clone().(*tensor.Dense)
		for seed := range uint64(4) {
			first.step(s, a, 10+seed)
			second.step(s, b, 20+seed)
		}
	})
}

// Graphs of several batch sizes between which the weights are copied to and fro are one net: reports and snapshots have each parameter once.
func TestAlternateGraphs(t *testing.T) {
	everyOne(t, func(t *testing.T, of func() stepper) {
		s, m := of(), model(tensor.Float64, 1)
		a, net := graphOf(m), newLineage(t, of, m)
		b, c := a.copy(), a.copy()
		for seed := range uint64(4) {
			net.step(s, a, 10*seed)
			net.step(s, a, 10*seed+1)
			b.take(a)
			net.step(s, b, 10*seed+2)
			c.take(b)
			net.step(s, c, 10*seed+3)
			a.take(c)
		}
		r := s.Report()
		require.Len(t, r.Parameters, 6)
		assert.Empty(t, r.Warnings)
		assert.Equal(t, 11, r.Parameters[0].Rebuilt)
		_, err := s.(*solvers.Solver).Snapshot()
		require.NoError(t, err)
		runtime.KeepAlive([]graph{a, b, c})
	})
}

// Nets that begin with equal weights have states of their own, whether Init sees them all first or not.
func TestNetsOfOneSeed(t *testing.T) {
	for _, init := range []bool{false, true} {
		everyOne(t, func(t *testing.T, of func() stepper) {
			s := of()
			var nets []graph
			var lineages []*lineage
			for range 4 {
				m := model(tensor.Float64, 1)
				lineages = append(lineages, newLineage(t, of, m))
				if init {
					require.NoError(t, lineages[0].of().Init(valueGrads(m)))
				}
				nets = append(nets, graphOf(m))
				if init {
					require.NoError(t, s.Init(gorgonia.NodesToValueGrads(gorgonia.Nodes(nets[len(nets)-1]))))
				}
			}
			for seed := range uint64(5) {
				for i, n := range nets {
					lineages[i].step(s, n, 10*seed+uint64(i))
				}
			}
			assert.Len(t, s.Report().Parameters, 24)
		})
	}
}

// Failed steps change nothing for a graph and those that replaced it.
func TestFailedStepsAmongCopies(t *testing.T) {
	of := func() stepper {
		return solvers.NewSGD(solvers.Momentum(0.9), solvers.Param("conv1", manifolds.Stiefel{}))
	}
	s, m := of(), model(tensor.Float64, 1)
	a, first := graphOf(m), newLineage(t, of, m)
	fail := func(n graph) {
		t.Helper()
		model := n.slope(99)
		g, err := n[0].Grad()
		require.NoError(t, err)
		g.(*tensor.Dense).Float64s()[1] = math.NaN()
		before := n.weights()
		require.ErrorIs(t, s.Step(model), solvers.ErrNotFinite)
		same(t, before, n.weights())
	}
	first.step(s, a, 1)
	b, second := a.copy(), first.copy()
	c, third := a.copy(), first.copy()
	for range 2 {
		fail(b)
	}
	second.step(s, b, 2)
	fail(c)
	fail(a)
	third.step(s, c, 3)
	fail(a)
	fail(b)
	first.step(s, a, 4)
	third.step(s, c, 5)
	first.step(s, a, 6)
	second.step(s, b, 7)
}

// What was kept for a graph goes with the graph, and with Forget.
func TestKeptForAGraph(t *testing.T) {
	of := func() stepper { return solvers.NewSGD(solvers.Momentum(0.9)) }
	s, m := solvers.NewSGD(solvers.Momentum(0.9)), model(tensor.Float64, 1)
	a, first := graphOf(m), newLineage(t, of, m)
	first.step(s, a, 1)
	b, second := a.copy(), first.copy()
	second.step(s, b, 2)
	assert.Empty(t, s.Forget(), "the parameters in the report were all in the last step")
	anew := newLineage(t, of, first.m)
	anew.step(s, a, 3)
	second.step(s, b, 4)
	runtime.KeepAlive(a)

	const large = 1 << 18
	p := newParam("w", tensor.Float64, large)
	gaussian(p.g, source(1), 1)
	s = solvers.NewAdam()
	kept := rebuild("w", p.w, p.g)
	require.NoError(t, s.Step([]gorgonia.ValueGrad{kept}))
	var sizes []float64
	last := valueOf(kept)
	for range 20 {
		n := rebuild("w", last, p.g)
		require.NoError(t, s.Step([]gorgonia.ValueGrad{n}))
		last = valueOf(n)
		sizes = append(sizes, heap())
	}
	assert.Less(t, sizes[19]-sizes[2], 8.0*large, "as large as the weights")
	runtime.KeepAlive(kept)
}

// Of values that are not nodes nobody can tell when they are gone. What is kept for them does not grow, but a value and its copy both go on.
func TestKeptForOtherValues(t *testing.T) {
	const large = 1 << 16
	p := newParam("w", tensor.Float64, large)
	gaussian(p.g, source(1), 1)
	renewed := func(p *param) *param {
		return &param{p.name, p.w.Clone().(*tensor.Dense), p.g.Clone().(*tensor.Dense)}
	}
	s := solvers.NewSGD(solvers.LearnRate(1), solvers.Momentum(0.5))
	var sizes []float64
	next := p
	for range 20 {
		next = renewed(&param{"w", next.w, p.g})
		require.NoError(t, s.Step([]gorgonia.ValueGrad{next}))
		sizes = append(sizes, heap())
	}
	assert.Less(t, sizes[19]-sizes[3], 8.0*large, "as large as the weights")
	require.Len(t, s.Report().Parameters, 1)

	s = solvers.NewSGD(solvers.LearnRate(1), solvers.Momentum(0.5))
	a := newParam("w", tensor.Float64, 1)
	step := func(p *param, g float64) float64 {
		put(p.g, []float64{g})
		require.NoError(t, s.Step([]gorgonia.ValueGrad{p}))
		return get(p.w)[0]
	}
	assert.Equal(t, -1.0, step(a, 1))
	b := renewed(a)
	assert.Equal(t, -1.5, step(b, 0))
	assert.Equal(t, -1.5, step(a, 0))
	assert.Equal(t, -1.75, step(b, 0))
	assert.Equal(t, -1.75, step(a, 0))
}

// The state of a stock solver cannot be copied. The graph that was replaced joins as a new parameter, which stock solvers with state refuse, and
// nothing is lost.
func TestCopiesUnderAStockSolver(t *testing.T) {
	for _, k := range wrapped(0.01) {
		t.Run(k.name, func(t *testing.T) {
			of := func() stepper { return k.of(solvers.Param("conv1", manifolds.Stiefel{})) }
			s, m := of(), model(tensor.Float64, 1)
			a, net := graphOf(m), newLineage(t, of, m)
			net.step(s, a, 1)
			b := a.copy()
			net.step(s, b, 2)
			before := a.weights()
			if k.memoryless {
				var twins []*param
				for _, n := range a {
					twins = append(twins, &param{n.Name(), valueOf(n).Clone().(*tensor.Dense), valueOf(n).Clone().(*tensor.Dense)})
				}
				newLineage(t, of, twins).step(s, a, 3)
				net.step(s, b, 4)
				return
			}
			require.ErrorIs(t, s.Step(a.slope(3)), solvers.ErrStock)
			same(t, before, a.weights())
			require.Len(t, s.Report().Parameters, 6)
			net.step(s, b, 4)
		})
	}
}

// A net and its copy have averages of their own, also around solvers of other packages.
func TestAveragesOfCopies(t *testing.T) {
	for name, of := range map[string]func() gorgonia.Solver{
		"SGD":     func() gorgonia.Solver { return solvers.NewSGD(solvers.LearnRate(0.1), solvers.Momentum(0.9)) },
		"Vanilla": func() gorgonia.Solver { return gorgonia.NewVanillaSolver(gorgonia.WithLearnRate(0.1)) },
	} {
		t.Run(name, func(t *testing.T) {
			s := solvers.NewSWA(solvers.NewEMA(of(), 0.5))
			a := graph{rebuild("w", newParam("w", tensor.Float64, 3).w, newParam("w", tensor.Float64, 3).g)}
			var sums [2][]float64 // of the weights after the steps of a net
			step := func(net int, n graph, seed uint64) {
				t.Helper()
				require.NoError(t, s.Step(n.slopeOf(seed)))
				sums[net] = append(sums[net], get(valueOf(n[0]))[0])
			}
			check := func(net int, n graph) {
				t.Helper()
				sum := 0.0
				for _, v := range sums[net] {
					sum += v
				}
				require.NoError(t, s.Swap(gorgonia.NodesToValueGrads(gorgonia.Nodes(n))))
				assert.InDelta(t, sum/float64(len(sums[net])), get(valueOf(n[0]))[0], 1e-14)
				s.SwapBack()
			}
			for seed := range uint64(3) {
				step(0, a, seed)
			}
			b := a.copy()
			sums[1] = append(sums[1], sums[0]...)
			for seed := range uint64(3) {
				step(1, b, 10+seed)
			}
			check(1, b)
			for seed := range uint64(3) {
				step(0, a, 20+seed)
				step(1, b, 30+seed)
			}
			check(0, a)
			check(1, b)
		})
	}
}

// slopeOf is slope without a parameter whose gradient is 0.
func (n graph) slopeOf(seed uint64) []gorgonia.ValueGrad {
	for _, v := range n {
		g, _ := v.Grad()
		gaussian(g.(*tensor.Dense), source(seed), 1)
	}
	return gorgonia.NodesToValueGrads(gorgonia.Nodes(n))
}

// Processes that share their steps do the same as one, whichever of them has the state of a net and of its copy.
func TestSharesOfCopies(t *testing.T) {
	everyOne(t, func(t *testing.T, of func() stepper) {
		program := func(t *testing.T, step func(n graph, seed uint64)) (graph, graph) {
			a := graphOf(model(tensor.Float64, 1))
			for seed := range uint64(3) {
				step(a, seed)
			}
			b := a.copy()
			for seed := range uint64(3) {
				step(b, 10+seed)
			}
			step(a[2:3], 20) // parameters come back one after the other, and stay with their processes
			step(a[:2], 21)
			for seed := range uint64(3) {
				step(b, 30+seed)
				step(a, 40+seed)
			}
			return a, b
		}
		alone := of()
		a, b := program(t, func(n graph, seed uint64) { require.NoError(t, alone.Step(n.slope(seed))) })
		mpitest.Run(t, 3, func(t *testing.T, c mpi.Comm) {
			s := of().(*solvers.Solver)
			x, y := program(t, func(n graph, seed uint64) { require.NoError(t, s.StepShare(n.slope(seed), shareOf(c))) })
			same(t, a.weights(), x.weights())
			same(t, b.weights(), y.weights())
		})
	})
}

// The first pass of SAM finds what the second needs.
func TestCopiesUnderSAM(t *testing.T) {
	type pair struct {
		sam *solvers.SAM
		n   graph
	}
	of := func() *solvers.SAM {
		return solvers.NewSAM(solvers.NewSGD(solvers.Momentum(0.9), solvers.Param("conv1", manifolds.Stiefel{})), 0.05)
	}
	step := func(p pair, seed uint64) {
		t.Helper()
		require.NoError(t, p.sam.Ascend(p.n.slope(seed)))
		require.NoError(t, p.sam.Step(p.n.slope(seed+1000)))
	}
	start := graphOf(model(tensor.Float64, 1))
	shared := of()
	a, first := pair{shared, start.copy()}, pair{of(), start.copy()}
	for seed := range uint64(3) {
		step(a, seed)
		step(first, seed)
	}
	b, second := pair{shared, a.n.copy()}, pair{of(), first.n.copy()}
	snap, err := first.sam.Snapshot()
	require.NoError(t, err)
	require.NoError(t, second.sam.Restore(gorgonia.NodesToValueGrads(gorgonia.Nodes(second.n)), snap))
	for seed := range uint64(3) {
		step(b, 10+seed)
		step(second, 10+seed)
	}
	for seed := range uint64(3) {
		step(a, 20+seed)
		step(first, 20+seed)
		step(b, 30+seed)
		step(second, 30+seed)
		same(t, first.n.weights(), a.n.weights())
		same(t, second.n.weights(), b.n.weights())
	}
}

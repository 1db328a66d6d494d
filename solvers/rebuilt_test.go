// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"math"
	"runtime"
	"testing"
	"weak"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// Graphs that are built anew, as for another batch size, with the weights of the one before.

// rebuild is a node over a copy of w with a gradient over a copy of g, in a graph of its own.
func rebuild(name string, w, g *tensor.Dense) *gorgonia.Node {
	n := gorgonia.NodeFromAny(gorgonia.NewGraph(), w.Clone(), gorgonia.WithName(name))
	gorgonia.WithGrad(g.Clone().(gorgonia.Value))(n)
	return n
}

func valueOf(n *gorgonia.Node) *tensor.Dense { return n.Value().(*tensor.Dense) }

// heap is what is alive.
func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// Momentum goes on over thousands of graphs as if there were one, to the bit; the report does not grow, nor does the
// heap, and the graphs are collected.
func TestRebuiltGraphs(t *testing.T) {
	const rebuilds = 10000
	make := func() *solvers.Solver {
		return solvers.NewSGD(solvers.LearnRate(0.01), solvers.Momentum(0.9), solvers.Where(isRank4, manifolds.Sphere{}))
	}
	solver, reference := make(), make()
	twin := []*param{newParam("kernel", tensor.Float64, 2, 2, 2, 2), newParam("bias", tensor.Float64, 4)}
	for _, p := range twin {
		gaussian(p.w, source(3), 1)
	}
	w := []*tensor.Dense{twin[0].w.Clone().(*tensor.Dense), twin[1].w.Clone().(*tensor.Dense)}
	var first weak.Pointer[gorgonia.ExprGraph]
	var sizes []float64
	for i := range uint64(rebuilds) {
		gradients(twin, i)
		a, b := rebuild("kernel", w[0], twin[0].g), rebuild("bias", w[1], twin[1].g)
		if i == 0 {
			first = weak.Make(a.Graph())
		}
		measured := i == rebuilds/10 || i == rebuilds-1
		if measured {
			heap() // so that this step drops what was kept for the graphs before
		}
		require.NoError(t, solver.Step([]gorgonia.ValueGrad{a, b}))
		require.NoError(t, reference.Step(valueGrads(twin)))
		w[0], w[1] = valueOf(a), valueOf(b)
		if measured {
			sizes = append(sizes, heap())
		}
	}
	same(t, weights(twin), map[string][]float64{"kernel": get(w[0]), "bias": get(w[1])})
	assert.Less(t, sizes[1]-sizes[0], 4e6, "that is 444 bytes a graph, far less than a graph takes")
	assert.Nil(t, first.Value(), "the first graph is alive")
	r := solver.Report()
	require.Len(t, r.Parameters, 2)
	assert.Equal(t, rebuilds-1, r.Parameters[0].Rebuilt)
	assert.Equal(t, rebuilds, r.Steps)
	assert.Empty(t, r.Warnings)
	assert.Contains(t, r.String(), "rebuilt 9999 times")
	snap, err := solver.Snapshot()
	require.NoError(t, err)
	want, err := reference.Snapshot()
	require.NoError(t, err)
	for _, s := range []*solvers.Snapshot{want, snap} {
		s.Parameters[1].Bounds = nil // of the size: weights in other memory are measured anew, and need no bound
	}
	assert.Equal(t, want, snap)
}

func isRank4(_ string, shape tensor.Shape) bool { return len(shape) == 4 }

// A graph that is gone is followed by the one of its names, whatever its weights; the report knows no membership of it
// before.
func TestRebuiltWithOtherWeights(t *testing.T) {
	s := solvers.NewSGD(solvers.LearnRate(0.01), solvers.Momentum(0.9), solvers.Where(isRank4, manifolds.Sphere{}))
	rng := source(1)
	p := newParam("kernel", tensor.Float64, 2, 2, 2, 2)
	step := func() {
		gaussian(p.w, rng, 1)
		gaussian(p.g, rng, 1)
		require.NoError(t, s.Step([]gorgonia.ValueGrad{rebuild("kernel", p.w, p.g)}))
	}
	step()
	runtime.GC()
	assert.True(t, math.IsNaN(s.Report().Parameters[0].Membership))
	step()
	r := s.Report()
	require.Len(t, r.Parameters, 1)
	assert.Equal(t, 1, r.Parameters[0].Rebuilt)
}

// A graph over the tensors of one that is gone has its state, also where that one is collected between the passes of SAM, and the report
// measures its weights.
func TestGraphOverTheSameTensors(t *testing.T) {
	make := func() *solvers.SAM {
		return solvers.NewSAM(solvers.NewSGD(solvers.LearnRate(0.01), solvers.Momentum(0.9), solvers.Where(isRank4, manifolds.Sphere{})), 0.05)
	}
	m, twin := []*param{newParam("kernel", tensor.Float64, 2, 2, 2, 2)}, []*param{newParam("kernel", tensor.Float64, 2, 2, 2, 2)}
	gaussian(m[0].w, source(3), 1)
	gaussian(twin[0].w, source(3), 1)
	s, reference := make(), make()
	over := func() []gorgonia.ValueGrad {
		n := gorgonia.NodeFromAny(gorgonia.NewGraph(), m[0].w, gorgonia.WithName("kernel"))
		gorgonia.WithGrad(m[0].g)(n)
		return []gorgonia.ValueGrad{n}
	}
	seed := uint64(0)
	pass := func(own, reference func([]gorgonia.ValueGrad) error, n []gorgonia.ValueGrad) {
		t.Helper()
		seed++
		gradients(m, seed)
		gradients(twin, seed)
		require.NoError(t, own(n))
		require.NoError(t, reference(valueGrads(twin)))
		same(t, weights(twin), weights(m))
	}
	a := over()
	pass(s.Ascend, reference.Ascend, a)
	pass(s.Step, reference.Step, a)
	b := over()
	pass(s.Ascend, reference.Ascend, b)
	runtime.KeepAlive(a)
	runtime.GC()
	pass(s.Step, reference.Step, b)
	pass(s.Ascend, reference.Ascend, b)
	pass(s.Step, reference.Step, b)
	r := s.Report()
	require.Len(t, r.Parameters, 1)
	assert.Less(t, r.Parameters[0].Membership, 1e-14)
	runtime.KeepAlive(b)
}

// Two graphs that are alive at the same time keep their states apart, though their parameters have equal names. The
// report warns of the names, and a snapshot refuses them.
func TestGraphsWithEqualNames(t *testing.T) {
	make := func() *solvers.Solver {
		return solvers.NewSGD(solvers.LearnRate(0.01), solvers.Momentum(0.9), solvers.Where(isRank4, manifolds.Sphere{}))
	}
	s := make()
	var nodes []*gorgonia.Node
	var twins [][]*param
	references := []*solvers.Solver{make(), make()}
	for i := range uint64(2) {
		p := newParam("kernel", tensor.Float64, 2, 2, 2, 2)
		gaussian(p.w, source(i), 1)
		nodes, twins = append(nodes, rebuild("kernel", p.w, p.g)), append(twins, []*param{p})
	}
	for step := range uint64(12) {
		for i, n := range nodes {
			if step%uint64(i+2) == 0 { // not always both
				gradients(twins[i], step)
				g, err := n.Grad()
				require.NoError(t, err)
				copy(g.(*tensor.Dense).Float64s(), twins[i][0].g.Float64s())
				require.NoError(t, s.Step([]gorgonia.ValueGrad{n}))
				require.NoError(t, references[i].Step(valueGrads(twins[i])))
			}
			assert.Equal(t, get(twins[i][0].w), get(valueOf(n)))
		}
	}
	r := s.Report()
	require.Len(t, r.Parameters, 2)
	assert.Zero(t, r.Parameters[0].Rebuilt+r.Parameters[1].Rebuilt)
	require.Len(t, r.Warnings, 1)
	assert.Contains(t, r.Warnings[0], "kernel: two parameters have this name")
	_, err := s.Snapshot()
	require.ErrorIs(t, err, solvers.ErrParameter)
	runtime.KeepAlive(nodes)
}

// Where two parameters might be the one before, the step is refused, until Forget has dropped one.
func TestAmbiguousRebuild(t *testing.T) {
	p := newParam("kernel", tensor.Float64, 2, 3)
	gaussian(p.w, source(1), 1)
	gaussian(p.g, source(2), 1)
	s := solvers.NewSGD(solvers.Momentum(0.9))
	a, b := rebuild("kernel", p.w, p.g), rebuild("kernel", p.w, p.g)
	require.NoError(t, s.Step([]gorgonia.ValueGrad{a, b}))

	c := rebuild("kernel", valueOf(a), p.g)
	before := get(valueOf(c))
	err := s.Step([]gorgonia.ValueGrad{c})
	require.ErrorIs(t, err, solvers.ErrParameter)
	for _, want := range []string{`"kernel"`, "got 2 of its name and shape", "Forget"} {
		assert.Contains(t, err.Error(), want)
	}
	assert.Equal(t, before, get(valueOf(c)))

	gorgonia.WithGrad(tensor.New(tensor.Of(tensor.Float64), tensor.WithShape(2, 3)))(a)
	require.NoError(t, s.Step([]gorgonia.ValueGrad{a}))
	assert.Equal(t, []string{"kernel"}, s.Forget())
	assert.Empty(t, s.Forget())
	require.NoError(t, s.Step([]gorgonia.ValueGrad{rebuild("kernel", valueOf(a), p.g)}))
	require.Len(t, s.Report().Parameters, 1)
	assert.Equal(t, 1, s.Report().Parameters[0].Rebuilt)
	runtime.KeepAlive(b)
}

// A failed step takes the adoption back: the graph before goes on with its momentum, and the next one adopts it.
func TestFailedStepAdoptsNothing(t *testing.T) {
	make := func() *solvers.Solver {
		return solvers.NewSGD(solvers.LearnRate(0.01), solvers.Momentum(0.9), solvers.Where(isRank4, manifolds.Sphere{}))
	}
	s, reference := make(), make()
	twin := []*param{newParam("kernel", tensor.Float64, 2, 2, 2, 2)}
	gaussian(twin[0].w, source(3), 1)
	a := rebuild("kernel", twin[0].w, twin[0].g)
	step := func(n *gorgonia.Node, seed uint64) {
		t.Helper()
		gradients(twin, seed)
		gorgonia.WithGrad(twin[0].g.Clone().(gorgonia.Value))(n)
		require.NoError(t, s.Step([]gorgonia.ValueGrad{n}))
		require.NoError(t, reference.Step(valueGrads(twin)))
		assert.Equal(t, get(twin[0].w), get(valueOf(n)))
	}
	step(a, 1)
	step(a, 2)

	bad := twin[0].g.Clone().(*tensor.Dense)
	bad.Float64s()[3] = math.NaN()
	b := rebuild("kernel", valueOf(a), bad)
	stranger := rebuild("stranger", valueOf(a), twin[0].g)
	require.ErrorIs(t, s.Step([]gorgonia.ValueGrad{stranger, b}), solvers.ErrNotFinite)
	require.Len(t, s.Report().Parameters, 1)
	assert.Zero(t, s.Report().Parameters[0].Rebuilt)
	step(a, 3)

	c := rebuild("kernel", valueOf(a), twin[0].g)
	step(c, 4)
	assert.Equal(t, 1, s.Report().Parameters[0].Rebuilt)
	step(c, 5)
}

// Forget drops what the last step has not seen, and says what; a parameter that comes back starts anew.
func TestForget(t *testing.T) {
	m := model(tensor.Float64, 1)
	s := solvers.NewSGD(solvers.Momentum(0.9), solvers.Kernels(manifolds.Sphere{}))
	assert.Empty(t, s.Forget())
	run(t, s, m, 1)
	assert.Empty(t, s.Forget())
	run(t, s, m[:4], 2)
	assert.True(t, s.Report().Parameters[5].Absent)
	assert.Equal(t, []string{"linear", "offset"}, s.Forget())
	assert.Len(t, s.Report().Parameters, 4)

	run(t, s, m, 3)
	require.Len(t, s.Report().Parameters, 6)
	fresh := model(tensor.Float64, 1)
	gradients(fresh, 3)
	snap, err := s.Snapshot()
	require.NoError(t, err)
	assert.Equal(t, 1, snap.Parameters[4].Steps)
	assert.Equal(t, get(fresh[4].g), snap.Parameters[4].State[0].F64, "the first gradient again")
	assert.Equal(t, 3, snap.Parameters[0].Steps)
}

// Only steps count: neither a step that failed nor Rescale nor Restore makes parameters absent, so that Forget would drop their state.
func TestForgetAfterOtherCalls(t *testing.T) {
	m := model(tensor.Float64, 1)
	make := func() *solvers.Solver { return solvers.NewSGD(solvers.Momentum(0.9)) }
	s := make()
	run(t, s, m, 1)
	before := s.Report().Parameters
	require.Error(t, s.Step(append(valueGrads(m[:2]), nil)))
	require.Error(t, s.Init([]gorgonia.ValueGrad{nil}))
	require.NoError(t, s.Rescale(valueGrads(m[:2]), func(p *solvers.Part) (float64, error) { return p.Scale(), nil }))
	assert.Equal(t, before, s.Report().Parameters)
	assert.Empty(t, s.Forget())

	snap, err := s.Snapshot()
	require.NoError(t, err)
	twin := make()
	require.NoError(t, twin.Step(nil)) // a step of no parameters
	require.NoError(t, twin.Restore(valueGrads(m), snap))
	assert.Empty(t, twin.Forget())
	run(t, s, m[:4], 2)
	require.Error(t, s.Step(append(valueGrads(m), nil)))
	assert.Equal(t, []string{"linear", "offset"}, s.Forget())
}

// Tied weights, two nodes over one tensor, are refused by both names.
func TestTiedWeights(t *testing.T) {
	p := newParam("", tensor.Float32, 3, 4)
	s := solvers.NewSGD()
	err := s.Step([]gorgonia.ValueGrad{&param{"encoder", p.w, p.g}, &param{"decoder", p.w, p.g.Clone().(*tensor.Dense)}})
	require.ErrorIs(t, err, solvers.ErrParameter)
	assert.Contains(t, err.Error(), `got it as "encoder" and as "decoder", which share one tensor`)

	q := newParam("", tensor.Float32, 3, 4)
	from := solvers.NewSGD()
	require.NoError(t, from.Step([]gorgonia.ValueGrad{&param{"encoder", p.w, p.g}, &param{"decoder", q.w, q.g}}))
	snap, err := from.Snapshot()
	require.NoError(t, err)
	err = solvers.NewSGD().Restore([]gorgonia.ValueGrad{&param{"encoder", p.w, p.g}, &param{"decoder", p.w, p.g}}, snap)
	require.ErrorIs(t, err, solvers.ErrParameter)
	assert.Contains(t, err.Error(), `got it as "encoder" and as "decoder", which share one tensor`)
}

// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/nodes/nodetest"
)

// waves are numbers of some length, not zero.
func waves(n int, phase float64) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = 1 + 0.5*math.Sin(3*float64(i)+phase)
	}
	return x
}

func positive(n int) []float64 {
	rng := rand.New(rand.NewPCG(1, 1))
	x := make([]float64, n)
	for i := range x {
		x[i] = 0.3 + rng.Float64()
	}
	return x
}

// With u and v frozen the node is w / u^T W v, whatever u and v are.
func TestSpectralNormFrozen(t *testing.T) {
	for _, s := range kernelShapes {
		filters := filtersOf(s)
		u, v := waves(len(filters), 1), waves(len(filters[0]), 2)
		state := func() *nodes.PowerIteration {
			p := nodes.NewPowerIteration(1)
			if err := p.SetVectors(u, v); err != nil {
				panic(err)
			}
			return p
		}
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			nodetest.Run(t, nodetest.Case{
				Build: func(in []*gorgonia.Node) (*gorgonia.Node, error) {
					return nodes.SpectralNorm(in[0], state(), 1)
				},
				Inputs: []nodetest.Input{{Shape: s, Data: positive(s.TotalSize())}},
				Value: func(in [][]float64) []float64 {
					sigma := 0.0
					for i, filter := range filters {
						for j, e := range filter {
							sigma += u[i] * in[0][e] * v[j] / (norm2(u) * norm2(v))
						}
					}
					out := make([]float64, len(in[0]))
					for e, x := range in[0] {
						out[e] = x / sigma
					}
					return out
				},
				Eval: true,
			})
		})
	}
}

// topSingular is the largest singular value of a filter bank.
func topSingular(s tensor.Shape, w []float64) float64 {
	filters := filtersOf(s)
	m := mat.NewDense(len(filters), len(filters[0]), nil)
	for i, filter := range filters {
		for j, e := range filter {
			m.Set(i, j, w[e])
		}
	}
	var svd mat.SVD
	if !svd.Factorize(m, mat.SVDNone) {
		panic("no singular values")
	}
	return svd.Values(nil)[0]
}

// After many iterations the node is w over the largest singular value, and so is
// its gradient, which takes u and v as constant.
func TestSpectralNormConverges(t *testing.T) {
	for _, s := range kernelShapes {
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			nodetest.Run(t, nodetest.Case{
				Build: func(in []*gorgonia.Node) (*gorgonia.Node, error) {
					return nodes.SpectralNorm(in[0], nodes.NewPowerIteration(3), 400)
				},
				Inputs: []nodetest.Input{{Shape: s, Data: positive(s.TotalSize())}}, // one dominates by far
				Value: func(in [][]float64) []float64 {
					out := make([]float64, len(in[0]))
					for e, x := range in[0] {
						out[e] = x / topSingular(s, in[0])
					}
					return out
				},
				Varies: true,
			})
		})
	}
}

// spectralNet is a graph of one kernel with a machine for training and one for
// evaluation.
type spectralNet struct {
	w, out *gorgonia.Node
	value  gorgonia.Value
	vm     gorgonia.VM
}

func newSpectralNet(t *testing.T, state *nodes.PowerIteration, iterations int, opts ...gorgonia.VMOpt) *spectralNet {
	g := gorgonia.NewGraph()
	shape := tensor.Shape{4, 3, 3, 3}
	w := given(g, tensor.Float64, "w", shape, waves(shape.TotalSize(), 0.3))
	for i, x := range floats(w.Value()) { // no singular value far above the rest
		w.Value().Data().([]float64)[i] = (x - 1) * math.Cos(float64(i*i))
	}
	out, err := nodes.SpectralNorm(w, state, iterations)
	require.NoError(t, err)
	n := &spectralNet{w: w, out: out}
	gorgonia.Read(out, &n.value)
	n.vm = gorgonia.NewTapeMachine(g, opts...)
	t.Cleanup(func() { n.vm.Close() })
	return n
}

func (n *spectralNet) run(t *testing.T) []float64 {
	require.NoError(t, n.vm.RunAll())
	n.vm.Reset()
	return floats(n.value)
}

func TestSpectralNormState(t *testing.T) {
	state := nodes.NewPowerIteration(5)
	u, v := state.Vectors()
	assert.Nil(t, u)
	assert.Nil(t, v)
	train := newSpectralNet(t, state, 2)
	first := train.run(t)
	u, v = state.Vectors()
	assert.Len(t, u, 4)
	assert.Len(t, v, 27)
	assert.InDelta(t, 1, norm2(u), 1e-14)
	assert.InDelta(t, 1, norm2(v), 1e-14)

	// Seeded: another state of this seed gives the same bits, of another seed others.
	assert.Equal(t, first, newSpectralNet(t, nodes.NewPowerIteration(5), 2).run(t))
	assert.NotEqual(t, first, newSpectralNet(t, nodes.NewPowerIteration(6), 2).run(t))

	// Training moves the vectors, towards the largest singular value.
	second := train.run(t)
	assert.NotEqual(t, first, second)
	want := topSingular(tensor.Shape{4, 3, 3, 3}, floats(train.w.Value()))
	for range 200 {
		train.run(t)
	}
	assert.InDelta(t, want, state.Sigma(), 1e-12)

	// Iterations count: two runs of one are one run of two.
	one, two := nodes.NewPowerIteration(0), nodes.NewPowerIteration(0)
	require.NoError(t, one.SetVectors(waves(4, 2), waves(27, 3)))
	require.NoError(t, two.SetVectors(waves(4, 2), waves(27, 3)))
	a := newSpectralNet(t, one, 1)
	a.run(t)
	assert.Equal(t, newSpectralNet(t, two, 2).run(t), a.run(t))

	// Evaluation leaves them alone, in a graph of its own on the same state.
	u, v = state.Vectors()
	eval := newSpectralNet(t, state, 2, gorgonia.EvalMode())
	before := eval.run(t)
	assert.Equal(t, before, eval.run(t))
	uu, vv := state.Vectors()
	assert.Equal(t, u, uu)
	assert.Equal(t, v, vv)

	// What is saved and loaded continues where it was.
	loaded := nodes.NewPowerIteration(99)
	require.NoError(t, loaded.SetVectors(u, v))
	assert.InDeltaSlice(t, before, newSpectralNet(t, loaded, 2, gorgonia.EvalMode()).run(t), 1e-14)

	// A fresh state is brought up in evaluation, too, once.
	fresh := nodes.NewPowerIteration(5)
	eval = newSpectralNet(t, fresh, 2, gorgonia.EvalMode())
	assert.Equal(t, eval.run(t), eval.run(t))
	assert.InDelta(t, want, fresh.Sigma(), 0.1*want)

	// A run that fails leaves the state.
	u, v = state.Vectors()
	assign(train.w.Value(), make([]float64, 4*27))
	assert.ErrorContains(t, train.vm.RunAll(), "nodes.SpectralNorm: want a matrix with W^T u other than 0, got |W^T u| = 0")
	uu, vv = state.Vectors()
	assert.Equal(t, u, uu)
	assert.Equal(t, v, vv)
}

// Two nodes may train one state: the second starts where the first ended, and the
// gradient of the first is still that of its own value.
func TestSpectralNormShared(t *testing.T) {
	fixed := func() *nodes.PowerIteration {
		p := nodes.NewPowerIteration(1)
		require.NoError(t, p.SetVectors([]float64{1, 0.2}, []float64{1, 1}))
		return p
	}
	gradients := func(first, second *nodes.PowerIteration) [2][]float64 {
		g := gorgonia.NewGraph()
		shape := tensor.Shape{2, 2, 1, 1}
		count := given(g, tensor.Float64, "count", shape, []float64{1, -2, 3, 5})
		var leaves, sums gorgonia.Nodes
		for i, state := range []*nodes.PowerIteration{first, second} {
			w := given(g, tensor.Float64, fmt.Sprint("w", i), shape, [][]float64{{2, 1, 0, 1}, {0, 1, 5, 1}}[i])
			y := gorgonia.Must(nodes.SpectralNorm(w, state, 1))
			leaves = append(leaves, w)
			sums = append(sums, gorgonia.Must(gorgonia.Sum(gorgonia.Must(gorgonia.HadamardProd(y, count)))))
		}
		grads, err := gorgonia.Grad(gorgonia.Must(gorgonia.Add(sums[0], sums[1])), leaves...)
		require.NoError(t, err)
		require.NoError(t, runOnce(g))
		return [2][]float64{floats(grads[0].Value()), floats(grads[1].Value())}
	}
	apart := gradients(fixed(), fixed())
	shared := fixed()
	together := gradients(shared, shared)
	same := 0
	for i := range apart {
		if assert.ObjectsAreEqual(apart[i], together[i]) {
			same++
		}
	}
	assert.Equal(t, 1, same, "which one comes first is left to Gorgonia")
}

func TestSpectralNormRefuses(t *testing.T) {
	g := gorgonia.NewGraph()
	w := unset(g, "w", 4, 3, 3, 3)
	state := nodes.NewPowerIteration(1)
	_, err := nodes.SpectralNorm(w, nil, 1)
	assert.EqualError(t, err, "nodes.SpectralNorm: want a state, as of NewPowerIteration, got nil")
	for _, n := range []int{0, -1} {
		_, err = nodes.SpectralNorm(w, state, n)
		assert.EqualError(t, err, fmt.Sprintf("nodes.SpectralNorm: want at least 1 iteration, got %d", n))
	}
	_, err = nodes.SpectralNorm(unset(g, "x", 3), state, 1)
	assert.ErrorContains(t, err, "nodes.SpectralNorm: input 0, x: want a kernel of shape")
	_, err = nodes.SpectralNorm(given(g, tensor.Float32, "zero", tensor.Shape{2, 2}, make([]float64, 4)), state, 1)
	assert.EqualError(t, err, "nodes.SpectralNorm: the value of zero: want a matrix of positive finite norm, got 0")
	require.NoError(t, state.SetVectors([]float64{3, 4}, []float64{1}))
	u, _ := state.Vectors()
	assert.InDeltaSlice(t, []float64{0.6, 0.8}, u, 1e-15)
	_, err = nodes.SpectralNorm(w, state, 1)
	assert.EqualError(t, err, "nodes.SpectralNorm: input 0, w: want a state of vectors of length 4 and 27, got 2 and 1")
	assert.EqualError(t, state.SetVectors([]float64{1}, []float64{1}), "nodes.PowerIteration: want vectors of length 2 and 1, got 1 and 1")
	assert.ErrorContains(t, state.SetVectors([]float64{0, 0}, []float64{1}), "want vectors with a direction, got norms 0 and 1")
	assert.ErrorContains(t, nodes.NewPowerIteration(1).SetVectors(nil, nil), "want vectors with a direction")
}

// The largest singular value of the filter bank becomes 1.
func ExampleSpectralNorm() {
	g := gorgonia.NewGraph()
	w := gorgonia.NewTensor(g, tensor.Float64, 4, gorgonia.WithName("w"),
		gorgonia.WithValue(tensor.New(tensor.WithShape(2, 1, 1, 2), tensor.WithBacking([]float64{4, 0, 0, 1}))))
	state := nodes.NewPowerIteration(1) // saved with the weights
	y := gorgonia.Must(nodes.SpectralNorm(w, state, 1))

	vm := gorgonia.NewTapeMachine(g)
	defer vm.Close()
	fmt.Println(vm.RunAll())
	fmt.Printf("%.4f %.4f\n", state.Sigma(), y.Value().Data())
	// Output:
	// <nil>
	// 4.0000 [1.0000 0.0000 0.0000 0.2500]
}

// Two goroutines may exchange the same states at the same time, each in its own order.
func TestExchangeCrossed(t *testing.T) {
	p, q := nodes.NewPowerIteration(1), nodes.NewPowerIteration(2)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 5000 {
				p.Exchange(q)
			}
		})
		all.Go(func() {
			for range 5000 {
				q.Exchange(p)
			}
		})
	}
	all.Wait()
}

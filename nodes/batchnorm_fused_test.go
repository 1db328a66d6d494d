// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/nodes/nodetest"
)

// fusion is what a batch normalisation does besides normalising.
type fusion struct {
	plus, rectified bool
	top             float64
}

func (f fusion) String() string {
	return fmt.Sprintf("plus=%v rectified=%v top=%v", f.plus, f.rectified, f.top)
}

var fusions = []fusion{
	{}, {plus: true}, {rectified: true}, {plus: true, rectified: true},
	{rectified: true, top: 0.75}, {plus: true, rectified: true, top: 0.75},
}

// fused adds it as one node.
func (f fusion) fused(s *nodes.Statistics) nodetest.Build {
	return func(in []*gorgonia.Node) (*gorgonia.Node, error) {
		var opts []nodes.BatchNormOption
		if f.plus {
			opts = append(opts, nodes.Plus(in[3]))
		}
		switch {
		case f.top > 0:
			opts = append(opts, nodes.RectifiedTo(f.top))
		case f.rectified:
			opts = append(opts, nodes.Rectified())
		}
		return nodes.BatchNormWith(in[0], in[1], in[2], s, 1e-5, opts...)
	}
}

// separate adds a node for each step.
func (f fusion) separate(s *nodes.Statistics) nodetest.Build {
	return func(in []*gorgonia.Node) (*gorgonia.Node, error) {
		y, err := nodes.BatchNormWith(in[0], in[1], in[2], s, 1e-5)
		if err == nil && f.plus {
			y, err = gorgonia.Add(y, in[3])
		}
		switch {
		case err == nil && f.top > 0:
			y, err = nodes.RectifyTo(y, f.top)
		case err == nil && f.rectified:
			y, err = nodes.Rectify(y)
		}
		return y, err
	}
}

// inputs are those of the batch normalisation and, if it adds one, the shortcut.
func (f fusion) inputs(shape []int) []nodetest.Input {
	in := affine(shape)
	if f.plus {
		in = append(in, nodetest.Input{Shape: shape})
	}
	return in
}

func TestBatchNormFused(t *testing.T) {
	for _, f := range fusions {
		for _, shape := range [][]int{{4, 3}, {2, 3, 2, 3}} {
			for _, eval := range []bool{false, true} {
				t.Run(fmt.Sprint(f, shape, "eval=", eval), func(t *testing.T) {
					c := nodetest.Case{
						Build: func(in []*gorgonia.Node) (*gorgonia.Node, error) {
							return f.fused(statistics(t, shape[1]))(in)
						},
						Inputs: f.inputs(shape), Eval: eval, Condition: 10,
					}
					for _, other := range fusions {
						if other != f && other.plus == f.plus {
							c.Variants = append(c.Variants, func(in []*gorgonia.Node) (*gorgonia.Node, error) {
								return other.fused(statistics(t, shape[1]))(in)
							})
						}
					}
					nodetest.Run(t, c)
				})
			}
		}
	}
}

// pass runs a node forwards and backwards on the data of its inputs and of the gradient in its
// output. It returns the value and the gradients.
func pass(t *testing.T, of tensor.Dtype, build nodetest.Build, shapes [][]int, data [][]float64, cotangent []float64, opts ...gorgonia.VMOpt) ([][]float64, error) {
	t.Helper()
	g := gorgonia.NewGraph()
	leaf := func(name string, shape []int, x []float64) *gorgonia.Node {
		n := zeros(g, name, of, shape...)
		switch d := n.Value().Data().(type) {
		case []float64:
			copy(d, x)
		case []float32:
			for i, v := range x {
				d[i] = float32(v)
			}
		}
		return n
	}
	var in gorgonia.Nodes
	for i, x := range data {
		in = append(in, leaf(fmt.Sprint("in", i), shapes[i], x))
	}
	y, err := build(in)
	require.NoError(t, err)
	all, err := gorgonia.Backpropagate(gorgonia.Nodes{y}, gorgonia.Nodes{leaf("cotangent", shapes[0], cotangent)}, in)
	require.NoError(t, err)
	values := make([]gorgonia.Value, 1+len(all))
	for i, n := range append(gorgonia.Nodes{y}, all...) {
		gorgonia.Read(n, &values[i])
	}
	vm := gorgonia.NewTapeMachine(g, opts...)
	defer vm.Close()
	if err := vm.RunAll(); err != nil {
		return nil, err
	}
	var results [][]float64
	for _, v := range values {
		results = append(results, floats(v))
	}
	return results, nil
}

// What one node computes has the bits of what the separate nodes compute, at extremes too.
func TestBatchNormFusedIsSeparate(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	normal := func(n int, scale, mean float64) []float64 {
		x := make([]float64, n)
		for i := range x {
			x[i] = scale*rng.NormFloat64() + mean
		}
		return x
	}
	kinds := []struct {
		name                     string
		x, mean, γ, plus, grad   float64
		halves, opposite, broken bool
	}{
		{name: "ordinary", x: 1, γ: 1, plus: 1, grad: 1},
		{name: "large mean", x: 1, mean: 1e4, γ: 1, plus: 1, grad: 1},
		{name: "tiny", x: 1e-18, γ: 1, plus: 1e-30, grad: 1e-30},
		{name: "huge", x: 1e15, γ: 1e10, plus: 1e10, grad: 1e25},
		{name: "γ of 0: all at the corner of the rectifier", x: 1, γ: 0, plus: 0, grad: 1},
		{name: "few values, many of them at the corner", x: 1, γ: 1, plus: 1, grad: 1, halves: true},
		{name: "infinite shortcuts and gradients that are not numbers", x: 1, γ: 1, plus: 1, grad: 1, broken: true},
	}
	for _, shape := range [][]int{{6, 3}, {2, 3, 1, 5}, {3, 2, 7, 9}, {2, 2, 50, 50}, {64, 4, 8, 8}} {
		for _, k := range kinds {
			n, one := 1, []int{1, shape[1], 1, 1}[:len(shape)]
			for _, d := range shape {
				n *= d
			}
			data := [][]float64{normal(n, k.x, k.mean), normal(shape[1], k.γ, 0), normal(shape[1], k.γ, 0), normal(n, k.plus, 0)}
			cotangent := normal(n, k.grad, 0)
			if k.halves {
				for i := range n {
					data[0][i], data[3][i] = float64(i%2), float64(i%3-1)
				}
				for c := range shape[1] {
					data[1][c], data[2][c] = math.Sqrt(0.25+1e-5), 0.5
				}
			}
			if k.broken {
				data[3][0], data[3][n-1] = math.Inf(1), math.Inf(-1)
				data[3][n/2], cotangent[n/3] = math.NaN(), math.NaN()
			}
			for _, f := range fusions {
				for _, of := range []tensor.Dtype{tensor.Float32, tensor.Float64} {
					for _, opts := range [][]gorgonia.VMOpt{nil, {gorgonia.EvalMode()}} {
						shapes, in := [][]int{shape, one, one}, data[:3]
						if f.plus {
							shapes, in = append(shapes, shape), data
						}
						what := fmt.Sprint(k.name, shape, f, of, len(opts) > 0)
						run := func(build func(*nodes.Statistics) nodetest.Build) ([][]float64, *nodes.Statistics) {
							s := statistics(t, shape[1])
							results, err := pass(t, of, build(s), shapes, in, cotangent, opts...)
							require.NoError(t, err, what)
							return results, s
						}
						want, its := run(f.separate)
						got, ours := run(f.fused)
						assert.Equal(t, its, ours, what)
						for i := range want {
							for j := range want[i] {
								if math.Float64bits(want[i][j]) != math.Float64bits(got[i][j]) && !(math.IsNaN(want[i][j]) && math.IsNaN(got[i][j])) {
									t.Fatalf("%s: result %d, element %d: want %g, got %g", what, i, j, want[i][j], got[i][j])
								}
							}
						}
					}
				}
			}
		}
	}
}

// The shortcut may be the input itself.
func TestBatchNormPlusItself(t *testing.T) {
	const n = 2 * 3 * 4 * 4
	shape, one := []int{2, 3, 4, 4}, []int{1, 3, 1, 1}
	data := [][]float64{ramp(n), {1, 2, 3}, {0.5, 0, -0.5}}
	f := fusion{plus: true, rectified: true}
	itself := func(build nodetest.Build) nodetest.Build {
		return func(in []*gorgonia.Node) (*gorgonia.Node, error) { return build(append(in[:3:3], in[0])) }
	}
	want, err := pass(t, tensor.Float64, itself(f.separate(statistics(t, 3))), [][]int{shape, one, one}, data, ramp(n))
	require.NoError(t, err)
	got, err := pass(t, tensor.Float64, itself(f.fused(statistics(t, 3))), [][]int{shape, one, one}, data, ramp(n))
	require.NoError(t, err)
	assert.Equal(t, want, got)
}

// The bits do not depend on the number of cores.
func TestBatchNormCores(t *testing.T) {
	shape, one := []int{37, 5, 13, 17}, []int{1, 5, 1, 1}
	n := 37 * 5 * 13 * 17
	rng := rand.New(rand.NewPCG(3, 4))
	data := make([][]float64, 4)
	for i, d := range []int{n, 5, 5, n} {
		for range d {
			data[i] = append(data[i], rng.NormFloat64())
		}
	}
	var want [][]float64
	for _, cores := range []int{1, 2, 3, 8} {
		before := runtime.GOMAXPROCS(cores)
		got, err := pass(t, tensor.Float32, fusion{plus: true, rectified: true}.fused(statistics(t, 5)), [][]int{shape, one, one, shape}, data, data[3])
		runtime.GOMAXPROCS(before)
		require.NoError(t, err)
		if want == nil {
			want = got
		}
		assert.Equal(t, want, got, "%d cores", cores)
	}
}

// faulty is the Sums of one process, which fails in the gradient.
type faulty struct {
	fail  bool
	calls int
}

var errFaulty = errors.New("faulty")

func (f *faulty) Sum(values ...float64) ([]float64, error) {
	if f.calls++; f.fail && f.calls%3 == 0 {
		return nil, errFaulty
	}
	return values, nil
}

// A run that fails between the gradients leaves none of them to the next run.
func TestSweepAfterFailure(t *testing.T) {
	const n = 2 * 2 * 3 * 3
	sums := &faulty{}
	g := gorgonia.NewGraph()
	x, scale, bias := zeros(g, "x", tensor.Float64, 2, 2, 3, 3), zeros(g, "scale", tensor.Float64, 1, 2, 1, 1), zeros(g, "bias", tensor.Float64, 1, 2, 1, 1)
	copy(x.Value().Data().([]float64), ramp(n))
	copy(scale.Value().Data().([]float64), []float64{1, 2})
	y, err := nodes.BatchNormWith(x, scale, bias, statistics(t, 2), 1e-5, nodes.Synchronised(sums))
	require.NoError(t, err)
	cotangent := zeros(g, "cotangent", tensor.Float64, 2, 2, 3, 3)
	d := cotangent.Value().Data().([]float64)
	copy(d, ramp(n))
	all, err := gorgonia.Backpropagate(gorgonia.Nodes{y}, gorgonia.Nodes{cotangent}, gorgonia.Nodes{x, scale, bias})
	require.NoError(t, err)
	values := make([]gorgonia.Value, len(all))
	for i, n := range all {
		gorgonia.Read(n, &values[i])
	}
	vm := gorgonia.NewTapeMachine(g)
	defer vm.Close()
	require.NoError(t, vm.RunAll())
	vm.Reset()
	sums.fail = true
	require.ErrorIs(t, nodes.Cause(vm.RunAll()), errFaulty)
	vm.Reset()
	sums.fail = false
	for i := range d {
		d[i] *= 2
	}
	var before [][]float64
	for _, v := range values {
		before = append(before, floats(v))
	}
	require.NoError(t, vm.RunAll())
	for i, v := range values {
		for j, got := range floats(v) {
			assert.InDelta(t, 2*before[i][j], got, 1e-14, "gradient %d", i)
		}
	}
}

func TestBatchNormPlusRejects(t *testing.T) {
	g := gorgonia.NewGraph()
	x, one := zeros(g, "x", tensor.Float64, 4, 3, 2, 2), zeros(g, "one", tensor.Float64, 1, 3, 1, 1)
	build := fusion{plus: true}.fused(statistics(t, 3))
	rejects(t, build, "want a shortcut of the shape (4, 3, 2, 2) of the input, got (4, 3, 2, 3)", x, one, one, zeros(g, "other", tensor.Float64, 4, 3, 2, 3))
	rejects(t, build, "want inputs of one precision", x, one, one, zeros(g, "single", tensor.Float32, 4, 3, 2, 2))
}

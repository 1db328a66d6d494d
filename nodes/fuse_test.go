// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"fmt"
	"math"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
)

// layers makes the layers of a net. Two graphs that are made one after the other with the same state
// have the same weights, and share statistics.
type layers struct {
	g          *gorgonia.ExprGraph
	of         tensor.Dtype
	count      int
	statistics map[int]*nodes.Statistics
	extreme    float64 // factor of scales and means, and of every second variance; 0 makes those variances 0
}

func (l *layers) input(shape ...int) *gorgonia.Node {
	l.count++
	n := zeros(l.g, fmt.Sprint("n", l.count), l.of, shape...)
	for i, v := range ramp(n.Shape().TotalSize()) {
		set(n, i, v)
	}
	return n
}

func (l *layers) conv(x *gorgonia.Node, filters, size, stride, pad, groups int) *gorgonia.Node {
	w := l.input(filters, x.Shape()[1]/groups, size, size)
	return gorgonia.Must(nodes.Conv2dWith(x, w, tensor.Shape{size, size}, []int{pad, pad}, []int{stride, stride}, nil, nodes.Groups(groups)))
}

// transposed has as many channels as x.
func (l *layers) transposed(x *gorgonia.Node, size, stride, groups int) *gorgonia.Node {
	w := l.input(x.Shape()[1], x.Shape()[1]/groups, size, size)
	return gorgonia.Must(nodes.ConvTranspose2d(x, w, tensor.Shape{size, size}, []int{1, 1}, []int{stride, stride}, nil, nodes.Groups(groups)))
}

func (l *layers) norm(x *gorgonia.Node, opts ...nodes.BatchNormOption) *gorgonia.Node {
	shape := []int{1, x.Shape()[1], 1, 1}[:x.Dims()]
	γ, β := l.input(shape...), l.input(shape...)
	s := l.statistics[l.count]
	if s == nil {
		s = newStatistics(x.Shape()[1])
		for c := range s.Mean {
			s.Mean[c] = math.Cos(float64(c))
			s.Variance[c] = 1 + math.Sin(float64(c))
			if l.extreme != 1 {
				s.Mean[c] *= l.extreme
				s.Variance[c] *= l.extreme * float64(c%2)
			}
		}
		l.statistics[l.count] = s
	}
	return gorgonia.Must(nodes.BatchNormWith(x, γ, β, s, 1e-5, opts...))
}

func newStatistics(channels int) *nodes.Statistics {
	s, err := nodes.NewStatistics(channels, 0.1)
	if err != nil {
		panic(err)
	}
	return s
}

func (l *layers) bias(x *gorgonia.Node) *gorgonia.Node {
	return gorgonia.Must(nodes.Bias(x, l.input(1, x.Shape()[1], 1, 1)))
}

func rectified(x *gorgonia.Node) *gorgonia.Node { return gorgonia.Must(nodes.Rectify(x)) }

// net is a net of images x, and the number of nodes, without inputs, that remain of it.
type net struct {
	build func(l *layers, x *gorgonia.Node) *gorgonia.Node
	left  int
}

var nets = map[string]net{
	"conv":         {func(l *layers, x *gorgonia.Node) *gorgonia.Node { return l.conv(x, 5, 3, 1, 1, 1) }, 1},
	"norm":         {func(l *layers, x *gorgonia.Node) *gorgonia.Node { return l.norm(l.conv(x, 5, 3, 1, 1, 1)) }, 1},
	"bias":         {func(l *layers, x *gorgonia.Node) *gorgonia.Node { return l.bias(l.conv(x, 5, 3, 1, 1, 1)) }, 1},
	"rectify":      {func(l *layers, x *gorgonia.Node) *gorgonia.Node { return rectified(l.conv(x, 5, 3, 1, 1, 1)) }, 1},
	"norm, stride": {func(l *layers, x *gorgonia.Node) *gorgonia.Node { return rectified(l.norm(l.conv(x, 5, 3, 2, 1, 1))) }, 1},
	"bounded": {func(l *layers, x *gorgonia.Node) *gorgonia.Node {
		x = l.norm(l.conv(x, 4, 3, 1, 1, 1), nodes.RectifiedTo(0.5))
		x = gorgonia.Must(nodes.RectifyTo(rectified(l.bias(l.conv(x, 4, 3, 1, 1, 1))), 0.5))
		return rectified(gorgonia.Must(nodes.RectifyTo(gorgonia.Must(nodes.RectifyTo(l.conv(x, 4, 3, 1, 1, 4), 0.25)), 0.5)))
	}, 3},
	"groups":    {func(l *layers, x *gorgonia.Node) *gorgonia.Node { return rectified(l.norm(l.conv(x, 8, 3, 1, 1, 4))) }, 1},
	"pointwise": {func(l *layers, x *gorgonia.Node) *gorgonia.Node { return rectified(l.bias(l.conv(x, 7, 1, 1, 0, 1))) }, 1},
	"many filters": {func(l *layers, x *gorgonia.Node) *gorgonia.Node {
		return rectified(l.norm(l.conv(x, 150, 3, 1, 1, 1)))
	}, 1},
	"transposed": {func(l *layers, x *gorgonia.Node) *gorgonia.Node {
		return rectified(l.norm(l.transposed(x, 3, 2, 2)))
	}, 1},
	"circular": {func(l *layers, x *gorgonia.Node) *gorgonia.Node {
		for _, pad := range [][]int{{1, 1}, {1, 1}, {2, 1, 0, 1}} { // directly, by Winograd's algorithm, and folded
			w := l.input(16, x.Shape()[1], 3, 3)
			x = rectified(l.norm(gorgonia.Must(nodes.Conv2dWith(x, w, tensor.Shape{3, 3}, pad, []int{1, 1}, nil, nodes.Circular()))))
		}
		w := l.input(16, 4, 2, 2)
		return rectified(l.bias(gorgonia.Must(nodes.ConvTranspose2d(x, w, tensor.Shape{2, 2}, []int{1, 1}, []int{2, 1}, nil, nodes.Circular()))))
	}, 4},
	"transposed, Winograd": {func(l *layers, x *gorgonia.Node) *gorgonia.Node {
		x = l.norm(l.conv(x, 16, 3, 1, 1, 1), nodes.Rectified())
		y := rectified(l.bias(l.transposed(x, 3, 1, 1)))
		return rectified(gorgonia.Must(nodes.Add(l.norm(l.transposed(y, 3, 1, 1)), x)))
	}, 3},
	"block": {func(l *layers, x *gorgonia.Node) *gorgonia.Node {
		x = rectified(l.norm(l.conv(x, 6, 3, 1, 1, 1)))
		y := rectified(l.norm(l.conv(x, 6, 3, 1, 1, 1)))
		return rectified(gorgonia.Must(nodes.Add(l.norm(l.conv(y, 6, 3, 1, 1, 1)), x)))
	}, 3},
	"block, shortcut first": {func(l *layers, x *gorgonia.Node) *gorgonia.Node {
		y := rectified(l.norm(l.conv(x, 4, 3, 1, 1, 1)))
		return rectified(gorgonia.Must(nodes.Add(x, l.conv(y, 4, 3, 1, 1, 1))))
	}, 2},
	"block of two nodes": {func(l *layers, x *gorgonia.Node) *gorgonia.Node {
		y := l.norm(l.conv(x, 4, 3, 1, 1, 1), nodes.Rectified())
		return l.norm(l.conv(y, 4, 3, 1, 1, 1), nodes.Plus(x), nodes.Rectified())
	}, 2},
	"wide block": {func(l *layers, x *gorgonia.Node) *gorgonia.Node {
		x = l.norm(l.conv(x, 32, 3, 1, 1, 1), nodes.Rectified())
		y := l.norm(l.conv(x, 32, 3, 1, 1, 1), nodes.Rectified())
		return l.norm(l.conv(y, 32, 3, 1, 1, 1), nodes.Plus(x), nodes.Rectified())
	}, 3},
	"norm of a sum": {func(l *layers, x *gorgonia.Node) *gorgonia.Node {
		y := gorgonia.Must(nodes.Add(l.conv(x, 4, 3, 1, 1, 1), x))
		return l.norm(y, nodes.Plus(x), nodes.Rectified())
	}, 2},
	"sum after a rectifier": {func(l *layers, x *gorgonia.Node) *gorgonia.Node {
		return gorgonia.Must(nodes.Add(x, l.norm(l.conv(x, 4, 3, 1, 1, 1), nodes.Rectified())))
	}, 2},
	"three terms": {func(l *layers, x *gorgonia.Node) *gorgonia.Node {
		y := l.norm(l.conv(x, 4, 3, 1, 1, 1))
		return gorgonia.Must(nodes.Add(y, x, l.conv(x, 4, 1, 1, 0, 1)))
	}, 3},
	"projection": {func(l *layers, x *gorgonia.Node) *gorgonia.Node {
		y := rectified(l.norm(l.conv(x, 6, 3, 2, 1, 1)))
		return rectified(gorgonia.Must(nodes.Add(l.norm(l.conv(y, 6, 3, 1, 1, 1)), l.norm(l.conv(x, 6, 1, 2, 0, 1)))))
	}, 3},
	"pre-activation": {func(l *layers, x *gorgonia.Node) *gorgonia.Node {
		x = l.conv(x, 6, 3, 1, 1, 1) // used twice
		y := l.conv(rectified(l.norm(x)), 6, 3, 1, 1, 1)
		return gorgonia.Must(nodes.Add(l.conv(rectified(l.norm(y)), 6, 3, 1, 1, 1), x))
	}, 5},
	"used twice": {func(l *layers, x *gorgonia.Node) *gorgonia.Node {
		y := l.norm(l.conv(x, 6, 3, 1, 1, 1))
		return gorgonia.Must(nodes.Add(rectified(y), y))
	}, 3},
	"twice in one": {func(l *layers, x *gorgonia.Node) *gorgonia.Node {
		y := l.norm(l.conv(x, 6, 3, 1, 1, 1))
		return gorgonia.Must(nodes.Add(y, y))
	}, 2},
	"twice normed": {func(l *layers, x *gorgonia.Node) *gorgonia.Node {
		return l.norm(rectified(rectified(l.bias(l.norm(l.norm(l.conv(x, 6, 3, 1, 1, 1)))))))
	}, 6}, // the first norm is part of the convolution
	"sums": {func(l *layers, x *gorgonia.Node) *gorgonia.Node {
		y := gorgonia.Must(nodes.Add(l.conv(x, 4, 3, 1, 1, 1), x))
		return l.bias(gorgonia.Must(nodes.Add(y, x)))
	}, 3},
	"other operations": {func(l *layers, x *gorgonia.Node) *gorgonia.Node {
		y := gorgonia.Must(gorgonia.Tanh(l.conv(x, 4, 3, 1, 1, 1)))
		y = gorgonia.Must(gorgonia.Sub(l.conv(y, 4, 3, 1, 1, 1), x))
		y = gorgonia.Must(gorgonia.HadamardProd(l.norm(l.conv(y, 4, 3, 1, 1, 1)), x))
		var two any = 2.0
		if l.of == tensor.Float32 {
			two = float32(2)
		}
		return gorgonia.Must(gorgonia.Mul(y, gorgonia.NewConstant(two)))
	}, 7},
	"stochastic depth": {func(l *layers, x *gorgonia.Node) *gorgonia.Node {
		y := l.norm(l.conv(x, 4, 3, 1, 1, 1))
		return rectified(gorgonia.Must(nodes.StochasticDepth(y, x, 0.3, &nodes.Noise{Seed: 1})))
	}, 1},
	"dropout": {func(l *layers, x *gorgonia.Node) *gorgonia.Node {
		y := gorgonia.Must(nodes.Dropout(rectified(l.norm(l.conv(x, 4, 3, 1, 1, 1))), 0.3, &nodes.Noise{Seed: 1}))
		y = gorgonia.Must(nodes.Dropout(l.conv(y, 4, 3, 1, 1, 1), 0.3, &nodes.Noise{Seed: 1}))
		return y
	}, 2},
	"head": {func(l *layers, x *gorgonia.Node) *gorgonia.Node {
		x = gorgonia.Must(nodes.GlobalAveragePool2D(rectified(l.norm(l.conv(x, 4, 3, 1, 1, 1)))))
		y := gorgonia.Must(nodes.Linear(x, l.input(4, 3), l.input(1, 3)))
		return rectified(l.norm(y))
	}, 5},
}

// evaluate runs a graph in evaluation and returns the bits of n.
func evaluate(t *testing.T, n *gorgonia.Node) []uint64 {
	t.Helper()
	vm := gorgonia.NewTapeMachine(n.Graph(), gorgonia.EvalMode())
	defer vm.Close()
	require.NoError(t, vm.RunAll())
	var bits []uint64
	for _, v := range floats(n.Value()) {
		if math.IsNaN(v) {
			v = math.NaN() // the bits of NaNs are unspecified
		}
		bits = append(bits, math.Float64bits(v))
	}
	return bits
}

// TestFuse compares nets in evaluation with their copies. The bits are the same, also for statistics
// and scales with which results overflow or cancel.
func TestFuse(t *testing.T) {
	for name, c := range nets {
		for _, of := range []tensor.Dtype{tensor.Float32, tensor.Float64} {
			for _, extreme := range []float64{1, 0, 1e9, 1e36} {
				for _, size := range []int{1, 3} {
					t.Run(fmt.Sprint(name, " ", of, " ", extreme, " ", size), func(t *testing.T) {
						state := map[int]*nodes.Statistics{}
						build := func() (*gorgonia.Node, *layers) {
							l := &layers{g: gorgonia.NewGraph(), of: of, statistics: state, extreme: extreme}
							return c.build(l, l.input(size, 4, 8, 8)), l
						}
						plain, _ := build()
						want := evaluate(t, plain)
						root, l := build()
						fused := fuse(t, root)
						assert.Equal(t, want, evaluate(t, fused))

						inputs := fused.Graph().Inputs()
						assert.Len(t, inputs, l.count, "every input once")
						for _, n := range inputs {
							original := l.g.ByName(n.Name())
							require.Len(t, original, 1)
							assert.Same(t, original[0].Value(), n.Value(), "%s is shared", n.Name())
						}
						left := 0
						for _, n := range fused.Graph().AllNodes() {
							if n.Op() != nil && fused.Graph().From(n.ID()).Len() > 0 {
								left++
							}
						}
						assert.Equal(t, c.left, left)
					})
				}
			}
		}
	}
}

// fuse returns the copy of one root.
func fuse(t testing.TB, root *gorgonia.Node) *gorgonia.Node {
	t.Helper()
	copies, err := nodes.Fuse(root)
	require.NoError(t, err)
	require.Len(t, copies, 1)
	return copies[0]
}

// TestFuseIsCurrent changes weights, statistics and inputs between runs.
func TestFuseIsCurrent(t *testing.T) {
	state := map[int]*nodes.Statistics{}
	build := func() *gorgonia.Node {
		l := &layers{g: gorgonia.NewGraph(), of: tensor.Float32, statistics: state, extreme: 1}
		return nets["block"].build(l, l.input(2, 4, 8, 8))
	}
	plain := build()
	fused := fuse(t, build())
	last := evaluate(t, fused)
	assert.Equal(t, evaluate(t, plain), last)
	for i, in := range fused.Graph().Inputs() {
		for _, n := range append(plain.Graph().ByName(in.Name()), in) {
			set(n, 0, 0.123*float64(i+1))
		}
		now := evaluate(t, fused)
		assert.Equal(t, evaluate(t, plain), now)
		assert.NotEqual(t, last, now, in.Name())
		last = now
	}
	for _, s := range state {
		s.Mean[1]++
		s.Variance[2]++
		now := evaluate(t, fused)
		assert.Equal(t, evaluate(t, plain), now)
		assert.NotEqual(t, last, now)
		last = now
	}
}

// TestFuseOnCores compares runs on different numbers of cores, which divide images and filters.
func TestFuseOnCores(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, size := range []int{1, 5} {
		l := &layers{g: gorgonia.NewGraph(), of: tensor.Float32, statistics: map[int]*nodes.Statistics{}, extreme: 1}
		fused := fuse(t, nets["many filters"].build(l, l.input(size, 4, 8, 8)))
		runtime.GOMAXPROCS(1)
		want := evaluate(t, fused)
		for _, n := range []int{2, 3, 8} {
			runtime.GOMAXPROCS(n)
			assert.Equal(t, want, evaluate(t, fused), "%d cores, %d images", n, size)
		}
	}
}

// A copy of a planned graph keeps the values of all roots, also of one that another root uses.
func TestFuseOfPlanned(t *testing.T) {
	l := &layers{g: gorgonia.NewGraph(), of: tensor.Float32, statistics: map[int]*nodes.Statistics{}, extreme: 1}
	features := l.conv(l.input(4, 8, 8, 8), 8, 3, 1, 1, 1)
	y := gorgonia.Must(nodes.GlobalAveragePool2D(rectified(features)))
	nodes.Plan(l.g)
	copies, err := nodes.Fuse(features, y)
	require.NoError(t, err)
	evaluate(t, copies[1])
	assert.Equal(t, features.Shape(), copies[0].Value().Shape())
}

// gorgonia.BinaryXent removes a node from the graph, after which ExprGraph.From returns inputs of others.
func TestCopiesOfBinaryXent(t *testing.T) {
	l := &layers{g: gorgonia.NewGraph(), of: tensor.Float32, statistics: map[int]*nodes.Statistics{}, extreme: 1}
	p := gorgonia.Must(gorgonia.Sigmoid(l.conv(l.input(2, 4, 8, 8), 4, 3, 1, 1, 1)))
	loss := gorgonia.Must(gorgonia.BinaryXent(p, gorgonia.Must(gorgonia.Sigmoid(l.input(2, 4, 8, 8)))))
	want := evaluate(t, loss)
	assert.Equal(t, want, evaluate(t, fuse(t, loss)))
	folded, _, err := nodes.Fold(gorgonia.Nodes{l.g.ByName("n2")[0]}, loss)
	require.NoError(t, err)
	assert.Equal(t, want, evaluate(t, folded[0]))
}

func TestFuseErrors(t *testing.T) {
	_, err := nodes.Fuse(nil)
	assert.ErrorContains(t, err, "nodes.Fuse: want a node of a graph, got ")
	_, err = nodes.Fuse(gorgonia.NewConstant(1.0))
	assert.ErrorContains(t, err, "nodes.Fuse: want a node of a graph, got ")

	var v gorgonia.Value
	l := &layers{g: gorgonia.NewGraph(), of: tensor.Float32}
	_, err = nodes.Fuse(gorgonia.Read(rectified(l.input(2, 4, 8, 8)), &v))
	assert.ErrorContains(t, err, "nodes.Fuse: ", "a statement cannot be copied")

	l = &layers{g: gorgonia.NewGraph(), of: tensor.Float32, statistics: map[int]*nodes.Statistics{}, extreme: 1}
	fused := fuse(t, nets["norm"].build(l, l.input(2, 4, 8, 8)))
	_, err = gorgonia.Grad(gorgonia.Must(gorgonia.Sum(fused)), fused.Graph().Inputs()...)
	assert.Error(t, err, "it has no gradient")

	l = &layers{g: gorgonia.NewGraph(), of: tensor.Float32, statistics: map[int]*nodes.Statistics{}, extreme: 1}
	fused = fuse(t, nets["norm"].build(l, l.input(2, 4, 8, 8)))
	for _, s := range l.statistics {
		s.Variance[2] = math.NaN()
	}
	vm := gorgonia.NewTapeMachine(fused.Graph(), gorgonia.EvalMode())
	defer vm.Close()
	assert.EqualError(t, nodes.Cause(vm.RunAll()), "nodes.BatchNorm: channel 2: want a running mean and variance that are finite, got -0.4161468365471424 and NaN")
}

// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
)

// boundCase is a node whose bound is known.
type boundCase struct {
	name  string
	shape []int
	build func(x *gorgonia.Node) (*gorgonia.Node, error)
	bound float64 // of which the bound may exceed a true bound by 1 %; 0 if it is not checked
	tight float64 // the largest ratio that the pairs of points reach, as a part of the bound
}

// leafOf is a weight of normal numbers, the same in both precisions.
func leafOf(x *gorgonia.Node, name string, shape ...int) *gorgonia.Node {
	rng := rand.New(rand.NewPCG(1, uint64(len(name))))
	v := make([]float64, tensor.Shape(shape).TotalSize())
	for i := range v {
		v[i] = float64(float32(rng.NormFloat64()))
	}
	return given(x.Graph(), x.Dtype(), name, shape, v)
}

func boundCases() []boundCase {
	conv := func(pad []int, opts ...nodes.ConvOption) func(x *gorgonia.Node) (*gorgonia.Node, error) {
		return func(x *gorgonia.Node) (*gorgonia.Node, error) {
			return nodes.Conv2dWith(x, leafOf(x, "w", 4, 2, 3, 3), tensor.Shape{3, 3}, pad, []int{1, 1}, nil, opts...)
		}
	}
	return []boundCase{
		{"Conv2d", []int{1, 2, 6, 6}, conv([]int{1, 1}), 0, 0.5},
		{"circular, repeated", []int{1, 2, 6, 6}, conv([]int{5, 5}, nodes.Circular()), 0, 0.4},
		{"groups", []int{1, 4, 6, 6}, conv([]int{1, 1}, nodes.Groups(2)), 0, 0.3},
		{"depthwise", []int{1, 4, 6, 6}, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			return nodes.Conv2dWith(x, leafOf(x, "w", 4, 1, 3, 3), tensor.Shape{3, 3}, []int{1, 1}, []int{1, 1}, nil, nodes.Groups(4))
		}, 0, 0.3},
		{"NormPool2D", []int{1, 1, 6, 6}, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			return nodes.NormPool2D(x, tensor.Shape{3, 3}, []int{0, 0}, []int{3, 3})
		}, 1, 0.3},
		{"ConvexPotential of a kernel of norm 2", []int{1, 1, 6, 6}, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			return nodes.ConvexPotential(x, given(x.Graph(), x.Dtype(), "w", tensor.Shape{1, 1, 1, 1}, []float64{2}), leafOf(x, "β", 1, 1, 1, 1))
		}, 7, 0.5},
		{"ConvTranspose2d", []int{1, 3, 4, 4}, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			return nodes.ConvTranspose2d(x, leafOf(x, "w", 3, 2, 3, 3), tensor.Shape{3, 3}, []int{1, 1}, []int{2, 2}, nil, nodes.OutputPadding(1, 1))
		}, 0, 0.5},
		{"Linear", []int{1, 5}, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			return nodes.Linear(x, given(x.Graph(), x.Dtype(), "w", tensor.Shape{5, 2}, []float64{3, 0, 0, 1, 4, 0, 0, 0, 0, 2}), leafOf(x, "bias", 1, 2))
		}, 5, 0.6},
		{"Bias", []int{1, 3, 2, 2}, func(x *gorgonia.Node) (*gorgonia.Node, error) { return nodes.Bias(x, leafOf(x, "β", 1, 3, 1, 1)) }, 1, 0.999},
		{"Rectify", []int{1, 3, 2, 2}, nodes.Rectify, 1, 0.5},
		{"RectifyTo", []int{1, 3, 2, 2}, func(x *gorgonia.Node) (*gorgonia.Node, error) { return nodes.RectifyTo(x, 0.5) }, 1, 0.3},
		{"MaxMin", []int{1, 4, 2, 2}, nodes.MaxMin, 1, 0.999},
		{"Householder", []int{1, 4, 2, 2}, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			return nodes.Householder(x, leafOf(x, "θ", 1, 2, 1, 1))
		}, 1, 0.999},
		{"MaxPool2D, overlapping", []int{1, 1, 5, 5}, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			return nodes.MaxPool2D(x, tensor.Shape{3, 3}, []int{1, 1}, []int{2, 2})
		}, 2, 0.3},
		{"MaxPool2D", []int{1, 1, 5, 5}, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			return nodes.MaxPool2D(x, tensor.Shape{2, 2}, []int{0, 0}, []int{2, 2})
		}, 1, 0.5},
		{"AveragePool2D", []int{1, 1, 6, 6}, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			return nodes.AveragePool2D(x, tensor.Shape{2, 3}, []int{0, 0}, []int{2, 3})
		}, 1 / math.Sqrt(6), 0.999},
		{"AveragePool2D, overlapping", []int{1, 1, 6, 6}, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			return nodes.AveragePool2D(x, tensor.Shape{2, 2}, []int{1, 1}, []int{1, 1})
		}, 1, 0.85},
		{"GlobalAveragePool2D", []int{1, 2, 3, 5}, nodes.GlobalAveragePool2D, 1 / math.Sqrt(15), 0.999},
		{"AdaptiveAveragePool2D", []int{1, 2, 3, 4}, func(x *gorgonia.Node) (*gorgonia.Node, error) { return nodes.AdaptiveAveragePool2D(x, 3, 2) }, math.Sqrt(0.5), 0.999},
		{"BatchNorm", []int{1, 2, 3, 3}, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			s := &nodes.Statistics{Mean: []float64{1, 2}, Variance: []float64{3, 0.5}}
			return nodes.BatchNormWith(x, given(x.Graph(), x.Dtype(), "γ", tensor.Shape{1, 2, 1, 1}, []float64{4, -1.5}), leafOf(x, "β", 1, 2, 1, 1), s, 1)
		}, 2, 0.7},
		{"BatchNorm with a shortcut", []int{1, 2, 3, 3}, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			s := &nodes.Statistics{Mean: []float64{1, 2}, Variance: []float64{3, 3}}
			return nodes.BatchNormWith(x, given(x.Graph(), x.Dtype(), "γ", tensor.Shape{1, 2, 1, 1}, []float64{4, 4}), leafOf(x, "β", 1, 2, 1, 1), s, 1,
				nodes.Plus(x), nodes.Rectified())
		}, 3, 0.5},
		{"GroupNorm", []int{1, 4, 3, 3}, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			return nodes.GroupNorm(x, given(x.Graph(), x.Dtype(), "γ", tensor.Shape{1, 4, 1, 1}, []float64{1, 1, -2, 1}), leafOf(x, "β", 1, 4, 1, 1), 2, 4, 0.25)
		}, 4, 0.1},
		{"Dropout", []int{1, 6}, func(x *gorgonia.Node) (*gorgonia.Node, error) { return nodes.Dropout(x, 0.5, &nodes.Noise{Seed: 1}) }, 1, 0.999},
		{"StochasticDepth", []int{1, 6}, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			return nodes.StochasticDepth(x, x, 0.25, &nodes.Noise{Seed: 1})
		}, 1.25, 0.999},
		{"Flatten", []int{1, 2, 3, 2}, nodes.Flatten, 1, 0.999},
		{"Shortcut", []int{1, 2, 4, 4}, func(x *gorgonia.Node) (*gorgonia.Node, error) { return nodes.Shortcut(x, 5, 2) }, 1, 0.4},
		{"Add", []int{1, 6}, func(x *gorgonia.Node) (*gorgonia.Node, error) { return nodes.Add(x, x, leafOf(x, "constant", 1, 6)) }, 2, 0.999},
		{"Concat", []int{1, 6}, func(x *gorgonia.Node) (*gorgonia.Node, error) { return nodes.Concat(x, x, leafOf(x, "constant", 1, 6)) }, math.Sqrt2, 0.999},
		{"a constant", []int{1, 6}, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			y, err := nodes.Linear(x, given(x.Graph(), x.Dtype(), "zeros", tensor.Shape{6, 6}, make([]float64, 36)), nil)
			if err != nil {
				return nil, err
			}
			return nodes.Add(y, leafOf(x, "constant", 1, 6))
		}, 0, 0},
		{"stock operations", []int{1, 6}, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			y, err := gorgonia.Reshape(x, tensor.Shape{1, 6, 1, 1})
			if err == nil {
				y, err = gorgonia.Tanh(y)
			}
			if err == nil {
				y, err = gorgonia.Add(y, y)
			}
			return y, err
		}, 2, 0.3},
		{"stock Conv2d", []int{1, 2, 6, 6}, stockConv(4, []int{1, 1}, []int{1, 1}, []int{1, 1}), 0, 0.5},
		{"stock Conv2d, strides", []int{1, 2, 7, 6}, stockConv(3, []int{1, 0}, []int{2, 1}, []int{1, 1}), 0, 0.4},
		{"stock Conv2d, dilation", []int{1, 2, 7, 7}, stockConv(3, []int{2, 2}, []int{1, 1}, []int{2, 2}), 0, 0.4},
		{"stock product", []int{1, 5}, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			y, err := gorgonia.Mul(x, given(x.Graph(), x.Dtype(), "w", tensor.Shape{5, 2}, []float64{3, 0, 0, 1, 4, 0, 0, 0, 0, 2}))
			if err == nil {
				y, err = gorgonia.BroadcastAdd(y, leafOf(x, "bias", 1, 2), nil, []byte{0})
			}
			return y, err
		}, 5, 0.6},
		{"stock products with vectors", []int{5}, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			y, err := gorgonia.Mul(given(x.Graph(), x.Dtype(), "w", tensor.Shape{2, 5}, []float64{3, 0, 4, 0, 0, 0, 1, 0, 0, 2}), x)
			if err == nil {
				y, err = gorgonia.Mul(y, given(x.Graph(), x.Dtype(), "v", tensor.Shape{2}, []float64{1, 1}))
			}
			return y, err
		}, 5 * math.Sqrt2, 0.4},
		{"stock bias of channels", []int{1, 3, 2, 2}, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			return gorgonia.BroadcastAdd(x, leafOf(x, "β", 1, 3, 1, 1), nil, []byte{0, 2, 3})
		}, 1, 0.999},
		{"stock scales of channels", []int{1, 3, 2, 2}, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			return gorgonia.BroadcastHadamardProd(x, given(x.Graph(), x.Dtype(), "γ", tensor.Shape{1, 3, 1, 1}, []float64{1, -4, 2}), nil, []byte{0, 2, 3})
		}, 4, 0.7},
		{"stock Rectify", []int{1, 3, 2, 2}, gorgonia.Rectify, 1, 0.5},
		{"stock LeakyRelu", []int{1, 3, 2, 2}, func(x *gorgonia.Node) (*gorgonia.Node, error) { return gorgonia.LeakyRelu(x, 0.25) }, 1, 0.5},
		{"stock functions", []int{1, 6}, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			return chain(x, gorgonia.Abs, gorgonia.Neg, gorgonia.Sin, gorgonia.Cos, gorgonia.Softplus)
		}, 1, 0.001},
		{"stock constants", []int{1, 6}, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			two, three := constantOf(x, 2), constantOf(x, 3)
			y, err := gorgonia.Mul(x, three)
			if err == nil {
				y, err = gorgonia.Sub(two, y)
			}
			if err == nil {
				y, err = gorgonia.Div(y, two)
			}
			if err == nil {
				y, err = gorgonia.HadamardDiv(y, given(x.Graph(), x.Dtype(), "d", tensor.Shape{1, 6}, []float64{1, -0.5, 2, 3, 4, 5}))
			}
			return y, err
		}, 3, 0.5},
		{"stock MaxPool2D, overlapping", []int{1, 1, 5, 5}, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			return gorgonia.MaxPool2D(x, tensor.Shape{3, 3}, []int{1, 1}, []int{2, 2})
		}, 2, 0.3},
		{"stock MaxPool2D", []int{1, 1, 6, 4}, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			return gorgonia.MaxPool2D(x, tensor.Shape{2, 2}, []int{0, 0}, []int{2, 2})
		}, 1, 0.5},
		{"stock AveragePool2D", []int{1, 1, 6, 6}, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			return gorgonia.AveragePool2D(x, tensor.Shape{2, 3}, []int{0, 0}, []int{2, 3})
		}, math.Sqrt(6) / 6, 0.999},
		{"stock GlobalAveragePool2D", []int{1, 2, 3, 5}, gorgonia.GlobalAveragePool2D, 1 / math.Sqrt(15), 0.999},
		{"stock Dropout", []int{1, 6}, func(x *gorgonia.Node) (*gorgonia.Node, error) { return gorgonia.Dropout(x, 0.5) }, 1, 0.999},
		{"stock Upsample2D", []int{1, 2, 2, 3}, func(x *gorgonia.Node) (*gorgonia.Node, error) { return gorgonia.Upsample2D(x, 2) }, 2, 0.999},
		{"stock Concat", []int{2, 3}, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			y, err := gorgonia.Transpose(x, 1, 0)
			if err == nil {
				y, err = gorgonia.Concat(0, y, y, leafOf(x, "constant", 1, 2))
			}
			return y, err
		}, math.Sqrt2, 0.999},
		{"stock Slice", []int{4, 3}, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			return gorgonia.Slice(x, gorgonia.S(1, 3), gorgonia.S(2))
		}, 1, 0.4},
		{"stock Mean", []int{2, 6}, func(x *gorgonia.Node) (*gorgonia.Node, error) { return gorgonia.Mean(x, 1) }, 1 / math.Sqrt(6), 0.999},
		{"stock Sum", []int{2, 6}, func(x *gorgonia.Node) (*gorgonia.Node, error) { return gorgonia.Sum(x) }, math.Sqrt(12), 0.999},
		{"stock Max", []int{2, 6}, func(x *gorgonia.Node) (*gorgonia.Node, error) { return gorgonia.Max(x, 1) }, 1, 0.3},
		{"stock sums of branches", []int{1, 6}, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			y, err := gorgonia.Rectify(x)
			if err == nil {
				y, err = gorgonia.Sub(x, y)
			}
			return y, err
		}, 2, 0.4},
		{"Sigmoid", []int{1, 6}, gorgonia.Sigmoid, 0.25, 0.5},
		{"WeightNorm", []int{1, 3}, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			w, err := nodes.WeightNorm(leafOf(x, "v", 3, 1), given(x.Graph(), x.Dtype(), "g", tensor.Shape{1, 1}, []float64{7}))
			if err != nil {
				return nil, err
			}
			return nodes.Linear(x, w, nil)
		}, 7, 0.5},
		{"a residual net", []int{1, 2, 5, 5}, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			y, err := nodes.Conv2d(x, leafOf(x, "w1", 2, 2, 3, 3), tensor.Shape{3, 3}, []int{1, 1}, []int{1, 1}, nil)
			if err == nil {
				y, err = nodes.Rectify(y)
			}
			if err == nil {
				y, err = nodes.Add(y, x)
			}
			if err == nil {
				y, err = nodes.MaxPool2D(y, tensor.Shape{2, 2}, []int{0, 0}, []int{2, 2})
			}
			if err == nil {
				y, err = nodes.Linear(y, leafOf(y, "w2", 8, 3), nil)
			}
			return y, err
		}, 0, 0.1},
	}
}

// stockConv is gorgonia.Conv2d to a number of filters of 3 x 3.
func stockConv(filters int, pad, stride, dilation []int) func(x *gorgonia.Node) (*gorgonia.Node, error) {
	return func(x *gorgonia.Node) (*gorgonia.Node, error) {
		return gorgonia.Conv2d(x, leafOf(x, "w", filters, 2, 3, 3), tensor.Shape{3, 3}, pad, stride, dilation)
	}
}

func constantOf(x *gorgonia.Node, v float64) *gorgonia.Node {
	if x.Dtype() == tensor.Float32 {
		return gorgonia.NewConstant(float32(v))
	}
	return gorgonia.NewConstant(v)
}

func chain(x *gorgonia.Node, of ...func(*gorgonia.Node) (*gorgonia.Node, error)) (*gorgonia.Node, error) {
	for _, f := range of {
		var err error
		if x, err = f(x); err != nil {
			return nil, err
		}
	}
	return x, nil
}

// Pairs of points, near and far from each other, are never stretched by more than the bound. In most cases some are stretched nearly as much.
func TestLipschitz(t *testing.T) {
	for _, c := range boundCases() {
		t.Run(c.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(2, 3))
			g := gorgonia.NewGraph()
			x := zeros(g, "x", tensor.Float64, c.shape...)
			y, err := c.build(x)
			require.NoError(t, err)
			at := func(p []float64) []float64 {
				for i, v := range p {
					set(x, i, v)
				}
				return evaluated(t, y)
			}
			size, most := tensor.Shape(c.shape).TotalSize(), 0.0
			p, q, d := make([]float64, size), make([]float64, size), make([]float64, size)
			for k := range count(72) {
				for i := range p {
					p[i] = rng.NormFloat64()
					d[i] = rng.NormFloat64()
					if k%2 == 0 {
						d[i] = 1
					}
					q[i] = p[i] + math.Pow(10, float64(k%6-4))*d[i]
				}
				most = max(most, distance(at(p), at(q))/distance(p, q))
			}
			b, err := nodes.Lipschitz(y, gorgonia.Nodes{x})
			require.NoError(t, err)
			assert.LessOrEqual(t, most, b.Bound*(1+1e-9))
			assert.GreaterOrEqual(t, most, c.tight*b.Bound, "bound %g", b.Bound)
			if c.bound != 0 {
				assert.InEpsilon(t, c.bound, b.Bound, 1e-8)
			}
			assert.Equal(t, b.Bound, b.Layers[len(b.Layers)-1].Total)
			assert.Less(t, b.Rounding(3), 1e-10*(1+b.Bound))
			assert.Contains(t, b.String(), b.Layers[0].Operation)
		})
	}
}

// A net of stock operations has the bounds of the same net of nodes, also for pairs of logits.
func TestLipschitzOfStockNets(t *testing.T) {
	bounds := func(stock bool) *nodes.Bounds {
		x := zeros(gorgonia.NewGraph(), "x", tensor.Float64, 2, 2, 6, 6)
		w, v := leafOf(x, "kernel", 4, 2, 3, 3), leafOf(x, "weights", 36, 3)
		β, γ := leafOf(x, "bias", 1, 4, 1, 1), leafOf(x, "last", 1, 3)
		three, one, two, none := tensor.Shape{3, 3}, []int{1, 1}, []int{2, 2}, []int{0, 0}
		var y *gorgonia.Node
		if stock {
			y = gorgonia.Must(gorgonia.BroadcastAdd(gorgonia.Must(gorgonia.Conv2d(x, w, three, one, one, one)), β, nil, []byte{0, 2, 3}))
			y = gorgonia.Must(gorgonia.MaxPool2D(gorgonia.Must(gorgonia.Rectify(y)), tensor.Shape{2, 2}, none, two))
			y = gorgonia.Must(gorgonia.Dropout(gorgonia.Must(gorgonia.Reshape(y, tensor.Shape{2, 36})), 0.5))
			y = gorgonia.Must(gorgonia.BroadcastAdd(gorgonia.Must(gorgonia.Mul(y, v)), γ, nil, []byte{0}))
		} else {
			y = gorgonia.Must(nodes.Rectify(gorgonia.Must(nodes.Bias(gorgonia.Must(nodes.Conv2d(x, w, three, one, one, one)), β))))
			y = gorgonia.Must(nodes.MaxPool2D(y, tensor.Shape{2, 2}, none, two))
			y = gorgonia.Must(nodes.Linear(gorgonia.Must(nodes.Dropout(y, 0.5, &nodes.Noise{Seed: 1})), v, γ))
		}
		require.NoError(t, gorgonia.NewTapeMachine(x.Graph(), gorgonia.EvalMode()).Close())
		b, err := nodes.Lipschitz(y, gorgonia.Nodes{x})
		require.NoError(t, err)
		return b
	}
	want, got := bounds(false), bounds(true)
	assert.InEpsilon(t, want.Bound, got.Bound, 1e-12)
	assert.InEpsilon(t, want.Pair(0, 2), got.Pair(0, 2), 1e-12)
	assert.Less(t, got.Pair(0, 2), math.Sqrt2*got.Bound)
	assert.Equal(t, "gorgonia.Conv2d", got.Layers[0].Operation)
	assert.Equal(t, "kernel", got.Layers[0].Name)
	assert.InEpsilon(t, want.Layers[0].Bound, got.Layers[0].Bound, 1e-12)

	x := zeros(gorgonia.NewGraph(), "x", tensor.Float64, 1, 4)
	for want, build := range map[string]func() (*gorgonia.Node, error){
		"exp":     func() (*gorgonia.Node, error) { return gorgonia.Exp(x) },
		"⊙ false": func() (*gorgonia.Node, error) { return gorgonia.HadamardProd(x, x) },
		"÷ false": func() (*gorgonia.Node, error) { return gorgonia.HadamardDiv(leafOf(x, "w", 1, 4), x) },
		"÷ false(": func() (*gorgonia.Node, error) {
			return gorgonia.HadamardDiv(x, given(x.Graph(), x.Dtype(), "zero", tensor.Shape{1, 4}, []float64{1, 2, 0, 3}))
		},
		"A × B":   func() (*gorgonia.Node, error) { return gorgonia.Mul(x, gorgonia.Must(gorgonia.Transpose(x, 1, 0))) },
		"Softmax": func() (*gorgonia.Node, error) { return gorgonia.SoftMax(x) },
	} {
		y, err := build()
		require.NoError(t, err)
		_, err = nodes.Lipschitz(y, gorgonia.Nodes{x})
		assert.ErrorIs(t, err, nodes.ErrNoBound)
		assert.ErrorContains(t, err, want)
	}
	y, err := gorgonia.Dropout(x, 0.5)
	require.NoError(t, err)
	require.NoError(t, gorgonia.NewTapeMachine(x.Graph()).Close())
	_, err = nodes.Lipschitz(y, gorgonia.Nodes{x})
	assert.ErrorIs(t, err, nodes.ErrTraining)
	assert.ErrorContains(t, err, "Dropout")
}

// Rounding is a bound for float64. The same one, for the unit roundoff of float32, holds for the graph in float32.
func TestRoundingOfBounds(t *testing.T) {
	for _, c := range boundCases() {
		rng := rand.New(rand.NewPCG(5, 6))
		for range count(8) {
			p := make([]float64, tensor.Shape(c.shape).TotalSize())
			for i := range p {
				p[i] = float64(float32(rng.NormFloat64()))
			}
			var values [2][]float64
			var bound float64
			for i, of := range []tensor.Dtype{tensor.Float32, tensor.Float64} {
				x := zeros(gorgonia.NewGraph(), "x", of, c.shape...)
				for k, v := range p {
					set(x, k, v)
				}
				y, err := c.build(x)
				require.NoError(t, err)
				values[i] = evaluated(t, y)
				b, err := nodes.Lipschitz(y, gorgonia.Nodes{x})
				require.NoError(t, err)
				bound = b.Rounding(distance(p, make([]float64, len(p)))) * 0x1p29
			}
			assert.LessOrEqual(t, distance(values[0], values[1]), bound, c.name)
		}
	}
}

// The addend of a batch normalisation cancels where the mean is large, and its rounding errors with it.
func TestRoundingOfABatchNormThatCancels(t *testing.T) {
	for _, c := range []struct{ mean, bias float64 }{{1e6, 999995}, {1e12, 999995000000}, {0, 1}} {
		x := zeros(gorgonia.NewGraph(), "x", tensor.Float64, 1, 1)
		set(x, 0, 1)
		s := &nodes.Statistics{Mean: []float64{c.mean}, Variance: []float64{1}}
		y, err := nodes.BatchNormWith(x, given(x.Graph(), x.Dtype(), "γ", tensor.Shape{1, 1}, []float64{1}), given(x.Graph(), x.Dtype(), "β", tensor.Shape{1, 1}, []float64{c.bias}), s, 1e-5)
		require.NoError(t, err)
		got := evaluated(t, y)[0]
		b, err := nodes.Lipschitz(y, gorgonia.Nodes{x})
		require.NoError(t, err)

		number := func(v float64) *big.Float { return new(big.Float).SetPrec(200).SetFloat64(v) }
		root := number(1)
		root.Sqrt(root.Add(root, number(1e-5)))
		want := number(1)
		want.Add(want.Quo(want.Sub(want, number(c.mean)), root), number(c.bias))
		off, _ := want.Sub(want, number(got)).Float64()
		assert.LessOrEqual(t, math.Abs(off), b.Rounding(1), "mean %g", c.mean)
	}
}

// distance is that in the Euclidean norm.
func distance(x, y []float64) (d float64) {
	for i, v := range x {
		d = math.Hypot(d, v-y[i])
	}
	return d
}

// evaluated runs a graph in evaluation.
func evaluated(t *testing.T, y *gorgonia.Node) []float64 {
	t.Helper()
	var v gorgonia.Value
	gorgonia.Read(y, &v)
	vm := gorgonia.NewTapeMachine(y.Graph(), gorgonia.EvalMode())
	defer vm.Close()
	require.NoError(t, vm.RunAll())
	return floats(v)
}

func TestLipschitzRefuses(t *testing.T) {
	start := func() *gorgonia.Node { return zeros(gorgonia.NewGraph(), "x", tensor.Float64, 2, 4) }
	x := start()
	soft, err := gorgonia.SoftMax(x)
	require.NoError(t, err)
	y, err := nodes.Linear(soft, leafOf(x, "w", 4, 2), nil)
	require.NoError(t, err)
	_, err = nodes.Lipschitz(y, gorgonia.Nodes{x})
	assert.ErrorIs(t, err, nodes.ErrNoBound)
	assert.ErrorContains(t, err, "nodes.Lipschitz: Softmax")

	x = start()
	y, err = nodes.Linear(x, zeros(x.Graph(), "another input", tensor.Float64, 4, 2), nil)
	require.NoError(t, err)
	_, err = nodes.Lipschitz(y, gorgonia.Nodes{x, x.Graph().ByName("another input")[0]})
	assert.ErrorIs(t, err, nodes.ErrNoBound)
	assert.ErrorContains(t, err, "nodes.Linear")
	assert.ErrorContains(t, err, "another input")

	x = start()
	s, err := nodes.NewStatistics(4, 0.1)
	require.NoError(t, err)
	normed, err := nodes.BatchNormWith(x, leafOf(x, "γ", 1, 4), leafOf(x, "β", 1, 4), s, 1e-5)
	require.NoError(t, err)
	_, err = nodes.Lipschitz(normed, gorgonia.Nodes{x})
	assert.ErrorIs(t, err, nodes.ErrTraining)
	assert.ErrorContains(t, err, "nodes.BatchNorm")
	vm := gorgonia.NewTapeMachine(x.Graph(), gorgonia.EvalMode())
	require.NoError(t, vm.Close())
	_, err = nodes.Lipschitz(normed, gorgonia.Nodes{x})
	assert.NoError(t, err)

	x = start()
	scaled, err := nodes.BatchNormWith(x, leafOf(x, "γ", 1, 4), leafOf(x, "β", 1, 4), s, 1e-5)
	require.NoError(t, err)
	require.NoError(t, gorgonia.NewTapeMachine(x.Graph(), gorgonia.EvalMode()).Close())
	_, err = nodes.Lipschitz(scaled, gorgonia.Nodes{x, x.Graph().ByName("γ")[0]})
	assert.ErrorIs(t, err, nodes.ErrNoBound)
	assert.ErrorContains(t, err, "its input γ")

	x = start()
	w := leafOf(x, "w", 4, 2)
	set(w, 3, math.Inf(1))
	y, err = nodes.Linear(x, w, nil)
	require.NoError(t, err)
	_, err = nodes.Lipschitz(y, gorgonia.Nodes{x})
	assert.ErrorIs(t, err, nodes.ErrNotFinite)
	assert.ErrorContains(t, err, "w: element 3: want finite numbers, got +Inf")

	set(w, 3, 1)
	for want, o := range map[string]nodes.BoundOption{
		"want a positive slack, got -1": nodes.Slack(-1), "want 1 to 8 steps of Gram iteration, got 9": nodes.Gram(9),
		"want 1 to 8 steps of Gram iteration, got 0": nodes.Gram(0),
	} {
		_, err = nodes.Lipschitz(y, gorgonia.Nodes{x}, o)
		assert.ErrorContains(t, err, want)
	}
	_, err = nodes.Lipschitz(y, nil)
	assert.ErrorContains(t, err, "want inputs, got none")
	_, err = nodes.Lipschitz(y, gorgonia.Nodes{start()})
	assert.ErrorContains(t, err, "want inputs in the graph of the output")
	_, err = nodes.Lipschitz(nil, gorgonia.Nodes{x})
	assert.ErrorContains(t, err, "want a node of a graph, got")
}

// Nodes between others may be inputs: no layer is recognised across them.
func TestLipschitzOfComputedInputs(t *testing.T) {
	g := gorgonia.NewGraph()
	x := given(g, tensor.Float64, "x", tensor.Shape{1, 1, 2, 2}, []float64{1, -2, 3, 4})
	z, err := nodes.ConvexPotential(x, given(g, tensor.Float64, "w", tensor.Shape{1, 1, 1, 1}, []float64{2}), leafOf(x, "β", 1, 1, 1, 1))
	require.NoError(t, err)
	whole, err := nodes.Lipschitz(z, gorgonia.Nodes{x})
	require.NoError(t, err)
	assert.InEpsilon(t, 7, whole.Bound, 1e-8)
	for i, want := range []float64{4, 4, 4, 2} { // convolution, bias, ReLU and adjoint, alone and with x
		inner := whole.Layers[i].Node
		b, err := nodes.Lipschitz(z, gorgonia.Nodes{inner})
		require.NoError(t, err)
		assert.InEpsilon(t, want, b.Bound, 1e-8, "%v", inner)
		assert.Greater(t, b.Rounding(0), 0x1p-54*math.Sqrt(30), "that of the sum with x")
		b, err = nodes.Lipschitz(z, gorgonia.Nodes{x, inner})
		require.NoError(t, err)
		assert.InEpsilon(t, 1+want, b.Bound, 1e-8, "%v and x", inner)
	}

	x = zeros(g, "vector", tensor.Float64, 1, 4)
	w := leafOf(x, "weight", 4, 2)
	linear, err := nodes.Linear(x, w, nil)
	require.NoError(t, err)
	y, err := nodes.Bias(linear, leafOf(x, "bias", 1, 2))
	require.NoError(t, err)
	b, err := nodes.Lipschitz(y, gorgonia.Nodes{linear})
	require.NoError(t, err)
	assert.InEpsilon(t, 1, b.Bound, 1e-8)
	assert.InEpsilon(t, math.Sqrt2, b.Pair(0, 1), 1e-8)
}

// Gram iteration bounds less tightly, and more tightly with more steps; a smaller slack bounds more tightly.
func TestOptionsOfBounds(t *testing.T) {
	g := gorgonia.NewGraph()
	x := zeros(g, "x", tensor.Float64, 1, 3, 8, 8)
	y, err := nodes.Conv2d(x, leafOf(x, "w", 4, 3, 3, 3), tensor.Shape{3, 3}, []int{1, 1}, []int{1, 1}, nil)
	require.NoError(t, err)
	bound := func(opts ...nodes.BoundOption) float64 {
		b, err := nodes.Lipschitz(y, gorgonia.Nodes{x}, opts...)
		require.NoError(t, err)
		return b.Bound
	}
	exact := bound(nodes.Slack(2e-3))
	assert.Greater(t, bound(nodes.Slack(0.1)), exact)
	assert.Less(t, bound(nodes.Slack(0.1)), 1.1*exact)
	assert.Greater(t, bound(nodes.Gram(1)), bound(nodes.Gram(2)))
	assert.Greater(t, bound(nodes.Gram(3)), exact)
	assert.Less(t, bound(nodes.Gram(3)), 1.4*exact)
}

// The difference of two logits is bounded by the distance of the columns of the last layer, and by sqrt(2) times the bound of all.
func TestPairsOfBounds(t *testing.T) {
	g := gorgonia.NewGraph()
	x := zeros(g, "x", tensor.Float64, 1, 2)
	y, err := nodes.Linear(x, given(g, tensor.Float64, "w", tensor.Shape{2, 3}, []float64{2, 2, 0, 0, 1, 0}), nil)
	require.NoError(t, err)
	y, err = nodes.Bias(y, leafOf(x, "β", 1, 3))
	require.NoError(t, err)
	b, err := nodes.Lipschitz(y, gorgonia.Nodes{x})
	require.NoError(t, err)
	assert.Zero(t, b.Pair(1, 1))
	assert.InDelta(t, 1, b.Pair(0, 1), 1e-12)
	assert.InDelta(t, 2, b.Pair(0, 2), 1e-12)
	assert.InDelta(t, math.Sqrt(5), b.Pair(2, 1), 1e-12)

	y, err = nodes.Rectify(y)
	require.NoError(t, err)
	b, err = nodes.Lipschitz(y, gorgonia.Nodes{x})
	require.NoError(t, err)
	assert.InDelta(t, math.Sqrt2*b.Bound, b.Pair(0, 1), 1e-12)
}

// The copy in float64 has the values of the graph in float32, to the rounding of float32, and leaves it as it is.
func TestWiden(t *testing.T) {
	g := gorgonia.NewGraph()
	x := zeros(g, "x", tensor.Float32, 2, 2, 4, 4)
	w := zeros(g, "w", tensor.Float32, 3, 2, 3, 3)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 54 {
		set(w, i, rng.NormFloat64())
	}
	for i := range 64 {
		set(x, i, rng.NormFloat64())
	}
	k, err := nodes.UnitNorm(w)
	require.NoError(t, err)
	y, err := nodes.Conv2d(x, k, tensor.Shape{3, 3}, []int{1, 1}, []int{1, 1}, nil)
	require.NoError(t, err)
	y, err = gorgonia.Tanh(gorgonia.Must(gorgonia.HadamardProd(y, gorgonia.NewConstant(float32(0.5)))))
	require.NoError(t, err)
	wide, err := nodes.Widen(y)
	require.NoError(t, err)
	assert.Equal(t, tensor.Float64, wide[0].Dtype())
	vm := gorgonia.NewTapeMachine(wide[0].Graph())
	require.NoError(t, vm.RunAll())
	want := append([]float64{}, floats(wide[0].Value())...)
	require.NoError(t, vm.Close())
	again := gorgonia.NewTapeMachine(g)
	defer again.Close()
	require.NoError(t, again.RunAll())
	assert.InDeltaSlice(t, want, floats(y.Value()), 1e-6)

	for i, f := range []func(*gorgonia.Node) (*gorgonia.Node, error){
		gorgonia.Abs, gorgonia.Sign, gorgonia.Ceil, gorgonia.Floor, gorgonia.Sin, gorgonia.Cos, gorgonia.Exp, gorgonia.Log, gorgonia.Log2, gorgonia.Neg,
		gorgonia.Square, gorgonia.Sqrt, gorgonia.Inverse, gorgonia.InverseSqrt, gorgonia.Cube, gorgonia.Tanh, gorgonia.Sigmoid, gorgonia.Log1p,
		gorgonia.Expm1, gorgonia.Softplus,
	} {
		g := gorgonia.NewGraph()
		x := zeros(g, "x", tensor.Float32, 1, 3)
		for i, v := range []float64{0.25, 0.5, 1.5} {
			set(x, i, v)
		}
		y, err := f(x)
		require.NoError(t, err)
		wide, err := nodes.Widen(y)
		require.NoError(t, err)
		of := func(y *gorgonia.Node) []float64 {
			vm := gorgonia.NewTapeMachine(y.Graph())
			defer vm.Close()
			require.NoError(t, vm.RunAll(), "function %d", i)
			return floats(y.Value())
		}
		assert.InDeltaSlice(t, of(wide[0]), of(y), 1e-5, "function %d", i)
	}
	_, err = nodes.Widen(nil)
	assert.ErrorContains(t, err, "nodes.Widen: want a node of a graph")
}

// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/nodes/nodetest"
)

// affine are the inputs of a normalisation: x, a scale and a bias of each channel.
func affine(shape []int) []nodetest.Input {
	one := []int{1, shape[1], 1, 1}[:len(shape)]
	return []nodetest.Input{{Shape: shape}, {Shape: one}, {Shape: one}}
}

// statistics of a state that is not the first.
func statistics(t *testing.T, channels int) *nodes.Statistics {
	t.Helper()
	s, err := nodes.NewStatistics(channels, 0.1)
	require.NoError(t, err)
	for c := range channels {
		s.Mean[c], s.Variance[c] = 0.3*float64(c)-0.5, 0.4+0.7*float64(c)
	}
	return s
}

// channelMoments returns the mean and the variance, divided by n, of the
// elements of x that are in channel c.
func channelMoments(shape []int, x []float64, c int) (mean, variance float64, n int) {
	area := len(x) / (shape[0] * shape[1])
	var in []float64
	for i, v := range x {
		if i/area%shape[1] == c {
			in = append(in, v)
		}
	}
	for _, v := range in {
		mean += v / float64(len(in))
	}
	for _, v := range in {
		variance += (v - mean) * (v - mean) / float64(len(in))
	}
	return mean, variance, len(in)
}

func TestBatchNorm(t *testing.T) {
	const epsilon = 0.05
	for _, shape := range append(images(), []int{4, 3}, []int{5, 1}, []int{1, 2}, []int{1, 2, 1, 1}, []int{2, 3, 40, 60}) {
		build := func(in []*gorgonia.Node) (*gorgonia.Node, error) {
			return nodes.BatchNormWith(in[0], in[1], in[2], statistics(t, shape[1]), epsilon)
		}
		reference := func(eval bool) func(in [][]float64) []float64 {
			return func(in [][]float64) []float64 {
				x := in[0]
				y := make([]float64, len(x))
				area := len(x) / (shape[0] * shape[1])
				s := statistics(t, shape[1])
				for c := range shape[1] {
					m, v, _ := channelMoments(shape, x, c)
					if eval {
						m, v = s.Mean[c], s.Variance[c]
					}
					for i := range x {
						if i/area%shape[1] == c {
							y[i] = in[1][c]*(x[i]-m)/math.Sqrt(v+epsilon) + in[2][c]
						}
					}
				}
				return y
			}
		}
		large := shape[len(shape)-1] > 10
		for _, eval := range []bool{false, true} {
			elements := shape[0]
			for _, d := range shape[2:] {
				elements *= d
			}
			if elements < 2 && !eval {
				continue
			}
			t.Run(fmt.Sprint(shape, "eval=", eval), func(t *testing.T) {
				c := nodetest.Case{Build: build, Inputs: affine(shape), Value: reference(eval), Eval: eval, Condition: 10}
				if large { // too many elements for differences in each
					for i := range c.Inputs {
						c.Inputs[i].Constant = i == 0
					}
				}
				nodetest.Run(t, c)
			})
		}
	}
	nodetest.Run(t, nodetest.Case{
		Build: func(in []*gorgonia.Node) (*gorgonia.Node, error) {
			return nodes.BatchNormWith(in[0], in[1], in[2], statistics(t, 2), epsilon)
		},
		Variants: []nodetest.Build{
			func(in []*gorgonia.Node) (*gorgonia.Node, error) {
				return nodes.BatchNormWith(in[0], in[1], in[2], statistics(t, 2), epsilon/2)
			},
			func(in []*gorgonia.Node) (*gorgonia.Node, error) {
				return nodes.BatchNormWith(in[0], in[1], in[2], statistics(t, 2), epsilon)
			},
		},
		Inputs: affine([]int{3, 2}),
	})
}

// normalisation is a graph with a batch normalisation.
type normalisation struct {
	g    *gorgonia.ExprGraph
	x, y *gorgonia.Node
	s    *nodes.Statistics
}

func newNormalisation(t *testing.T, s *nodes.Statistics, of tensor.Dtype, shape ...int) *normalisation {
	t.Helper()
	n := &normalisation{g: gorgonia.NewGraph(), s: s}
	n.x = zeros(n.g, "x", of, shape...)
	one := []int{1, shape[1], 1, 1}[:len(shape)]
	var err error
	scale := gorgonia.NewTensor(n.g, of, len(shape), gorgonia.WithName("scale"), gorgonia.WithShape(one...), gorgonia.WithInit(gorgonia.Ones()))
	n.y, err = nodes.BatchNormWith(n.x, scale, zeros(n.g, "bias", of, one...), s, 1e-5)
	require.NoError(t, err)
	return n
}

// run makes a machine, runs it on x and closes it.
func (n *normalisation) run(x []float64, opts ...gorgonia.VMOpt) ([]float64, error) {
	switch d := n.x.Value().Data().(type) {
	case []float64:
		copy(d, x)
	case []float32:
		for i, v := range x {
			d[i] = float32(v)
		}
	}
	vm := gorgonia.NewTapeMachine(n.g, opts...)
	defer vm.Close()
	if err := vm.RunAll(); err != nil {
		return nil, err
	}
	return floats(n.y.Value()), nil
}

// The statistics follow PyTorch's rule, and outlive machines and switches of the mode.
func TestStatistics(t *testing.T) {
	for _, of := range []tensor.Dtype{tensor.Float64, tensor.Float32} {
		s, err := nodes.NewStatistics(2, 0.25)
		require.NoError(t, err)
		n := newNormalisation(t, s, of, 2, 2, 1, 2)
		mean, variance := []float64{0, 0}, []float64{1, 1}
		for run := range 5 {
			x := ramp(8 + run)[run:]
			for i := range x {
				x[i] = float64(float32(x[i]))
			}
			_, err := n.run(x)
			require.NoError(t, err)
			for c := range 2 {
				m, v, count := channelMoments([]int{2, 2, 1, 2}, x, c)
				mean[c] = 0.75*mean[c] + 0.25*m
				variance[c] = 0.75*variance[c] + 0.25*v*float64(count)/float64(count-1)
			}
			assert.InDeltaSlice(t, mean, s.Mean, 1e-14)
			assert.InDeltaSlice(t, variance, s.Variance, 1e-14)
			assert.EqualValues(t, run+1, s.Batches)

			// A machine for evaluation, of this graph or of another, uses them and leaves them.
			before := append(append([]float64{}, s.Mean...), s.Variance...)
			want := make([]float64, len(x))
			for i, v := range x {
				c := i / 2 % 2
				want[i] = (v - mean[c]) / math.Sqrt(variance[c]+1e-5)
			}
			for _, e := range []*normalisation{n, newNormalisation(t, s, of, 2, 2, 1, 2)} {
				y, err := e.run(x, gorgonia.EvalMode())
				require.NoError(t, err)
				assert.InDeltaSlice(t, want, y, 1e-6)
			}
			assert.Equal(t, before, append(append([]float64{}, s.Mean...), s.Variance...))
		}
		// Loaded into other statistics, they give the same.
		loaded, err := nodes.NewStatistics(2, 0.25)
		require.NoError(t, err)
		copy(loaded.Mean, s.Mean)
		copy(loaded.Variance, s.Variance)
		want, err := n.run(ramp(8), gorgonia.EvalMode())
		require.NoError(t, err)
		got, err := newNormalisation(t, loaded, of, 2, 2, 1, 2).run(ramp(8), gorgonia.EvalMode())
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
}

// A run that fails leaves the statistics as they were.
func TestBatchNormFails(t *testing.T) {
	s := statistics(t, 2)
	want := *statistics(t, 2)
	n := newNormalisation(t, s, tensor.Float64, 2, 2)
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.MaxFloat64} {
		_, err := n.run([]float64{1, 2, 3, bad})
		assert.ErrorContains(t, err, "nodes.BatchNorm: channel 1: want a finite mean and variance")
		assert.Equal(t, want, *s)
	}
	_, err := newNormalisation(t, s, tensor.Float64, 1, 2, 1, 1).run([]float64{1, 2})
	assert.ErrorContains(t, err, "nodes.BatchNorm: want more than one element of a channel in training")
	assert.Equal(t, want, *s)

	s.Variance[1] = -1
	_, err = n.run([]float64{1, 2, 3, 4})
	assert.ErrorContains(t, err, "nodes.BatchNorm: channel 1: want a running mean and variance that are finite")
	s.Variance = s.Variance[:1]
	_, err = n.run([]float64{1, 2, 3, 4}, gorgonia.EvalMode())
	assert.ErrorContains(t, err, "nodes.BatchNorm: want statistics of 2 channels, got 2 means and 1 variances")
}

// A constant channel is 0, with the smallest epsilon too.
func TestBatchNormConstant(t *testing.T) {
	s := statistics(t, 1)
	y, err := newNormalisation(t, s, tensor.Float64, 3, 1).run([]float64{1e8, 1e8, 1e8})
	require.NoError(t, err)
	assert.Equal(t, []float64{0, 0, 0}, y)
}

// The call that stock BatchNorm has compiles and gives the same in training.
func TestBatchNormIsStock(t *testing.T) {
	results := map[bool][]float64{}
	for _, stock := range []bool{true, false} {
		g := gorgonia.NewGraph()
		x := zeros(g, "x", tensor.Float64, 3, 2, 2, 2)
		copy(x.Value().Data().([]float64), ramp(24))
		scale, shift := zeros(g, "scale", tensor.Float64, 1, 2, 1, 1), zeros(g, "shift", tensor.Float64, 1, 2, 1, 1)
		copy(scale.Value().Data().([]float64), []float64{1.5, -0.5})
		copy(shift.Value().Data().([]float64), []float64{0.25, 2})
		y, _, _, _, err := nodes.BatchNorm(x, scale, shift, 0.9, 1e-5)
		if stock {
			y, _, _, _, err = gorgonia.BatchNorm(x, scale, shift, 0.9, 1e-5)
		}
		require.NoError(t, err)
		var v gorgonia.Value
		gorgonia.Read(y, &v)
		vm := gorgonia.NewTapeMachine(g)
		require.NoError(t, vm.RunAll())
		vm.Close()
		results[stock] = floats(v)
	}
	assert.InDeltaSlice(t, results[true], results[false], 1e-14)
}

// Without scale and bias there are learnables for each channel.
func TestBatchNormDefaults(t *testing.T) {
	for _, shape := range [][]int{{3, 2}, {3, 2, 2, 2}} {
		g := gorgonia.NewGraph()
		x := zeros(g, "x", tensor.Float32, shape...)
		_, scale, bias, s, err := nodes.BatchNorm(x, nil, nil, 0.1, 1e-5)
		require.NoError(t, err)
		assert.Equal(t, "x_γ", scale.Name())
		assert.Equal(t, "x_β", bias.Name())
		assert.Equal(t, []float64{1, 1}, floats(scale.Value()))
		assert.Equal(t, []float64{0, 0}, floats(bias.Value()))
		assert.Equal(t, []int{1, 2, 1, 1}[:len(shape)], []int(scale.Shape()))
		assert.Equal(t, &nodes.Statistics{Mean: []float64{0, 0}, Variance: []float64{1, 1}, Momentum: 0.1}, s)
	}
}

func TestBatchNormRejects(t *testing.T) {
	g := gorgonia.NewGraph()
	x := zeros(g, "x", tensor.Float64, 4, 3, 2, 2)
	one, other := zeros(g, "one", tensor.Float64, 1, 3, 1, 1), zeros(g, "other", tensor.Float64, 1, 2, 1, 1)
	build := func(s *nodes.Statistics, epsilon float64) nodetest.Build {
		return func(in []*gorgonia.Node) (*gorgonia.Node, error) {
			return nodes.BatchNormWith(in[0], in[1], in[2], s, epsilon)
		}
	}
	right := build(statistics(t, 3), 1e-5)
	rejects(t, right, "want a scale of shape (1, 3, 1, 1) for an input of shape (4, 3, 2, 2), got (1, 2, 1, 1)", x, other, one)
	rejects(t, right, "want a bias of shape (1, 3, 1, 1) for an input of shape (4, 3, 2, 2), got (4, 3, 2, 2)", x, one, x)
	rejects(t, right, "want rank 2 or 4, got shape (4, 3, 2)", zeros(g, "x3", tensor.Float64, 4, 3, 2), zeros(g, "s3", tensor.Float64, 1, 3, 1), zeros(g, "b3", tensor.Float64, 1, 3, 1))
	rejects(t, right, "want rank 2 at least, got shape (4)", zeros(g, "x1", tensor.Float64, 4), one, one)
	rejects(t, right, "want a node, got nil", x, one, nil)
	rejects(t, right, "want inputs of one precision", x, one, zeros(g, "single", tensor.Float32, 1, 3, 1, 1))
	rejects(t, build(nil, 1e-5), "want statistics, got nil", x, one, one)
	rejects(t, build(statistics(t, 2), 1e-5), "want statistics of 3 channels, got 2 means and 2 variances", x, one, one)
	for _, epsilon := range []float64{0, -1, math.NaN(), math.Inf(1)} {
		rejects(t, build(statistics(t, 3), epsilon), fmt.Sprintf("want a positive epsilon, got %v", epsilon), x, one, one)
	}
	for _, momentum := range []float64{-0.1, 1.1, math.NaN()} {
		_, err := nodes.NewStatistics(3, momentum)
		assert.ErrorContains(t, err, "nodes.NewStatistics: want a momentum from 0 to 1")
		_, _, _, _, err = nodes.BatchNorm(x, nil, nil, momentum, 1e-5)
		assert.ErrorContains(t, err, "nodes.BatchNorm: ")
	}
	_, err := nodes.NewStatistics(0, 0.1)
	assert.ErrorContains(t, err, "want a positive number of channels, got 0")
	_, _, _, _, err = nodes.BatchNorm(zeros(g, "x3'", tensor.Float64, 4, 3, 2), nil, nil, 0.1, 1e-5)
	assert.ErrorContains(t, err, "want rank 2 or 4, got shape (4, 3, 2)")
	_, _, _, _, err = nodes.BatchNorm(nil, nil, nil, 0.1, 1e-5)
	assert.ErrorContains(t, err, "want a node, got nil")
}

// A machine that is not for evaluation makes stock BatchNorm forget its statistics.
func TestStockBatchNormForgets(t *testing.T) {
	g := gorgonia.NewGraph()
	x := zeros(g, "x", tensor.Float64, 4, 1, 2, 2)
	copy(x.Value().Data().([]float64), ramp(16))
	_, _, _, op, err := gorgonia.BatchNorm(x, zeros(g, "scale", tensor.Float64, 1, 1, 1, 1), zeros(g, "bias", tensor.Float64, 1, 1, 1, 1), 0.5, 1e-5)
	require.NoError(t, err)
	require.NoError(t, gorgonia.NewTapeMachine(g).RunAll())
	mean, _ := op.Stats()
	assert.NotZero(t, mean.Data().([]float64)[0])
	gorgonia.NewTapeMachine(g)
	mean, _ = op.Stats()
	assert.Zero(t, mean.Data().([]float64)[0])
}

// In evaluation the gradient of stock BatchNorm in x is wrong: it should be
// 1/sqrt(variance + epsilon), here about 1, in every element.
func TestStockBatchNormEvalGradient(t *testing.T) {
	g := gorgonia.NewGraph()
	x, ones := zeros(g, "x", tensor.Float64, 2, 1, 2, 2), zeros(g, "ones", tensor.Float64, 2, 1, 2, 2)
	copy(x.Value().Data().([]float64), ramp(8))
	for i := range 8 {
		ones.Value().Data().([]float64)[i] = 1
	}
	scale := zeros(g, "scale", tensor.Float64, 1, 1, 1, 1)
	scale.Value().Data().([]float64)[0] = 1
	y, _, _, op, err := gorgonia.BatchNorm(x, scale, zeros(g, "bias", tensor.Float64, 1, 1, 1, 1), 0.5, 1e-5)
	require.NoError(t, err)
	require.NoError(t, op.Reset())
	d, err := gorgonia.Backpropagate(gorgonia.Nodes{y}, gorgonia.Nodes{ones}, gorgonia.Nodes{x})
	require.NoError(t, err)
	vm := gorgonia.NewTapeMachine(g, gorgonia.EvalMode())
	require.NoError(t, vm.RunAll())
	worst := 0.0
	for _, v := range d[0].Value().Data().([]float64) {
		worst = max(worst, math.Abs(v-1/math.Sqrt(1+1e-5)))
	}
	assert.Greater(t, worst, 0.1)
}

// Two batch normalisations of one node do not share a scale that neither was given.
func TestBatchNormTwice(t *testing.T) {
	g := gorgonia.NewGraph()
	x := zeros(g, "x", tensor.Float32, 2, 3, 4, 4)
	_, _, _, _, err := nodes.BatchNorm(x, nil, nil, 0.1, 1e-5)
	require.NoError(t, err)
	_, _, _, _, err = nodes.BatchNorm(x, nil, nil, 0.1, 1e-5)
	assert.EqualError(t, err, `nodes.BatchNorm: want a scale, because the graph has a node "x_γ" already, got nil`)
}

// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/nodes/nodetest"
)

// count returns n, or a quarter of it in short tests.
func count(n int) int {
	if testing.Short() {
		return n / 4
	}
	return n
}

// The nodes of nets with certificates: AOL, SLL, ConvexPotential, NormPool2D and MarginCrossEntropy.

type certifiedCase struct {
	Op     string
	Params struct {
		Circular            bool
		Margin, Temperature float64
		Steps               int
	}
	Inputs []struct {
		Shape []int
		Data  []float64
	}
	Value []float64
}

func (c certifiedCase) build(in []*gorgonia.Node) (*gorgonia.Node, error) {
	switch c.Op {
	case "aol":
		return nodes.AOL(in[0], 1)
	case "aol groups":
		return nodes.AOL(in[0], 2)
	case "sll":
		return nodes.SLL(in[0], in[1])
	case "potential":
		var opts []nodes.ConvOption
		if c.Params.Circular {
			opts = append(opts, nodes.Circular())
		}
		return nodes.ConvexPotential(in[0], in[1], in[2], opts...)
	case "margin loss":
		return nodes.MarginCrossEntropy(in[0], in[1], c.Params.Margin, c.Params.Temperature)
	case "norm pool":
		return nodes.NormPool2D(in[0], tensor.Shape{2, 2}, []int{0, 0}, []int{2, 2})
	}
	return nil, fmt.Errorf("unknown %s", c.Op)
}

// Values are those of NumPy, gradients those of finite differences.
func TestCertifiedReference(t *testing.T) {
	var file struct{ Cases []certifiedCase }
	readJSON(t, "testdata/certified.json", &file)
	require.Len(t, file.Cases, 17)
	for i, c := range file.Cases {
		t.Run(fmt.Sprint(i, c.Op), func(t *testing.T) {
			var unhashed []string // x and w are used twice: their gradients are sums of Gorgonia's
			switch {
			case c.Op == "potential":
				unhashed = []string{"tensorLeft", "retSame"}
			case strings.HasPrefix(c.Op, "aol"), c.Op == "sll":
				unhashed = []string{"runs"}
			}
			var in []nodetest.Input
			for k, x := range c.Inputs {
				in = append(in, nodetest.Input{Shape: x.Shape, Data: x.Data, Constant: c.Op == "margin loss" && k == 1})
			}
			nodetest.Run(t, nodetest.Case{Build: c.build, Inputs: in, Value: func(in [][]float64) []float64 {
				same := true
				for k, x := range c.Inputs {
					for j, v := range x.Data {
						same = same && in[k][j] == v
					}
				}
				require.True(t, same, "want the inputs of the case")
				return c.Value
			}, Condition: 4, Unhashed: unhashed})
		})
	}
}

// Nodes with other arguments are other nodes, and inputs of 0 have gradients.
func TestCertifiedNodes(t *testing.T) {
	loss := func(margin, temperature float64) nodetest.Build {
		return func(in []*gorgonia.Node) (*gorgonia.Node, error) {
			return nodes.MarginCrossEntropy(in[0], in[1], margin, temperature)
		}
	}
	nodetest.Run(t, nodetest.Case{Build: loss(1, 0.5), Inputs: []nodetest.Input{{Shape: []int{2, 3}}, {Shape: []int{2, 3}, Data: oneHot(2, 3), Constant: true}},
		Variants: []nodetest.Build{loss(1, 0.25), loss(0.5, 0.5), loss(0, 1)}})
	pool := func(k, s int) nodetest.Build {
		return func(in []*gorgonia.Node) (*gorgonia.Node, error) {
			return nodes.NormPool2D(in[0], tensor.Shape{k, k}, []int{0, 0}, []int{s, s})
		}
	}
	nodetest.Run(t, nodetest.Case{Build: pool(2, 2), Inputs: []nodetest.Input{{Shape: []int{1, 2, 6, 6}}}, Variants: []nodetest.Build{pool(3, 2), pool(2, 1)}})
	kernel := func(groups int) nodetest.Build {
		return func(in []*gorgonia.Node) (*gorgonia.Node, error) { return nodes.AOL(in[0], groups) }
	}
	nodetest.Run(t, nodetest.Case{Build: kernel(1), Inputs: []nodetest.Input{{Shape: []int{4, 2, 3, 3}}}, Variants: []nodetest.Build{kernel(2), kernel(4)}})

	y, dx, err := execute(t, []float64{0, 0, 0, 0, 3, 0, -4, 0}, []int{1, 2, 2, 2}, pool(2, 2))
	require.NoError(t, err)
	assert.Equal(t, []float64{0, 5}, y)
	assert.InDeltaSlice(t, []float64{0, 0, 0, 0, 0.6, 0, -0.8, 0}, dx, 1e-15)
	y, dx, err = execute(t, []float64{0, 0, 3, 4}, []int{2, 2}, kernel(1)) // the first input channel is 0
	require.NoError(t, err)
	assert.InDeltaSlice(t, []float64{0, 0, 0.6, 0.8}, y, 1) // 3/sqrt(25), 4/sqrt(25)
	assert.Equal(t, []float64{0, 0}, dx[:2])
	for _, of := range []tensor.Dtype{tensor.Float32, tensor.Float64} { // only differences of q matter
		g := gorgonia.NewGraph()
		v := leafOf(zeros(g, "", of, 1), "v", 2, 3)
		scaled := func(name string, q ...float64) []float64 {
			w, err := nodes.SLL(v, given(g, of, name, tensor.Shape{1, 3}, q))
			require.NoError(t, err)
			return evaluated(t, w)
		}
		assert.Equal(t, scaled("small", -1, 0, -2), scaled("large", 799, 800, 798))
		for want, q := range map[string][]float64{
			"q of filter 1: want a finite number, got NaN":                          {0, math.NaN(), 0},
			"want sums of products of weights times exp(q_j - q_i) that are finite": {800, 0, 0},
		} {
			_, err = nodes.SLL(v, given(g, of, want, tensor.Shape{1, 3}, q))
			assert.ErrorIs(t, err, nodes.ErrNotFinite)
			assert.ErrorContains(t, err, want)
		}
	}
	_, err = nodes.AOL(given(gorgonia.NewGraph(), tensor.Float64, "v", tensor.Shape{2, 2}, []float64{0, math.NaN(), 3, 4}), 1)
	assert.ErrorIs(t, err, nodes.ErrNotFinite)
	assert.ErrorContains(t, err, "weight 1: want a finite number, got NaN")
}

// Lipschitz finds that the layers are 1-Lipschitz, for all paddings, strides and dilations, after the kernels have been computed in either precision.
func TestBoundsOfCertifiedNodes(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	for _, of := range []tensor.Dtype{tensor.Float32, tensor.Float64} {
		for range count(20) {
			filters, channels, k := 1+rng.IntN(5), 1+rng.IntN(5), 1+2*rng.IntN(2)
			g := gorgonia.NewGraph()
			x := zeros(g, "x", of, 1, channels, 9, 9)
			v, q := zeros(g, "v", of, filters, channels, k, k), zeros(g, "q", of, 1, filters, 1, 1)
			for i := range v.Shape().TotalSize() {
				set(v, i, rng.NormFloat64())
			}
			for i := range filters {
				set(q, i, rng.NormFloat64())
			}
			var opts []nodes.ConvOption
			if rng.IntN(2) == 0 {
				opts = append(opts, nodes.Circular())
			}
			w, err := nodes.AOL(v, 1)
			require.NoError(t, err)
			y, err := nodes.Conv2dWith(x, w, tensor.Shape{k, k}, []int{k / 2, k / 2}, []int{1 + rng.IntN(2), 1}, []int{1, 1}, opts...)
			require.NoError(t, err)
			b, err := nodes.Lipschitz(y, gorgonia.Nodes{x})
			require.NoError(t, err)
			assert.LessOrEqual(t, b.Bound, 1+1e-6)
			assert.Greater(t, b.Bound, 0.3)

			w, err = nodes.SLL(v, q)
			require.NoError(t, err)
			z, err := nodes.ConvexPotential(x, w, leafOf(x, "bias", 1, filters, 1, 1), opts...)
			require.NoError(t, err)
			b, err = nodes.Lipschitz(z, gorgonia.Nodes{x})
			require.NoError(t, err)
			assert.LessOrEqual(t, b.Bound, 1+1e-6)
			assert.GreaterOrEqual(t, b.Bound, 1.0)
			assert.Less(t, b.Rounding(1), 1e-11)
		}
	}
}

// The kernel has norm 1 but for the slack, as a convolution, and an exact gradient.
func TestConvSpectralNorm(t *testing.T) {
	normalise := func(slack float64) nodetest.Build {
		return func(in []*gorgonia.Node) (*gorgonia.Node, error) { return nodes.ConvSpectralNorm(in[0], slack) }
	}
	for _, shape := range [][]int{{3, 2, 3, 3}, {2, 4, 1, 3}, {4, 2, 1, 1}, {2, 2, 2, 2}} {
		t.Run(fmt.Sprint(shape), func(t *testing.T) {
			nodetest.Run(t, nodetest.Case{Build: normalise(0.05), Inputs: []nodetest.Input{{Shape: shape}}, Variants: []nodetest.Build{normalise(0.01)}, Condition: 4})
		})
	}
	nodetest.Run(t, nodetest.Case{Build: normalise(0.05), Inputs: []nodetest.Input{{Shape: []int{1, 1, 1, 1}, Data: []float64{-3}}},
		Value: func(in [][]float64) []float64 { return []float64{in[0][0] / math.Abs(in[0][0]) / math.Sqrt(1.002)} }})
	for of, least := range map[tensor.Dtype]float64{tensor.Float32: 1e-40, tensor.Float64: 1e-310} { // 1/least is infinite
		w, err := normalise(0.05)([]*gorgonia.Node{given(gorgonia.NewGraph(), of, "least", tensor.Shape{1, 1, 1, 1}, []float64{least})})
		require.NoError(t, err)
		assert.InDelta(t, 1, evaluated(t, w)[0], 1e-2)
	}
	for _, slack := range []float64{0.2, 0.02} {
		g := gorgonia.NewGraph()
		x := zeros(g, "x", tensor.Float64, 1, 3, 40, 40)
		w, err := nodes.ConvSpectralNorm(leafOf(x, "v", 5, 3, 3, 3), slack)
		require.NoError(t, err)
		y, err := nodes.Conv2d(x, w, tensor.Shape{3, 3}, []int{1, 1}, []int{1, 1}, nil)
		require.NoError(t, err)
		b, err := nodes.Lipschitz(y, gorgonia.Nodes{x}, nodes.Slack(2e-3))
		require.NoError(t, err)
		assert.LessOrEqual(t, b.Bound, 1.002)
		assert.GreaterOrEqual(t, b.Bound, 1/(1.0011+slack))
	}
	g, of := gorgonia.NewGraph(), tensor.Float64
	rejects(t, normalise(0), "want a positive slack, got 0", zeros(g, "v", of, 4, 3, 2, 2))
	rejects(t, normalise(0.1), "want a kernel that is not 0", zeros(g, "zero", of, 4, 3, 2, 2))
	rejects(t, normalise(0.1), "want rank 4, got shape (4, 3)", zeros(g, "matrix", of, 4, 3))
	_, err := normalise(0.1)([]*gorgonia.Node{given(g, of, "inf", tensor.Shape{1, 1, 1, 2}, []float64{1, math.Inf(1)})})
	assert.ErrorIs(t, err, nodes.ErrNotFinite)
}

func TestCertifiedNodesReject(t *testing.T) {
	g, of := gorgonia.NewGraph(), tensor.Float64
	x, v, q := zeros(g, "x", of, 2, 3, 4, 4), zeros(g, "v", of, 4, 3, 2, 2), zeros(g, "q", of, 1, 4, 1, 1)
	aol := func(groups int) nodetest.Build {
		return func(in []*gorgonia.Node) (*gorgonia.Node, error) { return nodes.AOL(in[0], groups) }
	}
	sll := func(in []*gorgonia.Node) (*gorgonia.Node, error) { return nodes.SLL(in[0], in[1]) }
	residual := func(in []*gorgonia.Node) (*gorgonia.Node, error) { return nodes.ConvexPotential(in[0], in[1], in[2]) }
	rejects(t, aol(3), "want groups that divide the filters of a convolution, got 3 for (4, 3, 2, 2)", v)
	rejects(t, aol(0), "got 0 for", v)
	rejects(t, aol(2), "got 2 for (4, 2)", zeros(g, "matrix", of, 4, 2))
	rejects(t, aol(1), "want a kernel of shape (out, in, height, width) or (in, out)", zeros(g, "vector", of, 4))
	rejects(t, sll, "want shape (1, 4, 1, 1), one number a filter of (4, 3, 2, 2), got (1, 3, 1, 1)", v, zeros(g, "short", of, 1, 3, 1, 1))
	rejects(t, sll, "want a node, got nil", v, nil)
	rejects(t, residual, "want kernels of an odd height and width, which can keep the size of images, got shape (4, 3, 2, 2)", x, v, q)
	rejects(t, residual, "want filters of 3 channels", x, zeros(g, "two", of, 4, 2, 3, 3), q)
	rejects(t, residual, "want a bias of shape (1, 4, 1, 1)", x, zeros(g, "three", of, 4, 3, 3, 3), zeros(g, "short2", of, 1, 3, 1, 1))
	for want, a := range map[string][2]float64{
		"want a finite margin of at least 0, got -1": {-1, 1}, "got NaN": {math.NaN(), 1}, "want a positive and finite temperature, got 0": {1, 0}, "got +Inf": {1, math.Inf(1)},
	} {
		rejects(t, func(in []*gorgonia.Node) (*gorgonia.Node, error) {
			return nodes.MarginCrossEntropy(in[0], in[0], a[0], a[1])
		}, want, zeros(g, "z"+want, of, 2, 3))
	}
}

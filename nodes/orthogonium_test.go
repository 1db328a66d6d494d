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
)

// From the same weights orthogonium computes the same kernels, layers and bounds. testdata/orthogonium.py says how its factors are related to ours.
func TestOrthogonium(t *testing.T) {
	var file struct {
		Kernels []orthogonalKernel
		Layers  []certifiedCase
	}
	readJSON(t, "testdata/orthogonium.json", &file)
	require.Len(t, file.Kernels, 18)
	require.Len(t, file.Layers, 20)
	value := func(g *gorgonia.ExprGraph, y *gorgonia.Node, err error) []float64 {
		require.NoError(t, err)
		require.NoError(t, runOnce(g))
		return floats(y.Value())
	}
	input := func(g *gorgonia.ExprGraph, shape []int, data []float64) *gorgonia.Node {
		return gorgonia.NewTensor(g, tensor.Float64, len(shape), gorgonia.WithName(fmt.Sprint("input ", len(g.AllNodes()))),
			gorgonia.WithValue(tensor.New(tensor.WithShape(shape...), tensor.WithBacking(data))))
	}
	worst := map[string]float64{}
	compare := func(what string, want, got []float64) {
		require.Len(t, got, len(want), what)
		for i, v := range want {
			worst[what] = max(worst[what], math.Abs(got[i]-v))
		}
	}
	for _, c := range file.Kernels {
		matrix, projectors, err := nodes.OrthogonalConvFactors(c.Filters, c.Channels, c.Size, c.Stride, nodes.Groups(c.Groups))
		require.NoError(t, err)
		g := gorgonia.NewGraph()
		m := input(g, matrix.Shape, c.Matrix)
		var u *gorgonia.Node
		if projectors.Shape != nil {
			u = input(g, projectors.Shape, c.Projectors)
		}
		w, err := nodes.OrthogonalConvKernel(m, u, c.Channels, c.Size, c.Stride)
		compare("orthogonal", c.Kernel, value(g, w, err))
	}
	for _, c := range file.Layers {
		g := gorgonia.NewGraph()
		var in []*gorgonia.Node
		for _, x := range c.Inputs {
			in = append(in, input(g, x.Shape, x.Data))
		}
		switch c.Op {
		case "sll block": // for any q
			q := input(g, []int{1, in[1].Shape()[0], 1, 1}, make([]float64, in[1].Shape()[0]))
			in = []*gorgonia.Node{in[0], in[1], q, in[2]}
			fallthrough
		case "sll dense":
			w, err := nodes.SLL(in[1], in[2])
			if c.Op == "sll dense" { // v' ReLU(v x + b) / t there is w' ReLU(w x + b/sqrt(t)), for w = v/sqrt(t)
				scaled := value(g, w, err)
				for i := range scaled[:in[3].Shape()[1]] {
					set(in[3], i, floats(in[3].Value())[i]*scaled[i*3]/floats(in[1].Value())[i*3])
				}
			}
			require.NoError(t, err)
			y, err := nodes.ConvexPotential(in[0], w, in[3])
			compare(c.Op, c.Value, value(g, y, err))
		case "gram":
			x := zeros(g, "x", tensor.Float64, 1, in[0].Shape()[1], 4, 4)
			y, err := nodes.Conv2d(x, in[0], in[0].Shape()[2:], []int{0, 0}, []int{1, 1}, nil)
			require.NoError(t, err)
			b, err := nodes.Lipschitz(y, gorgonia.Nodes{x}, nodes.Gram(c.Params.Steps))
			require.NoError(t, err)
			if s := in[0].Shape(); s[0] == s[1] {
				compare(c.Op, c.Value, []float64{b.Bound})
			} else {
				t.Logf("kernel %v, Gram(%d): %.4f, of the larger Gram matrix %.4f", s, c.Params.Steps, b.Bound, c.Value[0])
			}
		default:
			y, err := c.build(in)
			compare(c.Op, c.Value, value(g, y, err))
		}
	}
	for what, d := range worst {
		t.Logf("%s: largest difference %.1e", what, d)
		most := 2e-14
		if what == "gram" {
			most = 1e-10 // rounding errors are added to our bound
		}
		assert.LessOrEqual(t, d, most, what)
	}
}

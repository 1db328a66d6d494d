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

// filterLoop is the formula of the nodes of this file: g (v - mean) / root.
func filterLoop(shape tensor.Shape, centred bool, root func(squares float64, n int) float64) func(in [][]float64) []float64 {
	return func(in [][]float64) []float64 {
		out := make([]float64, len(in[0]))
		for i, filter := range filtersOf(shape) {
			mean, squares, gain := 0.0, 0.0, 1.0
			if len(in) > 1 {
				gain = in[1][i]
			}
			for _, e := range filter {
				if centred {
					mean += in[0][e] / float64(len(filter))
				}
			}
			for _, e := range filter {
				squares += (in[0][e] - mean) * (in[0][e] - mean)
			}
			for _, e := range filter {
				out[e] = gain * (in[0][e] - mean) / root(squares, len(filter))
			}
		}
		return out
	}
}

func gainShape(s tensor.Shape) tensor.Shape {
	if s.Dims() == 2 {
		return tensor.Shape{1, s[1]}
	}
	return tensor.Shape{s[0], 1, 1, 1}
}

func TestWeightNorm(t *testing.T) {
	norm := func(squares float64, _ int) float64 { return math.Sqrt(squares) }
	for _, s := range append(kernelShapes, tensor.Shape{2, 1, 1, 1}) {
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			kernelNode{
				build:  func(in []*gorgonia.Node) (*gorgonia.Node, error) { return nodes.WeightNorm(in[0], in[1]) },
				shapes: []tensor.Shape{s, gainShape(s)},
				loop:   filterLoop(s, false, norm),
			}.check(t)
		})
	}
	for _, s := range kernelShapes {
		t.Run(fmt.Sprint("centred ", s), func(t *testing.T) {
			kernelNode{
				build:     func(in []*gorgonia.Node) (*gorgonia.Node, error) { return nodes.CentredWeightNorm(in[0], in[1]) },
				shapes:    []tensor.Shape{s, gainShape(s)},
				loop:      filterLoop(s, true, norm),
				condition: 10,
			}.check(t)
		})
	}
}

func TestWeightStandardization(t *testing.T) {
	for _, eps := range []float64{0, 1e-5, 0.3} {
		for _, s := range kernelShapes {
			t.Run(fmt.Sprint(eps, s), func(t *testing.T) {
				kernelNode{
					build: func(in []*gorgonia.Node) (*gorgonia.Node, error) {
						return nodes.WeightStandardization(in[0], eps)
					},
					shapes: []tensor.Shape{s},
					loop: filterLoop(s, true, func(squares float64, n int) float64 {
						return math.Sqrt(squares/float64(n) + eps)
					}),
					condition: 10,
				}.check(t)
			})
		}
	}
}

func TestWeightNormRefuses(t *testing.T) {
	g := gorgonia.NewGraph()
	v, gain := unset(g, "v", 4, 3, 3, 3), unset(g, "gain", 4, 1, 1, 1)
	_, err := nodes.WeightNorm(nil, gain)
	assert.EqualError(t, err, "nodes.WeightNorm: input 0: want a node, got nil")
	_, err = nodes.WeightNorm(v, unset(g, "wide", 1, 4, 1, 1))
	assert.EqualError(t, err, "nodes.WeightNorm: input 1, wide: want shape (4, 1, 1, 1), one number a filter of (4, 3, 3, 3), got (1, 4, 1, 1)")
	_, err = nodes.CentredWeightNorm(unset(g, "m", 3, 4), unset(g, "flat", 4))
	assert.EqualError(t, err, "nodes.CentredWeightNorm: input 1, flat: want shape (1, 4), one number a filter of (3, 4), got (4)")
	_, err = nodes.WeightNorm(unset(g, "rank3", 3, 3, 3), gain)
	assert.EqualError(t, err, "nodes.WeightNorm: input 0, rank3: want a kernel of shape (out, in, height, width) or (in, out), got shape (3, 3, 3)")
	_, err = nodes.CentredWeightNorm(unset(g, "dots", 4, 1, 1, 1), gain)
	assert.EqualError(t, err, "nodes.CentredWeightNorm: input 0, dots: want filters of at least 2 weights, to be centred, got 1")
	single := gorgonia.NewTensor(g, tensor.Float32, 4, gorgonia.WithName("single"), gorgonia.WithShape(4, 1, 1, 1))
	_, err = nodes.WeightNorm(v, single)
	assert.EqualError(t, err, "nodes.WeightNorm: want inputs of one precision, got float64 and float32")
	_, err = nodes.WeightNorm(gorgonia.NewTensor(g, tensor.Int, 4, gorgonia.WithName("int"), gorgonia.WithShape(4, 1, 1, 1)), gain)
	assert.EqualError(t, err, "nodes.WeightNorm: input 0, int: want float32 or float64, got int")
	for _, eps := range []float64{-1e-5, math.NaN(), math.Inf(1)} {
		_, err = nodes.WeightStandardization(v, eps)
		assert.EqualError(t, err, fmt.Sprintf("nodes.WeightStandardization: want a finite eps of at least 0, got %v", eps))
	}
	zero := given(g, tensor.Float64, "zero", tensor.Shape{2, 1, 2, 2}, []float64{1, 2, 3, 4, 0, 0, 0, 0})
	_, err = nodes.WeightNorm(zero, given(g, tensor.Float64, "ones", tensor.Shape{2, 1, 1, 1}, []float64{1, 1}))
	assert.EqualError(t, err, "nodes.WeightNorm: the value of zero: filter 1: want a direction, got norm 0")
}

// What becomes degenerate after the graph was built is an error of the run.
func TestWeightNormDegenerate(t *testing.T) {
	for _, of := range []tensor.Dtype{tensor.Float64, tensor.Float32} {
		for name, c := range map[string]struct {
			build  func(v, g *gorgonia.Node, opts ...nodes.KernelOption) (*gorgonia.Node, error)
			values []float64
			want   string
		}{
			"zero":     {nodes.WeightNorm, []float64{1, 2, 3, 4, 0, 0, 0, 0}, "nodes.WeightNorm: filter 1: want a direction, got norm 0"},
			"NaN":      {nodes.WeightNorm, []float64{1, 2, math.NaN(), 4, 1, 0, 0, 0}, "nodes.WeightNorm: filter 0: want a direction, got norm NaN"},
			"Inf":      {nodes.WeightNorm, []float64{1, 2, 3, 4, math.Inf(-1), 0, 0, 0}, "nodes.WeightNorm: filter 1: want a direction, got norm +Inf"},
			"constant": {nodes.CentredWeightNorm, []float64{1, 2, 3, 4, 0.1, 0.1, 0.1, 0.1}, "nodes.CentredWeightNorm: filter 1: want a direction, got distance from its mean"},
			"std": {func(v, _ *gorgonia.Node, _ ...nodes.KernelOption) (*gorgonia.Node, error) {
				return nodes.WeightStandardization(v, 0)
			},
				[]float64{1, 2, 3, 4, 1e5, 1e5, 1e5, 1e5}, "nodes.WeightStandardization: filter 1: want a direction, got distance from its mean"},
		} {
			t.Run(fmt.Sprint(name, " ", of), func(t *testing.T) {
				g := gorgonia.NewGraph()
				v := given(g, of, "v", tensor.Shape{2, 1, 2, 2}, []float64{1, 2, 3, 4, 4, 3, 2, 2})
				gain := given(g, of, "g", tensor.Shape{2, 1, 1, 1}, []float64{1, 1})
				_, err := c.build(v, gain)
				require.NoError(t, err)
				assign(v.Value(), c.values)
				assert.ErrorContains(t, runOnce(g), c.want)
			})
		}
	}
	g := gorgonia.NewGraph()
	v := given(g, tensor.Float64, "v", tensor.Shape{1, 1, 2, 2}, []float64{3, 3, 3, 3})
	w, err := nodes.WeightStandardization(v, 1e-5)
	require.NoError(t, err)
	require.NoError(t, runOnce(g))
	assert.Equal(t, make([]float64, 4), floats(w.Value()), "a constant filter with eps")
}

// Norms whose squares overflow or vanish.
func TestWeightNormScales(t *testing.T) {
	for _, s := range []float64{1e-300, 1e-160, 1e160, 1e300} {
		g := gorgonia.NewGraph()
		v := given(g, tensor.Float64, "v", tensor.Shape{1, 1, 1, 2}, []float64{3 * s, 4 * s})
		w := gorgonia.Must(nodes.WeightNorm(v, given(g, tensor.Float64, "g", tensor.Shape{1, 1, 1, 1}, []float64{10})))
		require.NoError(t, runOnce(g))
		assert.InDeltaSlice(t, []float64{6, 8}, floats(w.Value()), 1e-14, "%g", s)
	}
}

// Two filters of a layer, and the norms that they are given.
func ExampleWeightNorm() {
	g := gorgonia.NewGraph()
	v := gorgonia.NewTensor(g, tensor.Float64, 4, gorgonia.WithName("v"),
		gorgonia.WithValue(tensor.New(tensor.WithShape(2, 1, 1, 2), tensor.WithBacking([]float64{3, 4, 0, 5}))))
	gain := gorgonia.NewTensor(g, tensor.Float64, 4, gorgonia.WithName("g"),
		gorgonia.WithValue(tensor.New(tensor.WithShape(2, 1, 1, 1), tensor.WithBacking([]float64{1, 2}))))
	w := gorgonia.Must(nodes.WeightNorm(v, gain))

	vm := gorgonia.NewTapeMachine(g)
	defer vm.Close()
	fmt.Println(vm.RunAll())
	fmt.Printf("%.2f\n", w.Value().Data())
	// Output:
	// <nil>
	// [0.60 0.80 0.00 2.00]
}

func ExampleCentredWeightNorm() {
	g := gorgonia.NewGraph()
	v := gorgonia.NewTensor(g, tensor.Float64, 4, gorgonia.WithName("v"),
		gorgonia.WithValue(tensor.New(tensor.WithShape(1, 1, 2, 2), tensor.WithBacking([]float64{3, 1, 3, 1}))))
	gain := gorgonia.NewTensor(g, tensor.Float64, 4, gorgonia.WithName("g"),
		gorgonia.WithValue(tensor.New(tensor.WithShape(1, 1, 1, 1), tensor.WithBacking([]float64{1}))))
	w := gorgonia.Must(nodes.CentredWeightNorm(v, gain))

	vm := gorgonia.NewTapeMachine(g)
	defer vm.Close()
	fmt.Println(vm.RunAll(), w.Value().Data())
	// Output: <nil> [0.5 -0.5 0.5 -0.5]
}

func ExampleWeightStandardization() {
	g := gorgonia.NewGraph()
	v := gorgonia.NewTensor(g, tensor.Float64, 4, gorgonia.WithName("v"),
		gorgonia.WithValue(tensor.New(tensor.WithShape(1, 1, 2, 2), tensor.WithBacking([]float64{3, 1, 3, 1}))))
	w := gorgonia.Must(nodes.WeightStandardization(v, 0))

	vm := gorgonia.NewTapeMachine(g)
	defer vm.Close()
	fmt.Println(vm.RunAll(), w.Value().Data())
	// Output: <nil> [1 -1 1 -1]
}

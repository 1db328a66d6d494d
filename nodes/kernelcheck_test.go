// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// kernelNode is a node of kernels under test: how it is built, the shapes of its
// inputs, and its value written as a direct loop over in[input][element].
type kernelNode struct {
	name   string
	build  func(in ...*gorgonia.Node) (*gorgonia.Node, error)
	shapes []tensor.Shape
	loop   func(in [][]float64) []float64
	// size and rough are factors of the tolerances of values and of gradients,
	// 1 if they are 0.
	size, rough float64
	// cut is what is drawn for the inputs, standard normal numbers if nil.
	cut func(rng *rand.Rand, input int) float64
}

// check holds the node against its loop, its gradients against differences, and
// float32 against float64.
func (k kernelNode) check(t *testing.T) {
	t.Helper()
	rng := rand.New(rand.NewPCG(7, 11))
	in := make([][]float64, len(k.shapes))
	for i, s := range k.shapes {
		in[i] = make([]float64, s.TotalSize())
		for j := range in[i] {
			in[i][j] = rng.NormFloat64()
			if k.cut != nil {
				in[i][j] = k.cut(rng, i)
			}
			in[i][j] = float64(float32(in[i][j]))
		}
	}
	size, rough := max(k.size, 1), max(k.rough, 1)

	run := k.machine(t, tensor.Float64, in)
	value, gradients := run(in)
	want := k.loop(in)
	require.Len(t, value, len(want))
	for i := range want {
		require.InDelta(t, want[i], value[i], size*1e-13*(1+math.Abs(want[i])), "element %d", i)
	}
	again, gradientsAgain := run(in)
	assert.Equal(t, value, again, "a second run")
	assert.Equal(t, gradients, gradientsAgain, "the gradients of a second run")

	// Central differences of the weighted sum of the outputs, by the loop.
	weights := k.weights(len(value))
	cost := func() float64 {
		s := 0.0
		for i, v := range k.loop(in) {
			s += weights[i] * v
		}
		return s
	}
	const h = 1e-5
	for i := range in {
		for _, j := range rng.Perm(len(in[i]))[:min(24, len(in[i]))] {
			x := in[i][j]
			in[i][j] = x + h
			up := cost()
			in[i][j] = x - h
			down := cost()
			in[i][j] = x
			require.InDelta(t, (up-down)/(2*h), gradients[i][j], rough*2e-8*(1+math.Abs(gradients[i][j])), "gradient in input %d, element %d", i, j)
		}
	}

	single, singleGradients := k.machine(t, tensor.Float32, in)(in)
	closeTo := func(want, got []float64, factor float64, what string) {
		largest := 1.0
		for _, v := range want {
			largest = max(largest, math.Abs(v))
		}
		for i := range want {
			require.InDelta(t, want[i], got[i], factor*2e-6*largest, "%s in float32, element %d", what, i)
		}
	}
	closeTo(value, single, size, "value")
	for i := range gradients {
		closeTo(gradients[i], singleGradients[i], 8*max(size, rough), fmt.Sprintf("gradient in input %d", i))
	}
}

// weights are what the outputs count in the cost.
func (k kernelNode) weights(n int) []float64 {
	w := make([]float64, n)
	for i := range w {
		w[i] = math.Sin(float64(3*i + 1))
	}
	return w
}

// machine builds the node in a graph whose cost is a weighted sum of its outputs.
func (k kernelNode) machine(t *testing.T, of tensor.Dtype, start [][]float64) func(in [][]float64) (value []float64, gradients [][]float64) {
	t.Helper()
	g := gorgonia.NewGraph()
	var leaves gorgonia.Nodes
	for i, s := range k.shapes {
		leaves = append(leaves, leaf(g, of, fmt.Sprintf("in%d", i), s, start[i]))
	}
	out, err := k.build(leaves...)
	require.NoError(t, err)
	var value gorgonia.Value
	gorgonia.Read(out, &value)
	cost := out
	if !out.IsScalar() {
		w := leaf(g, of, "weights", out.Shape(), k.weights(out.Shape().TotalSize()))
		cost = gorgonia.Must(gorgonia.Sum(gorgonia.Must(gorgonia.HadamardProd(out, w))))
	} else {
		w := gorgonia.NewConstant(castTo(of, k.weights(1)[0]), gorgonia.WithName("weight"))
		cost = gorgonia.Must(gorgonia.Mul(out, w))
	}
	_, err = gorgonia.Grad(cost, leaves...)
	require.NoError(t, err)
	vm := gorgonia.NewTapeMachine(g, gorgonia.BindDualValues(leaves...))
	t.Cleanup(func() { vm.Close() })
	return func(in [][]float64) ([]float64, [][]float64) {
		for i, n := range leaves {
			set(n.Value(), in[i])
		}
		require.NoError(t, vm.RunAll())
		result := floats(value)
		var gradients [][]float64
		for i, n := range leaves {
			require.Equal(t, in[i], floats(n.Value()), "input %d after the run", i)
			d, err := n.Grad()
			require.NoError(t, err)
			gradients = append(gradients, floats(d))
			set(d, make([]float64, len(in[i])))
		}
		vm.Reset()
		return result, gradients
	}
}

func castTo(of tensor.Dtype, v float64) any {
	if of == tensor.Float64 {
		return v
	}
	return float32(v)
}

func leaf(g *gorgonia.ExprGraph, of tensor.Dtype, name string, shape tensor.Shape, values []float64) *gorgonia.Node {
	v := tensor.New(tensor.Of(of), tensor.WithShape(shape.Clone()...))
	set(v, values)
	return gorgonia.NewTensor(g, of, shape.Dims(), gorgonia.WithName(name), gorgonia.WithShape(shape...), gorgonia.WithValue(v))
}

func set(v gorgonia.Value, values []float64) {
	switch d := v.Data().(type) {
	case []float64:
		copy(d, values)
	case []float32:
		for i, x := range values {
			d[i] = float32(x)
		}
	default:
		panic(fmt.Sprintf("set %T", d))
	}
}

// floats copies the elements of a value.
func floats(v gorgonia.Value) []float64 {
	switch d := v.Data().(type) {
	case []float64:
		return slices.Clone(d)
	case float64:
		return []float64{d}
	case float32:
		return []float64{float64(d)}
	case []float32:
		f := make([]float64, len(d))
		for i, x := range d {
			f[i] = float64(x)
		}
		return f
	}
	panic(fmt.Sprintf("floats of %T", v.Data()))
}

// filtersOf returns the numbers of the elements of each filter.
func filtersOf(s tensor.Shape) [][]int {
	d, f := s[0], s.TotalSize()/s[0]
	if s.Dims() == 2 {
		d, f = s[1], s[0]
	}
	rows := make([][]int, d)
	for i := range rows {
		for j := range f {
			e := i*f + j
			if s.Dims() == 2 {
				e = j*d + i
			}
			rows[i] = append(rows[i], e)
		}
	}
	return rows
}

// kernelShapes are ordinary, of one filter, of one channel, not square, 1x1, wide
// and tall as banks, and fully connected.
var kernelShapes = []tensor.Shape{
	{4, 3, 3, 3}, {1, 2, 3, 3}, {3, 1, 2, 5}, {5, 3, 1, 1}, {3, 5, 1, 1}, {4, 6}, {6, 4},
}

func node(g *gorgonia.ExprGraph, name string, shape ...int) *gorgonia.Node {
	return gorgonia.NewTensor(g, tensor.Float64, len(shape), gorgonia.WithName(name), gorgonia.WithShape(shape...))
}

// runOnce computes a graph that has only leaves with values.
func runOnce(g *gorgonia.ExprGraph) error {
	vm := gorgonia.NewTapeMachine(g)
	defer vm.Close()
	return vm.RunAll()
}

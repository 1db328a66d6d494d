// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"fmt"
	"slices"
	"testing"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes/nodetest"
)

// kernelNode is a node of kernels under test: how it is built, the shapes of its
// inputs, its value written as a direct loop over in[input][element], and the
// factor of the tolerances.
type kernelNode struct {
	build     nodetest.Build
	shapes    []tensor.Shape
	loop      func(in [][]float64) []float64
	condition float64
	variants  []nodetest.Build
}

func (k kernelNode) check(t *testing.T) {
	t.Helper()
	c := nodetest.Case{Build: k.build, Value: k.loop, Condition: k.condition, Variants: k.variants}
	for _, s := range k.shapes {
		c.Inputs = append(c.Inputs, nodetest.Input{Shape: s})
	}
	nodetest.Run(t, c)
}

func given(g *gorgonia.ExprGraph, of tensor.Dtype, name string, shape tensor.Shape, values []float64) *gorgonia.Node {
	v := tensor.New(tensor.Of(of), tensor.WithShape(shape.Clone()...))
	assign(v, values)
	return gorgonia.NewTensor(g, of, shape.Dims(), gorgonia.WithName(name), gorgonia.WithShape(shape...), gorgonia.WithValue(v))
}

func assign(v gorgonia.Value, values []float64) {
	switch d := v.Data().(type) {
	case []float64:
		copy(d, values)
	case []float32:
		for i, x := range values {
			d[i] = float32(x)
		}
	default:
		panic(fmt.Sprintf("assign %T", d))
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

func unset(g *gorgonia.ExprGraph, name string, shape ...int) *gorgonia.Node {
	return gorgonia.NewTensor(g, tensor.Float64, len(shape), gorgonia.WithName(name), gorgonia.WithShape(shape...))
}

// runOnce computes a graph that has only leaves with values.
func runOnce(g *gorgonia.ExprGraph) error {
	vm := gorgonia.NewTapeMachine(g)
	defer vm.Close()
	return vm.RunAll()
}

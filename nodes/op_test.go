// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/vec"
)

// sum is x + w, which counts what is computed of it.
type sum[T vec.Float] struct{ log *sumLog }

type sumLog struct {
	forward   int
	backward  [2]int
	fail      error
	precision any
}

func (s sum[T]) Forward(out []T, in [][]T) error {
	s.log.forward++
	s.log.precision = out
	for i := range out {
		out[i] = in[0][i] + in[1][i]
	}
	return s.log.fail
}

func (s sum[T]) Backward(dst []T, i int, _ [][]T, _, grad []T) error {
	s.log.backward[i]++
	copy(dst, grad)
	return s.log.fail
}

func newSum(t *testing.T, log *sumLog, x, w *gorgonia.Node) *gorgonia.Node {
	t.Helper()
	shapes, err := admit("nodes.sum", []int{0, 0}, x, w)
	require.NoError(t, err)
	n, err := apply(signature{name: "nodes.sum", in: shapes, out: shapes[0]}, sum[float32]{log}, sum[float64]{log}, x, w)
	require.NoError(t, err)
	return n
}

func matrix(g *gorgonia.ExprGraph, name string, of tensor.Dtype) *gorgonia.Node {
	return gorgonia.NewMatrix(g, of, gorgonia.WithName(name), gorgonia.WithShape(2, 3), gorgonia.WithInit(gorgonia.Ones()))
}

// Of the gradients that Gorgonia makes nodes for, those are computed that are used.
func TestUnusedGradientsAreNotComputed(t *testing.T) {
	for _, both := range []bool{false, true} {
		g := gorgonia.NewGraph()
		log := &sumLog{}
		x, w := matrix(g, "x", tensor.Float64), matrix(g, "w", tensor.Float64)
		wrt, in := gorgonia.Nodes{w}, x
		if both { // used by the gradient of another node
			wrt, in = gorgonia.Nodes{x, w}, gorgonia.Must(gorgonia.Tanh(x))
		}
		y := newSum(t, log, in, w)
		d, err := gorgonia.Grad(gorgonia.Must(gorgonia.Sum(y)), wrt...)
		require.NoError(t, err)
		vm := gorgonia.NewTapeMachine(g)
		require.NoError(t, vm.RunAll())
		assert.Equal(t, []float64{1, 1, 1, 1, 1, 1}, d[len(d)-1].Value().Data())
		want := [2]int{0, 1}
		if both {
			want[0] = 1
		}
		assert.Equal(t, want, log.backward)
		assert.Equal(t, 1, log.forward)
	}
}

// A machine runs nodes that nothing uses. When this fails, wanted can go.
func TestMachinesRunUnusedNodes(t *testing.T) {
	g := gorgonia.NewGraph()
	log := &sumLog{}
	newSum(t, log, matrix(g, "x", tensor.Float64), matrix(g, "w", tensor.Float64))
	require.NoError(t, gorgonia.NewTapeMachine(g).RunAll())
	assert.Equal(t, 1, log.forward)
}

// Errors of a body name the node, and the input of a gradient.
func TestBodyErrors(t *testing.T) {
	g := gorgonia.NewGraph()
	log := &sumLog{}
	x, w := matrix(g, "x", tensor.Float32), matrix(g, "w", tensor.Float32)
	y := newSum(t, log, x, w)
	_, err := gorgonia.Grad(gorgonia.Must(gorgonia.Sum(y)), w)
	require.NoError(t, err)
	vm := gorgonia.NewTapeMachine(g)
	require.NoError(t, vm.RunAll())
	assert.IsType(t, []float32{}, log.precision)
	vm.Reset()
	log.fail = errors.New("no luck")
	assert.ErrorContains(t, vm.RunAll(), "nodes.sum: no luck")
	var d gorgonia.Op
	for _, n := range g.AllNodes() {
		if b, ok := n.Op().(*gradient); ok && b.input == 1 {
			d = b
		}
	}
	v := x.Value()
	_, err = d.Do(v, v, v, v)
	assert.ErrorContains(t, err, "nodes.sum: gradient in input 1: no luck")
}

// Values that are not what the graph was made for are errors.
func TestValues(t *testing.T) {
	g := gorgonia.NewGraph()
	x := matrix(g, "x", tensor.Float64)
	op := newSum(t, &sumLog{}, x, matrix(g, "w", tensor.Float64)).Op()
	v := x.Value()
	for want, in := range map[string][]gorgonia.Value{
		"nodes.sum: want 2 inputs, got 1":                                     {v},
		"nodes.sum: input 1: want a value, got nil":                           {v, nil},
		"nodes.sum: input 1: want shape (2, 3), float64, got (2, 3), float32": {v, tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(2, 3))},
		"nodes.sum: input 0: want shape (2, 3), float64, got (4), float64":    {tensor.New(tensor.Of(tensor.Float64), tensor.WithShape(4)), v},
		"nodes.sum: input 0: want float32 or float64, got int":                {tensor.New(tensor.Of(tensor.Int), tensor.WithShape(2, 3)), v},
	} {
		_, err := op.Do(in...)
		assert.EqualError(t, err, want)
	}
	// A view is read in its order.
	dense := tensor.New(tensor.WithShape(3, 2), tensor.WithBacking([]float64{1, 2, 3, 4, 5, 6}))
	require.NoError(t, dense.T())
	y, err := op.Do(dense, v)
	require.NoError(t, err)
	assert.Equal(t, []float64{2, 4, 6, 3, 5, 7}, y.Data())
}

// Inputs may be constants, which have no graph before they are used.
func TestConstantInput(t *testing.T) {
	g := gorgonia.NewGraph()
	c := gorgonia.NewConstant(tensor.New(tensor.WithShape(2, 3), tensor.WithBacking([]float64{1, 2, 3, 4, 5, 6})), gorgonia.WithName("c"))
	y := newSum(t, &sumLog{}, matrix(g, "x", tensor.Float64), c)
	require.NoError(t, gorgonia.NewTapeMachine(g).RunAll())
	assert.Equal(t, []float64{2, 3, 4, 5, 6, 7}, y.Value().Data())
}

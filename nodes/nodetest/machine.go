// SPDX-License-Identifier: Apache-2.0

package nodetest

import (
	"fmt"
	"math/rand/v2"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/roles"
)

var precisions = []tensor.Dtype{tensor.Float32, tensor.Float64}

// graph is the graph of a case: the leaves, the node, the result computed from it, and the
// gradients of <cotangent, result> with respect to the leaves.
type graph struct {
	c          *Case
	leaves     gorgonia.Nodes
	node       *gorgonia.Node
	cotangent  *gorgonia.Node
	gradients  gorgonia.Nodes // of the inputs that are not constant
	result     gorgonia.Value
	derivative []gorgonia.Value
	vm         gorgonia.VM
}

// run holds the results of a run, all converted to float64.
type run struct {
	value     []float64
	gradients [][]float64 // nil for a constant input
	inputs    [][]float64 // after the run
}

// leaf adds an input to a graph.
func leaf(g *gorgonia.ExprGraph, of tensor.Dtype, shape []int, name string) *gorgonia.Node {
	if len(shape) == 0 {
		return gorgonia.NewScalar(g, of, gorgonia.WithName(name), gorgonia.WithValue(scalar(of)))
	}
	v := tensor.New(tensor.Of(of), tensor.WithShape(append([]int{}, shape...)...))
	return gorgonia.NewTensor(g, of, len(shape), gorgonia.WithName(name), gorgonia.WithValue(v))
}

func scalar(of tensor.Dtype) gorgonia.Value {
	if of == tensor.Float64 {
		return gorgonia.NewF64(0)
	}
	return gorgonia.NewF32(0)
}

// leaves adds the inputs of the case, with their values, to a new graph.
func (c *Case) leaves(of tensor.Dtype) gorgonia.Nodes {
	g := gorgonia.NewGraph()
	var leaves gorgonia.Nodes
	for i, in := range c.Inputs {
		n := leaf(g, of, in.Shape, fmt.Sprintf("input %d", i))
		set(n.Value(), in.Data) // a node may read it when it is built
		leaves = append(leaves, n)
	}
	return leaves
}

// add calls build and converts a panic into an error.
func add(build Build, leaves gorgonia.Nodes) (n *gorgonia.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("Build panics: %v", r)
		}
	}()
	n, err = build(append([]*gorgonia.Node{}, leaves...))
	if err == nil && n == nil {
		err = fmt.Errorf("want a node from Build, got nil")
	}
	return n, err
}

// then is an operation on the value of the node.
type then func(*gorgonia.Node) (*gorgonia.Node, error)

// graph makes a graph of the case with a machine. If after is not nil, it is applied to the node.
//
// The tape machine mistakes two nodes with the same hash for one. The hash of gorgonia.Read
// contains an address, so two nodes may happen to have the same hash. The graph is then built
// again.
func (c *Case) graph(of tensor.Dtype, build Build, after then, gradients bool) (*graph, error) {
	for range 3 {
		g, err := c.tryGraph(of, build, after, gradients)
		if err != nil || !collides(g.node.Graph()) {
			return g, err
		}
	}
	return nil, fmt.Errorf("want nodes of different hashes, got two of one hash in three graphs")
}

// collides reports whether two nodes of a graph have the same hash.
func collides(g *gorgonia.ExprGraph) bool {
	seen := map[uint32]*gorgonia.Node{}
	for _, n := range g.AllNodes() {
		if other, ok := seen[n.Hashcode()]; ok && other != n {
			return true
		}
		seen[n.Hashcode()] = n
	}
	return false
}

func (c *Case) tryGraph(of tensor.Dtype, build Build, after then, gradients bool) (*graph, error) {
	g := &graph{c: c, leaves: c.leaves(of)}
	var err error
	if g.node, err = add(build, g.leaves); err != nil {
		return nil, err
	}
	result := g.node
	if after != nil {
		if result, err = after(result); err != nil {
			return nil, err
		}
	}
	gorgonia.Read(result, &g.result)
	if gradients && c.differentiable() {
		if err := g.differentiate(of, result); err != nil {
			return nil, err
		}
	}
	var opts []gorgonia.VMOpt
	if c.Eval {
		opts = append(opts, gorgonia.EvalMode())
	}
	g.vm = gorgonia.NewTapeMachine(g.node.Graph(), opts...)
	return g, nil
}

func (g *graph) differentiate(of tensor.Dtype, result *gorgonia.Node) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("differentiation panics: %v", r)
		}
	}()
	g.cotangent = leaf(g.node.Graph(), of, result.Shape(), "cotangent")
	var wrt gorgonia.Nodes
	for i, in := range g.c.Inputs {
		if !in.Constant {
			wrt = append(wrt, g.leaves[i])
		}
	}
	g.gradients, err = gorgonia.Backpropagate(gorgonia.Nodes{result}, gorgonia.Nodes{g.cotangent}, wrt)
	if err != nil {
		return err
	}
	g.derivative = make([]gorgonia.Value, len(g.gradients))
	for i, n := range g.gradients {
		if want := wrt[i].Shape(); !n.Shape().Eq(want) {
			return fmt.Errorf("gradient in %s: want shape %v, got %v", wrt[i].Name(), want, n.Shape())
		}
		gorgonia.Read(n, &g.derivative[i])
	}
	return nil
}

// run runs the machine on data and, if there are gradients, on cotangent.
func (g *graph) run(data [][]float64, cotangent []float64) (*run, error) {
	for i, n := range g.leaves {
		set(n.Value(), data[i])
	}
	if g.cotangent != nil {
		set(g.cotangent.Value(), cotangent)
	}
	defer g.vm.Reset()
	if err := g.vm.RunAll(); err != nil {
		return nil, err
	}
	r := &run{value: numbers(g.result), gradients: make([][]float64, len(g.leaves))}
	next := 0
	for i, n := range g.leaves {
		r.inputs = append(r.inputs, numbers(n.Value()))
		if g.cotangent != nil && !g.c.Inputs[i].Constant {
			r.gradients[i] = numbers(g.derivative[next])
			next++
		}
	}
	return r, nil
}

// once makes a graph, runs it once and discards it.
func (c *Case) once(of tensor.Dtype, after then, gradients bool, data [][]float64, cotangent []float64) (*run, error) {
	g, err := c.graph(of, c.Build, after, gradients)
	if err != nil {
		return nil, err
	}
	defer g.vm.Close()
	return g.run(data, cotangent)
}

// base runs the case with gradients and returns the results and the cotangent.
func (c *Case) base(of tensor.Dtype) (r *run, cotangent []float64, err error) {
	g, err := c.graph(of, c.Build, nil, true)
	if err != nil {
		return nil, nil, err
	}
	defer g.vm.Close()
	cotangent = c.cotangent(g.node)
	r, err = g.run(c.data(), cotangent)
	return r, cotangent, err
}

// cotangent is the same for every graph of a case.
func (c *Case) cotangent(n *gorgonia.Node) []float64 {
	return normal(rand.New(rand.NewPCG(3, 4)), size(n.Shape()))
}

// tryout runs the op of the node without a machine and converts a panic into an error.
func (c *Case) tryout(of tensor.Dtype) (err error) {
	leaves := c.leaves(of)
	n, err := add(c.Build, leaves)
	if err != nil {
		return err
	}
	if n.Dtype() != of {
		return fmt.Errorf("want a node of %v, got %v", of, n.Dtype())
	}
	for _, c := range roles.Inputs(n) {
		if !gorgonia.Nodes(leaves).Contains(c) {
			return nil // composed of several ops
		}
	}
	if n.Op() == nil || n.Op().Arity() != len(leaves) {
		return nil
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the op panics: %v", r)
		}
	}()
	var in []gorgonia.Value
	for i, l := range leaves {
		set(l.Value(), c.Inputs[i].Data)
		in = append(in, l.Value())
	}
	if m, ok := n.Op().(gorgonia.TrainModeOp); ok {
		if err := m.SetTraining(!c.Eval); err != nil {
			return err
		}
	}
	_, err = n.Op().Do(in...)
	return err
}

// set copies x to a value.
func set(v gorgonia.Value, x []float64) {
	switch v := v.(type) {
	case *gorgonia.F32:
		*v = gorgonia.F32(x[0])
		return
	case *gorgonia.F64:
		*v = gorgonia.F64(x[0])
		return
	}
	switch d := v.Data().(type) {
	case []float32:
		for i, a := range x {
			d[i] = float32(a)
		}
	case []float64:
		copy(d, x)
	}
}

// numbers copies a value.
func numbers(v gorgonia.Value) []float64 {
	switch d := v.Data().(type) {
	case float32:
		return []float64{float64(d)}
	case float64:
		return []float64{d}
	case []float32:
		x := make([]float64, len(d))
		for i, a := range d {
			x[i] = float64(a)
		}
		return x
	case []float64:
		return append([]float64{}, d...)
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package roles

import (
	"reflect"
	"slices"

	"gorgonia.org/gorgonia"
)

// Mode is an operation that differs between training and evaluation. It keeps the operation in
// memory, but not its graph.
type Mode struct {
	Name string // such as "BatchNorm with bn1_γ", its first learnable
	op   gorgonia.Op
}

// Training reports whether the operation is in training mode now. The mode was set by the machine
// that was made last for a graph with the operation.
func (m Mode) Training() bool {
	training, ok := training(m.op)
	return training || !ok
}

// training returns the mode of an operation, and whether it has one. For a stock batch
// normalisation the mode is an unexported field.
func training(op gorgonia.Op) (training, ok bool) {
	switch o := op.(type) {
	case interface{ Training() bool }:
		return o.Training(), true
	case *gorgonia.BatchNormOp:
		if f := reflect.ValueOf(o).Elem().FieldByName("training"); f.IsValid() && f.Kind() == reflect.Bool {
			return f.Bool(), true
		}
	}
	return false, false
}

// Modes returns the operations that have a mode and depend on the parameters: stock batch
// normalisations, and operations with the method Training() bool. It leaves out the backward pass,
// and ignores nil and nodes of other graphs.
func (g *Graph) Modes(parameters ...*gorgonia.Node) []Mode {
	var modes []Mode
	seen := map[*gorgonia.Node]bool{}
	var visit func(n *gorgonia.Node)
	visit = func(n *gorgonia.Node) {
		for _, c := range g.consumers[n] {
			if seen[c] || g.backward(c) || ignored[typeName(c.Op())] {
				continue
			}
			seen[c] = true
			if _, ok := training(c.Op()); ok {
				modes = append(modes, Mode{g.modeName(c), c.Op()})
			}
			visit(c)
		}
	}
	for _, p := range parameters {
		visit(p)
	}
	return modes
}

// modeName names an operation by its first learnable. For a stock batch normalisation that is the
// scale by which its value is multiplied.
func (g *Graph) modeName(n *gorgonia.Node) string {
	name := opName(n.Op())
	in := g.inputs(n)
	in = in[min(1, len(in)):] // the first input is the activations
	for _, c := range g.consumers[n] {
		if typeName(c.Op()) == "gorgonia.elemBinOp" && !g.backward(c) {
			in = append(in, g.inputs(c)...)
		}
	}
	for _, x := range in {
		for x != nil && slices.Contains([]string{"gorgonia.repeatOp", "gorgonia.reshapeOp"}, typeName(x.Op())) {
			x = g.inputs(x)[0]
		}
		if x != nil && x.Op() == nil {
			return name + " with " + x.Name()
		}
	}
	return name
}

// Evaluating returns the names of the operations that depend on the parameters and are in
// evaluation mode now. If there are any, the gradients of the parameters do not come from a machine
// for training, or a machine for evaluation was made after it for the same operations.
// (gorgonia.ExprGraph.SubgraphRoots shares operations.)
func Evaluating(parameters ...*gorgonia.Node) (names []string) {
	var graphs []*gorgonia.ExprGraph
	in := map[*gorgonia.ExprGraph][]*gorgonia.Node{}
	for _, p := range parameters {
		if p == nil || p.Graph() == nil {
			continue
		}
		if in[p.Graph()] == nil {
			graphs = append(graphs, p.Graph())
		}
		in[p.Graph()] = append(in[p.Graph()], p)
	}
	for _, g := range graphs {
		for _, m := range Read(g).Modes(in[g]...) {
			if !m.Training() {
				names = append(names, m.Name)
			}
		}
	}
	return names
}

// Differentiated reports whether gorgonia.Grad has made a node for the gradient with respect to n,
// which a tape machine needs. A LispMachine makes no such node.
func Differentiated(n *gorgonia.Node) bool { return n != nil && n.Deriv() != nil }

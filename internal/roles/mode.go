// SPDX-License-Identifier: Apache-2.0

package roles

import (
	"reflect"
	"slices"

	"gorgonia.org/gorgonia"
)

// Mode is an operation that does not do the same in training and in evaluation. It keeps
// the operation alive, and not its graph.
type Mode struct {
	Name string // such as "BatchNorm with bn1_γ", its first learnable
	op   gorgonia.Op
}

// Training reports whether the operation is in training mode at this moment. The
// mode is what the machine set that was made last on a graph with the operation.
func (m Mode) Training() bool {
	training, ok := training(m.op)
	return training || !ok
}

// training returns the mode of an operation, and whether it has one. That of a stock
// batch normalisation is an unexported field.
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

// Modes returns the operations downstream of the parameters that have a mode: stock
// batch normalisations, and operations with the method Training() bool. The
// backward pass is left out. Nodes of other graphs and nil are skipped.
func (g *Graph) Modes(parameters ...*gorgonia.Node) []Mode {
	var modes []Mode
	seen := map[*gorgonia.Node]bool{}
	var climb func(n *gorgonia.Node)
	climb = func(n *gorgonia.Node) {
		for _, c := range g.consumers[n] {
			if seen[c] || g.backward(c) || ignored[typeName(c.Op())] {
				continue
			}
			seen[c] = true
			if _, ok := training(c.Op()); ok {
				modes = append(modes, Mode{g.modeName(c), c.Op()})
			}
			climb(c)
		}
	}
	for _, p := range parameters {
		climb(p)
	}
	return modes
}

// modeName names an operation by the first learnable that goes into it, or into what
// it is multiplied with, as is the scale of a stock batch normalisation.
func (g *Graph) modeName(n *gorgonia.Node) string {
	name := opName(n.Op())
	in := g.inputs(n)
	in = in[min(1, len(in)):] // the first are activations
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

// Evaluating returns the names of the operations downstream of the parameters that are in
// evaluation mode at this moment. Where there are some, gradients in the parameters did not
// come from a machine made for training, or a machine for evaluation was made after
// it on the same operations, as gorgonia.ExprGraph.SubgraphRoots shares them.
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

// Differentiated reports whether gorgonia.Grad has made a node for the gradient in n, so that a
// tape machine can have computed it. A LispMachine makes none.
func Differentiated(n *gorgonia.Node) bool { return n != nil && n.Deriv() != nil }

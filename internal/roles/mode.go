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
		return field(o, "training")
	}
	if typeName(op) == "gorgonia.dropoutOp" {
		return field(op, "isTraining")
	}
	return false, false
}

// field reads a field that is not exported.
func field(op gorgonia.Op, name string) (is, ok bool) {
	if v := reflect.ValueOf(op); v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.Struct {
		if f := v.Elem().FieldByName(name); f.IsValid() && f.Kind() == reflect.Bool {
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

// Modes returns those operations in the graphs of all parameters. If they are in evaluation mode, the gradients of the parameters do not come from a
// machine for training, or a machine for evaluation was made after it for the same operations. (gorgonia.ExprGraph.SubgraphRoots shares operations.)
func Modes(parameters ...*gorgonia.Node) (modes []Mode) {
	graphs, in := byGraph(parameters)
	for _, g := range graphs {
		modes = append(modes, Read(g).Modes(in[g]...)...)
	}
	return modes
}

// Unrepeatable returns the names of the operations that make the costs of the parameters more than a
// function of their values: those that depend on the parameters and are in training mode now, and
// random nodes.
func Unrepeatable(parameters ...*gorgonia.Node) (names []string) {
	graphs, in := byGraph(parameters)
	for _, g := range graphs {
		read := Read(g)
		for _, m := range read.Modes(in[g]...) {
			if m.Training() {
				names = append(names, m.Name+" in training mode")
			}
		}
		if read.random(in[g]) {
			names = append(names, "a random node")
		}
	}
	return names
}

// random reports whether random nodes are combined with what depends on the parameters.
func (g *Graph) random(parameters []*gorgonia.Node) bool {
	depends := g.below(parameters...)
	for n := range g.nodes {
		if typeName(n.Op()) == "gorgonia.randomOp" {
			for c := range g.below(n) {
				if depends[c] {
					return true
				}
			}
		}
	}
	return false
}

// below returns the nodes of the forward pass that depend on any of the nodes.
func (g *Graph) below(nodes ...*gorgonia.Node) map[*gorgonia.Node]bool {
	all := map[*gorgonia.Node]bool{}
	for queue := slices.Clone(nodes); len(queue) > 0; queue = queue[1:] {
		for _, c := range g.consumers[queue[0]] {
			if !all[c] && !g.backward(c) {
				all[c] = true
				queue = append(queue, c)
			}
		}
	}
	return all
}

// byGraph sorts parameters by their graphs, and leaves out those that have none.
func byGraph(parameters []*gorgonia.Node) (graphs []*gorgonia.ExprGraph, in map[*gorgonia.ExprGraph][]*gorgonia.Node) {
	in = map[*gorgonia.ExprGraph][]*gorgonia.Node{}
	for _, p := range parameters {
		if p == nil || p.Graph() == nil {
			continue
		}
		if in[p.Graph()] == nil {
			graphs = append(graphs, p.Graph())
		}
		in[p.Graph()] = append(in[p.Graph()], p)
	}
	return graphs, in
}

// SPDX-License-Identifier: Apache-2.0

package models

import (
	"fmt"
	"reflect"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/roles"
)

// Definition makes the graph of a net for a batch of the given size. It is called once for each graph: that
// for training, and those of predictors, which have other batch sizes; and again for a graph that cannot be
// used (see New). Each call must make a new graph with learnables of the same names and shapes. Initial
// values matter in the graph for training only; all others use its weights. If it returns an error for
// another batch size than the first, predictors use graphs of the first size only.
type Definition func(batch int) (*Net, error)

// defined calls define, checks what it returns, and completes it.
func defined(batch int, define Definition) (*Net, error) {
	if define == nil {
		return nil, fmt.Errorf("models: want a definition, got nil")
	}
	n, err := define(batch)
	if err != nil {
		return nil, err
	}
	if n == nil {
		return nil, fmt.Errorf("models: want a net, got nil")
	}
	if n.define != nil {
		return nil, fmt.Errorf("models: want a definition that makes a new graph each time, got a net that New has made")
	}
	n.batch = batch
	if err := n.check(); err != nil {
		return nil, err
	}
	for _, b := range n.Buffers {
		if err := b.begin(); err != nil {
			return nil, err
		}
	}
	for _, x := range slices.Concat(n.Inputs, n.Targets) {
		if x.Value() == nil {
			if err := gorgonia.Let(x, tensor.New(tensor.Of(x.Dtype()), tensor.WithShape(x.Shape()...))); err != nil {
				return nil, fmt.Errorf("models: %s: %w", x.Name(), err)
			}
		}
	}
	return n, nil
}

// check returns an error if the fields do not make a net. It sets Graph.
func (n *Net) check() error {
	roots := slices.Clone(n.Outputs)
	if n.Cost != nil {
		roots = append(roots, n.Cost)
	}
	if len(roots) == 0 {
		return fmt.Errorf("models: want a cost or outputs, got neither")
	}
	names, known := map[string]bool{}, map[*gorgonia.Node]bool{}
	for _, list := range []struct {
		what  string
		nodes gorgonia.Nodes
		leaf  bool
	}{{"input", n.Inputs, true}, {"target", n.Targets, true}, {"output", n.Outputs, false}} {
		for i, x := range list.nodes {
			if x == nil {
				return fmt.Errorf("models: %s %d: want a node, got nil", list.what, i)
			}
			if s := x.Shape(); len(s) == 0 || s[0] != n.batch {
				return fmt.Errorf("models: %s %d, %s: want the batch of %d as the first size, got shape %v", list.what, i, x.Name(), n.batch, s)
			}
			if !list.leaf {
				continue
			}
			if x.Op() != nil {
				return fmt.Errorf("models: %s %d: want a leaf, got %v", list.what, i, x)
			}
			if err := claim(names, list.what, i, x.Name()); err != nil {
				return err
			}
			known[x] = true
		}
	}
	if err := n.State().Check(); err != nil {
		return err
	}
	for i, l := range n.Learnables {
		if err := claim(names, "learnable", i, l.Name()); err != nil {
			return err
		}
		known[l] = true
	}
	n.Graph = roots[0].Graph()
	for _, x := range slices.Concat(roots, n.Inputs, n.Targets, n.Learnables) {
		if x.Graph() == nil || x.Graph() != n.Graph {
			return fmt.Errorf("models: want the nodes of a net in one graph, got %s in another", x.Name())
		}
	}
	if n.Cost != nil {
		if !n.Cost.IsScalar() || len(n.Cost.Shape()) > 0 {
			return fmt.Errorf("models: want a cost that is a scalar, such as gorgonia.Mean of it, got shape %v", n.Cost.Shape())
		}
		reached := reach(n.Cost)
		for _, l := range n.Learnables {
			if !reached[l] {
				return fmt.Errorf("models: learnable %s of shape %v: want a cost that depends on it, got one that does not", l.Name(), l.Shape())
			}
		}
	}
	computed := reach(n.Outputs...)
	for _, t := range n.Targets {
		if computed[t] {
			return fmt.Errorf("models: target %s: want outputs that do not depend on it, or it among the inputs, got one that does", t.Name())
		}
	}
	return n.checkLeaves(reach(roots...), names, known)
}

// checkLeaves checks the other parts of the net: leaves that are not in its lists, and the state of operations.
func (n *Net) checkLeaves(reached map[*gorgonia.Node]bool, names map[string]bool, known map[*gorgonia.Node]bool) error {
	n.constants = map[string]gorgonia.Value{}
	for _, x := range n.Graph.AllNodes() {
		if !reached[x] || known[x] {
			continue
		}
		if s := stateOf(x); s != nil && !slices.ContainsFunc(n.Buffers, func(b Buffer) bool { return b.state() == s }) {
			return fmt.Errorf("models: %v: want its state, a %T, among the buffers, got none of it there", x, s)
		}
		if x.Op() != nil {
			continue
		}
		if names[x.Name()] {
			return fmt.Errorf("models: leaf %s of shape %v: want a name that no input, target or learnable has, got theirs", x.Name(), x.Shape())
		}
		if x.Value() == nil {
			return fmt.Errorf("models: leaf %s of shape %v: want it among the inputs, the targets or the learnables, or with a value, got neither", x.Name(), x.Shape())
		}
		n.constants[x.Name()] = x.Value()
	}
	return nil
}

// reach returns all nodes that the roots depend on, with them.
func reach(roots ...*gorgonia.Node) map[*gorgonia.Node]bool {
	reached := map[*gorgonia.Node]bool{}
	for todo := slices.Clone(roots); len(todo) > 0; {
		x := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if reached[x] {
			continue
		}
		reached[x] = true
		todo = append(todo, roles.Inputs(x)...)
	}
	return reached
}

// lend gives the learnables of a, another graph of the net, the current values of those of n.
func (n *Net) lend(a *Net) error {
	of := byName(n.Learnables)
	for _, l := range a.Learnables {
		if err := gorgonia.Let(l, of[l.Name()].Value()); err != nil {
			return fmt.Errorf("%s: %w", l.Name(), err)
		}
	}
	return nil
}

// another makes a graph of the net for another batch, with the weights and the buffers of n.
func (n *Net) another(batch int) (*Net, error) {
	a, err := defined(batch, n.define)
	if err != nil {
		return nil, errUndefined{err}
	}
	if a.Graph == n.Graph {
		return nil, fmt.Errorf("models: want a definition that makes a new graph each time, got the first one again")
	}
	if err := n.compare(a); err != nil {
		return nil, fmt.Errorf("models: graph for a batch of %d: %w", batch, err)
	}
	return a, nil
}

// errUndefined is the error of a Definition for a batch size other than the first.
type errUndefined struct{ error }

func (e errUndefined) Unwrap() error { return e.error }

// compare returns an error unless another graph has the leaves and the state of n.
func (n *Net) compare(a *Net) error {
	for _, list := range []struct {
		what      string
		want, got gorgonia.Nodes
	}{{"inputs", n.Inputs, a.Inputs}, {"targets", n.Targets, a.Targets}, {"outputs", n.Outputs, a.Outputs}} {
		if len(list.want) != len(list.got) {
			return fmt.Errorf("want %d %s as in the first graph, got %d", len(list.want), list.what, len(list.got))
		}
		for i, want := range list.want {
			got := list.got[i]
			if list.what != "outputs" && got.Name() != want.Name() || got.Dtype() != want.Dtype() || !slices.Equal(got.Shape()[1:], want.Shape()[1:]) {
				return fmt.Errorf("%s %d: want %s of %v and shape %v after the batch as in the first graph, got %s of %v and %v",
					list.what, i, want.Name(), want.Dtype(), want.Shape()[1:], got.Name(), got.Dtype(), got.Shape()[1:])
			}
		}
	}
	if (n.Cost == nil) != (a.Cost == nil) {
		return fmt.Errorf("want a cost in each graph or in none, got one in the other only")
	}
	if len(n.Learnables) != len(a.Learnables) || len(n.Buffers) != len(a.Buffers) {
		return fmt.Errorf("want %d learnables and %d buffers as in the first graph, got %d and %d", len(n.Learnables), len(n.Buffers), len(a.Learnables), len(a.Buffers))
	}
	of := byName(n.Learnables)
	for _, l := range a.Learnables {
		want := of[l.Name()]
		if want == nil {
			return fmt.Errorf("want the learnables of the first graph, got %s of shape %v", l.Name(), l.Shape())
		}
		if !l.Shape().Eq(want.Shape()) || l.Dtype() != want.Dtype() {
			return fmt.Errorf("learnable %s: want %v and shape %v as in the first graph, for a batch of %d, got %v and %v: weights must not depend on the batch",
				l.Name(), want.Dtype(), want.Shape(), n.batch, l.Dtype(), l.Shape())
		}
	}
	for _, b := range a.Buffers {
		i := slices.IndexFunc(n.Buffers, func(o Buffer) bool { return o.Name == b.Name })
		if i < 0 {
			return fmt.Errorf("want the buffers of the first graph, got %s", b.Name)
		}
		if own := n.Buffers[i].BatchNorm; own != nil && b.BatchNorm != nil && own != b.BatchNorm {
			if err := copyStats(b.BatchNorm, own); err != nil {
				return fmt.Errorf("buffer %s: %w", b.Name, err)
			}
			continue
		}
		if n.Buffers[i].state() != b.state() {
			return fmt.Errorf("buffer %s: want that of the first graph, got another: make it outside of the definition", b.Name)
		}
	}
	for name, got := range a.constants {
		want, ok := n.constants[name]
		if ok && want != got && want.Shape().Eq(got.Shape()) && !reflect.DeepEqual(want.Data(), got.Data()) {
			return fmt.Errorf("leaf %s of shape %v: want the value of the first graph, or it among the learnables, got another value", name, got.Shape())
		}
	}
	return nil
}

func byName(list gorgonia.Nodes) map[string]*gorgonia.Node {
	of := make(map[string]*gorgonia.Node, len(list))
	for _, n := range list {
		of[n.Name()] = n
	}
	return of
}

// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"weak"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/dense"
)

// identity identifies a parameter. A node is held by a weak pointer, so that a solver keeps no graph alive;
// any other gorgonia.ValueGrad is held until Forget drops it.
type identity struct {
	node  weak.Pointer[gorgonia.Node]
	other gorgonia.ValueGrad
}

func identify(v gorgonia.ValueGrad) identity {
	if n, ok := v.(*gorgonia.Node); ok {
		return identity{node: weak.Make(n)}
	}
	return identity{other: v}
}

// value returns the parameter, or nil once its graph is gone.
func (i identity) value() gorgonia.ValueGrad {
	if n := i.node.Value(); n != nil {
		return n
	}
	return i.other
}

// book finds parameters by their identity, never by their position.
type book struct {
	list      []*parameter
	byNode    map[weak.Pointer[gorgonia.Node]]*parameter
	byValue   map[gorgonia.ValueGrad]*parameter
	byStorage map[uintptr]*parameter
}

// find returns the parameter for v: one with the same value, or one over the same memory.
func (b *book) find(v gorgonia.ValueGrad, w dense.View) *parameter {
	if n, ok := v.(*gorgonia.Node); ok {
		if p := b.byNode[weak.Make(n)]; p != nil {
			return p
		}
	} else if hashable(v) {
		if p := b.byValue[v]; p != nil {
			return p
		}
	}
	p := b.byStorage[address(w)]
	if p == nil || !p.shape.Eq(w.Shape) || p.precision != w.Precision() {
		return nil
	}
	if owner := p.who.value(); owner != nil { // is the memory still that of its parameter?
		if at, err := dense.Of(owner.Value()); err == nil && at.Storage() == w.Storage() {
			return p
		}
	}
	if p.witness == witnessOf(w) {
		return p
	}
	return nil
}

// hashable reports whether v can be a key.
func hashable(v gorgonia.ValueGrad) bool {
	return reflect.TypeOf(v).Kind() == reflect.Pointer || reflect.ValueOf(v).Comparable()
}

// know adds v to the values under which p is known.
func (b *book) know(v gorgonia.ValueGrad, p *parameter) {
	if b.byNode == nil {
		b.byNode, b.byValue, b.byStorage = map[weak.Pointer[gorgonia.Node]]*parameter{}, map[gorgonia.ValueGrad]*parameter{}, map[uintptr]*parameter{}
	}
	if n, ok := v.(*gorgonia.Node); ok {
		b.byNode[weak.Make(n)] = p
	} else if hashable(v) {
		b.byValue[v] = p
	}
	b.byStorage[p.storage] = p
}

// moved notes that a parameter has different memory than at its last step, as after gorgonia.Let. Its former memory may belong to another parameter
// now.
func (b *book) moved(p *parameter, to uintptr) {
	if b.byStorage[p.storage] == p {
		delete(b.byStorage, p.storage)
	}
	p.storage = to
	b.byStorage[to] = p
}

// drop removes the parameters for which which returns true, and returns their names.
func (b *book) drop(which func(*parameter) bool) (names []string) {
	gone := map[*parameter]bool{}
	b.list = slices.DeleteFunc(b.list, func(p *parameter) bool {
		if which(p) {
			gone[p] = true
			names = append(names, p.name)
		}
		return gone[p]
	})
	if len(gone) == 0 {
		return nil
	}
	for k, p := range b.byNode {
		if gone[p] {
			delete(b.byNode, k)
		}
	}
	for k, p := range b.byValue {
		if gone[p] {
			delete(b.byValue, k)
		}
	}
	for k, p := range b.byStorage {
		if gone[p] {
			delete(b.byStorage, k)
		}
	}
	return names
}

// rebuilt finds the known parameter that v, with the weights w, replaces. It has the same name, shape and
// precision, was not seen in this admission, and either has the weights that its last step left or no longer
// exists. It returns nil if there is none, and an error if there are several.
func (b *book) rebuilt(name string, w dense.View, admission int, collected *bool) (*parameter, error) {
	var candidates, equal []*parameter
	for _, p := range b.list {
		if p.name == name && p.seen != admission && p.shape.Eq(w.Shape) && p.precision == w.Precision() {
			candidates = append(candidates, p)
			if p.witness == witnessOf(w) {
				equal = append(equal, p)
			}
		}
	}
	if len(candidates) == 0 {
		return nil, nil
	}
	if len(equal) == 0 {
		if !*collected { // a graph without references counts as gone now, and not at some later time
			runtime.GC()
			*collected = true
		}
		for _, p := range candidates {
			if p.who.value() == nil {
				equal = append(equal, p)
			}
		}
	}
	switch len(equal) {
	case 0:
		return nil, nil
	case 1:
		return equal[0], nil
	}
	return nil, &ParameterError{Name: name, Shape: w.Shape, Kind: ErrParameter,
		Cause: fmt.Sprintf("want to know which earlier parameter this is, got %d of its name and shape: give parameters unique names, or call Forget", len(equal))}
}

// adopt makes p the parameter for v, and returns a function that undoes this.
func (b *book) adopt(v gorgonia.ValueGrad, p *parameter) (undo func()) {
	old := p.who
	if n := old.node; n != (weak.Pointer[gorgonia.Node]{}) {
		delete(b.byNode, n)
	} else if old.other != nil && hashable(old.other) {
		delete(b.byValue, old.other)
	}
	p.who = identify(v)
	p.adopted++
	b.know(v, p)
	return func() {
		if n, ok := v.(*gorgonia.Node); ok {
			delete(b.byNode, weak.Make(n))
		} else if hashable(v) {
			delete(b.byValue, v)
		}
		p.who = old
		p.adopted--
		if before := old.value(); before != nil {
			b.know(before, p)
		}
	}
}

func nameOf(v gorgonia.ValueGrad, position int) string {
	if n, ok := v.(gorgonia.Namer); ok && n.Name() != "" {
		return n.Name()
	}
	return fmt.Sprintf("number %d", position)
}

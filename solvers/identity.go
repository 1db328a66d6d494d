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

// identity says who a parameter is. A node is held weakly, so that a solver keeps no graph
// alive; another gorgonia.ValueGrad is held until Forget drops it.
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

// book finds parameters by who they are, and never by position.
type book struct {
	list      []*parameter
	byNode    map[weak.Pointer[gorgonia.Node]]*parameter
	byValue   map[gorgonia.ValueGrad]*parameter
	byStorage map[uintptr]*parameter
}

// find returns the parameter that v is known as: the same value, or another one over
// the same memory.
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

// know enters p under v, as well as what it is known as already.
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

// moved notes that a parameter has other memory than at its last step, as after
// gorgonia.Let. Its former memory may be another parameter's by now.
func (b *book) moved(p *parameter, to uintptr) {
	if b.byStorage[p.storage] == p {
		delete(b.byStorage, p.storage)
	}
	p.storage = to
	b.byStorage[to] = p
}

// drop forgets the parameters for which which holds, and returns their names.
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

// rebuilt finds the known parameter of which v, over the weights w, is a new copy: of its name,
// shape and precision, not seen in this admission, and with the weights that its last step left, or
// no longer there. It returns nil if there is none, and an error if there are several.
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

// adopt makes p the parameter that v is, and returns how to take that back.
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

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
	"github.com/kernelfold/kernelfold/internal/isnil"
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

// is reports whether both are identities of one parameter.
func (i identity) is(j identity) bool {
	if i.other == nil || j.other == nil {
		return i.other == j.other && i.node == j.node
	}
	return hashable(i.other) && hashable(j.other) && i.other == j.other
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
		if at, err := dense.Of(owner.Value()); err == nil {
			if at.Storage() == w.Storage() {
				return p
			}
			return nil
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

// add puts p into the list.
func (b *book) add(p *parameter) {
	b.list = append(b.list, p)
	b.know(p)
}

// know enters p under its identity and its memory.
func (b *book) know(p *parameter) {
	if b.byNode == nil {
		b.byNode, b.byValue, b.byStorage = map[weak.Pointer[gorgonia.Node]]*parameter{}, map[gorgonia.ValueGrad]*parameter{}, map[uintptr]*parameter{}
	}
	if v := p.who.other; v == nil {
		b.byNode[p.who.node] = p
	} else if hashable(v) {
		b.byValue[v] = p
	}
	b.byStorage[p.storage] = p
}

// leave removes p from under its identity and its memory.
func (b *book) leave(p *parameter) {
	if v := p.who.other; v == nil {
		delete(b.byNode, p.who.node)
	} else if hashable(v) {
		delete(b.byValue, v)
	}
	if b.byStorage[p.storage] == p {
		delete(b.byStorage, p.storage)
	}
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
	b.list = slices.DeleteFunc(b.list, func(p *parameter) bool {
		if !which(p) {
			return false
		}
		b.leave(p)
		names = append(names, p.name)
		return true
	})
	return names
}

// named returns the parameters of a name, and of the shape and precision of w, that the admission under way has not seen.
func (b *book) named(name string, w dense.View, admission int) (list []*parameter) {
	for _, p := range b.list {
		if p.name == name && p.seen != admission && p.shape.Eq(w.Shape) && p.precision == w.Precision() {
			list = append(list, p)
		}
	}
	return list
}

// holds reports whether w are the weights that the last step of the parameter left.
func (p *parameter) holds(w dense.View) bool { return p.witness == witnessOf(w) }

// gone reports whether the graph of the parameter no longer exists.
func (p *parameter) gone() bool { return p.who.value() == nil }

// last returns the parameter that was stepped last among those for which which returns true, or nil if there is none.
// It fails if several were in the same step.
func last(list []*parameter, which func(*parameter) bool) (found *parameter, err error) {
	same := 0
	for _, p := range list {
		switch {
		case !which(p) || found != nil && p.seen < found.seen:
		case found != nil && p.seen == found.seen:
			same++
		default:
			found, same = p, 1
		}
	}
	if same > 1 {
		return nil, found.fail(ErrParameter, fmt.Sprintf("want to know which earlier parameter this is, got %d of its name and shape: give parameters unique names, or call Forget", same), nil)
	}
	return found, nil
}

// inherit finds the parameter whose state v inherits, and makes it that of v: the one of its name whose last step left its weights, else the
// copy that v itself kept, else the copy of another graph whose last step left its weights, else the one whose graph is gone. It returns nil if there
// is none. Resumed is the answer of resumes for the model.
func (e *engine) inherit(v gorgonia.ValueGrad, name string, w dense.View, resumed bool, collected *bool) (*parameter, error) {
	holds := func(p *parameter) bool { return p.holds(w) }
	known := e.named(name, w, e.calls)
	left, err := last(known, holds)
	own := e.replaced.find(v, w)
	switch {
	case own != nil && (left == nil || resumed && left.steps != own.steps):
		// If nothing has written to the model, weights are equal to those of left because they do not move, as frozen ones.
		e.resume(own)
		return own, nil
	case left != nil:
		e.replace(left, v, w)
		return left, nil
	case err != nil || len(known) == 0 && len(e.replaced.named(name, w, e.calls)) == 0:
		return nil, err
	}
	if !*collected { // a graph without references counts as gone now, and not at some later time
		runtime.GC()
		*collected = true
	}
	e.replaced.drop((*parameter).gone)
	kept, err := last(e.replaced.named(name, w, e.calls), holds)
	if kept != nil {
		return e.branch(kept, v), nil
	}
	if err != nil {
		return nil, err
	}
	gone, err := last(known, (*parameter).gone)
	if gone != nil {
		e.replace(gone, v, w)
	}
	return gone, err
}

// resumes reports whether those parameters of the model whose graph another has replaced have the weights that their own last step left.
func (e *engine) resumes(model []gorgonia.ValueGrad) bool {
	for i, v := range model {
		if e.active[i] != nil || len(e.replaced.list) == 0 {
			continue
		}
		if w, err := dense.Of(v.Value()); err == nil {
			if own := e.replaced.find(v, w); own != nil && !own.holds(w) {
				return false
			}
		}
	}
	return true
}

// resume puts a parameter whose graph was replaced back into the list.
func (e *engine) resume(p *parameter) {
	e.discard(func(q *parameter) bool { return q == p })
	e.add(p)
}

// branch adds a copy of p, whose graph was replaced, as the parameter of v.
func (e *engine) branch(p *parameter, v gorgonia.ValueGrad) *parameter {
	c := p.copy()
	c.who = identify(v)
	c.adopted++
	e.add(c)
	return c
}

// replace makes p, which is in the list, the parameter of v. Its former graph, if it still exists, keeps a copy.
func (e *engine) replace(p *parameter, v gorgonia.ValueGrad, w dense.View) {
	if own := e.replaced.find(v, w); own != nil {
		e.discard(func(q *parameter) bool { return q == own })
	}
	if other, ok := p.settings.rule.(*wrapped); !p.gone() && !(ok && other.remembers()) {
		if p.who.other != nil { // it never counts as gone, so only the last copy is kept
			e.discard(func(q *parameter) bool { return q.name == p.name && q.who.other != nil })
		}
		c := p.copy()
		e.replaced.add(c)
		e.undo = append(e.undo, func() { e.replaced.drop(func(q *parameter) bool { return q == c }) })
	}
	e.own(p, v)
	p.adopted++
	e.undo = append(e.undo, func() { p.adopted-- })
}

// own makes p, which is in the list, the parameter of v.
func (e *engine) own(p *parameter, v gorgonia.ValueGrad) {
	who, storage := p.who, p.storage
	e.leave(p)
	p.who = identify(v)
	e.know(p)
	e.undo = append(e.undo, func() {
		e.leave(p)
		p.who, p.storage = who, storage
		e.know(p)
	})
}

// discard drops copies that were kept for graphs.
func (e *engine) discard(which func(*parameter) bool) {
	for _, p := range e.replaced.list {
		if which(p) {
			e.undo = append(e.undo, func() { e.replaced.add(p) })
		}
	}
	e.replaced.drop(which)
}

// weightsOf views the weights of the parameter at a position of a model.
func weightsOf(v gorgonia.ValueGrad, position int) (dense.View, error) {
	if isnil.Of(v) {
		return dense.View{}, &ParameterError{Name: fmt.Sprintf("number %d", position), Kind: ErrParameter, Cause: "want a gorgonia.ValueGrad, got nil"}
	}
	w, err := dense.Of(v.Value())
	if err != nil {
		return w, &ParameterError{Name: nameOf(v, position), Kind: ErrParameter, Cause: "weights: " + err.Error(), Err: err}
	}
	return w, nil
}

func nameOf(v gorgonia.ValueGrad, position int) string {
	if n, ok := v.(gorgonia.Namer); ok && n.Name() != "" {
		return n.Name()
	}
	return fmt.Sprintf("number %d", position)
}

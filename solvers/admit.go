// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"fmt"
	"math"
	"slices"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/isnil"
	"github.com/kernelfold/kernelfold/internal/roles"
)

// admit checks all parameters, and with gradients their gradients too, and returns them as the solver knows
// them. It binds new parameters; if anything fails, takeBack removes them again.
func (e *engine) admit(model []gorgonia.ValueGrad, gradients bool) ([]*parameter, error) {
	if e.err != nil {
		return nil, e.err
	}
	if err := e.meet(model); err != nil {
		return nil, err
	}
	for i, v := range model {
		if err := e.view(e.active[i], v, gradients); err != nil {
			return nil, err
		}
	}
	look := (*engine).inspect
	if gradients {
		e.findShared()
		look = (*engine).inspectBoth
	}
	if err := e.each(e.active, weights(e.active)/2, look); err != nil {
		return nil, err
	}
	if e.known == 0 {
		if err := e.unmatched(e.list); err != nil {
			return nil, err
		}
	}
	return e.active, nil
}

// meet fills active with the parameters as the solver knows them, binds new ones, and looks at the values of none.
func (e *engine) meet(model []gorgonia.ValueGrad) error {
	clear(e.undo)
	e.known, e.undo = len(e.list), e.undo[:0]
	e.replaced.drop((*parameter).gone)
	e.calls++
	e.active = e.active[:0]
	if err := e.unswapped("a step"); err != nil {
		return err
	}
	fresh, err := e.recognise(model)
	if err == nil && fresh > 0 {
		err = e.welcome(model)
	}
	return err
}

// recognise fills active with the known parameters, leaves nil in the other places, and returns how many these are.
func (e *engine) recognise(model []gorgonia.ValueGrad) (fresh int, err error) {
	for i, v := range model {
		w, err := weightsOf(v, i)
		if err != nil {
			return 0, err
		}
		p := e.find(v, w)
		if p == nil {
			fresh++
			e.active = append(e.active, nil)
			continue
		}
		if _, node := v.(*gorgonia.Node); node && p.gone() { // a later graph over the same memory
			e.own(p, v)
		}
		p.weights = w
		if err := e.once(p, v, i); err != nil {
			return 0, err
		}
		e.active = append(e.active, p)
	}
	return fresh, nil
}

// once marks a parameter as seen, and returns an error if it was already marked.
func (e *engine) once(p *parameter, v gorgonia.ValueGrad, i int) error {
	if p.seen != e.calls {
		p.before, p.seen = p.seen, e.calls
		return nil
	}
	return p.twice(nameOf(v, i))
}

// twice returns the error for a parameter that was given a second time, under the given name.
func (p *parameter) twice(name string) error {
	if name != p.name {
		return p.fail(ErrParameter, fmt.Sprintf("want every parameter once, got it as %q and as %q, which share one tensor: step one of them, with the sum of both gradients", p.name, name), nil)
	}
	return p.fail(ErrParameter, "want every parameter once, got it twice", nil)
}

// welcome finds what the parameters that are not known yet inherit, or binds them.
func (e *engine) welcome(model []gorgonia.ValueGrad) error {
	graphs, resumed, collected := &roles.Reader{}, e.resumes(model), false
	for i, v := range model {
		if e.active[i] != nil {
			continue
		}
		name := nameOf(v, i)
		w, err := weightsOf(v, i)
		if err != nil {
			return err
		}
		p := e.find(v, w) // one over the memory of another that is new as well
		if p == nil {
			if p, err = e.inherit(v, name, w, resumed, &collected); err != nil {
				return err
			}
		}
		if p == nil {
			if p, err = e.bind(v, name, w, graphs); err != nil {
				return err
			}
			e.add(p)
		}
		p.weights = w
		if err := e.once(p, v, i); err != nil {
			return err
		}
		e.active[i] = p
	}
	e.lookUp(model)
	return nil
}

// view checks the weights of a parameter and views its gradient for the step under way.
func (e *engine) view(p *parameter, v gorgonia.ValueGrad, gradients bool) error {
	w := p.weights
	if !p.shape.Eq(w.Shape) || p.precision != w.Precision() {
		return p.fail(ErrParameter, fmt.Sprintf("want weights of shape %v, %s, as at the first step, got %v, %s",
			p.shape, p.precision, w.Shape, w.Precision()), nil)
	}
	if at := address(w); p.storage != at {
		e.moved(p, at)
		p.unsettled = true // until a step is made
	}
	p.elsewhere = p.unsettled
	if p.witness != witnessOf(w) {
		p.elsewhere, p.overwritten = true, true
	}
	if !gradients {
		return nil
	}
	return p.takeGradient(v)
}

// takeGradient views the gradient and checks its shape. A frozen parameter may have no gradient.
func (p *parameter) takeGradient(v gorgonia.ValueGrad) error {
	value, err := v.Grad()
	if p.settings.frozen && (err != nil || isnil.Of(value)) {
		return nil
	}
	if err != nil {
		return p.fail(ErrNoGradient, "want a gradient: differentiate the cost by gorgonia.Grad and run the machine before the step: "+err.Error(), err)
	}
	if isnil.Of(value) {
		return p.fail(ErrNoGradient, "want a gradient, got nil: run the machine before the step", nil)
	}
	g, err := dense.Of(value)
	if err != nil {
		return p.fail(ErrParameter, "gradient: "+err.Error(), err)
	}
	if g.Precision() != p.precision || g.Len() != p.weights.Len() || (len(g.Shape) > 0 && len(p.shape) > 0 && !g.Shape.Eq(p.shape)) {
		return p.fail(ErrParameter, fmt.Sprintf("want a gradient of shape %v, %s, got %v, %s",
			p.shape, p.precision, g.Shape, g.Precision()), nil)
	}
	if g.Storage() == p.weights.Storage() {
		return p.fail(ErrParameter, "want a gradient with memory of its own, got that of the weights", nil)
	}
	p.grad = g
	return nil
}

// inspectBoth measures the gradient and inspects the weights.
func (e *engine) inspectBoth(p *parameter) error {
	if p.settings.frozen {
		return nil
	}
	p.gradient = p.grad.Norm()
	if !(p.gradient <= math.MaxFloat64) {
		return p.fail(ErrNotFinite, "want a finite gradient, got "+p.grad.FirstBad(), nil)
	}
	return e.inspect(p)
}

// inspect measures, if it is due, whether the weights are on their manifold, and projects a copy of them if they are not.
func (e *engine) inspect(p *parameter) error {
	if p.settings.frozen || p.theirs && !p.joint() { // a plan is of all points
		return nil
	}
	watched := e.list[e.turn%len(e.list)] == p
	for _, q := range p.parts {
		if err := q.load(p.elsewhere || watched || p.steps == 0); err != nil {
			return err
		}
		p.elsewhere = p.elsewhere || q.step.dirty
	}
	return nil
}

// load sets X to the points of the weights, on the manifold: a view of the weights where possible, and a copy
// where the layout or a projection requires one. It does not change the weights.
func (p *Part) load(check bool) error {
	p.step.dirty, p.step.unread = false, !check && !p.whole()
	if p.step.unread { // a step in place does not need the copy
		p.ensure(&p.memory.own)
		p.X = p.memory.own
		return nil
	}
	if err := p.read(); err != nil || !check {
		return err
	}
	x, size := p.X, p.memory.size
	if p.bound.of.elsewhere || p.bound.of.steps == 0 || p.bound.euclidean {
		size = x.Norm()
	}
	if p.bound.euclidean {
		if !(size <= math.MaxFloat64) {
			return p.fail(ErrNotFinite, "want finite weights, got "+p.bound.of.weights.FirstBad(), nil)
		}
		p.memory.size = size
		return nil
	}
	off := p.Manifold.Membership(x)
	if off <= p.tolerance() {
		p.memory.size = size
		return nil
	}
	if off != off {
		return p.fail(ErrNotFinite, "want finite weights, got "+p.bound.of.weights.FirstBad(), nil)
	}
	p.ensure(&p.memory.own)
	if err := p.Manifold.Project(p.memory.own, x); err != nil {
		return p.fail(ErrConstraint, err.Error(), err)
	}
	p.X, p.step.dirty = p.memory.own, true
	p.memory.size = p.X.Norm()
	return nil
}

// read views or copies the weights.
func (p *Part) read() error {
	x, err := p.batch(p.bound.of.weights, &p.memory.own)
	if err != nil {
		return p.fail(ErrParameter, err.Error(), err)
	}
	p.X, p.step.unread = x, false
	return nil
}

// readIfUnread makes the copy that load has postponed.
func (p *Part) readIfUnread() error {
	if !p.step.unread {
		return nil
	}
	return p.read()
}

// findShared marks the parameters whose gradients share memory: clearing one in place would clear the other.
func (e *engine) findShared() {
	same := true
	for _, p := range e.active {
		if at := address(p.grad); at != p.source {
			p.source, same = at, false
		}
	}
	if same {
		return
	}
	first := make(map[uintptr]*parameter, len(e.list))
	for _, p := range e.list {
		q := first[p.source]
		p.shared = q != nil && p.source != 0
		if p.shared {
			q.shared = true
		} else {
			first[p.source] = p
		}
	}
}

// takeBack undoes what welcome did in the step under way.
func (e *engine) takeBack() {
	for _, undo := range slices.Backward(e.undo) {
		undo()
	}
	clear(e.undo)
	e.undo = e.undo[:0]
	e.unsee()
	for _, p := range e.list[e.known:] {
		e.leave(p)
	}
	e.list = slices.Delete(e.list, e.known, len(e.list))
}

// unsee makes the last admission one that has seen no parameter, and that was none.
func (e *engine) unsee() {
	for _, p := range e.list {
		if p.seen == e.calls {
			p.seen = p.before
		}
	}
	e.calls--
}

// finish releases what belongs to the step under way.
func (e *engine) finish() {
	for i, p := range e.active {
		if p != nil {
			p.finish()
		}
		e.active[i] = nil
	}
	for i := range e.parts {
		e.parts[i] = nil
	}
}

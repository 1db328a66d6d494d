// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"fmt"
	"math"
	"runtime"
	"slices"

	"github.com/kernelfold/kernelfold/internal/par"
	"github.com/kernelfold/kernelfold/manifolds"
)

// commit makes the step real. On one core it goes through the parameters backwards: the gradients
// that were measured last are still in the cache. It returns the first error in the order of the
// parameters, after it has moved all.
func (e *engine) commit(active []*parameter) error {
	if runtime.GOMAXPROCS(0) > 1 && weights(active) > 1<<20 {
		e.order = append(e.order[:0], active...)
		slices.SortStableFunc(e.order, func(a, b *parameter) int { return b.cost() - a.cost() })
		par.Do(len(e.order), func(i int) { e.order[i].err = e.order[i].keep() })
	} else {
		for _, p := range slices.Backward(active) {
			p.err = p.keep()
		}
	}
	e.steps++
	e.turn++
	for _, p := range active {
		if p.err != nil {
			return p.err
		}
	}
	return nil
}

// keep makes the step of a parameter real.
func (p *parameter) keep() error {
	var first error
	cleared := len(p.parts) == 1 && p.parts[0].step.way == inPlace && p.parts[0].bound.layout.Contiguous()
	for _, q := range p.parts {
		var err error
		switch q.step.way {
		case inPlace:
			err = q.advance()
		case inBuffers, inFloat64:
			q.memory.state, q.memory.spare = q.memory.spare, q.memory.state
			q.memory.square, q.memory.nextSquare = q.memory.nextSquare, q.memory.square
			q.memory.late = false
			q.memory.momentum, q.memory.size = q.step.momentum, q.step.size
			q.memory.progress = q.step.progress
			err = q.put(p.weights, q.memory.next)
		}
		if q.step.way != still {
			q.memory.longest = q.step.longest
		}
		if q.step.dirty {
			if p.steps > 0 {
				q.memory.reprojections++
			} else {
				p.projected = true
			}
		}
		if first == nil {
			first = err
		}
	}
	if !cleared {
		p.grad.Zero()
	}
	if p.still++; p.gradient != 0 || p.settings.frozen {
		p.still = 0
	}
	p.steps++
	p.witness = witnessOf(p.weights)
	return first
}

// advance makes the step of a part in place.
func (p *Part) advance() error {
	of := p.bound.of
	var gathered manifolds.Points
	whole := p.bound.layout.Contiguous() && len(of.parts) == 1
	if !whole {
		gathered = p.borrow(false)
	}
	g, err := p.batch(of.grad, &gathered)
	if err != nil {
		return p.fail(ErrParameter, err.Error(), err) // shapes were checked: cannot happen
	}
	before := p.memory.size
	switch r := of.settings.rule.(type) {
	case Linear:
		d, mu := p.step.descent, manifolds.Points{}
		b := manifolds.Bounds{Gradient: of.gradient, Momentum: p.memory.momentum}
		if len(p.memory.state) > 0 {
			mu = p.memory.state[0]
		}
		p.memory.progress, err = p.bound.descender.Descend(p.X, mu, g, d)
		p.memory.momentum = b.After(d)
		p.memory.late = d.Late
	case InPlace:
		p.Old = p.memory.state
		p.memory.progress, err = r.Advance(p, g, p.step.slope)
	}
	if p.bound.euclidean {
		p.memory.size = before*(1+p.Rate*p.Decay) + math.Sqrt(p.memory.progress.Length)
	}
	if err == nil && (p.step.dirty || !whole) {
		err = p.put(of.weights, p.X)
	}
	if err != nil {
		return p.fail(ErrOverwritten, fmt.Sprintf("%v: the weights were written to since the last step, and all others have moved", err), err)
	}
	return nil
}

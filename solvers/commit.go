// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"fmt"
	"math"
	"runtime"
	"slices"

	"github.com/kernelfold/kernelfold/manifolds"
)

// commit makes the step real. On one core it goes through the parameters backwards: the gradients
// that were measured last are still in the cache. It returns the first error in the order of the
// parameters, after it has moved all.
func (e *engine) commit(active []*parameter) error {
	if runtime.GOMAXPROCS(0) > 1 && costs(active) >= worth {
		e.spread(active, (*parameter).keep)
	} else {
		for _, p := range slices.Backward(active) {
			p.err = p.keep()
		}
	}
	e.steps++
	e.turn++
	return firstError(active)
}

// keep makes the step of a parameter real.
func (p *parameter) keep() error {
	var first error
	p.wake()
	cleared := p.parts[0].step.way == inPlace && p.parts[0].whole()
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
	g, err := p.lentBatch(of.grad)
	if err != nil {
		return p.fail(ErrParameter, err.Error(), err) // shapes were checked: cannot happen
	}
	before := p.memory.size
	if p.step.itself {
		p.Old = p.memory.state
		p.memory.progress, err = of.settings.rule.(InPlace).Advance(p, g, p.step.slope)
	} else {
		d, mu := p.step.descent, manifolds.Points{}
		b := manifolds.Bounds{Gradient: of.gradient, Momentum: p.memory.momentum}
		if p.bound.carries {
			mu = p.memory.state[0]
		}
		if r, ok := of.settings.rule.(Adaptive); ok {
			err = p.adapt(r, g)
		}
		if err == nil {
			p.memory.progress, err = p.bound.descender.Descend(p.X, mu, g, d)
		}
		p.memory.momentum = b.After(d)
		p.memory.late = d.Late
	}
	if p.bound.euclidean {
		p.memory.size = before*(1+p.Rate*p.Decay) + math.Sqrt(p.memory.progress.Length)
	}
	if err == nil && (p.step.dirty || !p.whole()) {
		err = p.put(of.weights, p.X)
	}
	if err != nil {
		return p.fail(ErrOverwritten, fmt.Sprintf("%v: the weights were written to since the last step, and all others have moved", err), err)
	}
	return nil
}

// adapt computes the factors of the points, from the gradient as it came.
func (p *Part) adapt(r Adaptive, g manifolds.Points) error {
	f := p.memory.factors
	if err := p.bound.descender.(manifolds.Adaptable).GradientSquares(f, p.X, g); err != nil {
		return err
	}
	for i := range f {
		if f[i] *= p.step.slope * p.step.slope; !(f[i] <= math.MaxFloat64) { // a point that was moved off the manifold
			f[i] = 0
		}
	}
	r.Factors(p, f, p.memory.state, p.memory.state)
	return nil
}

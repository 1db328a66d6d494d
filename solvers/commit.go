// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"errors"
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
			q.memory.weight = q.step.travel.weight
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
	p.overwritten = false
	p.witness = witnessOf(p.weights)
	return first
}

// advance makes the step of a part in place.
func (p *Part) advance() (err error) {
	of, before := p.bound.of, p.memory.size
	l := p.bound.layout
	if l.Order != nil && l.Solid() {
		err = p.advanceInChunks()
	} else if err = p.readIfUnread(); err == nil {
		var g manifolds.Points
		if g, err = p.lentBatch(of.grad); err == nil {
			p.memory.progress, err = p.move(chunk{p.X, g, p.memory.state, p.memory.factors})
			if err == nil && (p.step.dirty || !p.whole()) {
				err = p.put(of.weights, p.X)
			}
		}
	}
	if !p.step.itself {
		p.memory.momentum = manifolds.Bounds{Gradient: of.gradient, Momentum: p.memory.momentum}.After(p.step.descent)
		p.memory.late = p.step.descent.Late
	}
	if p.bound.euclidean {
		p.memory.size = before*(1+p.Rate*p.Decay) + math.Sqrt(p.memory.progress.Length)
	}
	if err != nil {
		return p.fail(ErrOverwritten, fmt.Sprintf("%v: the weights were written to since the last step, and all others have moved", err), err)
	}
	return nil
}

// chunk is some points of a part, with what belongs to them.
type chunk struct {
	x, g    manifolds.Points
	state   []manifolds.Points
	factors []float64
}

// move moves a chunk in place.
func (p *Part) move(c chunk) (manifolds.Progress, error) {
	r := p.bound.of.settings.rule
	if p.step.itself {
		p.X, p.Old = c.x, c.state
		return r.(InPlace).Advance(p, c.g, p.step.slope)
	}
	d, mu := p.step.descent, manifolds.Points{}
	if p.bound.carries {
		mu = c.state[0]
	}
	if r, ok := r.(Adaptive); ok {
		if err := p.adapt(r, c); err != nil {
			return manifolds.Progress{Factor: 1}, err
		}
		d.Factors = c.factors
	}
	return p.bound.descender.Descend(c.x, mu, c.g, d)
}

// chunkWeights is about how many weights advanceInChunks moves at a time: they stay in the cache of a core
// from the copy to the step and back.
const chunkWeights = 1 << 12

// advanceInChunks makes the step of points that lie scattered over the layer.
func (p *Part) advanceInChunks() error {
	of, l := p.bound.of, p.bound.layout
	if p.step.dirty {
		if err := p.put(of.weights, p.X); err != nil {
			return err
		}
	}
	weights, err := points(of.weights, of.weights.Len(), 1, 1)
	if err != nil {
		return err
	}
	slopes, err := points(of.grad, of.grad.Len(), 1, 1)
	if err != nil {
		return err
	}
	size := min(l.K, max(1, chunkWeights/(l.N*l.P*64))*64) // whole vectors of points
	x, g := lend(size, l.N, l.P, !p.single()), lend(size, l.N, l.P, !p.single())
	defer giveBack(x)
	defer giveBack(g)
	if p.memory.some == nil {
		p.memory.some = make([]manifolds.Points, len(p.memory.state))
	}
	state := p.memory.some
	p.memory.progress = manifolds.Progress{Factor: 1}
	var first error
	for from := 0; from < l.K; from += size {
		to := min(from+size, l.K)
		some := l.Slice(from, to)
		c := chunk{x: x.Slice(0, to-from), g: g.Slice(0, to-from), state: state}
		for i, s := range p.memory.state {
			state[i] = s.Slice(from, to)
		}
		if p.memory.factors != nil {
			c.factors = p.memory.factors[from:to]
		}
		if err := some.Gather(c.x, weights); err != nil {
			return err
		}
		if err := some.Gather(c.g, slopes); err != nil {
			return err
		}
		progress, err := p.move(c)
		p.memory.progress = p.memory.progress.Plus(progress)
		if err != nil && first == nil {
			first = at(err, from)
		}
		if err := some.Scatter(weights, c.x); err != nil {
			return err
		}
	}
	return first
}

// at is the error of a chunk that begins with the given point.
func at(err error, from int) error {
	var of *manifolds.PointError
	if !errors.As(err, &of) {
		return err
	}
	moved := *of
	moved.Point += from
	return &moved
}

// adapt computes the factors of the points, from the gradient as it came.
func (p *Part) adapt(r Adaptive, c chunk) error {
	f := c.factors
	if err := p.bound.descender.(manifolds.Adaptable).GradientSquares(f, c.x, c.g); err != nil {
		return err
	}
	for i := range f {
		if f[i] *= p.step.slope * p.step.slope; !(f[i] <= math.MaxFloat64) { // a point that was moved off the manifold
			f[i] = 0
		}
	}
	r.Factors(p, f, c.state, c.state)
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/manifolds"
)

// commit writes the results of the step. On one core it goes through the parameters backwards, because the
// gradients that were measured last are still in the cache. It moves all parameters; those that could not be moved have an error.
func (e *engine) commit(active []*parameter) {
	if runtime.GOMAXPROCS(0) > 1 && costs(active) >= worth {
		e.spread(active, (*parameter).keep)
	} else {
		for _, p := range slices.Backward(active) {
			p.err = p.keep()
		}
	}
	e.steps++
	e.turn++
}

// keep writes the result of the step of a parameter.
func (p *parameter) keep() error {
	var first error
	p.wake()
	cleared := p.sweep() || p.parts[0].step.way == inPlace && p.parts[0].whole()
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
			q.corrected()
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
	p.overwritten, p.unsettled = false, false
	p.witness = witnessOf(p.weights)
	return first
}

// corrected notes that the points were not on the manifold.
func (p *Part) corrected() {
	if p.bound.of.steps == 0 {
		p.bound.of.projected = true
	} else {
		p.memory.reprojections++
	}
}

// advance makes the step of a part in place.
func (p *Part) advance() (err error) {
	of, before := p.bound.of, p.memory.size
	if p.scattered() {
		err = p.step.err
	} else if err = p.readIfUnread(); err == nil {
		var g manifolds.Points
		if g, err = p.lentBatch(of.grad); err == nil {
			p.memory.progress, err = p.moveAll(p.X, g)
			if err == nil && (p.step.dirty || !p.whole()) {
				err = p.put(of.weights, p.X)
			}
		}
	}
	if !p.step.itself {
		p.memory.momentum = manifolds.Bounds{Gradient: p.gradient(), Momentum: p.memory.momentum}.After(p.step.descent)
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

// chunk holds some points of a part, with their gradients and state.
type chunk struct {
	x, g    manifolds.Points
	state   []manifolds.Points
	factors []float64
}

// moveAll moves all points in place. An ambient decay is a pass of its own over weights and gradient, so the points
// are moved while they are in the cache, unless the rule moves them itself.
func (p *Part) moveAll(x, g manifolds.Points) (manifolds.Progress, error) {
	l := p.bound.layout
	each := max(1, 2*chunkWeights/(l.N*l.P))
	if p.step.ambient == 0 || p.step.itself || each >= l.K {
		return p.move(chunk{x, g, p.memory.state, p.memory.factors})
	}
	if each > 64 {
		each -= each % 64 // whole vectors of points
	}
	sum := manifolds.Progress{Factor: 1}
	var first error
	for from := 0; from < l.K; from += each {
		to := min(from+each, l.K)
		progress, err := p.move(p.chunk(x.Slice(from, to), g.Slice(from, to), from, to))
		sum = sum.Plus(progress)
		if err != nil && first == nil {
			first = at(err, from)
		}
	}
	return sum, first
}

// move moves a chunk in place.
func (p *Part) move(c chunk) (manifolds.Progress, error) {
	if p.step.ambient > 0 {
		if err := c.g.Combine(1, c.g, p.step.ambient/p.step.slope, c.x); err != nil {
			return manifolds.Progress{Factor: 1}, err
		}
	}
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

// chunkWeights is about the number of weights of a part that are moved at a time if its points are scattered
// over the layer. They stay in the cache of a core while they are copied, moved and copied back.
const chunkWeights = 1 << 14

// scattered reports whether the points, each of them contiguous, are scattered over the layer.
func (p *Part) scattered() bool { return p.bound.layout.Order != nil && p.bound.layout.Solid() }

// sweep makes the in-place steps of the parts whose points are scattered over the layer, in chunks. It always
// takes the chunk that begins first in memory, so that all parts pass through the layer together and share
// the cache. If there are no other parts and each of them goes forward, sweep also clears the gradient and
// returns true.
func (p *parameter) sweep() (cleared bool) {
	moving, clears, most, done := 0, true, 0, 0
	for _, q := range p.parts {
		q.step.next = q.bound.layout.K
		if q.step.way != inPlace || !q.scattered() {
			clears = false
			continue
		}
		moving++
		q.step.next, q.step.err = 0, q.begin()
		q.memory.progress = manifolds.Progress{Factor: 1}
		clears = clears && q.bound.forward
		most = max(most, q.chunkPoints()*q.bound.layout.N*q.bound.layout.P)
	}
	if moving == 0 {
		return false
	}
	x, g := lend(most, 1, 1, p.weights.F64 != nil), lend(most, 1, 1, p.weights.F64 != nil)
	defer giveBack(x)
	defer giveBack(g)
	for {
		var first *Part
		at := p.weights.Len()
		for _, q := range p.parts {
			if a := q.ahead(); a < at {
				first, at = q, a
			}
		}
		if clears {
			p.grad.Slice(done, at).Zero()
			done = at
		}
		if first == nil {
			return clears
		}
		first.advanceChunk(x, g)
	}
}

// begin copies X to the weights.
func (p *Part) begin() error {
	if p.step.dirty {
		return p.put(p.bound.of.weights, p.X)
	}
	return nil
}

// chunk is that of some points, given with their gradients. It uses the memory of the chunk before.
func (p *Part) chunk(x, g manifolds.Points, from, to int) chunk {
	if p.memory.some == nil {
		p.memory.some = make([]manifolds.Points, len(p.memory.state))
	}
	c := chunk{x: x, g: g, state: p.memory.some}
	for i, s := range p.memory.state {
		c.state[i] = s.Slice(from, to)
	}
	if p.memory.factors != nil {
		c.factors = p.memory.factors[from:to]
	}
	return c
}

// chunkPoints is the number of points of a chunk, whole vectors of them.
func (p *Part) chunkPoints() int {
	l := p.bound.layout
	return min(l.K, max(1, chunkWeights/(l.N*l.P*64))*64)
}

// ahead returns the index of the first weight of the next chunk, or the largest int if there is none.
func (p *Part) ahead() int {
	l := p.bound.layout
	if p.step.next == l.K {
		return math.MaxInt
	}
	return int(l.Order[p.step.next]) * l.StrideK
}

// moveIn moves the points of a layout where they lie. done is false where they have to be copied.
func (p *Part) moveIn(l manifolds.Layout, c chunk) (progress manifolds.Progress, done bool, err error) {
	of := p.bound.of
	in, ok := p.bound.descender.(manifolds.Scattered)
	if _, adapts := of.settings.rule.(Adaptive); !ok || adapts || p.step.itself || p.step.ambient > 0 {
		return progress, false, nil
	}
	mu := manifolds.Points{}
	if p.bound.carries {
		mu = c.state[0]
	}
	return in.DescendIn(p.Manifold, l, all(of.weights), mu, all(of.grad), p.step.descent)
}

// moveCopies moves the points of a layout in a copy.
func (p *Part) moveCopies(l manifolds.Layout, c chunk) (manifolds.Progress, error) {
	of, none := p.bound.of, manifolds.Progress{Factor: 1}
	if err := l.Gather(c.x, all(of.weights)); err != nil {
		return none, err
	}
	if err := l.Gather(c.g, all(of.grad)); err != nil {
		return none, err
	}
	progress, err := p.move(c)
	if failed := l.Scatter(all(of.weights), c.x); err == nil {
		err = failed
	}
	return progress, err
}

// advanceChunk moves the next chunk. x and g are its workspace.
func (p *Part) advanceChunk(x, g manifolds.Points) {
	l, from := p.bound.layout, p.step.next
	to := min(from+p.chunkPoints(), l.K)
	p.step.next = to
	some := l.Slice(from, to)
	some.Order = l.Order[from:to] // whose capacity shows which points follow
	c := p.chunk(cut(x, some), cut(g, some), from, to)
	progress, done, err := p.moveIn(some, c)
	if !done {
		progress, err = p.moveCopies(some, c)
	}
	p.memory.progress = p.memory.progress.Plus(progress)
	if err != nil && p.step.err == nil {
		p.step.err = at(err, from)
	}
}

// cut is a batch of the points of the layout in the memory of x.
func cut(x manifolds.Points, l manifolds.Layout) manifolds.Points {
	v := dense.View{F32: x.Data32(), F64: x.Data64()}.Slice(0, l.K*l.N*l.P)
	x, _ = points(v, l.K, l.N, l.P)
	return x
}

// all is a batch of every element of a value.
func all(v dense.View) manifolds.Points {
	x, _ := points(v, v.Len(), 1, 1)
	return x
}

// at turns an error of a chunk, which begins with the given point, into one of the part.
func at(err error, from int) error {
	var of *manifolds.PointError
	if !errors.As(err, &of) {
		return err
	}
	moved := *of
	moved.Point += from
	return &moved
}

// adapt computes the factors of the points from the gradient as it was given.
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

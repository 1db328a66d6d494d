// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"slices"

	"github.com/kernelfold/kernelfold/manifolds"
)

// choose decides how the step of a part is made.
func (e *engine) choose(p *Part, plans bool) error {
	of := p.bound.of
	s := &of.settings
	p.step.way, p.Step = still, of.steps+1
	if s.frozen || of.theirs && !of.joint() {
		return nil
	}
	p.allocate()
	if err := p.carry(); err != nil {
		return err
	}
	p.Rate = e.rate(s)
	p.Decay, p.step.ambient = 0, 0
	if s.decayOf == decayAmbient {
		p.step.ambient = s.decay
	} else if p.bound.euclidean {
		p.Decay = s.decay
	}
	p.step.scale = e.scale()
	p.step.slope = e.scale() * e.shrink * of.shrinkage(e.scale())
	gradient := of.gradient*p.step.slope + p.step.ambient*p.memory.size
	p.step.longest = max(p.memory.longest, gradient)
	p.Old = p.step.from
	if now := nowAndThen(e.steps + 1); now || p.ambient() && e.list[e.turn%len(e.list)] == of {
		if err := p.watch(); err != nil {
			return err
		}
	}
	if !of.theirs && !plans && e.direct(p) {
		p.step.way = inPlace
		return nil
	}
	if err := p.readIfUnread(); err != nil || of.theirs {
		return err
	}
	if err := p.arrived(); err != nil {
		return err
	}
	p.step.way = inBuffers
	if p.single() && p.extreme(gradient) {
		p.step.way = inFloat64
	}
	return nil
}

// direct reports whether the step of a part can be made in place: the state is the one that the last step
// left, no option changes single elements of the gradient, the gradient is not shared, and no number is close
// to overflow.
func (e *engine) direct(p *Part) bool {
	of := p.bound.of
	s := &of.settings
	if p.step.carried || p.bound.perPart || of.shared || s.clipValue > 0 || p.step.ambient > 0 && !p.decayFits() ||
		!p.bound.euclidean && (s.factor == ofPast || s.scope != EachPoint) {
		return false
	}
	if r, ok := s.rule.(InPlace); ok && (p.bound.euclidean || s.factor == noFactor) {
		if p.step.itself = r.Fits(p, p.step.slope); p.step.itself {
			return true
		}
	}
	r, ok := s.rule.(Linear)
	if !ok || p.bound.descender == nil {
		return false
	}
	d := p.descent(r)
	if r, ok := r.(Adaptive); ok {
		if _, ok := p.bound.descender.(manifolds.Adaptable); !ok || s.factor != noFactor {
			return false
		}
		if p.memory.factors == nil {
			p.memory.factors = make([]float64, p.bound.layout.K)
		}
		d.Factors, d.Longest = p.memory.factors, r.LongestDirection(p)
	}
	p.step.descent = d
	b := manifolds.Bounds{Gradient: p.gradient(), Momentum: p.memory.momentum}
	return p.bound.descender.Descends(p.Manifold, p.X, d, b) && p.grows(d, b)
}

// gradient is a bound of the norm of the gradient as it came, and of what the ambient decay adds to it before it is
// multiplied by the slope.
func (p *Part) gradient() float64 {
	if p.step.ambient == 0 {
		return p.bound.of.gradient
	}
	return p.bound.of.gradient + p.step.ambient/p.step.slope*p.memory.size
}

// decayFits reports whether the gradient with the ambient decay, before it is multiplied by the slope, is far from overflow.
func (p *Part) decayFits() bool {
	limit := 1e30
	if !p.single() {
		limit = 1e300
	}
	return p.step.slope > 0 && p.step.ambient/p.step.slope < limit && p.gradient() < limit
}

// arrived makes the transport that the last step in place has postponed.
func (p *Part) arrived() error {
	if !p.memory.late {
		return nil
	}
	u := p.borrow(false)
	if err := p.Manifold.Tangent(u, p.X, p.step.from[0]); err != nil {
		return p.fail(ErrConstraint, err.Error(), err)
	}
	p.step.from = slices.Clone(p.step.from)
	p.step.from[0] = u
	return nil
}

// grows reports whether unconstrained weights stay far from overflow in the step.
func (p *Part) grows(d manifolds.Descent, b manifolds.Bounds) bool {
	limit := 1e15
	if !p.single() {
		limit = 1e150
	}
	return !p.bound.euclidean || (1+d.Rate*d.Decay)*p.memory.size+d.Rate*b.Direction(d) < limit
}

// descent is the step of a linear rule, with what options add to it.
func (p *Part) descent(r Linear) manifolds.Descent {
	d := r.Descent(p)
	d.Take *= p.step.slope
	d.Slope *= p.step.slope
	d.Rate, d.Decay = p.Rate, p.Decay
	d.Geometric = p.bound.of.settings.factor == ofThisSample && p.bound.properties.Curvature > 0
	d.Late = d.Tangent && p.bound.carries && p.bound.properties.Cost > 0 // a projection costs products
	return d
}

// extreme reports whether squares or products in the step overflow or underflow in float32.
func (p *Part) extreme(gradient float64) bool {
	plain := func(v float64) bool { return v == 0 || v > 1e-12 && v < 1e12 }
	return !plain(p.memory.size) || !plain(gradient) || !plain(p.memory.momentum) || !(p.Rate < 1e12)
}

// rate returns the learning rate, in the next step, of parameters with the given settings.
func (e *engine) rate(s *settings) float64 {
	lr := s.learnRate
	if lr == e.base {
		lr = e.learnRate
	} else if e.base > 0 {
		lr *= e.learnRate / e.base
	}
	return lr * e.schedule.At(e.steps)
}

// carry sets from to the state before the step. If the weights are not those that the last step left, its
// tangent vectors are projected onto the tangent space at the weights, unless they already lie in it up to
// rounding, so that the same values in other memory change nothing.
func (p *Part) carry() error {
	p.step.from, p.step.carried = p.memory.state, false
	if !p.bound.of.elsewhere || p.bound.euclidean || p.bound.of.steps == 0 {
		return nil
	}
	rounding := 1e-5
	if !p.single() {
		rounding = 1e-11
	}
	for i, k := range p.bound.kinds {
		if k.Kind != Tangent || i == 0 && p.memory.late { // projected in this step anyway
			continue
		}
		old := p.memory.state[i]
		u, normal := old.Like(), old.Like()
		if err := p.Manifold.Tangent(u, p.X, old); err != nil {
			return p.fail(ErrConstraint, err.Error(), err)
		}
		if err := normal.Combine(1, old, -1, u); err != nil {
			return p.fail(ErrConstraint, err.Error(), err)
		}
		if normal.Norm() > rounding*old.Norm() {
			if !p.step.carried {
				p.step.from, p.step.carried = slices.Clone(p.memory.state), true
			}
			p.step.from[i] = u
		}
	}
	return nil
}

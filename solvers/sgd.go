// SPDX-License-Identifier: Apache-2.0

package solvers

import "github.com/kernelfold/kernelfold/manifolds"

// NewSGD returns the stochastic gradient descent of Ozay and Okatani (arXiv
// 1610.07008). For every point x with Euclidean gradient g:
//
//	mu <- theta mu + (1 - tau) g        momentum, in the ambient space
//	d   = mu                            or g + theta mu with Nesterov
//	v   = grad of d at x                tangent projection, or the metric's gradient
//	x  <- R_x(-lr / g_t  v)             retraction
//
// With TangentMomentum the momentum is a tangent vector instead:
//
//	grad = grad of g at x
//	mu  <- theta T(mu) + (1 - tau) grad   T the transport along the last step
//	v    = mu                             or grad + theta mu
//
// On unconstrained parameters both are the textbook's
//
//	mu <- theta mu + (1 - tau) g,  x <- x - lr mu.
//
// Defaults: LearnRate 0.01, Momentum 0, AmbientMomentum, no geometric step.
// Options beyond the common ones: Momentum, Dampening, Nesterov,
// AmbientMomentum, TangentMomentum.
func NewSGD(opts ...Option) *Solver {
	r := &sgd{}
	s := newSolver("SGD", r, config{learnRate: 0.01}, []string{"Momentum", "Dampening", "Nesterov", "AmbientMomentum", "TangentMomentum"}, opts)
	r.config = &s.engine.config
	if (r.nesterov || r.tangent || r.dampening > 0) && r.momentum == 0 && s.engine.err == nil {
		s.engine.err = optionError("SGD: Nesterov, Dampening and TangentMomentum need a Momentum greater than 0")
	}
	return s
}

type sgd struct{ *config }

func (r *sgd) State() []State {
	switch {
	case r.momentum == 0:
		return nil
	case r.tangent:
		return []State{{"momentum", Tangent}}
	}
	return []State{{"momentum", Ambient}}
}

func (r *sgd) Direction(p *Parameter) error {
	if r.momentum == 0 {
		return p.Riemannian(p.Direction, p.Gradient)
	}
	if r.tangent {
		if err := p.Riemannian(p.Gradient, p.Gradient); err != nil {
			return err
		}
	}
	g, mu := p.Gradient, p.New[0]
	take := 1 - r.dampening
	if p.Step == 1 {
		take = 1
	}
	if err := mu.Combine(r.momentum, p.Old[0], take, g); err != nil {
		return err
	}
	v := p.Direction
	ahead, keep := 1.0, 0.0
	if r.nesterov {
		ahead, keep = r.momentum, 1
	}
	if err := v.Combine(ahead, mu, keep, g); err != nil {
		return err
	}
	if r.tangent {
		return nil
	}
	return p.Riemannian(v, v)
}

// descent is the step as one operation of the manifold.
func (r *sgd) descent(s *slot, rate, slope float64) manifolds.Descent {
	d := manifolds.Descent{Slope: slope, Rate: rate, Tangent: r.tangent, Geometric: r.geometric && s.curvature > 0}
	if r.momentum > 0 {
		take := slope
		if s.steps > 0 {
			take *= 1 - r.dampening
		}
		d.Keep, d.Take = r.momentum, take
		d.Ahead, d.Slope = r.momentum, take
		if r.nesterov {
			d.Ahead, d.Slope = r.momentum*r.momentum, slope+r.momentum*take
		}
	}
	if s.euclidean {
		d.Decay = r.decay
	}
	return d
}

func (r *sgd) serves(s *slot) bool {
	m, ok := s.manifold.(manifolds.Descender)
	return ok && m.Descends(s.layout.N, s.layout.P, r.descent(s, 1, 1))
}

// reach is that of the geometric series of the momentum, and of a look ahead.
func (r *sgd) reach(g, _ float64) (state, direction float64) {
	state = g / (1 - r.momentum)
	return state, state + g
}

func (r *sgd) advance(s *slot, g manifolds.Points, rate, slope float64) manifolds.Moved {
	var mu manifolds.Points
	if r.momentum > 0 {
		mu = s.old[0]
	}
	return s.manifold.(manifolds.Descender).Descend(s.x, mu, g, r.descent(s, rate, slope))
}

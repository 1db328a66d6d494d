// SPDX-License-Identifier: Apache-2.0

package solvers

import "github.com/kernelfold/kernelfold/manifolds"

// NewSGD returns Riemannian stochastic gradient descent with momentum. For every point x
// with Euclidean gradient g:
//
//	grad = Riemannian gradient of g at x
//	mu  <- theta T(mu) + (1 - tau) grad   T the transport along the last step
//	v    = mu                             or grad + theta mu with Nesterov
//	x   <- R_x(-lr / g_t  v)              retraction
//
// With AmbientMomentum it is the algorithm of Ozay and Okatani (arXiv 1610.07008), whose
// momentum lies in the ambient space:
//
//	mu <- theta mu + (1 - tau) g
//	v   = Riemannian gradient of mu       or of g + theta mu
//
// On unconstrained parameters both are the usual
//
//	mu <- theta mu + (1 - tau) g,  x <- x - lr mu.
//
// Defaults: LearnRate 0.01, Momentum 0, TangentMomentum, no geometric step.
// Options beyond the common ones: Momentum, Dampening, Nesterov,
// TangentMomentum, AmbientMomentum.
func NewSGD(opts ...Option) *Solver { return newSolver(sgd{}, settings{learnRate: 0.01}, opts) }

type sgd struct {
	momentum, dampening float64
	nesterov            bool
	ambient, named      bool // named: one of the two kinds of momentum was requested
	none                bool // Momentum(0) was requested
}

var (
	_ Linear  = sgd{}
	_ Checked = sgd{}
)

func (sgd) Name() string { return "SGD" }

func (r sgd) Check() error {
	if r.momentum == 0 && (!r.none && (r.nesterov || r.named) || r.dampening > 0) {
		return optionError("SGD: Nesterov, Dampening, TangentMomentum and AmbientMomentum need a Momentum greater than 0")
	}
	return nil
}

func (r sgd) State() []State {
	switch {
	case r.momentum == 0:
		return nil
	case r.ambient:
		return []State{{ambientMomentum, Ambient}}
	}
	return []State{{tangentMomentum, Tangent}}
}

const (
	tangentMomentum = "momentum"
	ambientMomentum = "ambient momentum"
)

func (r sgd) Direction(p *Part) error { return p.Follow(r.Descent(p)) }

func (r sgd) Descent(p *Part) manifolds.Descent {
	if r.momentum == 0 {
		return manifolds.Descent{Slope: 1}
	}
	take := 1 - r.dampening
	if p.Step == 1 {
		take = 1
	}
	d := manifolds.Descent{Keep: r.momentum, Take: take, Ahead: r.momentum, Slope: take, Tangent: !r.ambient}
	if r.nesterov {
		d.Ahead, d.Slope = r.momentum*r.momentum, 1+r.momentum*take
	}
	return d
}

// Momentum sets the factor theta of the momentum, in [0, 1). In With, Momentum(0) turns it off for some parameters, of whatever kind it is.
func Momentum(theta float64) Option {
	return tune("Momentum", unit(theta), func(r Rule) (Rule, bool) {
		switch r := r.(type) {
		case sgd:
			r.momentum, r.none = theta, theta == 0
			return r, true
		case muon:
			r.momentum = theta
			return r, true
		case adagrad:
			r.momentum = theta
			return r, !r.sums()
		}
		return r, false
	})
}

// Dampening sets tau in [0, 1), the fraction of a gradient that is not added to the momentum: mu <- theta mu
// + (1 - tau) g. The first gradient is added undamped.
func Dampening(tau float64) Option {
	return tuneOf("Dampening", unit(tau), func(r *sgd) { r.dampening = tau })
}

// Nesterov moves along grad + theta mu instead of mu.
func Nesterov(on ...bool) Option {
	is, err := flag(on)
	return tune("Nesterov", err, func(r Rule) (Rule, bool) {
		switch r := r.(type) {
		case sgd:
			r.nesterov = is
			return r, true
		case muon:
			r.nesterov = is
			return r, true
		}
		return r, false
	})
}

// TangentMomentum keeps the momentum in the tangent space and transports it
// along every step. This is the default.
func TangentMomentum(on ...bool) Option {
	is, err := flag(on)
	return tuneOf("TangentMomentum", err, func(r *sgd) { r.ambient, r.named = !is, true })
}

// AmbientMomentum keeps the momentum in the ambient space and projects it at every step, as in the paper. It
// is sensitive to the part of a gradient that is normal to the manifold. On a sphere of radius r, with s =
// <x, g>/r^2 and the learning rate eta, it does not converge to a minimum unless
//
//	eta s < (1 - theta)^2 / theta         if s > 0, that is, the gradient points outward: 0.011 at theta = 0.9
//	eta |s| < (1 - theta^2) / theta       if s < 0: 0.21 at theta = 0.9
//
// The second bound is for a cost without curvature; with curvature it is tighter. Report warns if the first
// is exceeded. docs/solvers.md derives both. TangentMomentum has no such bound.
func AmbientMomentum(on ...bool) Option {
	is, err := flag(on)
	return tuneOf("AmbientMomentum", err, func(r *sgd) { r.ambient, r.named = is, true })
}

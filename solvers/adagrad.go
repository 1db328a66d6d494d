// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"math"

	"github.com/kernelfold/kernelfold/internal/fused"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/manifolds"
)

// NewAdagrad returns Riemannian Adagrad (Duchi, Hazan, Singer, JMLR 2011; on manifolds Bécigneul,
// Ganea, ICLR 2019). For every point x with Riemannian gradient grad:
//
//	s <- s + |grad|^2                           one number for each point
//	v  = grad / (sqrt(s) + eps)
//	x <- R_x(-lr v)
//
// In unconstrained parameters each weight is a point, which gives the usual element-wise Adagrad.
//
// Defaults: LearnRate 0.01, Eps(1e-8). Option beyond the common ones: Eps.
func NewAdagrad(opts ...Option) *Solver {
	return newSolver(adagrad{name: "Adagrad", keep: 1, take: 1, eps: 1e-8}, settings{learnRate: 0.01}, opts)
}

// NewRMSProp returns Riemannian RMSProp (Tieleman, Hinton, lecture 6.5 of Neural Networks for Machine
// Learning, 2012): Adagrad with a decaying mean in place of the sum. For every point x with
// Riemannian gradient grad:
//
//	s  <- rho s + (1 - rho) |grad|^2            one number for each point
//	mu <- theta T(mu) + grad / (sqrt(s) + eps)  T the transport along the last step
//	x  <- R_x(-lr mu)
//
// The default is theta = 0. The mean starts from 0 and has no bias correction, so the length of the first
// step is 1/sqrt(1 - rho) learning rates. NewAdam with Betas(0, rho) has the correction. In unconstrained
// parameters each weight is a point, which gives the usual element-wise RMSProp.
//
// Defaults: LearnRate 0.001, Rho(0.99), Eps(1e-8), Momentum(0). Options beyond the common ones: Rho,
// Eps, Momentum.
func NewRMSProp(opts ...Option) *Solver {
	r := adagrad{name: "RMSProp", eps: 1e-8}
	return newSolver(r.forgetting(0.99), settings{learnRate: 0.001}, opts)
}

// adagrad is the rule of both solvers: s <- keep s + take |grad|^2.
type adagrad struct {
	name       string
	keep, take float64
	eps        float64
	momentum   float64 // RMSProp only
}

var (
	_ InPlace  = adagrad{}
	_ Adaptive = adagrad{}
)

// forgetting is the rule with the mean that Rho sets.
func (r adagrad) forgetting(rho float64) adagrad {
	r.keep, r.take = rho, 1-rho
	return r
}

// sums reports whether the rule is that of Adagrad.
func (r adagrad) sums() bool { return r.keep == 1 }

func (r adagrad) Name() string { return r.name }

func (r adagrad) State() []State {
	squares := State{"mean square", PerPoint}
	if r.sums() {
		squares.Name = "sum of squares"
	}
	if r.momentum > 0 {
		return []State{{tangentMomentum, Tangent}, squares}
	}
	return []State{squares}
}

func (r adagrad) Direction(p *Part) error {
	if r.momentum == 0 {
		return p.Adapt(r)
	}
	f := scratch.Get[float64](p.X.K)
	defer scratch.Put(f)
	if err := p.squares(f); err != nil {
		return err
	}
	r.Factors(p, f, p.Old, p.New)
	if err := p.Direction.Scale(f, p.Gradient); err != nil {
		return err
	}
	if err := p.Direction.Combine(1, p.Direction, r.momentum, p.Old[0]); err != nil {
		return err
	}
	return p.New[0].CopyFrom(p.Direction)
}

func (r adagrad) Descent(*Part) manifolds.Descent { return manifolds.Descent{Slope: 1} }

func (r adagrad) Factors(p *Part, f []float64, old, next []manifolds.Points) {
	last := len(old) - 1
	for k, sq := range f {
		s := r.keep*old[last].At(k, 0, 0) + r.take*sq
		next[last].Set(k, 0, 0, s)
		f[k] = min(1/(math.Sqrt(s)+r.eps), p.greatest())
	}
}

// LongestDirection: the norm of a direction is at most 1/sqrt(take), because its square is part of s. There
// is no bound if eps is so small that its square underflows. There is none with momentum either, because the
// momentum accumulates gradients after they were multiplied by their factors: such a step is not a Descent
// and is made in buffers.
func (r adagrad) LongestDirection(p *Part) float64 {
	if r.eps <= p.vanishing() || r.momentum > 0 {
		return math.Inf(1)
	}
	return math.Sqrt(float64(p.X.K) / r.take)
}

// Fits: with a point for each weight the rule is element by element.
func (r adagrad) Fits(p *Part, slope float64) bool {
	return p.hasElements() && p.fitsElements(r.LongestDirection(p))
}

func (r adagrad) Advance(p *Part, g manifolds.Points, slope float64) (manifolds.Progress, error) {
	a := fused.AdagradStep{Keep: r.keep, Take: r.take, Eps: r.eps, Slope: slope, Shrink: 1 - p.Rate*p.Decay, Rate: p.Rate}
	var sq float64
	if s := p.Old[0]; p.X.Data64() != nil {
		sq = fused.Adagrad(p.X.Data64(), s.Data64(), g.Data64(), a)
	} else {
		sq = fused.Adagrad(p.X.Data32(), s.Data32(), g.Data32(), a)
	}
	return manifolds.Progress{Direction: sq, Length: p.Rate * p.Rate * sq, Factor: 1}, nil
}

// Rho sets the weight of the past in the mean square of RMSProp, in [0, 1).
func Rho(rho float64) Option {
	return tune("Rho", unit(rho), func(r Rule) (Rule, bool) {
		a, ok := r.(adagrad)
		if !ok || a.sums() {
			return r, false
		}
		return a.forgetting(rho), true
	})
}

// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"fmt"
	"math"

	"github.com/kernelfold/kernelfold/internal/fused"
	"github.com/kernelfold/kernelfold/manifolds"
)

// NewAdam returns Riemannian Adam (Bécigneul, Ganea, ICLR 2019). For every
// point x with Riemannian gradient grad, at its step t:
//
//	m <- beta1 T(m) + (1 - beta1) grad          T the transport along the last step
//	s <- beta2 s + (1 - beta2) |grad|^2         one number for each point
//	v  = m / (1 - beta1^t) / (sqrt(s / (1 - beta2^t)) + eps)
//	x <- R_x(-lr v)
//
// With AMSGrad the largest s so far replaces s in v. In unconstrained parameters each weight is a point,
// which gives the usual element-wise Adam (Kingma, Ba, ICLR 2015).
//
// Defaults: LearnRate 0.001, Betas(0.9, 0.999), Eps(1e-8). Options beyond the
// common ones: Betas, Eps, AMSGrad.
func NewAdam(opts ...Option) *Solver {
	return newSolver(newAdam("Adam"), settings{learnRate: 0.001}, opts)
}

// NewAdamW returns NewAdam with EuclideanDecay(0.01) as its default (Loshchilov, Hutter, ICLR 2019): each
// step subtracts lr*lambda*x from every unconstrained parameter x. The manifold fixes the scale of
// constrained parameters, so they have no decay.
func NewAdamW(opts ...Option) *Solver {
	return newSolver(newAdam("AdamW"), settings{learnRate: 0.001, decay: 0.01, decayOf: decayEuclidean}, opts)
}

type adam struct {
	name              string
	beta1, beta2, eps float64
	amsgrad           bool
}

var (
	_ InPlace  = adam{}
	_ Adaptive = adam{}
)

func newAdam(name string) adam { return adam{name: name, beta1: 0.9, beta2: 0.999, eps: 1e-8} }

func (r adam) Name() string { return r.name }

func (r adam) State() []State {
	s := []State{{"first moment", Tangent}, {"second moment", PerPoint}}
	if r.amsgrad {
		s = append(s, State{"largest second moment", PerPoint})
	}
	return s
}

func (r adam) Direction(p *Part) error { return p.Adapt(r) }

func (r adam) Descent(*Part) manifolds.Descent {
	return manifolds.Descent{Keep: r.beta1, Take: 1 - r.beta1, Ahead: r.beta1, Slope: 1 - r.beta1, Tangent: true}
}

func (r adam) Factors(p *Part, f []float64, old, next []manifolds.Points) {
	correct1, correct2 := r.corrections(p.Step)
	for k, sq := range f {
		s := r.beta2*old[1].At(k, 0, 0) + (1-r.beta2)*sq
		next[1].Set(k, 0, 0, s)
		if r.amsgrad {
			s = max(s, old[2].At(k, 0, 0))
			next[2].Set(k, 0, 0, s)
		}
		f[k] = min(1/correct1/(math.Sqrt(s/correct2)+r.eps), p.greatest())
	}
}

// LongestDirection: the first moment is a mean of gradients. By the inequality of Cauchy and Schwarz
// its norm is, point by point, at most
//
//	(1 - beta1) / sqrt((1 - beta2) (1 - beta1^2/beta2))
//
// times the root of the second moment, if beta1^2 < beta2, and eps bounds the direction otherwise. If eps is
// so small that its square underflows, there is no bound.
func (r adam) LongestDirection(p *Part) float64 {
	if r.eps <= p.vanishing() {
		return math.Inf(1)
	}
	if q := r.beta1 * r.beta1 / r.beta2; q < 1 {
		return math.Sqrt(float64(p.X.K) / ((1 - r.beta2) * (1 - q)))
	}
	return p.Longest() / (1 - r.beta1) / r.eps
}

// corrections returns 1 - beta^t for both moments.
func (r adam) corrections(step int) (first, second float64) {
	t := float64(step)
	return 1 - math.Pow(r.beta1, t), 1 - math.Pow(r.beta2, t)
}

// Fits: with a point for each weight Adam is element by element.
func (r adam) Fits(p *Part, slope float64) bool {
	return p.hasElements() && p.fitsElements(r.LongestDirection(p))
}

// hasElements reports whether a part has a point for each weight and no manifold.
func (p *Part) hasElements() bool { return p.Unconstrained() && p.X.N*p.X.P == 1 }

// fitsElements reports whether the squares of gradients, of weights and of a direction no longer than longest do not overflow.
func (p *Part) fitsElements(longest float64) bool {
	limit := 1 / p.vanishing()
	return p.Longest() < limit && (1+p.Rate*p.Decay)*p.Bound()+p.Rate*longest < limit
}

// vanishing is about the smallest number whose square does not underflow in the precision of the part.
func (p *Part) vanishing() float64 {
	if p.X.Data64() != nil {
		return 1e-150
	}
	return 1e-15
}

// greatest is the largest finite number in the precision of the part. A larger factor would make NaN of a direction of 0.
func (p *Part) greatest() float64 {
	if p.X.Data64() != nil {
		return math.MaxFloat64
	}
	return math.MaxFloat32
}

func (r adam) Advance(p *Part, g manifolds.Points, slope float64) (manifolds.Progress, error) {
	a := fused.AdamStep{Beta1: r.beta1, Beta2: r.beta2, Eps: r.eps, Slope: slope, Shrink: 1 - p.Rate*p.Decay, Rate: p.Rate}
	a.Correct1, a.Correct2 = r.corrections(p.Step)
	var largest manifolds.Points
	if r.amsgrad {
		largest = p.Old[2]
	}
	var sq float64
	if m, v := p.Old[0], p.Old[1]; p.X.Data64() != nil {
		sq = fused.Adam(p.X.Data64(), m.Data64(), v.Data64(), largest.Data64(), g.Data64(), a)
	} else {
		sq = fused.Adam(p.X.Data32(), m.Data32(), v.Data32(), largest.Data32(), g.Data32(), a)
	}
	return manifolds.Progress{Direction: sq, Length: p.Rate * p.Rate * sq, Factor: 1}, nil
}

// Betas sets the decay of the first and second moments of Adam, each in [0, 1).
func Betas(beta1, beta2 float64) Option {
	var err error
	if !(beta1 >= 0 && beta1 < 1 && beta2 >= 0 && beta2 < 1) {
		err = fmt.Errorf("want two numbers in [0, 1), got %g and %g", beta1, beta2)
	}
	return tuneOf("Betas", err, func(r *adam) { r.beta1, r.beta2 = beta1, beta2 })
}

// Eps sets the number that Adam, Adagrad and RMSProp add to the square root by which they divide.
func Eps(eps float64) Option {
	return tune("Eps", positive(eps), func(r Rule) (Rule, bool) {
		switch r := r.(type) {
		case adam:
			r.eps = eps
			return r, true
		case adagrad:
			r.eps = eps
			return r, true
		}
		return r, false
	})
}

// AMSGrad divides by the largest second moment so far (Reddi, Kale, Kumar,
// ICLR 2018).
func AMSGrad(on ...bool) Option {
	is, err := flag(on)
	return tuneOf("AMSGrad", err, func(r *adam) { r.amsgrad = is })
}

// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"math"

	"github.com/kernelfold/kernelfold/internal/fused"
	"github.com/kernelfold/kernelfold/internal/scratch"
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
// With AMSGrad the largest s so far takes the place of s in v. Unconstrained
// parameters have a point for each weight, which makes this the textbook's Adam
// (Kingma, Ba, ICLR 2015).
//
// Defaults: LearnRate 0.001, Betas(0.9, 0.999), Eps(1e-8). Options beyond the
// common ones: Betas, Eps, AMSGrad.
func NewAdam(opts ...Option) *Solver { return newAdam("Adam", config{}, opts) }

// NewAdamW returns NewAdam with EuclideanDecay(0.01) as its default (Loshchilov,
// Hutter, ICLR 2019): unconstrained parameters lose lr*lambda of themselves at
// each step, constrained ones have nothing to lose.
func NewAdamW(opts ...Option) *Solver {
	return newAdam("AdamW", config{decay: 0.01, decayOf: decayEuclidean}, opts)
}

func newAdam(name string, c config, opts []Option) *Solver {
	c.learnRate, c.beta1, c.beta2, c.eps = 0.001, 0.9, 0.999, 1e-8
	r := &adam{}
	s := newSolver(name, r, c, []string{"Betas", "Eps", "AMSGrad"}, opts)
	r.config = &s.engine.config
	return s
}

type adam struct{ *config }

func (r *adam) State() []State {
	s := []State{{"first moment", Tangent}, {"second moment", PerPoint}}
	if r.amsgrad {
		s = append(s, State{"largest second moment", PerPoint})
	}
	return s
}

func (r *adam) Direction(p *Parameter) error {
	grad := p.Gradient
	if err := p.Riemannian(grad, p.Gradient); err != nil {
		return err
	}
	if err := p.New[0].Combine(r.beta1, p.Old[0], 1-r.beta1, grad); err != nil {
		return err
	}
	f := scratch.Get[float64](p.X.K) // |grad|^2, then the factor of m
	defer scratch.Put(f)
	if err := manifolds.Inner(p.Manifold, f, p.X, grad, grad); err != nil {
		return err
	}
	correct1 := 1 - math.Pow(r.beta1, float64(p.Step))
	correct2 := 1 - math.Pow(r.beta2, float64(p.Step))
	for k, sq := range f {
		s := r.beta2*p.Old[1].At(k, 0, 0) + (1-r.beta2)*sq
		p.New[1].Set(k, 0, 0, s)
		if r.amsgrad {
			s = max(s, p.Old[2].At(k, 0, 0))
			p.New[2].Set(k, 0, 0, s)
		}
		f[k] = 1 / correct1 / (math.Sqrt(s/correct2) + r.eps)
	}
	return p.Direction.Scale(f, p.New[0])
}

// serves: in Euclidean space Adam is element by element.
func (r *adam) serves(s *slot) bool { return s.euclidean && !r.geometric }

// reach: the first moment is a mean of gradients. By the inequality of Cauchy and
// Schwarz it is, element by element, at most
//
//	(1 - beta1) / sqrt((1 - beta2) (1 - beta1^2/beta2))
//
// times the root of the second, if beta1^2 < beta2, and eps bounds the direction otherwise.
func (r *adam) reach(g, n float64) (state, direction float64) {
	if q := r.beta1 * r.beta1 / r.beta2; q < 1 {
		return g, math.Sqrt(n / ((1 - r.beta2) * (1 - q)))
	}
	return g, g / (1 - r.beta1) / r.eps
}

func (r *adam) advance(s *slot, g manifolds.Points, rate, slope float64) manifolds.Moved {
	t := float64(s.steps + 1)
	step := fused.AdamStep{
		Beta1: r.beta1, Beta2: r.beta2, Eps: r.eps, Slope: slope, Shrink: 1 - rate*r.decay, Rate: rate,
		Correct1: 1 - math.Pow(r.beta1, t), Correct2: 1 - math.Pow(r.beta2, t),
	}
	var largest manifolds.Points
	if r.amsgrad {
		largest = s.old[2]
	}
	var sq float64
	if m, v := s.old[0], s.old[1]; s.weights.F64 != nil {
		sq = fused.Adam(s.x.Data64(), m.Data64(), v.Data64(), largest.Data64(), g.Data64(), step)
	} else {
		sq = fused.Adam(s.x.Data32(), m.Data32(), v.Data32(), largest.Data32(), g.Data32(), step)
	}
	return manifolds.Moved{Direction: sq, Length: rate * rate * sq, Factor: 1}
}

// SPDX-License-Identifier: Apache-2.0

package own

import (
	"fmt"
	"math"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// NewAdagrad returns Riemannian Adagrad (Duchi, Hazan, Singer, JMLR 2011; on
// manifolds Bécigneul, Ganea, ICLR 2019). For every point x with Riemannian
// gradient grad:
//
//	s <- s + |grad|^2               one number for each point
//	v  = grad / (sqrt(s) + eps)
//	x <- R_x(-lr v)
//
// In unconstrained parameters each weight is a point, which gives the usual element-wise Adagrad. Options
// beyond the common ones: AdagradEps, 1e-8 without it. It is an example: the library has solvers.NewAdagrad.
func NewAdagrad(opts ...solvers.Option) *solvers.Solver {
	return solvers.New(adagrad{eps: 1e-8}, opts...)
}

type adagrad struct{ eps float64 }

func (adagrad) Name() string { return "Adagrad" }

func (adagrad) State() []solvers.State {
	return []solvers.State{{Name: "sum of squares", Kind: solvers.PerPoint}}
}

// AdagradEps sets the number that Adagrad adds to the root of the sum of squares.
func AdagradEps(eps float64) solvers.Option {
	return solvers.Tune("AdagradEps", func(r solvers.Rule) (solvers.Rule, bool) {
		a, ok := r.(adagrad)
		a.eps = eps
		return a, ok
	})
}

// Check returns an error for an option with an invalid value.
func (r adagrad) Check() error {
	if !(r.eps > 0) {
		return fmt.Errorf("own: AdagradEps: want a positive number, got %g (%w)", r.eps, solvers.ErrOption)
	}
	return nil
}

func (r adagrad) Direction(p *solvers.Part) error {
	grad := p.Gradient
	if err := p.Riemannian(grad, grad); err != nil {
		return err
	}
	f := make([]float64, p.X.K) // |grad|^2, then the factor of grad
	if err := manifolds.Inner(p.Manifold, f, p.X, grad, grad); err != nil {
		return err
	}
	for k, sq := range f {
		s := p.Old[0].At(k, 0, 0) + sq
		p.New[0].Set(k, 0, 0, s)
		f[k] = 1 / (math.Sqrt(s) + r.eps)
	}
	return p.Direction.Scale(f, grad)
}

// SPDX-License-Identifier: Apache-2.0

package extremes

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// broken wraps a solver and makes its steps wrong.
type broken struct {
	*solvers.Solver
	step  func(s *solvers.Solver, model []gorgonia.ValueGrad) error
	state func(*solvers.Snapshot)
}

func (b broken) Step(model []gorgonia.ValueGrad) error {
	if b.step == nil {
		return b.Solver.Step(model)
	}
	return b.step(b.Solver, model)
}

func (b broken) Snapshot() (*solvers.Snapshot, error) {
	s, err := b.Solver.Snapshot()
	if err == nil && b.state != nil {
		b.state(s)
	}
	return s, err
}

func weightsOf(model []gorgonia.ValueGrad) []float64 {
	return model[0].Value().(*tensor.Dense).Float64s()
}

func gradientOf(model []gorgonia.ValueGrad) []float64 {
	g, _ := model[0].Grad()
	return g.(*tensor.Dense).Float64s()
}

// The mutants below embed the interface and not a manifold, so that they have no fused step.

// noTransport leaves tangent vectors as they are.
type noTransport struct{ manifolds.Manifold }

func (noTransport) Transport(dst, x, y, u manifolds.Points) error {
	copy(dst.Data64(), u.Data64())
	return nil
}

// notCentred is a centred sphere that only normalises.
type notCentred struct{ manifolds.Manifold }

func (notCentred) Tangent(dst, x, g manifolds.Points) error {
	return manifolds.Sphere{}.Tangent(dst, x, g)
}
func (notCentred) Retract(dst, x, v manifolds.Points) error {
	return manifolds.Sphere{}.Retract(dst, x, v)
}
func (notCentred) Transport(dst, x, y, u manifolds.Points) error {
	return manifolds.Sphere{}.Transport(dst, x, y, u)
}

// noSignFix is QR whose R has a negative number on its diagonal.
type noSignFix struct{ manifolds.Manifold }

func (m noSignFix) Retract(dst, x, v manifolds.Points) error {
	if err := m.Manifold.Retract(dst, x, v); err != nil {
		return err
	}
	for j := range dst.P { // the filters of a wide bank are rows
		dst.Set(0, 0, j, -dst.At(0, 0, j))
	}
	return nil
}

// noRetraction moves to x + v and stays there.
type noRetraction struct{ manifolds.Manifold }

func (noRetraction) Retract(dst, x, v manifolds.Points) error { return dst.Combine(1, x, 1, v) }

// longer makes steps too long by 1 %.
type longer struct{ manifolds.Manifold }

func (m longer) Retract(dst, x, v manifolds.Points) error {
	w := v.Like()
	if err := w.Combine(1.01, v, 0, v); err != nil {
		return err
	}
	return m.Manifold.Retract(dst, x, w)
}

const usual = "/PerFilter/Unit/6x4x3x3/float64/inplace/p1/w1e+00/generic/random1e+00/lr1e-01/s1"

func on(m manifolds.Manifold) solvers.Option {
	return solvers.Param("kernel", m, manifolds.PerFilter, manifolds.Unit)
}

func TestMutants(t *testing.T) {
	sgd := func(m manifolds.Manifold, opts ...solvers.Option) *solvers.Solver {
		return solvers.NewSGD(append([]solvers.Option{solvers.LearnRate(0.1), on(m)}, opts...)...)
	}
	wrap := func(m manifolds.Manifold, step func(*solvers.Solver, []gorgonia.ValueGrad) error, opts ...solvers.Option) stepper {
		return broken{Solver: sgd(m, opts...), step: step}
	}
	tangent := []solvers.Option{solvers.Momentum(theta), solvers.TangentMomentum()}
	nan := strings.Replace("SGD/Sphere"+usual, "random1e+00", "nan", 1)
	mutants := []struct {
		name  string
		of    string // case
		want  Fault
		build func() stepper
	}{
		{"1 % too long", "SGD/Sphere" + usual, WrongWeights, func() stepper { return sgd(longer{manifolds.Sphere{}}) }},
		{"1 % too long, Stiefel", "SGD/Stiefel.polar" + usual, WrongWeights, func() stepper {
			return sgd(longer{manifolds.Stiefel{Retraction: manifolds.Polar}})
		}},
		{"1 % too long, Euclidean", "SGD/Euclidean" + usual, WrongWeights, func() stepper {
			return solvers.NewSGD(solvers.LearnRate(0.101), on(manifolds.Euclidean{}))
		}},
		{"leaves a point behind", "SGD/Sphere" + usual, LeftBehind, func() stepper {
			last := []float64(nil)
			return wrap(manifolds.Sphere{}, func(s *solvers.Solver, model []gorgonia.ValueGrad) error {
				w := weightsOf(model)
				err := s.Step(model)
				if last != nil {
					copy(w[:36], last)
				}
				last = append([]float64(nil), w[:36]...)
				return err
			})
		}},
		{"leaves a point behind after a step too long", "SGD/Sphere" + strings.Replace(usual, "lr1e-01", "lr1e+17", 1), LeftBehind, func() stepper {
			s := solvers.NewSGD(solvers.LearnRate(1e17), on(manifolds.Sphere{}))
			return broken{Solver: s, step: func(s *solvers.Solver, model []gorgonia.ValueGrad) error {
				w := weightsOf(model)
				size := norm(w[:36])
				before := combine(1/size, w[:36], 0, w[:36])
				err := s.Step(model)
				copy(w[:36], before)
				return err
			}}
		}},
		{"forgets the transport", "SGD.tangent/Sphere" + usual, WrongWeights, func() stepper {
			return sgd(noTransport{manifolds.Sphere{}}, tangent...)
		}},
		{"forgets the transport, Stiefel", "SGD.tangent/Stiefel.polar" + usual, WrongWeights, func() stepper {
			return sgd(noTransport{manifolds.Stiefel{Retraction: manifolds.Polar}}, tangent...)
		}},
		{"transports by projection what follows geodesics", "SGD.tangent/Sphere.geodesic" + usual, WrongState, func() stepper {
			return sgd(projects{manifolds.Sphere{Geodesic: true}}, tangent...)
		}},
		{"normalises without centring", "SGD/CentredSphere" + usual, OffManifold, func() stepper { return sgd(notCentred{manifolds.CentredSphere{}}) }},
		{"no retraction", "SGD/Sphere" + usual, OffManifold, func() stepper { return sgd(noRetraction{manifolds.Sphere{}}) }},
		{"QR without signs", "SGD/Stiefel.qr" + usual, WrongWeights, func() stepper { return sgd(noSignFix{manifolds.Stiefel{Retraction: manifolds.QR}}) }},
		{"normalises for the exponential", "SGD/Sphere.geodesic" + usual, WrongWeights, func() stepper { return sgd(manifolds.Sphere{}) }},
		{"polar for QR", "SGD/Stiefel.qr" + usual, WrongWeights, func() stepper { return sgd(manifolds.Stiefel{Retraction: manifolds.Polar}) }},
		{"the other metric", "SGD/Stiefel.qr" + usual, WrongWeights, func() stepper { return sgd(manifolds.Stiefel{Metric: manifolds.CanonicalMetric}) }},
		{"the other radius", "SGD/Sphere" + usual, OffManifold, func() stepper { return sgd(manifolds.Sphere{Radius: 1 + 1e-12}) }},
		{"rows for columns", "SGD/Oblique.columns" + usual, OffManifold, func() stepper { return sgd(manifolds.Oblique{Axis: manifolds.Rows}) }},
		{"no momentum", "SGD.tangent/Sphere" + usual, WrongBlocks, func() stepper { return sgd(manifolds.Sphere{}) }},
		{"ambient for tangent momentum", "SGD.tangent/Sphere" + usual, WrongState, func() stepper {
			return sgd(manifolds.Sphere{}, solvers.Momentum(theta), solvers.AmbientMomentum())
		}},
		{"no Nesterov", "SGD.ambient.nesterov/Sphere" + usual, WrongWeights, func() stepper {
			return sgd(manifolds.Sphere{}, solvers.Momentum(theta), solvers.AmbientMomentum())
		}},
		{"no dampening", "SGD.ambient/Sphere" + usual, WrongWeights, func() stepper {
			return sgd(manifolds.Sphere{}, solvers.Momentum(theta), solvers.AmbientMomentum())
		}},
		{"RMSProp for Adagrad", "Adagrad/Sphere" + usual, WrongWeights, func() stepper {
			return solvers.NewRMSProp(solvers.LearnRate(0.1), on(manifolds.Sphere{}))
		}},
		{"no momentum of RMSProp", "RMSProp.momentum/Sphere" + usual, WrongBlocks, func() stepper {
			return solvers.NewRMSProp(solvers.LearnRate(0.1), solvers.Rho(rho), on(manifolds.Sphere{}))
		}},
		{"the ball of another radius", "SGD/SpectralBall" + usual, WrongWeights, func() stepper { return sgd(manifolds.SpectralBall{Radius: 0.99}) }},
		{"the plain inner product", "SGD/GeneralizedStiefel" + usual, OffManifold, func() stepper { return sgd(manifolds.Stiefel{}) }},
		{"other betas", "Adam/Sphere" + usual, WrongState, func() stepper {
			return solvers.NewAdam(solvers.LearnRate(0.1), solvers.Betas(beta1, 0.99), on(manifolds.Sphere{}))
		}},
		{"Adam for AMSGrad", "AMSGrad/Sphere" + usual, WrongBlocks, func() stepper {
			return solvers.NewAdam(solvers.LearnRate(0.1), on(manifolds.Sphere{}))
		}},
		{"state off by 1 %", "SGD.ambient/Sphere" + usual, WrongState, func() stepper {
			s := sgd(manifolds.Sphere{}, solvers.Momentum(theta), solvers.AmbientMomentum(), solvers.Dampening(tau))
			return broken{Solver: s, state: func(snap *solvers.Snapshot) {
				for _, p := range snap.Parameters {
					for i := range p.State[0].F64 {
						p.State[0].F64[i] *= 1.01
					}
				}
			}}
		}},
		{"keeps the gradient", "SGD/Sphere" + usual, GradientKept, func() stepper {
			return wrap(manifolds.Sphere{}, func(s *solvers.Solver, model []gorgonia.ValueGrad) error {
				g := gradientOf(model)
				first := g[0]
				err := s.Step(model)
				g[0] = first
				return err
			})
		}},
		{"nil on a NaN", nan, NoError, func() stepper {
			return wrap(manifolds.Sphere{}, func(s *solvers.Solver, model []gorgonia.ValueGrad) error {
				_ = s.Step(model)
				return nil
			})
		}},
		{"NaN and nil", "SGD/Sphere" + usual, NaN, func() stepper {
			return wrap(manifolds.Sphere{}, func(s *solvers.Solver, model []gorgonia.ValueGrad) error {
				err := s.Step(model)
				weightsOf(model)[7] = math.NaN()
				return err
			})
		}},
		{"refuses everything", "SGD/Sphere" + usual, Unjustified, func() stepper {
			return wrap(manifolds.Sphere{}, func(*solvers.Solver, []gorgonia.ValueGrad) error {
				return &solvers.ParameterError{Name: "kernel", Kind: solvers.ErrDiverged}
			})
		}},
		{"error of another kind", nan, WrongKind, func() stepper {
			return wrap(manifolds.Sphere{}, func(*solvers.Solver, []gorgonia.ValueGrad) error {
				return &solvers.ParameterError{Name: "kernel", Kind: solvers.ErrOption}
			})
		}},
		{"error without type", nan, Untyped, func() stepper {
			return wrap(manifolds.Sphere{}, func(*solvers.Solver, []gorgonia.ValueGrad) error { return errors.New("no") })
		}},
		{"error that names nobody", nan, Untyped, func() stepper {
			return wrap(manifolds.Sphere{}, func(*solvers.Solver, []gorgonia.ValueGrad) error {
				return &solvers.ParameterError{Name: "weights", Kind: solvers.ErrNotFinite}
			})
		}},
		{"error after the gradient is gone", nan, NotAtomic, func() stepper {
			return wrap(manifolds.Sphere{}, func(s *solvers.Solver, model []gorgonia.ValueGrad) error {
				clear(gradientOf(model))
				return &solvers.ParameterError{Name: "kernel", Kind: solvers.ErrNotFinite}
			})
		}},
		{"error after another parameter has moved", nan, NotAtomic, func() stepper {
			return wrap(manifolds.Sphere{}, func(s *solvers.Solver, model []gorgonia.ValueGrad) error {
				model[1].Value().(*tensor.Dense).Float64s()[0]++
				return s.Step(model)
			})
		}},
		{"panics", "SGD/Sphere" + usual, Panic, func() stepper {
			return wrap(manifolds.Sphere{}, func(*solvers.Solver, []gorgonia.ValueGrad) error { panic("no") })
		}},
	}
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			c, err := ParseCase(m.of)
			require.NoError(t, err)
			require.Empty(t, judge(c, c.build()).Failures, "the solver itself must pass")
			v := judge(c, m.build())
			require.NotEmpty(t, v.Failures)
			require.Equal(t, m.want, v.Failures[0].Fault, "%v", v.Failures)
		})
	}
}

// projects transports by tangent projection.
type projects struct{ manifolds.Manifold }

func (m projects) Transport(dst, x, y, u manifolds.Points) error {
	return m.Manifold.Tangent(dst, y, u)
}

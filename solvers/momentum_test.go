// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// spy is a manifold that notes how far from tangent the vectors are that it is
// given to retract, relative to their length.
type spy struct {
	manifolds.Manifold
	log *tangency
}

// tangency is what a spy noted, looking at every so manyth vector.
type tangency struct {
	worst        float64
	every, calls int
}

func (s spy) Retract(dst, x, v manifolds.Points) error {
	if s.log.calls++; s.log.calls%s.log.every != 0 {
		return s.Manifold.Retract(dst, x, v)
	}
	tangent := v.Like()
	if err := s.Tangent(tangent, x, v); err != nil {
		return err
	}
	if err := tangent.Combine(1, tangent, -1, v); err != nil {
		return err
	}
	if n := v.Norm(); n > 0 {
		s.log.worst = max(s.log.worst, tangent.Norm()/n)
	}
	return s.Manifold.Retract(dst, x, v)
}

// The rest is the manifold's.

func (s spy) Gradient(dst, x, g manifolds.Points) error {
	return manifolds.Gradient(s.Manifold, dst, x, g)
}
func (s spy) Inner(out []float64, x, u, v manifolds.Points) error {
	return manifolds.Inner(s.Manifold, out, x, u, v)
}
func (s spy) For(g manifolds.Grouping) (manifolds.Manifold, manifolds.Grouping) {
	c := manifolds.On(s.Manifold, g)
	return spy{c.Manifold, s.log}, c.Grouping
}
func (s spy) Scaled(f float64) manifolds.Manifold {
	return spy{s.Manifold.(manifolds.Scalable).Scaled(f), s.log}
}
func (s spy) Norm(n, p int) float64 { return s.Manifold.(manifolds.Scalable).Norm(n, p) }
func (s spy) Sized() bool           { return s.Manifold.(manifolds.Scalable).Sized() }
func (s spy) Properties(n, p int) manifolds.Properties {
	return manifolds.PropertiesOf(s.Manifold, n, p)
}

// Whatever the rule, what is retracted is tangent: momentum in the ambient
// space is projected, tangent momentum was transported.
func TestDirectionsAreTangent(t *testing.T) {
	for _, of := range precisions {
		for _, s := range everySolver(0.05) {
			for _, at := range places {
				t.Run(of.String()+"/"+s.name+"/"+at.name, func(t *testing.T) {
					log := &tangency{every: 1}
					m, plain := model(of, 1), model(of, 1)
					solver := s.of(solvers.Kernels(spy{at.manifold, log}, at.options...))
					reference := s.of(at.kernels())
					for step := range uint64(30) {
						run(t, solver, m, step)
						run(t, reference, plain, step)
					}
					// The spy hides that its manifold can make whole steps in place.
					for i, p := range plain {
						near(t, get(p.w), get(m[i].w), 30, of, p.name)
					}
					// The normal part is the rounding of this step's projection and of
					// the last ten of the momentum, with products of length up to 27.
					assert.LessOrEqual(t, log.worst, 128*eps(of))
					assert.Positive(t, log.worst)
				})
			}
		}
	}
}

// The state that a rule sees at x is tangent at x: <x, mu> = 0.
func TestTangentStateIsTransported(t *testing.T) {
	for _, of := range precisions {
		for _, at := range places {
			t.Run(of.String()+"/"+at.name, func(t *testing.T) {
				probe := &heavyBall{}
				s := solvers.New(probe, solvers.LearnRate(0.05), at.kernels())
				m := model(of, 1)
				for step := range uint64(30) {
					run(t, s, m, step)
				}
				assert.LessOrEqual(t, probe.worst, 64*eps(of))
				assert.Greater(t, probe.moved, 1e-3, "the transport does something")
			})
		}
	}
}

// heavyBall is tangent momentum, by the public Rule, that looks at its state.
type heavyBall struct {
	worst, moved float64
	last         manifolds.Points
}

func (heavyBall) Name() string { return "heavy ball" }

func (heavyBall) State() []solvers.State {
	return []solvers.State{{Name: "momentum", Kind: solvers.Tangent}}
}

func (h *heavyBall) Direction(p *solvers.Part) error {
	old, next := p.Old[0], p.New[0]
	if _, flat := p.Manifold.(manifolds.Euclidean); !flat && p.Step > 1 {
		if err := p.Manifold.Tangent(next, p.X, old); err != nil {
			return err
		}
		if err := next.Combine(1, next, -1, old); err != nil {
			return err
		}
		h.worst = max(h.worst, next.Norm()/old.Norm())
		if p.X.Len() == 108 { // conv1 is enough
			if err := next.Combine(1, h.last, -1, old); err != nil {
				return err
			}
			h.moved = max(h.moved, next.Norm()/old.Norm())
		}
	}
	if err := p.Riemannian(p.Direction, p.Gradient); err != nil {
		return err
	}
	if err := next.Combine(0.9, old, 1, p.Direction); err != nil {
		return err
	}
	if p.X.Len() == 108 {
		h.last = next.Like()
		if err := h.last.CopyFrom(next); err != nil {
			return err
		}
	}
	return p.Direction.CopyFrom(next)
}

// Weights that come from elsewhere, by gorgonia.Let say, are another point: the
// momentum of the last one is made tangent there.
func TestTangentMomentumAtReplacedWeights(t *testing.T) {
	for _, of := range precisions {
		for _, s := range native(0.05) {
			for _, at := range places {
				t.Run(of.String()+"/"+s.name+"/"+at.name, func(t *testing.T) {
					log := &tangency{every: 1}
					p := newParam("kernel", of, 6, 4, 2, 3)
					gaussian(p.w, source(1), 1)
					m := []*param{p}
					solver := s.of(solvers.Kernels(spy{at.manifold, log}, at.options...))
					for step := range uint64(5) {
						run(t, solver, m, step)
					}
					p.w = p.w.Clone().(*tensor.Dense)
					gaussian(p.w, source(9), 1)
					run(t, solver, m, 7)
					assert.LessOrEqual(t, log.worst, 128*eps(of))
					onManifold(t, solver.Report(), of)
				})
			}
		}
	}
}

// A custom rule may fail; its error names the parameter and nothing has moved.
func TestFailedRuleChangesNothing(t *testing.T) {
	for _, of := range precisions {
		m := model(of, 1)
		s := solvers.New(&stubborn{}, solvers.Kernels(manifolds.Sphere{}))
		gradients(m, 1)
		w, g := weights(m), slopes(m)
		err := s.Step(valueGrads(m))
		require.ErrorIs(t, err, errBreakage)
		assert.Contains(t, err.Error(), `"conv2"`)
		same(t, w, weights(m))
		same(t, g, slopes(m))
	}
}

// stubborn fails at its third parameter.
type stubborn struct{ calls int }

func (*stubborn) Name() string { return "stubborn" }

func (*stubborn) State() []solvers.State { return nil }
func (s *stubborn) Direction(p *solvers.Part) error {
	if s.calls++; s.calls == 3 {
		return errBreakage
	}
	return p.Riemannian(p.Direction, p.Gradient)
}

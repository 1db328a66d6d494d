// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/internal/hyperbolic"
	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// Every solver finds the centre of mass of three points of hyperbolic space, which lie up to 4 apart. The gradient of half the squared distance
// from y is that of the metric, -Log_x(y), with the inner product taken off.
func TestCentreOfMassOnHyperbolicSpace(t *testing.T) {
	m := hyperbolic.Space{}
	list := append(slices.DeleteFunc(everySolver(0.02), func(s maker) bool { return s.plans }), everyDog()...)
	for _, of := range precisions {
		for _, s := range list {
			t.Run(of.String()+"/"+s.name, func(t *testing.T) {
				points := func(v ...float64) manifolds.Points {
					x, err := manifolds.Points64(v, 2, 1, 2)
					require.NoError(t, err)
					return x
				}
				all := []manifolds.Points{points(3, 1, 0, 0), points(-1, 2, 1, 0), points(0, -4, 0, 2)}
				want := points(0, 0, 0, 0)
				require.NoError(t, manifolds.KarcherMean(m, want, nil, all...))

				p := newParam("kernel", of, 2, 1, 1, 2)
				put(p.w, []float64{2, -1, 0.5, 3})
				solver := s.of(solvers.Param("kernel", m, manifolds.PerFilter))
				for range 3000 {
					x := points(get(p.w)...)
					g, v := make([]float64, 4), x.Like()
					for _, y := range all {
						require.NoError(t, m.Log(v, x, y))
						for k := range 2 { // <u, -v>_x = <u, -(v - x <x, v> / (1 + |x|^2))>
							a, b := x.At(k, 0, 0), x.At(k, 0, 1)
							c := (a*v.At(k, 0, 0) + b*v.At(k, 0, 1)) / (1 + a*a + b*b)
							g[2*k] -= (v.At(k, 0, 0) - c*a) / 3
							g[2*k+1] -= (v.At(k, 0, 1) - c*b) / 3
						}
					}
					put(p.g, g)
					require.NoError(t, solver.Step(valueGrads([]*param{p})))
				}
				d := make([]float64, 2)
				require.NoError(t, m.Dist(d, points(get(p.w)...), want))
				assert.InDeltaSlice(t, []float64{0, 0}, d, 0.1) // steps of constant length end within one, and Adagrad is slow
			})
		}
	}
}

// fenced is hyperbolic space whose steps must not be longer than 1 in the Frobenius norm, as those of an open set must not leave it.
type fenced struct{ hyperbolic.Space }

func (m fenced) Retract(dst, x, v manifolds.Points) error {
	for k := range v.K {
		if n := v.Slice(k, k+1).Norm(); n > 1 {
			return &manifolds.PointError{Manifold: "fenced", Op: "retract", Point: k, Reason: "want a shorter step"}
		}
	}
	return m.Space.Retract(dst, x, v)
}

// A step that the manifold refuses is an error that names the parameter and the point, after which everything is as before.
func TestRefusedStep(t *testing.T) {
	for _, of := range precisions {
		for _, s := range everySolver(1000) {
			if s.plans { // whose steps begin short
				continue
			}
			t.Run(of.String()+"/"+s.name, func(t *testing.T) {
				p := newParam("kernel", of, 2, 1, 1, 2)
				put(p.w, []float64{0.1, -0.2, 0.5, 0.3})
				put(p.g, []float64{0, 0, 1, 2})
				before := get(p.w)
				solver := s.of(solvers.Param("kernel", fenced{}, manifolds.PerFilter))
				err := solver.Step(valueGrads([]*param{p}))
				require.ErrorIs(t, err, solvers.ErrDiverged)
				require.ErrorIs(t, err, manifolds.ErrDegenerate)
				assert.ErrorContains(t, err, `parameter "kernel"`)
				assert.ErrorContains(t, err, "fenced: retract: point 1: want a shorter step")
				assert.Equal(t, before, get(p.w))
				assert.Equal(t, []float64{0, 0, 1, 2}, get(p.g))
			})
		}
	}
}

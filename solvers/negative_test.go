// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/hyperbolic"
	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// below is hyperbolic space with an inner product that comes out negative by rounding where vectors are 0, and farther than 10 from 0, if
// it is wrong there, also elsewhere.
type below struct {
	hyperbolic.Space
	wrong bool
}

func (below) String() string { return "Below" }

func (m below) Inner(out []float64, x, u, v manifolds.Points) error {
	err := m.Space.Inner(out, x, u, v)
	for k := range out {
		if out[k] -= 1e-18; m.wrong && x.Slice(k, k+1).Norm() > 10 {
			out[k] = -out[k]
		}
	}
	return err
}

// around is such a manifold in such a space.
type around struct{ below }

func (m around) AmbientInner(out []float64, u, v manifolds.Points) error {
	return m.below.Inner(out, u.Like(), u, v)
}

// measuring are the solvers that take a length of a vector or of a chord.
func measuring() []maker {
	list := append(everySolver(0.1), everyDog()...)
	for _, scope := range []solvers.Scope{solvers.EachPoint, solvers.EachGroup, solvers.EachLayer} {
		list = append(list, maker{name: fmt.Sprint("SGD geometric step of scope ", scope), of: func(o ...solvers.Option) stepper {
			return solvers.NewSGD(append(o, solvers.GeometricStep(), solvers.FactorFor(scope))...)
		}})
	}
	return list
}

// A square of a length that is negative by rounding is 0: where gradients are 0 nothing moves, and no length is NaN. One that is negative
// without such an excuse is an error that names the manifold, and nothing moves either.
func TestNegativeSquares(t *testing.T) {
	for _, of := range precisions {
		for _, s := range measuring() {
			t.Run(of.String()+"/"+s.name, func(t *testing.T) {
				on := func(m manifolds.Manifold) solvers.Option { return solvers.Param("kernel", m, manifolds.PerFilter) }
				p := newParam("kernel", of, 2, 1, 1, 2)
				put(p.w, []float64{12, -9, 0.5, 15})
				before := get(p.w)
				spaces := []manifolds.Manifold{below{}, around{below{}}}
				if s.frobenius {
					spaces = spaces[:1]
				}
				for _, m := range spaces {
					solver := s.of(on(m))
					for range 3 {
						require.NoError(t, solver.Step(valueGrads([]*param{p})))
					}
					assert.Equal(t, before, get(p.w))
					for _, r := range solver.Report().Parameters {
						for _, v := range []float64{r.Gradient, r.Direction, r.StepLength, r.Angle, r.GeometricFactor} {
							assert.False(t, v != v, "%+v", r)
						}
					}
				}
				put(p.g, []float64{1, 2, -1, 1})
				err := s.of(on(below{wrong: true})).Step(valueGrads([]*param{p}))
				var point *manifolds.PointError
				require.ErrorAs(t, err, &point)
				assert.ErrorContains(t, err, "Below: inner product: point 0: want <v, v> of at least 0, got -")
				assert.Equal(t, before, get(p.w))
				assert.Equal(t, []float64{1, 2, -1, 1}, get(p.g))
			})
		}
	}
}

// Minimize ends where the gradient is 0, and an inner product that is none is an error.
func TestMinimizeNegativeSquares(t *testing.T) {
	p := newParam("kernel", tensor.Float64, 2, 1, 1, 2)
	put(p.w, []float64{12, -9, 0.5, 15})
	target := []float64{-1, 1, 4, 0}
	cost := func() (sum float64, err error) {
		g := get(p.w)
		for i := range g {
			g[i] -= target[i]
			sum += g[i] * g[i] / 2
		}
		put(p.g, g)
		return sum, nil
	}
	on := func(m manifolds.Manifold) solvers.Option { return solvers.Param("kernel", m, manifolds.PerFilter) }
	r, err := minimize([]*param{p}, cost, on(below{}), solvers.GradientTolerance(1e-9))
	require.NoError(t, err)
	assert.LessOrEqual(t, r.Gradient, 1e-9)
	assert.InDeltaSlice(t, target, get(p.w), 1e-8)
	put(p.w, []float64{12, -9, 0.5, 15})
	_, err = minimize([]*param{p}, cost, on(below{wrong: true}))
	assert.ErrorContains(t, err, "Below: inner product")
	assert.Equal(t, []float64{12, -9, 0.5, 15}, get(p.w))
}

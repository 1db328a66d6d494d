// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// A manifold that embeds one of the library's has its methods promoted, and is moved by its own all the same.

// called counts the methods of a program's own that a solver uses.
type called struct{ gradient, retract, transport int }

// grassmann are the spans of p orthonormal columns (n >= p), or of n orthonormal rows: tangent vectors have x'v = 0.
type grassmann struct {
	manifolds.Stiefel
	count *called
}

func (m grassmann) String() string { return "Grassmann" }

func (m grassmann) Scaled(s float64) manifolds.Manifold {
	return grassmann{m.Stiefel.Scaled(s).(manifolds.Stiefel), m.count}
}

func (m grassmann) For(g manifolds.Grouping) (manifolds.Manifold, manifolds.Grouping) {
	_, g = m.Stiefel.For(g)
	return m, g
}

// Tangent writes g - x x'g/r^2, or with rows g - g x'x/r^2.
func (m grassmann) Tangent(dst, x, g manifolds.Points) error {
	m.count.gradient++
	r := m.Radius
	if r == 0 {
		r = 1
	}
	out := g.Like()
	for k := range x.K {
		for i := range x.N {
			for j := range x.P {
				v := g.At(k, i, j)
				if x.N >= x.P {
					for b := range x.P {
						for a := range x.N {
							v -= x.At(k, i, b) * x.At(k, a, b) * g.At(k, a, j) / (r * r)
						}
					}
				} else {
					for b := range x.N {
						for a := range x.P {
							v -= g.At(k, i, a) * x.At(k, b, a) * x.At(k, b, j) / (r * r)
						}
					}
				}
				out.Set(k, i, j, v)
			}
		}
	}
	return dst.CopyFrom(out)
}

func (m grassmann) Gradient(dst, x, g manifolds.Points) error { return m.Tangent(dst, x, g) }

func (m grassmann) Inner(out []float64, x, u, v manifolds.Points) error {
	return manifolds.Inner(manifolds.Euclidean{}, out, x, u, v)
}

func (m grassmann) Retract(dst, x, v manifolds.Points) error {
	m.count.retract++
	return m.Stiefel.Retract(dst, x, v)
}

func (m grassmann) Transport(dst, x, y, u manifolds.Points) error {
	m.count.transport++
	return m.Tangent(dst, y, u)
}

// Every solver uses the methods of the type itself, and none that is promoted.
func TestEmbeddedManifold(t *testing.T) {
	for _, of := range precisions {
		for _, s := range everySolver(0.01) {
			t.Run(of.String()+"/"+s.name, func(t *testing.T) {
				count := &called{}
				m, plain := model(of, 1), model(of, 1)
				solver := s.of(solvers.Kernels(grassmann{manifolds.Stiefel{}, count}))
				stiefel := s.of(solvers.Kernels(manifolds.Stiefel{}))
				require.NoError(t, solver.Init(valueGrads(m)))
				*count = called{} // binding may try a manifold
				for step := range uint64(4) {
					run(t, solver, m, step)
					run(t, stiefel, plain, step)
				}
				assert.Equal(t, "Grassmann", solver.Report().Parameters[0].Manifold)
				assert.Zero(t, solver.Report().Parameters[0].Cosine, "the metric is not known to be Euclidean")
				onManifold(t, solver.Report(), of)
				assert.GreaterOrEqual(t, count.gradient, 8)
				assert.Equal(t, 8, count.retract, "two kernels, four steps")
				assert.NotEqual(t, get(plain[0].w), get(m[0].w))
				assert.Equal(t, get(plain[4].w), get(m[4].w))
				snap, err := solver.(interface {
					Snapshot() (*solvers.Snapshot, error)
				}).Snapshot()
				if err != nil {
					require.ErrorIs(t, err, solvers.ErrStock)
					return
				}
				tangent := 0
				if len(snap.Parameters[0].State) > 0 && (snap.Parameters[0].State[0].Name == "momentum" || snap.Parameters[0].State[0].Name == "first moment") {
					tangent = 8
				}
				assert.Equal(t, tangent, count.transport)
			})
		}
	}
}

// It is another geometry than that of Stiefel: a cost of the subspace alone, whose Riemannian gradient on Stiefel is that on
// Grassmann, gives the same subspace; one that asks for a certain basis does not.
func TestEmbeddedManifoldConverges(t *testing.T) {
	solve := func(m manifolds.Manifold, linear float64) float64 {
		p := newParam("kernel", tensor.Float64, 3, 2, 2, 2)
		gaussian(p.w, source(5), 1)
		s := solvers.NewSGD(solvers.LearnRate(0.05), solvers.Momentum(0.9), solvers.Kernels(m, manifolds.Unit))
		require.NoError(t, s.Init(valueGrads([]*param{p})))
		cost := 0.0
		for range 3000 {
			cost = 0
			x, g := p.w.Float64s(), p.g.Float64s()
			for i, v := range x {
				g[i] = float64(i%8) * v
				cost += float64(i%8) * v * v / 2
				if i%9 == 0 { // x close to the first unit vectors
					g[i] -= linear
					cost -= linear * v
				}
			}
			require.NoError(t, s.Step(valueGrads([]*param{p})))
		}
		return cost
	}
	subspace := 1.5 // (0 + 1 + 2)/2
	assert.InDelta(t, subspace, solve(manifolds.Stiefel{}, 0), 1e-12)
	assert.InDelta(t, subspace, solve(grassmann{manifolds.Stiefel{}, &called{}}, 0), 1e-12)
	best := subspace - 3
	assert.InDelta(t, best, solve(manifolds.Stiefel{}, 1), 1e-9)
	assert.Greater(t, math.Abs(solve(grassmann{manifolds.Stiefel{}, &called{}}, 1)-best), 1e-3, "the basis does not move")
}

// lazy embeds a manifold and leaves Scaled to promotion, which returns the embedded type.
type lazy struct{ manifolds.Sphere }

func (m lazy) Tangent(dst, x, g manifolds.Points) error { return m.Sphere.Tangent(dst, x, g) }

// That is an error, which names both types.
func TestEmbeddedManifoldWithoutScaled(t *testing.T) {
	m := model(tensor.Float64, 1)
	for _, s := range everySolver(0.01) {
		refuses(t, func() stepper { return s.of(solvers.Kernels(lazy{})) }, m, solvers.ErrConstraint,
			`"conv1"`, "solvers_test.lazy", "manifolds.Sphere", "Scaled")
	}
}

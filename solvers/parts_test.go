// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/mpi"
	"github.com/kernelfold/kernelfold/internal/mpi/mpitest"
	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// halves is a manifold whose points with even numbers lie on one factor and the others on another.
type halves struct {
	manifolds.Manifold
	odd manifolds.Manifold
}

func (h halves) String() string { return "halves" }

func (h halves) Pieces(shape []int, c manifolds.Constraint, norm float64) (pieces []manifolds.Piece, err error) {
	for parity, f := range []manifolds.Manifold{h.Manifold, h.odd} {
		piece, err := manifolds.Single(manifolds.Constraint{Manifold: f, Grouping: c.Grouping, Scale: c.Scale}.Bind(shape, norm))
		if err != nil {
			return nil, err
		}
		var order []int32
		for k := parity; k < piece.Layout.K; k += 2 {
			order = append(order, int32(k))
		}
		if piece.Layout, err = piece.Layout.Pick(order...); err != nil {
			return nil, err
		}
		piece.Name = []string{"even", "odd"}[parity]
		pieces = append(pieces, piece)
	}
	return pieces, nil
}

// apart splits conv2 of model into two parameters of its even and its odd filters.
func apart(m []*param) (even, odd *param) {
	p := m[2]
	of := p.w.Dtype()
	even, odd = newParam("even", of, 3, 4, 2, 3), newParam("odd", of, 3, 4, 2, 3)
	for i, q := range []*param{even, odd} {
		w, g := get(p.w), get(p.g)
		var qw, qg []float64
		for f := i; f < 6; f += 2 {
			qw, qg = append(qw, w[24*f:24*f+24]...), append(qg, g[24*f:24*f+24]...)
		}
		put(q.w, qw)
		put(q.g, qg)
	}
	return even, odd
}

// join puts the filters together again.
func join(even, odd *param) []float64 {
	var w []float64
	e, o := get(even.w), get(odd.w)
	for f := range 3 {
		w = append(append(w, e[24*f:24*f+24]...), o[24*f:24*f+24]...)
	}
	return w
}

// A parameter of two parts moves as two parameters do, each on its manifold and with its state, its row in the report and its
// blocks in the snapshot; and a run that is interrupted goes on to the bit.
func TestPartsOfAParameter(t *testing.T) {
	for _, of := range precisions {
		for _, s := range native(0.05) {
			if s.plans && s.layers {
				continue // the parts of a layer have one rate
			}
			for _, second := range []manifolds.Manifold{manifolds.CentredSphere{Radius: 1}, manifolds.Oblique{Radius: 1, Axis: manifolds.Rows}} {
				t.Run(fmt.Sprintf("%v/%s/%s", of, s.name, manifolds.Name(second)), func(t *testing.T) {
					make := func() *solvers.Solver {
						return s.of(solvers.Param("conv2", halves{manifolds.Sphere{Radius: 1}, second}, manifolds.PerFilter, manifolds.Unit)).(*solvers.Solver)
					}
					solver := make()
					two := s.of(solvers.Param("even", manifolds.Sphere{Radius: 1}, manifolds.PerFilter), solvers.Param("odd", second, manifolds.PerFilter))
					m := model(of, 1)
					even, odd := apart(m)
					for step := range uint64(6) {
						gradients(m, step)
						a, b := apart(m)
						even.g, odd.g = a.g, b.g
						require.NoError(t, solver.Step(valueGrads(m)))
						require.NoError(t, two.Step(valueGrads([]*param{even, odd})))
						near(t, join(even, odd), get(m[2].w), int(step)+1, of, "conv2")
					}
					r := solver.Report()
					require.Len(t, r.Parameters, 7)
					onManifold(t, r, of)
					for i, name := range []string{"even", "odd"} {
						row, want := r.Parameters[2+i], two.Report().Parameters[i]
						assert.Equal(t, "conv2", row.Name)
						assert.Equal(t, name, row.Part)
						assert.Equal(t, want.Manifold, row.Manifold)
						assert.Equal(t, []int{3, 4, 6}, []int{row.Points, row.N, row.P})
						assert.InEpsilon(t, want.Direction, row.Direction, 256*eps(of))
						assert.InEpsilon(t, want.StepLength, row.StepLength, 256*eps(of))
						assert.InEpsilon(t, want.GeometricFactor, row.GeometricFactor, 256*eps(of))
						assert.True(t, row.Projected)
					}
					assert.Contains(t, r.String(), "conv2, even")

					snap, err := solver.Snapshot()
					require.NoError(t, err)
					require.Len(t, snap.Parameters, 6)
					ps := snap.Parameters[2]
					assert.Len(t, ps.Identity, 2)
					assert.Len(t, ps.Bounds, 8)
					for i, b := range ps.State {
						assert.Contains(t, b.Name, []string{"even: ", "odd: "}[2*i/len(ps.State)])
						assert.Equal(t, 3, b.Shape[0])
					}
					again, twin := make(), copied(m, of)
					require.NoError(t, again.Restore(valueGrads(twin), snap))
					for step := range uint64(3) {
						run(t, solver, m, 10+step)
						run(t, again, twin, 10+step)
					}
					same(t, weights(m), weights(twin))
					assert.Equal(t, solver.Report(), again.Report())

					// A part that cannot go on names itself, and the other has not moved.
					gradients(m, 20)
					put(m[2].w, append(zeros(24), get(m[2].w)[24:]...)) // the first even filter is zero
					w, g := weights(m), slopes(m)
					err = solver.Step(valueGrads(m))
					require.ErrorIs(t, err, solvers.ErrConstraint)
					assert.Contains(t, err.Error(), `"conv2" (6, 4, 2, 3): even: `)
					same(t, w, weights(m))
					same(t, g, slopes(m))
				})
			}
		}
	}
}

// zeros is for where make is a solver.
func zeros(n int) []float64 { return make([]float64, n) }

// Another solver with parts that are not the same does not take the snapshot.
func TestPartsAreIdentity(t *testing.T) {
	m := model(tensor.Float32, 1)
	make := func(odd manifolds.Manifold) *solvers.Solver {
		return solvers.NewSGD(solvers.Momentum(0.9), solvers.Param("conv2", halves{manifolds.Sphere{Radius: 1}, odd}, manifolds.PerFilter, manifolds.Unit))
	}
	s := make(manifolds.Sphere{Radius: 1})
	run(t, s, m, 1)
	snap, err := s.Snapshot()
	require.NoError(t, err)
	for _, other := range []manifolds.Manifold{manifolds.CentredSphere{Radius: 1}, manifolds.Sphere{Radius: 1.0000001}} {
		require.ErrorIs(t, make(other).Restore(valueGrads(copied(m, tensor.Float32)), snap), solvers.ErrConstraint)
	}
	require.NoError(t, make(manifolds.Sphere{Radius: 1}).Restore(valueGrads(copied(m, tensor.Float32)), snap))
}

// Processes that share a step exchange a parameter with all its parts.
func TestShareOfParts(t *testing.T) {
	for _, s := range native(0.05) {
		t.Run(s.name, func(t *testing.T) {
			kernels := solvers.Param("conv2", halves{manifolds.Sphere{}, manifolds.Oblique{}}, manifolds.PerFilter, manifolds.Unit)
			twin := model(tensor.Float32, 1)
			reference := s.of(kernels)
			for step := range uint64(4) {
				run(t, reference, twin, step)
			}
			mpitest.Run(t, 3, func(t *testing.T, c mpi.Comm) {
				m := model(tensor.Float32, 1)
				solver := s.of(kernels).(*solvers.Solver)
				for step := range uint64(4) {
					gradients(m, step)
					require.NoError(t, solver.StepShare(valueGrads(m), shareOf(c)))
				}
				same(t, weights(twin), weights(m))
				assert.Equal(t, reference.Report(), solver.Report())
			})
		})
	}
}

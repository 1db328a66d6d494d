// SPDX-License-Identifier: Apache-2.0

package distributed_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
	"github.com/kernelfold/kernelfold/solvers/distributed"
)

// Ranks that average both gradients of SAM move as one that has the means, and a failure of one rank takes all back to
// before the ascent.
func TestSAM(t *testing.T) {
	for _, of := range precisions {
		for depth := range 2 {
			for _, divide := range []bool{true, false} {
				t.Run(fmt.Sprintf("%v, %d wrappers, divided %v", of, depth, divide), func(t *testing.T) {
					onRanks(t, func(t *testing.T, g *distributed.Group) {
						make := func() *solvers.SAM {
							return solvers.NewSAM(solvers.NewSGD(solvers.LearnRate(0.02), solvers.Momentum(0.9), kernels(manifolds.Stiefel{})), 0.05)
						}
						m, twin := net(of, uint64(1+g.Rank()), true), net(of, 1, true)
						solver, reference := average(g, wrap(make(), depth), distributed.Divide(divide), distributed.CheckEvery(3)), make()
						require.NoError(t, solver.Init(all(m)))
						require.NoError(t, reference.Init(all(twin)))
						for step := range 8 {
							before := bits(m)
							gradients(m, step, g.Rank())
							own := slopes(m)
							assert.ErrorIs(t, solver.Step(all(m)), solvers.ErrAscent, "before Ascend")
							if depth > 0 { // a solver that only has Step may change gradients
								gradients(m, step, g.Rank())
							}
							require.Equal(t, own, slopes(m))
							meanGradients(twin, step, g.Size())
							require.NoError(t, solver.Ascend(all(m)))
							require.NoError(t, reference.Ascend(all(twin)))
							zero(t, m)
							alike(t, g, bits(m), "ascent", step)
							near(t, twin, m, 200*eps(tensor.Float32), "ascent", step)
							if step == 5 {
								if g.Rank() == g.Size()-1 {
									set(m[0].g, 3, math.NaN())
								}
								require.Error(t, solver.Step(all(m)))
								require.Equal(t, before, bits(m))
								gradients(m, step, g.Rank())
								require.NoError(t, solver.Ascend(all(m)))
								solver.Cancel()
								require.Equal(t, before, bits(m))
								gradients(m, step, g.Rank())
								require.NoError(t, solver.Ascend(all(m)))
							}
							gradients(m, 100+step, g.Rank())
							meanGradients(twin, 100+step, g.Size())
							require.NoError(t, solver.Step(all(m)))
							require.NoError(t, reference.Step(all(twin)))
							zero(t, m)
							alike(t, g, bits(m), "step", step)
							near(t, twin, m, 2000*eps(tensor.Float32), "step", step)
						}
					})
				})
			}
		}
	}
}

// An average around SAM, and one around a wrapper of it, ascend and move on several ranks as on one, also a parameter that joins later.
func TestAverageOfSAM(t *testing.T) {
	for _, of := range precisions {
		for depth := range 2 {
			onRanks(t, func(t *testing.T, g *distributed.Group) {
				make := func() (gorgonia.Solver, *solvers.SAM) {
					s := solvers.NewSAM(solvers.NewSGD(solvers.LearnRate(0.02), solvers.Momentum(0.9), kernels(manifolds.Stiefel{})), 0.05)
					return solvers.NewEMA(wrap(s, depth), 0.9), s
				}
				m, twin := net(of, 1, true), net(of, 1, true)
				inner, _ := make()
				solver := average(g, inner)
				reference, sam := make()
				for step := range 6 {
					n := len(m)
					if step < 3 {
						n-- // the last joins
					}
					gradients(m, step, g.Rank())
					meanGradients(twin, step, g.Size())
					require.NoError(t, solver.Ascend(all(m[:n])))
					require.NoError(t, sam.Ascend(all(twin[:n])))
					if step == 4 {
						solver.Cancel()
						gradients(m, step, g.Rank())
						require.NoError(t, solver.Ascend(all(m[:n])))
					}
					gradients(m, 100+step, g.Rank())
					meanGradients(twin, 100+step, g.Size())
					require.NoError(t, solver.Step(all(m[:n])))
					require.NoError(t, reference.Step(all(twin[:n])))
					alike(t, g, bits(m), "step", step)
					near(t, twin, m, 2000*eps(tensor.Float32), "step", step)
				}
				require.NoError(t, inner.(*solvers.Average).Swap(all(m)))
				alike(t, g, bits(m))
			})
		}
	}
}

// Where something else has written points of one rank that are not on the sphere, and the ascent in place finds out, all ranks go back.
func TestSAMOverwritten(t *testing.T) {
	for _, of := range precisions {
		onRanks(t, func(t *testing.T, g *distributed.Group) {
			m := net(of, 1, false)
			s := average(g, solvers.NewSAM(solvers.NewSGD(solvers.LearnRate(0.02), kernels(manifolds.Sphere{})), 0.05))
			step := func(seed int) {
				t.Helper()
				gradients(m, seed, g.Rank())
				require.NoError(t, s.Ascend(all(m)))
				gradients(m, 100+seed, g.Rank())
				require.NoError(t, s.Step(all(m)))
				alike(t, g, bits(m))
			}
			require.NoError(t, s.Init(all(m)))
			step(1)
			good := m[3].w.Clone().(*tensor.Dense)
			if g.Rank() == g.Size()-1 {
				for i := range 54 {
					set(m[3].w, 2*54+i, 0) // none of these values vouches for the others
				}
				set(m[3].w, 2*54, 1e-9)
			}
			gradients(m, 2, g.Rank())
			w, slope := bits(m), slopes(m)
			err := s.Ascend(all(m))
			require.ErrorIs(t, err, solvers.ErrOverwritten)
			assert.ErrorContains(t, err, `"conv3"`)
			alike(t, g, []byte(err.Error()))
			require.Equal(t, w, bits(m))
			if g.Size() > 1 {
				require.Equal(t, slope, slopes(m))
			}
			require.NoError(t, tensor.Copy(m[3].w, good))
			step(3)
		})
	}
}

// A solver that does not ascend says so.
func TestAscendWantsSAM(t *testing.T) {
	onRanks(t, func(t *testing.T, g *distributed.Group) {
		m := net(tensor.Float64, 1, false)
		s := average(g, wrap(solvers.NewSGD(), 1))
		err := s.Ascend(all(m))
		assert.ErrorIs(t, err, solvers.ErrOption)
		assert.ErrorContains(t, err, "*distributed_test.wrapper around *solvers.Solver")
		s.Cancel()
		assert.ErrorIs(t, distributed.Average(nil, nil).Ascend(all(m)), solvers.ErrOption)
	})
}

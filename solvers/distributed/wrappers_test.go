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

// wrapper is a third-party solver around another.
type wrapper struct{ of gorgonia.Solver }

func (w *wrapper) Step(m []gorgonia.ValueGrad) error { return w.of.Step(m) }
func (w *wrapper) Unwrap() gorgonia.Solver           { return w.of }

func wrap(s gorgonia.Solver, times int) gorgonia.Solver {
	for range times {
		s = &wrapper{s}
	}
	return s
}

// Whatever wraps the solver, its state is found: ranks begin with that of rank 0, snapshots go on to the bit, kernels are
// projected by Init, and the report is that of the solver.
func TestWrappers(t *testing.T) {
	for depth := range 4 {
		for _, s := range []maker{
			{"SGD", func() gorgonia.Solver { return solvers.NewSGD(solvers.Momentum(0.9), kernels(manifolds.Stiefel{})) }},
			{"Adam", func() gorgonia.Solver { return solvers.NewAdam(kernels(manifolds.Sphere{})) }},
			{"Constrain", func() gorgonia.Solver {
				return solvers.Constrain(gorgonia.NewVanillaSolver(gorgonia.WithLearnRate(0.02)), manifolds.Stiefel{})
			}},
		} {
			t.Run(fmt.Sprintf("%s, %d wrappers", s.name, depth), func(t *testing.T) {
				onRanks(t, func(t *testing.T, g *distributed.Group) {
					m := net(tensor.Float64, uint64(g.Rank()), false)
					solver := average(g, wrap(s.make(), depth))
					require.NoError(t, solver.Init(all(m)))
					for _, p := range solver.Report().Parameters {
						assert.Less(t, p.Membership, 1e-12, p.Name)
					}
					step := func(s gorgonia.Solver, m []*param, k int) {
						gradients(m, k, 0)
						require.NoError(t, s.Step(all(m)))
						alike(t, g, bits(m))
					}
					for k := range 3 {
						step(solver, m, k)
					}
					assert.Equal(t, 3, solver.Report().Steps)
					snap, err := solver.Snapshot()
					require.NoError(t, err)
					alike(t, g, []byte(fmt.Sprintf("%+v", *snap)))

					// Restored on rank 0 alone, before Average: the others take its state over.
					twin, inner := net(tensor.Float64, 9, false), s.make()
					if g.Root() {
						for i, p := range m {
							require.NoError(t, tensor.Copy(twin[i].w, p.w))
						}
						keeper := inner.(interface {
							Restore([]gorgonia.ValueGrad, *solvers.Snapshot) error
						})
						require.NoError(t, keeper.Restore(all(twin), snap))
					}
					again := average(g, wrap(inner, depth))
					for k := range 3 {
						step(solver, m, 10+k)
						step(again, twin, 10+k)
						require.Equal(t, bits(m), bits(twin), "step %d", k)
					}
				})
			})
		}
	}
}

// A failure inside wrappers is one on all ranks. State that cannot be kept is an error of Snapshot, not of a step.
func TestWrappersFail(t *testing.T) {
	for depth := range 3 {
		onRanks(t, func(t *testing.T, g *distributed.Group) {
			m := net(tensor.Float64, 1, false)
			solver := average(g, wrap(solvers.NewSGD(solvers.Momentum(0.9), kernels(manifolds.Stiefel{})), depth))
			gradients(m, 0, g.Rank())
			require.NoError(t, solver.Step(all(m)))
			before := bits(m)
			gradients(m, 1, g.Rank())
			if g.Rank() == g.Size()-1 {
				set(m[0].g, 0, math.NaN())
			}
			err := solver.Step(all(m))
			require.ErrorIs(t, err, solvers.ErrNotFinite)
			alike(t, g, []byte(err.Error()))
			assert.Equal(t, before, bits(m))
			gradients(m, 1, g.Rank())
			require.NoError(t, solver.Step(all(m)))

			unkept := average(g, wrap(solvers.Constrain(gorgonia.NewAdamSolver(), manifolds.Sphere{}), depth))
			gradients(m, 2, g.Rank())
			require.NoError(t, unkept.Step(all(m)))
			alike(t, g, bits(m))
			_, err = unkept.Snapshot()
			require.ErrorIs(t, err, solvers.ErrStock)
			alike(t, g, []byte(err.Error()))

			_, err = average(g, wrap(gorgonia.NewAdamSolver(), depth)).Snapshot()
			assert.ErrorContains(t, err, "got "+wrapText(depth)+"*gorgonia.AdamSolver")
		})
	}
}

func wrapText(depth int) (s string) {
	for range depth {
		s += "*distributed_test.wrapper around "
	}
	return s
}

// Ranks whose solvers are wrapped otherwise are refused before the first step.
func TestWrappersThatDiffer(t *testing.T) {
	severalRanks(t, func(t *testing.T, g *distributed.Group) {
		m := net(tensor.Float64, 1, false)
		gradients(m, 0, g.Rank())
		before := bits(m)
		err := average(g, wrap(solvers.NewSGD(), g.Rank())).Step(all(m))
		require.ErrorIs(t, err, distributed.ErrDifferent)
		assert.ErrorContains(t, err, "*distributed_test.wrapper around *solvers.Solver")
		alike(t, g, []byte(err.Error()))
		assert.Equal(t, before, bits(m))
	})
}

// SPDX-License-Identifier: Apache-2.0

package distributed_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/solvers"
	"github.com/kernelfold/kernelfold/solvers/distributed"
)

// A snapshot is whole on every rank. A solver restored from it goes on to the bit, given by rank 0 alone; and on
// one rank alone, given the mean gradients, as the ranks do.
func TestSnapshotGoesOn(t *testing.T) {
	for _, of := range precisions {
		for _, s := range makers()[:7] {
			for _, share := range []bool{true, false} {
				t.Run(fmt.Sprintf("%v/%s/share %v", of, s.name, share), func(t *testing.T) {
					onRanks(t, func(t *testing.T, g *distributed.Group) {
						m := net(of, 1, true)
						solver := average(g, s.make(), distributed.Divide(share))
						// Each rank has the same gradients, so that their mean is exact on 1, 2 and 4.
						step := func(s gorgonia.Solver, m []*param, k int) {
							gradients(m, k, 0)
							require.NoError(t, s.Step(all(m)))
						}
						for k := range 5 {
							step(solver, m, k)
						}
						snap, err := solver.Snapshot()
						require.NoError(t, err)
						for _, p := range snap.Parameters {
							for _, b := range p.State {
								assert.NotEmpty(t, len(b.F32)+len(b.F64), "%s of %s", b.Name, p.Name)
							}
						}
						alike(t, g, []byte(fmt.Sprintf("%+v", *snap)))

						copied := func() []*param {
							c := net(of, 2, true)
							for i, p := range m {
								require.NoError(t, tensor.Copy(c[i].w, p.w))
							}
							return c
						}
						twin, alone := copied(), copied()
						again := average(g, s.make(), distributed.Divide(!share))
						given := snap
						if !g.Root() {
							given = nil
						}
						require.NoError(t, again.Restore(all(twin), given))
						one := s.make().(*solvers.Solver)
						require.NoError(t, one.Restore(all(alone), snap))
						for k := range 5 {
							step(solver, m, 10+k)
							step(again, twin, 10+k)
							step(one, alone, 10+k)
							require.Equal(t, bits(m), bits(twin))
							if g.Size() != 3 {
								require.Equal(t, bits(m), bits(alone))
							}
						}
						a, err := solver.Snapshot()
						require.NoError(t, err)
						b, err := again.Snapshot()
						require.NoError(t, err)
						assert.Equal(t, a, b)
					})
				})
			}
		}
	}
}

// All ranks begin with the weights and the state of rank 0, also where only its solver was restored.
func TestStateOfRankZero(t *testing.T) {
	onRanks(t, func(t *testing.T, g *distributed.Group) {
		for _, s := range makers()[:7] {
			first, m := s.make().(*solvers.Solver), net(tensor.Float64, 1, false)
			for k := range 4 {
				gradients(m, k, 0)
				require.NoError(t, first.Step(all(m)))
			}
			snap, err := first.Snapshot()
			require.NoError(t, err)
			twin, inner := net(tensor.Float64, uint64(7+g.Rank()), false), s.make().(*solvers.Solver)
			if g.Root() {
				for i, p := range m {
					require.NoError(t, tensor.Copy(twin[i].w, p.w))
				}
				require.NoError(t, inner.Restore(all(twin), snap))
			}
			solver := average(g, inner)
			if g.Size()%2 == 0 {
				require.NoError(t, solver.Init(all(twin)))
			}
			for k := range 4 {
				gradients(m, 10+k, 0)
				require.NoError(t, first.Step(all(m)))
				gradients(twin, 10+k, 0)
				require.NoError(t, solver.Step(all(twin)))
				near(t, m, twin, 1e-13, s.name)
			}
		}
	})
}

// Solvers that have made steps of their own before cannot be made alike.
func TestStatesThatDiffer(t *testing.T) {
	severalRanks(t, func(t *testing.T, g *distributed.Group) {
		for _, trained := range []int{0, 1} {
			m := net(tensor.Float64, 1, false)
			inner := solvers.NewSGD(solvers.Momentum(0.9))
			if g.Rank() == trained || trained == 0 && g.Rank() == 1 {
				gradients(m, g.Rank(), 0)
				require.NoError(t, inner.Step(all(m)))
			}
			gradients(m, 1, g.Rank())
			err := average(g, inner).Step(all(m))
			require.ErrorIs(t, err, distributed.ErrDifferent)
			assert.Contains(t, err.Error(), "rank 1: distributed: want a solver that has seen no parameters")
			alike(t, g, []byte(err.Error()))
		}
	})
}

// What cannot be restored is an error on every rank.
func TestRestoreRefuses(t *testing.T) {
	onRanks(t, func(t *testing.T, g *distributed.Group) {
		m := net(tensor.Float64, 1, false)
		solver := average(g, solvers.NewSGD(solvers.Momentum(0.9)))
		assert.ErrorContains(t, solver.Restore(all(m), nil), "want a snapshot on rank 0, got nil")
		gradients(m, 1, 0)
		require.NoError(t, solver.Step(all(m)))
		snap, err := solver.Snapshot()
		require.NoError(t, err)
		err = average(g, solvers.NewAdam()).Restore(all(m), snap)
		assert.ErrorContains(t, err, "want the snapshot of Adam, got that of SGD")
		alike(t, g, []byte(err.Error()))
		_, err = average(g, gorgonia.NewAdamSolver()).Snapshot()
		assert.ErrorContains(t, err, "want a solver with the methods Snapshot and Restore, such as those of package solvers, got *gorgonia.AdamSolver")
	})
}

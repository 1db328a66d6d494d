// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// A layer cut in groups moves as its groups would by themselves, goes on from a snapshot to the bit, and not from one of
// other groups.
func TestGroups(t *testing.T) {
	for _, of := range precisions {
		for _, g := range []manifolds.Grouping{manifolds.FilterBank, manifolds.PerInputChannel, manifolds.PerTap} {
			t.Run(fmt.Sprint(of, g), func(t *testing.T) {
				make := func(g manifolds.Grouping) *solvers.Solver {
					return solvers.NewSGD(solvers.LearnRate(0.1), solvers.Momentum(0.9), solvers.Kernels(manifolds.Stiefel{}, g, manifolds.Unit))
				}
				whole := newParam("kernel", of, 6, 5, 2, 2)
				gaussian(whole.w, source(1), 1)
				half := len(get(whole.w)) / 2
				a, b := newParam("a", of, 3, 5, 2, 2), newParam("b", of, 3, 5, 2, 2)
				put(a.w, get(whole.w)[:half])
				put(b.w, get(whole.w)[half:])
				s, parts := make(g.Groups(2)), make(g)
				step := func(s *solvers.Solver, whole *param, seed uint64) {
					gaussian(whole.g, source(seed), 1)
					put(a.g, get(whole.g)[:half])
					put(b.g, get(whole.g)[half:])
					require.NoError(t, s.Step(valueGrads([]*param{whole})))
				}
				for seed := range uint64(5) {
					step(s, whole, seed)
					require.NoError(t, parts.Step(valueGrads([]*param{a, b})))
				}
				require.InDeltaSlice(t, append(get(a.w), get(b.w)...), get(whole.w), 64*eps(of))
				onManifold(t, s.Report(), of)
				require.Equal(t, g.String()+", 2 groups", s.Report().Parameters[0].Grouping)

				snap, err := s.Snapshot()
				require.NoError(t, err)
				twin := copied([]*param{whole}, of)
				require.ErrorContains(t, make(g.Groups(3)).Restore(valueGrads(twin), snap), "groups")
				again := make(g.Groups(2))
				require.NoError(t, again.Restore(valueGrads(twin), snap))
				step(s, whole, 9)
				step(again, twin[0], 9)
				require.Equal(t, get(whole.w), get(twin[0].w))
			})
		}
	}
}

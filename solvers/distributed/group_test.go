// SPDX-License-Identifier: Apache-2.0

package distributed_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/internal/mpi"
	"github.com/kernelfold/kernelfold/internal/mpi/mpitest"
	"github.com/kernelfold/kernelfold/solvers"
	"github.com/kernelfold/kernelfold/solvers/distributed"
)

// group is of one rank.
func group(t *testing.T) (g *distributed.Group) {
	t.Helper()
	return distributed.Over(mpitest.Ranks(1)[0])
}

func TestGroup(t *testing.T) {
	onRanks(t, func(t *testing.T, g *distributed.Group) {
		n, r := g.Size(), g.Rank()
		assert.Equal(t, r == 0, g.Root())

		sums, err := g.Sum(float64(r), 1, 0.1)
		require.NoError(t, err)
		want := 0.0
		for range n {
			want += 0.1
		}
		assert.Equal(t, []float64{float64(n*(n-1)) / 2, float64(n), want}, sums)
		means, err := g.Mean(float64(r))
		require.NoError(t, err)
		assert.Equal(t, []float64{float64(n-1) / 2}, means)
		sums, err = g.Sum()
		require.NoError(t, err)
		assert.Empty(t, sums)
		nan, err := g.Sum(math.NaN())
		require.NoError(t, err)
		assert.True(t, math.IsNaN(nan[0]))

		parts, err := g.Gather([]byte(fmt.Sprint(r, "of", n)[:r+1]))
		require.NoError(t, err)
		for i, p := range parts {
			assert.Equal(t, fmt.Sprint(i, "of", n)[:i+1], string(p))
		}

		for _, text := range []string{"", "all of it"} {
			own := []byte("something else")
			if g.Root() {
				own = []byte(text)
			}
			b, err := g.Broadcast(own)
			require.NoError(t, err)
			assert.Equal(t, text, string(b))
		}
	})
}

// An error of one rank is one of all, with the same words; errors.Is knows its kind, and on the rank that failed
// errors.As knows itself.
func TestAgree(t *testing.T) {
	severalRanks(t, func(t *testing.T, g *distributed.Group) {
		require.NoError(t, g.Agree(nil))
		for bad := range g.Size() {
			for _, kind := range []error{solvers.ErrNotFinite, context.Canceled, nil} {
				var err error
				if g.Rank() >= bad {
					err = &solvers.ParameterError{Name: "conv1", Kind: kind, Cause: fmt.Sprintf("rank %d was told to", g.Rank())}
					if kind == nil {
						err = errors.New("plain")
					}
				}
				err = g.Agree(err)
				var failed *distributed.RankError
				require.ErrorAs(t, err, &failed)
				assert.Equal(t, bad, failed.Rank)
				alike(t, g, []byte(err.Error()))
				if kind == nil {
					assert.EqualError(t, err, fmt.Sprintf("distributed: rank %d: plain", bad))
					assert.NotErrorIs(t, err, solvers.ErrNotFinite)
					continue
				}
				require.ErrorIs(t, err, kind)
				assert.NotErrorIs(t, err, solvers.ErrNoGradient)
				assert.Contains(t, err.Error(), fmt.Sprintf("distributed: rank %d: solvers: parameter \"conv1\"", bad))
				var own *solvers.ParameterError
				assert.Equal(t, g.Rank() == bad, errors.As(err, &own))
			}
		}
		require.NoError(t, g.Agree(nil))
	})
}

// A panic does not wait for the other ranks.
func TestCloseInPanic(t *testing.T) {
	if mpitest.Launched() {
		t.Skip("would leave the group of all tests")
	}
	c := mpitest.Ranks(2)[0] // and rank 1 never comes
	assert.PanicsWithValue(t, "as told", func() {
		defer distributed.Over(c).Close()
		panic("as told")
	})
	mpitest.Run(t, 3, func(t *testing.T, c mpi.Comm) { assert.NoError(t, distributed.Over(c).Close()) })
}

// SPDX-License-Identifier: Apache-2.0

package manifolds_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/manifolds"
)

// The projection does not move points apart, and no random point of the ball is nearer.
func TestSpectralBallProjection(t *testing.T) {
	m := manifolds.SpectralBall{Radius: 1.3}
	rng := rand.New(rand.NewPCG(2, 7))
	draw := func(k int, scale float64) manifolds.Points {
		x := points64(t, make([]float64, k*5*3), k, 5, 3)
		for i := range x.Data64() {
			x.Data64()[i] = scale * rng.NormFloat64()
		}
		return x
	}
	distances := func(x, y manifolds.Points) []float64 {
		d, out := x.Like(), make([]float64, x.K)
		require.NoError(t, d.Combine(1, x, -1, y))
		require.NoError(t, manifolds.Inner(manifolds.Euclidean{}, out, d, d, d))
		return out
	}
	const count = 10000
	x, y := draw(count, 1), draw(count, 1)
	px, py := x.Like(), y.Like()
	require.NoError(t, m.Project(px, x))
	require.NoError(t, m.Project(py, y))
	assert.LessOrEqual(t, m.Membership(px), 1e-14)
	before, after := distances(x, y), distances(px, py)
	for k := range before {
		assert.LessOrEqual(t, after[k], before[k]*(1+1e-14))
	}
	first := x.Like()
	for k := range count {
		require.NoError(t, first.Slice(k, k+1).CopyFrom(x.Slice(0, 1)))
	}
	least := distances(x.Slice(0, 1), px.Slice(0, 1))[0]
	for _, d := range distances(first, py) {
		assert.GreaterOrEqual(t, d, least)
	}
}

// A step inside the ball is that of Euclidean space to the bit, also for a point that is not tall.
func TestSpectralBallIsFreeInside(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 8))
	for _, s := range [][2]int{{4, 6}, {6, 4}} {
		x, v := points32(t, make([]float32, 24), 1, s[0], s[1]), points32(t, make([]float32, 24), 1, s[0], s[1])
		for i := range v.Data32() {
			x.Data32()[i], v.Data32()[i] = 0.1*float32(rng.NormFloat64()), 0.1*float32(rng.NormFloat64())
		}
		got, want := x.Like(), x.Like()
		require.NoError(t, manifolds.SpectralBall{}.Retract(got, x, v))
		require.NoError(t, manifolds.Euclidean{}.Retract(want, x, v))
		assert.Equal(t, want, got)
	}
}

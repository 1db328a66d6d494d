// SPDX-License-Identifier: Apache-2.0

package hyperbolic_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/internal/hyperbolic"
	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/manifolds/manifoldtest"
)

func TestConformance(t *testing.T) {
	manifoldtest.Run(t, hyperbolic.Space{})
}

// On a line through 0 the distance is that of arsinh, and Exp goes there until the numbers end, which they do earlier in float32.
func TestLine(t *testing.T) {
	m := hyperbolic.Space{}
	x, err := manifolds.Points64(make([]float64, 4), 2, 2, 1)
	require.NoError(t, err)
	v, y, d := x.Like(), x.Like(), make([]float64, 2)
	copy(v.Data64(), []float64{3, 0, 0, -700})
	require.NoError(t, m.Exp(y, x, v))
	assert.InDeltaSlice(t, []float64{math.Sinh(3), 0}, y.Data64()[:2], 1e-14)
	require.NoError(t, m.Dist(d, x, y))
	assert.InDelta(t, 3, d[0], 1e-14)
	v.Data64()[3] = -711
	assert.EqualError(t, m.Exp(y, x, v), "manifolds: Hyperbolic: exp: point 1: want a step to numbers that are finite, got one of length 711")
	require.ErrorIs(t, m.Exp(y, x, v), manifolds.ErrDegenerate)

	short, err := manifolds.Points32([]float32{0, 0, 100, 0}, 2, 2, 1)
	require.NoError(t, err)
	assert.ErrorContains(t, m.Exp(short.Like(), short.Like(), short), "point 1: want a step to numbers that are finite, got one of length 100")
}

// A triangle with right angles of sides a and b has the side c with cosh c = cosh a cosh b.
func TestPythagoras(t *testing.T) {
	m := hyperbolic.Space{}
	for _, legs := range [][2]float64{{1e-6, 2e-6}, {0.5, 1}, {3, 4}, {10, 12}} {
		zero, err := manifolds.Points64(make([]float64, 2), 1, 1, 2)
		require.NoError(t, err)
		x, y, d := zero.Like(), zero.Like(), []float64{0}
		x.Set(0, 0, 0, math.Sinh(legs[0]))
		y.Set(0, 0, 1, math.Sinh(legs[1]))
		require.NoError(t, m.Dist(d, x, y))
		// cosh c - 1 = 2 sinh(c/2)^2, so that nothing cancels for small triangles.
		half := func(a float64) float64 { return 2 * math.Pow(math.Sinh(a/2), 2) }
		want := 2 * math.Asinh(math.Sqrt((half(legs[0])+half(legs[1])+half(legs[0])*half(legs[1]))/2))
		assert.InDelta(t, want, d[0], 1e-14*want)
	}
}

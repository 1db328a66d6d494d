// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/internal/gemm"
)

// frame returns a random frame of n x q.
func frame(t *testing.T, rng *rand.Rand, n, q int) []float64 {
	x := make([]float64, n*q)
	require.NoError(t, Polar(gemm.Of(x, n, q), random[float64](rng, n, q), 1, 0x1p-52))
	return x
}

// Points too far apart for any of the maps are an error, as are a rotation and a reflection.
func TestInverseErrors(t *testing.T) {
	x := []float64{1, 0, 0, 1, 0, 0} // 3 x 2
	y := []float64{-1, 0, 0, 1, 0, 0}
	v := make([]float64, 6)
	assert.Error(t, InversePolar(v, x, y, 3, 2))
	assert.Error(t, InverseQR(v, x, y, 3, 2))
	assert.Error(t, InverseCayley(v, x, y, 3, 2))
	assert.Error(t, InverseHorizontal(v, x, []float64{0, 0, 0, 1, 1, 0}, 3, 2))
	for _, c := range []float64{1, 2} {
		assert.ErrorIs(t, Log(v[:4], []float64{1, 0, 0, 1}, []float64{-1, 0, 0, 1}, c, 2, 2), errReflection)
	}
}

// For random frames of a few sizes the logarithms arrive at their points or return an error.
func TestLogArrives(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	found := 0
	for _, s := range [][2]int{{3, 1}, {4, 2}, {9, 4}, {12, 3}, {7, 5}} {
		n, q := s[0], s[1]
		for range 10 {
			x, y := frame(t, rng, n, q), frame(t, rng, n, q)
			for _, c := range []float64{1, 2} {
				v, end := make([]float64, n*q), make([]float64, n*q)
				if Log(v, x, y, c, n, q) != nil {
					continue
				}
				found++
				Geodesic(end, x, v, c, n, q)
				assert.InDeltaSlice(t, y, end, 1e-11)
			}
		}
	}
	assert.Greater(t, found, 50, "of 100")
}

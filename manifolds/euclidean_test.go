// SPDX-License-Identifier: Apache-2.0

package manifolds_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/manifolds"
)

// Distances whose squares overflow or vanish are right, and those that overflow themselves are errors.
func TestEuclideanDistances(t *testing.T) {
	m, out := manifolds.Euclidean{}, []float64{0}
	x := points64(t, []float64{0, 0}, 1, 2, 1)
	for _, size := range []float64{1e-200, 1, 1e200} {
		require.NoError(t, m.Dist(out, x, points64(t, []float64{3 * size, 4 * size}, 1, 2, 1)))
		assert.InEpsilon(t, 5*size, out[0], 1e-15)
	}
	far, back := points64(t, []float64{math.MaxFloat64, 0}, 1, 2, 1), points64(t, []float64{-math.MaxFloat64, 0}, 1, 2, 1)
	assert.ErrorIs(t, m.Dist(out, far, back), manifolds.ErrDegenerate)
	assert.ErrorIs(t, m.Log(x, far, back), manifolds.ErrDegenerate)
}

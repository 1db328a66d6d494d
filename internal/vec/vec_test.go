// SPDX-License-Identifier: Apache-2.0

package vec

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestKernels compares every length 0..70 with the plain loop.
func TestKernels(t *testing.T) {
	t.Run("float32", testKernels[float32])
	t.Run("float64", testKernels[float64])
}

func testKernels[T Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for n := range 71 {
		x, y, z := make([]T, n), make([]T, n), make([]T, n+2)
		dot, sum, largest := 0.0, 0.0, 0.0
		for i := range x {
			x[i], y[i] = T(rng.NormFloat64()), T(rng.NormFloat64())
			dot += float64(x[i]) * float64(y[i])
			sum += float64(x[i])
			largest = max(largest, math.Abs(float64(x[i])))
		}
		assert.InDelta(t, dot, Dot(x, y), 1e-13)
		assert.InDelta(t, sum, Sum(x), 1e-13)
		assert.Equal(t, largest, MaxAbs(x))
		assert.InDelta(t, math.Sqrt(Dot(x, x)), Norm(x), 1e-14)

		z[0], z[n+1] = 7, 7
		Combine(z[1:n+1], 2, x, -3, y)
		for i := range x {
			assert.Equal(t, T(2*x[i])-T(3*y[i]), z[i+1]) // conversions keep Go from fusing
		}
		Scale(z[1:n+1], -2, x)
		for i := range x {
			assert.Equal(t, -2*x[i], z[i+1])
		}
		assert.Equal(t, []T{7, 7}, []T{z[0], z[n+1]}, "written outside")
	}
}

func TestNormAtTheEdgeOfTheRange(t *testing.T) {
	assert.InEpsilon(t, 5e200, Norm([]float64{3e200, 4e200}), 1e-15)
	assert.InEpsilon(t, 5e-200, Norm([]float64{3e-200, 4e-200}), 1e-15)
	assert.InEpsilon(t, 5e38/2, Norm([]float32{1.5e38, 2e38}), 1e-6)
	assert.InEpsilon(t, 5e-30, Norm([]float32{3e-30, 4e-30}), 1e-6)
	assert.Zero(t, Norm([]float64{0, 0}))
	assert.Zero(t, Norm([]float64{}))
	assert.True(t, math.IsInf(Norm([]float64{1, math.Inf(-1)}), 1))
	assert.True(t, math.IsNaN(Norm([]float64{1, math.NaN(), math.Inf(1)})))
	assert.True(t, math.IsNaN(MaxAbs([]float32{1, float32(math.NaN()), 5})))
}

func TestEps(t *testing.T) {
	assert.Equal(t, math.Nextafter(1, 2)-1, Eps[float64]())
	assert.Equal(t, float64(math.Nextafter32(1, 2)-1), Eps[float32]())
}

// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"

	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// composed returns U diag(values) V for a U of n x q and a V of q x q that depend on the sizes alone.
func composed(n int, values ...float64) *mat.Dense {
	q := len(values)
	rng := rand.New(rand.NewPCG(uint64(n), uint64(q)))
	u, v := orthonormal(rng, n, q), orthonormal(rng, q, q)
	u.Apply(func(_, j int, a float64) float64 { return a * values[j] }, u)
	var x mat.Dense
	x.Mul(u, v)
	return &x
}

// each returns f of every value.
func each(values []float64, f func(float64) float64) []float64 {
	out := make([]float64, len(values))
	for i, v := range values {
		out[i] = f(v)
	}
	return out
}

func TestSign(t *testing.T) {
	t.Run("float32", testSign[float32])
	t.Run("float64", testSign[float64])
}

// The sign of a matrix of full rank is its polar factor, at every magnitude; singular values as small as rounding errors count as 0.
func testSign[T vec.Float](t *testing.T) {
	eps := vec.Eps[T]()
	scales := []float64{0x1p-120, 1, 0x1p120}
	if vec.Double[T]() {
		scales = []float64{0x1p-1015, 1, 0x1p1000}
	}
	for _, n := range []int{5, 9, 40} {
		for _, values := range [][]float64{{1}, {1, 1, 0.5}, {1, 0.1, 0.01}, {3, 2, 1, 0}, {1, 0.01, 0, 0, 0}} {
			want := composed(n, each(values, func(s float64) float64 { return math.Ceil(s / 3) })...)
			for _, scale := range scales {
				x := composed(n, each(values, func(s float64) float64 { return scale * s })...)
				for _, got := range []gemm.Mat[T]{of[T](x), of[T](mat.DenseCopyOf(x.T())).T()} {
					require.NoError(t, Sign(got, eps))
					near(t, want, got, 400*math.Sqrt(float64(n))*eps, "sign") // the smallest singular value is 100 times as small as the largest
				}
			}
		}
	}
	zero := gemm.Of(make([]T, 6), 3, 2)
	require.NoError(t, Sign(zero, eps))
	assert.Equal(t, make([]T, 6), zero.Data)
	zero.Data[1] = T(math.Inf(1))
	assert.ErrorContains(t, Sign(zero, eps), "want a finite matrix")
}

func TestQuinticSign(t *testing.T) {
	t.Run("float32", testQuinticSign[float32])
	t.Run("float64", testQuinticSign[float64])
}

// The iteration maps singular values by a polynomial and keeps singular vectors.
func testQuinticSign[T vec.Float](t *testing.T) {
	scales := []float64{0x1p-135, 0x1p-120, 1, 0x1p120}
	if vec.Double[T]() {
		scales = []float64{0x1p-1055, 0x1p-1000, 1, 0x1p1000}
	}
	many := make([]float64, 35) // more columns than a slim matrix has
	for i := range many {
		many[i] = math.Pow(0.9, float64(i))
	}
	for _, n := range []int{5, 9, 40, 150} {
		for _, values := range [][]float64{{1}, {1, 1, 0.5}, {1, 0.1, 0.01}, {3, 2, 1, 0}, many[:20], many} {
			if len(values) > n {
				continue
			}
			norm := vec.Norm(values)
			for _, scale := range scales {
				x := composed(n, each(values, func(s float64) float64 { return scale * s })...)
				for steps := 1; steps < 6; steps++ {
					want := composed(n, each(values, func(s float64) float64 {
						s /= norm
						for range steps {
							s = 3.4445*s - 4.7750*s*s*s + 2.0315*s*s*s*s*s
						}
						return s
					})...)
					tol := 16 * math.Sqrt(float64(n)) * vec.Eps[T]()
					if scale == scales[0] { // few digits are left
						tol = 1e-3
					}
					for _, got := range []gemm.Mat[T]{of[T](x), of[T](mat.DenseCopyOf(x.T())).T()} {
						near(t, want, QuinticSign(got, like(got), steps), tol*math.Pow(3.4445, float64(steps)), "iterate")
					}
				}
			}
		}
	}
	zero := gemm.Of(make([]T, 6), 3, 2)
	assert.Equal(t, zero, QuinticSign(zero, like(zero), 5))
}

// Five steps bring the singular values of Gaussian matrices near 1.
func TestQuinticSignOfGaussians(t *testing.T) {
	for _, size := range [][2]int{{9, 4}, {40, 17}, {144, 64}} {
		x := random[float64](rand.New(rand.NewPCG(1, 1)), size[0], size[1])
		var d mat.SVD
		d.Factorize(dense(QuinticSign(x, like(x), 5)), mat.SVDNone)
		for _, s := range d.Values(nil) {
			assert.InDelta(t, 0.95, s, 0.27)
		}
	}
}

func TestSpectralBound(t *testing.T) {
	t.Run("float32", testSpectralBound[float32])
	t.Run("float64", testSpectralBound[float64])
}

func testSpectralBound[T vec.Float](t *testing.T) {
	for _, size := range [][2]int{{1, 1}, {3, 3}, {9, 4}, {40, 17}, {65, 64}} {
		x := random[T](rand.New(rand.NewPCG(2, 1)), size[0], size[1])
		var d mat.SVD
		d.Factorize(dense(x), mat.SVDNone)
		share := SpectralBound(x) / d.Values(nil)[0]
		assert.GreaterOrEqual(t, share, 1-8*vec.Eps[T]())
		assert.LessOrEqual(t, share, math.Pow(float64(size[1]), 1./32)+8*vec.Eps[T]())
	}
	frame := of[T](orthonormal(rand.New(rand.NewPCG(3, 1)), 40, 17))
	assert.InDelta(t, 1, SpectralBound(frame), 64*vec.Eps[T]())
	assert.Zero(t, SpectralBound(gemm.Of(make([]T, 6), 3, 2)))
}

// SPDX-License-Identifier: Apache-2.0

package gemm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/kernelfold/kernelfold/internal/vec"
)

func TestCholesky(t *testing.T) {
	everyLevel(t, testCholesky[float32], testCholesky[float64])
}

func testCholesky[T vec.Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, n := range []int{1, 2, 3, 8, 16, 17, 31, 33, 48, 64, 100} {
		a := random[T](rng, (n+5)*n)
		g, l, u, y := make([]T, n*n), make([]T, n*n), make([]T, n*n), make([]T, (n+5)*n)
		Gram(Of(g, n, n), 1, Of(a, n+5, n))
		for i := range n {
			g[i*n+i] += T(n)
		}
		copy(l, g)
		assert.True(t, Cholesky(l, n))
		InverseTransposed(u, l, n)
		both, inverse := append([]T(nil), g...), random[T](rng, n*n)
		assert.True(t, CholeskyInverse(inverse, both, n))
		assert.Equal(t, l, both)
		vec.Combine(inverse, 1, inverse, -1, u)
		assert.LessOrEqual(t, vec.Norm(inverse), 20*float64(n)*vec.Eps[T]()*vec.Norm(u), "n = %d", n)
		// u^T g u = L^-1 g L^-T = I
		Mul(Of(y[:n*n], n, n), 1, Of(g, n, n), Of(u, n, n), 0)
		Mul(Of(g, n, n), 1, Of(u, n, n).T(), Of(y[:n*n], n, n), 0)
		for i := range n {
			g[i*n+i]--
			for j := range i {
				assert.Zero(t, u[i*n+j], "below the diagonal")
			}
		}
		assert.LessOrEqual(t, vec.Norm(g), 20*float64(n)*vec.Eps[T](), "n = %d", n) // condition number below 10
	}
	assert.False(t, Cholesky([]T{1, 0, 2, 1}, 2), "indefinite")
	assert.False(t, Cholesky([]T{0}, 1), "singular")
	assert.False(t, Cholesky([]T{T(math.NaN())}, 1), "not finite")
	assert.False(t, Cholesky([]T{T(math.Inf(1))}, 1), "not finite")
}

func BenchmarkFactor(b *testing.B) {
	for _, n := range []int{16, 32, 64, 128, 512} {
		a, g := random[float32](rand.New(rand.NewPCG(5, 6)), n*(n+5)), make([]float32, n*n)
		Gram(Of(g, n, n), 1, Of(a, n+5, n))
		for i := range n {
			g[i*n+i] += float32(n)
		}
		l, u := make([]float32, n*n), make([]float32, n*n)
		rate := func(b *testing.B) {
			b.ReportMetric(float64(n*n*n)/3*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		}
		b.Run(fmt.Sprint("Cholesky ", n), func(b *testing.B) {
			for b.Loop() {
				copy(l, g)
				Cholesky(l, n)
			}
			rate(b)
		})
		b.Run(fmt.Sprint("CholeskyInverse ", n), func(b *testing.B) {
			for b.Loop() {
				copy(l, g)
				CholeskyInverse(u, l, n)
			}
			rate(b)
		})
		b.Run(fmt.Sprint("InverseTransposed ", n), func(b *testing.B) {
			for b.Loop() {
				InverseTransposed(u, l, n)
			}
			rate(b)
		})
		b.Run(fmt.Sprint("Mul of as many flops ", n), func(b *testing.B) {
			for b.Loop() {
				Mul(Of(u, n, n), 1, Of(g, n, n), Of(l, n, n), 0)
			}
			b.ReportMetric(2*float64(n*n*n)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}

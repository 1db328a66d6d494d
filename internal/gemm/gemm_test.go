// SPDX-License-Identifier: Apache-2.0

package gemm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"gonum.org/v1/gonum/mat"

	"github.com/kernelfold/kernelfold/internal/cpu"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// everyLevel runs a test at each level of this machine, in both precisions.
func everyLevel(t *testing.T, single, double func(t *testing.T)) {
	defer func(l cpu.Level) { cpu.Use = l }(cpu.Use)
	for _, cpu.Use = range cpu.Levels() {
		t.Run(fmt.Sprint("float32 ", cpu.Use), single)
		t.Run(fmt.Sprint("float64 ", cpu.Use), double)
	}
}

func random[T vec.Float](rng *rand.Rand, n int) []T {
	x := make([]T, n)
	for i := range x {
		x[i] = T(rng.NormFloat64())
	}
	return x
}

// TestMul compares every combination of transposes, over odd sizes on both
// sides of the blocking, with the sum written out in float64.
func TestMul(t *testing.T) {
	everyLevel(t, testMul[float32], testMul[float64])
}

func testMul[T vec.Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, s := range [][3]int{{1, 1, 1}, {1, 7, 3}, {5, 1, 9}, {2, 4, 8}, {3, 5, 1}, {13, 11, 17}, {17, 33, 40},
		{97, 5, 257}, {301, 35, maxDepth + 1}, {7, maxCols + 3, 19}, {29, 65, 130}, {64, 64, 600}} {
		r, c, k := s[0], s[1], s[2]
		for mask := range 8 {
			for _, beta := range []float64{0, 1, -0.5} {
				make2 := func(r, c int, transposed bool) (Mat[T], []T) {
					pad := 3 // leading dimension larger than the row: the rest must stay
					if transposed {
						d := random[T](rng, c*(r+pad))
						return Mat[T]{d, r, c, 1, r + pad}, d
					}
					d := random[T](rng, r*(c+pad))
					return Mat[T]{d, r, c, c + pad, 1}, d
				}
				a, _ := make2(r, k, mask&1 != 0)
				b, _ := make2(k, c, mask&2 != 0)
				m, data := make2(r, c, mask&4 != 0)
				before := append([]T(nil), data...)
				if beta == 0 { // what was there must not matter
					for i := range r {
						for j := range c {
							m.Data[i*m.RS+j*m.CS] = T(math.NaN())
						}
					}
				}
				Mul(m, 1.5, a, b, beta)
				inside := make([]bool, len(data))
				for i := range r {
					for j := range c {
						e := i*m.RS + j*m.CS
						inside[e] = true
						want, size := 0.0, 0.0
						for p := range k {
							v := 1.5 * float64(a.At(i, p)) * float64(b.At(p, j))
							want += v
							size += math.Abs(v)
						}
						if beta != 0 {
							want += beta * float64(before[e])
							size += math.Abs(float64(before[e]))
						}
						// rounding of a sum of k products is at most (k+2) eps times the sum of their sizes
						if d := math.Abs(float64(data[e]) - want); !(d <= float64(k+2)*vec.Eps[T]()*size) {
							t.Fatalf("%v mask %d beta %g: (%d,%d): want %g, got %g", s, mask, beta, i, j, want, data[e])
						}
					}
				}
				for e, in := range inside {
					if !in && data[e] != before[e] {
						t.Fatalf("%v mask %d: element %d outside the matrix was written", s, mask, e)
					}
				}
			}
		}
	}
}

func TestMulPropagatesNonFinite(t *testing.T) {
	for _, n := range []int{3, 40} {
		a, b, c := make([]float32, n*n), make([]float32, n*n), make([]float32, n*n)
		a[n] = float32(math.Inf(1)) // times 0 is NaN in row 1
		Mul(Of(c, n, n), 1, Of(a, n, n), Of(b, n, n), 0)
		assert.True(t, c[n] != c[n], "n = %d", n)
		assert.Zero(t, c[0])
	}
}

func TestMulRejectsShapes(t *testing.T) {
	x := make([]float64, 12)
	assert.Panics(t, func() { Mul(Of(x, 3, 4), 1, Of(x, 3, 4), Of(x, 3, 4), 0) })
}

func TestGramIsSymmetric(t *testing.T) {
	a := random[float32](rand.New(rand.NewPCG(3, 4)), 61*35)
	g := make([]float32, 35*35)
	Gram(Of(g, 35, 35), 0.3, Of(a, 61, 35))
	for i := range 35 {
		for j := range 35 {
			assert.Equal(t, g[i*35+j], g[j*35+i])
		}
	}
}

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

// TestExp compares with gonum's Pade approximation.
func TestExp(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for _, n := range []int{1, 2, 5, 20} {
		for _, size := range []float64{0, 1e-9, 0.3, 3, 30} {
			t.Run(fmt.Sprint(n, size), func(t *testing.T) {
				a := random[float64](rng, n*n)
				vec.Scale(a, size/vec.Norm(a), a)
				var want mat.Dense
				want.Exp(mat.NewDense(n, n, append([]float64(nil), a...)))
				got := make([]float64, n*n)
				Exp(got, a, make([]float64, 2*n*n), n)
				d, w := make([]float64, n*n), want.RawMatrix().Data
				vec.Combine(d, 1, got, -1, w)
				// squaring doubles the relative error each time: 2 size of it
				assert.LessOrEqual(t, vec.Norm(d), 100*(1+size)*vec.Eps[float64]()*vec.Norm(w))
			})
		}
	}
}

func BenchmarkMul(b *testing.B) {
	for _, s := range [][3]int{{64, 64, 576}, {64, 576, 64}, {512, 512, 4608}} {
		b.Run(fmt.Sprint(s), func(b *testing.B) {
			x, y, z := make([]float32, s[0]*s[2]), make([]float32, s[2]*s[1]), make([]float32, s[0]*s[1])
			for b.Loop() {
				Mul(Of(z, s[0], s[1]), 1, Of(x, s[0], s[2]), Of(y, s[2], s[1]), 0)
			}
			b.ReportMetric(2*float64(s[0]*s[1]*s[2])*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
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

// SPDX-License-Identifier: Apache-2.0

package blas

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/gonum"
	"gonum.org/v1/gonum/blas/testblas"
	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/vec"
)

var _ gorgonia.BLAS = Implementation{}

func TestDgemm(t *testing.T) { testblas.TestDgemm(t, Implementation{}) }

// gemmer is a product in one precision.
type gemmer[T vec.Float] func(tA, tB blas.Transpose, m, n, k int, alpha T, a []T, lda int, b []T, ldb int, beta T, c []T, ldc int)

// TestGemm compares with gonum over transposes, odd sizes, leading dimensions and
// scalars, on one core and on several.
func TestGemm(t *testing.T) {
	for _, procs := range []int{1, 3} {
		t.Run(fmt.Sprint(procs), func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
			t.Run("float32", func(t *testing.T) { testGemm(t, Implementation{}.Sgemm, gonum.Implementation{}.Sgemm) })
			t.Run("float64", func(t *testing.T) { testGemm(t, Implementation{}.Dgemm, gonum.Implementation{}.Dgemm) })
		})
	}
}

func testGemm[T vec.Float](t *testing.T, ours, theirs gemmer[T]) {
	rng := rand.New(rand.NewPCG(1, 2))
	random := func(rows, ld, cols int) []T {
		x := make([]T, max(0, (rows-1)*ld+cols)) // as short as may be
		for i := range x {
			x[i] = T(rng.NormFloat64())
		}
		return x
	}
	ops := []blas.Transpose{blas.NoTrans, blas.Trans, blas.ConjTrans}
	for _, s := range [][3]int{{1, 1, 1}, {1, 7, 3}, {5, 1, 9}, {17, 33, 40}, {3, 70, 257}, {131, 5, 64}, {64, 130, 33}, {0, 3, 4}, {3, 0, 4}, {3, 4, 0}} {
		m, n, k := s[0], s[1], s[2]
		for _, tA := range ops {
			for _, tB := range ops {
				for _, scalars := range [][2]T{{1, 0}, {1, 1}, {-0.5, 2}, {0, 0.5}, {0, 0}, {0, 1}} {
					ra, ca, rb, cb := m, k, k, n
					if tA != blas.NoTrans {
						ra, ca = ca, ra
					}
					if tB != blas.NoTrans {
						rb, cb = cb, rb
					}
					pad := 3 * rng.IntN(2)
					lda, ldb, ldc := max(1, ca)+pad, max(1, cb)+pad, max(1, n)+pad
					a, b, want := random(ra, lda, ca), random(rb, ldb, cb), random(m, ldc, n)
					got := slices.Clone(want)
					if scalars[1] == 0 { // what was there must not matter
						for i := range got {
							if ldc == 0 || i%ldc < n {
								got[i], want[i] = T(math.NaN()), T(math.NaN())
							}
						}
					}
					ours(tA, tB, m, n, k, scalars[0], a, lda, b, ldb, scalars[1], got, ldc)
					theirs(tA, tB, m, n, k, scalars[0], a, lda, b, ldb, scalars[1], want, ldc)
					for i, w := range want {
						// Sums of k products of order 1, rounded at random.
						tolerance := 0.0
						if i%ldc < n {
							tolerance = 32 * math.Sqrt(float64(k+1)) * vec.Eps[T]() * max(1, math.Abs(float64(w)))
						}
						if d := math.Abs(float64(got[i]) - float64(w)); !(d <= tolerance) {
							t.Fatalf("%v %c%c %v: element %d: want %g, got %g", s, tA, tB, scalars, i, w, got[i])
						}
					}
				}
			}
		}
	}
}

// What is wrong is refused as gonum does.
func TestGemmPanics(t *testing.T) {
	x := make([]float64, 12)
	y := make([]float32, 12)
	for _, c := range []struct {
		tA, tB           blas.Transpose
		m, n, k, a, b, c int
		lda, ldb, ldc    int
		want             string
	}{
		{'X', 'N', 2, 2, 2, 4, 4, 4, 2, 2, 2, "blas: illegal transpose"},
		{'N', 'X', 2, 2, 2, 4, 4, 4, 2, 2, 2, "blas: illegal transpose"},
		{'N', 'N', -1, 2, 2, 4, 4, 4, 2, 2, 2, "blas: m < 0"},
		{'N', 'N', 2, -1, 2, 4, 4, 4, 2, 2, 2, "blas: n < 0"},
		{'N', 'N', 2, 2, -1, 4, 4, 4, 2, 2, 2, "blas: k < 0"},
		{'N', 'N', 2, 2, 3, 6, 6, 4, 2, 2, 2, "blas: bad leading dimension of A"},
		{'T', 'N', 3, 2, 2, 6, 6, 6, 2, 2, 2, "blas: bad leading dimension of A"},
		{'N', 'T', 2, 2, 3, 6, 6, 4, 3, 2, 2, "blas: bad leading dimension of B"},
		{'N', 'N', 2, 2, 2, 4, 4, 4, 2, 2, 1, "blas: bad leading dimension of C"},
		{'N', 'N', 2, 2, 2, 3, 4, 4, 2, 2, 2, "blas: insufficient length of a"},
		{'N', 'N', 2, 2, 2, 4, 3, 4, 2, 2, 2, "blas: insufficient length of b"},
		{'T', 'T', 2, 2, 2, 4, 4, 3, 2, 2, 2, "blas: insufficient length of c"},
	} {
		assert.PanicsWithValue(t, c.want, func() {
			Implementation{}.Dgemm(c.tA, c.tB, c.m, c.n, c.k, 1, x[:c.a], c.lda, x[:c.b], c.ldb, 0, x[:c.c], c.ldc)
		})
		assert.PanicsWithValue(t, c.want, func() {
			Implementation{}.Sgemm(c.tA, c.tB, c.m, c.n, c.k, 1, y[:c.a], c.lda, y[:c.b], c.ldb, 0, y[:c.c], c.ldc)
		})
	}
}

// NaN and infinities go where they meet something.
func TestGemmNotFinite(t *testing.T) {
	const n = 40
	a, b, c := make([]float64, n*n), make([]float64, n*n), make([]float64, n*n)
	a[3*n+2] = math.Inf(1) // times 0 is NaN
	Implementation{}.Dgemm(blas.NoTrans, blas.NoTrans, n, n, n, 1, a, n, b, n, 0, c, n)
	for i, v := range c {
		assert.Equal(t, i/n == 3, math.IsNaN(v))
	}
}

// FuzzGemm takes any sizes.
func FuzzGemm(f *testing.F) {
	f.Add(uint8(3), uint8(5), uint8(7), uint8(1), false, true)
	f.Add(uint8(0), uint8(5), uint8(70), uint8(0), true, true)
	f.Add(uint8(65), uint8(33), uint8(0), uint8(2), true, false)
	f.Fuzz(func(t *testing.T, m, n, k, pad uint8, transA, transB bool) {
		rng := rand.New(rand.NewPCG(uint64(m), uint64(n)))
		op := map[bool]blas.Transpose{false: blas.NoTrans, true: blas.Trans}
		matrix := func(r, c uint8, transposed bool) (data []float64, ld int) {
			if transposed {
				r, c = c, r
			}
			ld = max(1, int(c)) + int(pad%4)
			data = make([]float64, int(r)*ld)
			for i := range data {
				data[i] = rng.NormFloat64()
			}
			return data, ld
		}
		a, lda := matrix(m, k, transA)
		b, ldb := matrix(k, n, transB)
		want, ldc := matrix(m, n, false)
		got := slices.Clone(want)
		Implementation{}.Dgemm(op[transA], op[transB], int(m), int(n), int(k), 2, a, lda, b, ldb, -1, got, ldc)
		gonum.Implementation{}.Dgemm(op[transA], op[transB], int(m), int(n), int(k), 2, a, lda, b, ldb, -1, want, ldc)
		assert.InDeltaSlice(t, want, got, 1e-12) // sums of 255 products of order 1
	})
}

// BenchmarkSgemm takes the products of a stock convolution and of its gradients: 32 filters of
// 3x3 on 32 images of 32 channels and 16x16 pixels.
func BenchmarkSgemm(b *testing.B) {
	const pixels, taps, filters = 32 * 16 * 16, 288, 64
	rng := rand.New(rand.NewPCG(1, 2))
	random := func(n int) []float32 { // gonum skips zeros
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(rng.NormFloat64())
		}
		return x
	}
	x, w, y, c := random(pixels*taps), random(filters*taps), random(pixels*filters), make([]float32, pixels*taps)
	for name, f := range map[string]gemmer[float32]{"gonum": gonum.Implementation{}.Sgemm, "ours": Implementation{}.Sgemm} {
		for kind, product := range map[string]func(){
			"value":   func() { f(blas.NoTrans, blas.Trans, pixels, filters, taps, 1, x, taps, w, taps, 0, c, filters) },
			"images":  func() { f(blas.NoTrans, blas.NoTrans, pixels, taps, filters, 1, y, filters, w, taps, 0, c, taps) },
			"filters": func() { f(blas.Trans, blas.NoTrans, filters, taps, pixels, 1, y, filters, x, taps, 0, c, taps) },
		} {
			b.Run(kind+"/"+name, func(b *testing.B) {
				for b.Loop() {
					product()
				}
				b.ReportMetric(2*pixels*taps*filters*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package gemm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"

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
		{97, 5, 257}, {5, 97, 257}, {61, 35, maxDepth + 1}, {701, 3, 300}, {7, maxCols + 3, 19}, {29, 65, 130}, {64, 64, 100}, {1<<17 + 1, 1, 1}} {
		for mask := range 8 {
			betas := []float64{0, 1, -0.5}
			if testing.Short() || s[0]*s[1]*s[2] > 1<<17 {
				betas = betas[mask%3:][:1]
			}
			for _, beta := range betas {
				checkMul[T](t, rng, s, mask, 3, 1.5, beta)
				checkMul[T](t, rng, s, mask, 3, 1, beta)
			}
		}
	}
}

// checkMul multiplies matrices that are transposed as the bits of mask say, with rows
// that are longer in memory by pad.
func checkMul[T vec.Float](t *testing.T, rng *rand.Rand, s [3]int, mask, pad int, alpha, beta float64) {
	r, c, k := s[0], s[1], s[2]
	make2 := func(r, c int, transposed bool) Mat[T] {
		if transposed {
			return Mat[T]{random[T](rng, c*(r+pad)), r, c, 1, r + pad}
		}
		return Mat[T]{random[T](rng, r*(c+pad)), r, c, c + pad, 1}
	}
	a, b, m := make2(r, k, mask&1 != 0), make2(k, c, mask&2 != 0), make2(r, c, mask&4 != 0)
	before := append([]T(nil), m.Data...)
	if beta == 0 { // what was there must not matter
		for i := range r {
			for j := range c {
				m.Data[i*m.RS+j*m.CS] = T(math.NaN())
			}
		}
	}
	Mul(m, alpha, a, b, beta)
	inside := make([]bool, len(m.Data))
	column := make([]float64, k)
	for j := range c {
		for p := range column {
			column[p] = alpha * float64(b.At(p, j))
		}
		for i := range r {
			e := i*m.RS + j*m.CS
			inside[e] = true
			want, size := 0.0, 0.0
			for p, v := range column {
				v *= float64(a.Data[i*a.RS+p*a.CS])
				want += v
				size += math.Abs(v)
			}
			if beta != 0 {
				want += beta * float64(before[e])
				size += math.Abs(float64(before[e]))
			}
			// rounding of a sum of k products is at most (k+2) eps times the sum of their sizes
			if d := math.Abs(float64(m.Data[e]) - want); !(d <= float64(k+2)*vec.Eps[T]()*size) {
				t.Fatalf("%v mask %d beta %g: (%d,%d): want %g, got %g", s, mask, beta, i, j, want, m.Data[e])
			}
		}
	}
	for e, in := range inside {
		if !in && m.Data[e] != before[e] {
			t.Fatalf("%v mask %d: element %d outside the matrix was written", s, mask, e)
		}
	}
}

func TestMulPropagatesNonFinite(t *testing.T) {
	everyLevel(t, testMulPropagatesNonFinite[float32], testMulPropagatesNonFinite[float64])
}

func testMulPropagatesNonFinite[T vec.Float](t *testing.T) {
	for _, n := range []int{3, 17, 40} {
		a, b, c := make([]T, n*n), make([]T, n*n), make([]T, n*n)
		a[n] = T(math.Inf(1)) // times 0 is NaN in row 1
		Mul(Of(c, n, n), 1, Of(a, n, n), Of(b, n, n), 0)
		for e, v := range c {
			if isNaN := v != v; isNaN != (e/n == 1) {
				t.Fatalf("n = %d: element %d is %v", n, e, v)
			}
		}
	}
}

func TestMulRejectsShapes(t *testing.T) {
	x := make([]float64, 12)
	assert.Panics(t, func() { Mul(Of(x, 3, 4), 1, Of(x, 3, 4), Of(x, 3, 4), 0) })
}

func TestNoProductOverNothing(t *testing.T) {
	c := []float64{1, 2, 3, 4}
	Mul(Of(c, 2, 2), 1, Of([]float64{}, 2, 0), Of([]float64{}, 0, 2), 1)
	assert.Equal(t, []float64{1, 2, 3, 4}, c)
	Mul(Of(c, 2, 2), 1, Of([]float64{}, 2, 0), Of([]float64{}, 0, 2), 0)
	assert.Equal(t, make([]float64, 4), c)
	Mul(Of(c, 0, 0), 1, Of(c, 0, 2), Of(c, 2, 0), 0)
}

// General strides on every side, and a B that ends where its last element is.
func TestMulWithGeneralStrides(t *testing.T) {
	everyLevel(t, testMulWithGeneralStrides[float32], testMulWithGeneralStrides[float64])
}

func testMulWithGeneralStrides[T vec.Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 14))
	for _, s := range [][3]int{{1, 1, 1}, {5, 9, 30}, {40, 33, 20}} {
		for _, beta := range []float64{0, 1, 2} {
			m, n, k := s[0], s[1], s[2]
			a := Mat[T]{random[T](rng, 3*m*k*2), m, k, 2, 2*m + 1}
			b := Mat[T]{random[T](rng, 3*k*n*2), k, n, 2*n + 1, 2}
			c := Mat[T]{random[T](rng, 3*m*n*2), m, n, 2*n + 1, 2}
			before := append([]T(nil), c.Data...)
			Mul(c, -2, a, b, beta)
			for e, got := range c.Data {
				i, j := e/c.RS, e%c.RS/2
				if i >= m || j >= n || e%c.RS%2 != 0 {
					assert.Equal(t, before[e], got)
					continue
				}
				want, size := beta*float64(before[e]), math.Abs(beta*float64(before[e]))
				for p := range k {
					v := -2 * float64(a.At(i, p)) * float64(b.At(p, j))
					want, size = want+v, size+math.Abs(v)
				}
				assert.InDelta(t, want, float64(got), float64(k+2)*vec.Eps[T]()*size)
			}
		}
	}
}

// Sums are not divided, so that the bits are the same on any number of cores.
func TestCoresDoNotShow(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	everyLevel(t, testCoresDoNotShow[float32], testCoresDoNotShow[float64])
}

func testCoresDoNotShow[T vec.Float](t *testing.T) {
	const m, n, k = 150, 170, 300
	rng := rand.New(rand.NewPCG(15, 16))
	a, b := Of(random[T](rng, m*k), m, k), Of(random[T](rng, k*n), k, n)
	u := Of(random[T](rng, k*k), k, k)
	for i := range k {
		clear(u.Data[i*k:][:i])
	}
	products := map[string]func(c []T){
		"Mul":                        func(c []T) { Mul(Of(c, m, n), 0.7, a, b, 0) },
		"Mul, transposed":            func(c []T) { Mul(Of(c, n, m).T(), 0.7, a, b, 0) },
		"Gram":                       func(c []T) { Gram(Of(c, n, n), 0.7, b) },
		"Gram of rows":               func(c []T) { Gram(Of(c, m, m), 0.7, a.T()) },
		"MulUpper":                   func(c []T) { MulUpper(Of(c, m, k), a, u) },
		"MulUpper of a transposed":   func(c []T) { MulUpper(Of(c, n, k), b.T(), u) },
		"MulUpper into a transposed": func(c []T) { MulUpper(Of(c, k, n).T(), b.T(), u) },
	}
	for name, f := range products {
		one, many := make([]T, k*k), make([]T, k*k)
		runtime.GOMAXPROCS(1)
		f(one)
		for _, cores := range []int{2, 3, 4} {
			runtime.GOMAXPROCS(cores)
			clear(many)
			f(many)
			for e := range one {
				if one[e] != many[e] {
					t.Fatalf("%s, %d cores: element %d: want %v, got %v", name, cores, e, one[e], many[e])
				}
			}
		}
	}
}

func TestMulUpper(t *testing.T) { everyLevel(t, testMulUpper[float32], testMulUpper[float64]) }

func testMulUpper[T vec.Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(17, 18))
	for _, s := range [][2]int{{1, 1}, {3, 2}, {20, 16}, {7, 33}, {100, 64}, {9, maxDepth + 60}} {
		n, p := s[0], s[1]
		x, u := random[T](rng, n*p), Of(random[T](rng, p*p), p, p)
		for i := range p {
			clear(u.Data[i*p:][:i])
		}
		for mask := range 4 {
			view := func(data []T, transposed bool) Mat[T] {
				if transposed {
					return Of(data, p, n).T()
				}
				return Of(data, n, p)
			}
			a, want := view(x, mask&1 != 0), make([]T, n*p)
			got := random[T](rng, n*p)
			Mul(Of(want, n, p), 1, a, u, 0)
			c := view(got, mask&2 != 0)
			MulUpper(c, a, u)
			for i := range n {
				for j := range p { // no term but zeros is left out
					if want[i*p+j] != c.At(i, j) {
						t.Fatalf("%v mask %d: (%d,%d): want %v, got %v", s, mask, i, j, want[i*p+j], c.At(i, j))
					}
				}
			}
		}
	}
}

func TestProductsDoNotAllocate(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	x, g, u := random[float32](rand.New(rand.NewPCG(19, 20)), 64*576), make([]float32, 64*64), make([]float32, 64*64)
	y := make([]float32, 64*576)
	wide := Of(x, 64, 576)
	var panels Panels[float32]
	at := make([]int, 576)
	step := func() {
		Gram(Of(g, 64, 64), 1, wide.T())
		for i := range 64 {
			g[65*i] += 1000
		}
		if !Cholesky(g, 64) {
			t.Fatal("not positive definite")
		}
		InverseTransposed(u, g, 64)
		MulUpper(Of(y, 64, 576).T(), wide.T(), Of(u, 64, 64))
		Mul(Of(g, 64, 64), 1, wide, Of(y, 64, 576).T(), 0)
		panels.Pack(1, wide)
		MulPatches(Of(y, 64, 49), &panels, Patches[float32]{x, at, 7, 7, 9}, false)
	}
	step()
	assert.Zero(t, testing.AllocsPerRun(10, step))
}

func FuzzMul(f *testing.F) {
	f.Add(uint16(5), uint16(33), uint16(70), uint8(3), uint8(1))
	f.Add(uint16(14), uint16(64), uint16(300), uint8(0), uint8(0))
	defer func(l cpu.Level) { cpu.Use = l }(cpu.Use)
	f.Fuzz(func(t *testing.T, m, n, k uint16, mask, pad uint8) {
		s := [3]int{1 + int(m)%130, 1 + int(n)%130, 1 + int(k)%600}
		rng := rand.New(rand.NewPCG(uint64(m)<<32+uint64(n)<<16+uint64(k), uint64(mask)<<8+uint64(pad)))
		beta := []float64{0, 1, -0.5}[int(mask>>3)%3]
		for _, cpu.Use = range cpu.Levels() {
			checkMul[float32](t, rng, s, int(mask), int(pad%8), 1+float64(pad>>7), beta)
			checkMul[float64](t, rng, s, int(mask), int(pad%8), 1+float64(pad>>7), beta)
		}
	})
}

func BenchmarkMul(b *testing.B) {
	b.Run("float32", benchmarkMul[float32])
	b.Run("float64", benchmarkMul[float64])
}

func benchmarkMul[T vec.Float](b *testing.B) {
	for _, s := range [][3]int{
		{16, 144, 16}, {144, 16, 16}, {64, 64, 576}, {64, 576, 64}, {576, 64, 64}, {64, 3136, 576}, {128, 784, 1152}, {256, 196, 2304},
		{512, 512, 4608}, {512, 4608, 512}, {4608, 512, 512},
	} {
		b.Run(fmt.Sprint(s), func(b *testing.B) {
			x, y, z := make([]T, s[0]*s[2]), make([]T, s[2]*s[1]), make([]T, s[0]*s[1])
			for b.Loop() {
				Mul(Of(z, s[0], s[1]), 1, Of(x, s[0], s[2]), Of(y, s[2], s[1]), 0)
			}
			b.ReportMetric(2*float64(s[0]*s[1]*s[2])*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}

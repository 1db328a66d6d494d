// SPDX-License-Identifier: Apache-2.0

package lanes

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/internal/cpu"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// everywhere runs a test for both precisions, or for float32 if double is nil, at every level of the
// machine.
func everywhere(t *testing.T, single, double func(t *testing.T)) {
	defer func(l cpu.Level) { cpu.Use = l }(cpu.Use)
	for _, l := range cpu.Levels() {
		cpu.Use = l
		t.Run(fmt.Sprint(l, " float32"), single)
		if double != nil {
			t.Run(fmt.Sprint(l, " float64"), double)
		}
	}
}

func source(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

// guarded returns n random numbers at an odd offset among others that must not
// change, and a check that they have not.
func guarded[T vec.Float](rng *rand.Rand, n int) (inside []T, check func(t *testing.T)) {
	const guard = 20
	from := guard + rng.IntN(4)
	whole := make([]T, from+n+guard)
	for i := range whole {
		whole[i] = T(rng.NormFloat64())
	}
	before := slices.Clone(whole)
	return whole[from : from+n : from+n], func(t *testing.T) {
		t.Helper()
		assert.Equal(t, before[:from], whole[:from], "below")
		assert.Equal(t, before[from+n:], whole[from+n:], "above")
	}
}

func random[T vec.Float](rng *rand.Rand, n int) []T {
	x, _ := guarded[T](rng, n)
	return x
}

// near asserts equality to a relative tolerance, where NaN equals NaN.
func near[T vec.Float](t *testing.T, want, got []T, tol, size float64, what string) {
	t.Helper()
	require.Len(t, got, len(want))
	for i, w := range want {
		a, b := float64(w), float64(got[i])
		if !(math.Abs(a-b) <= tol*size) && !(a != a && b != b) && a != b {
			t.Fatalf("%s: element %d: want %g, got %g", what, i, a, b)
		}
	}
}

func TestLoadAndStore(t *testing.T) { everywhere(t, testLoad[float32], testLoad[float64]) }

func testLoad[T vec.Float](t *testing.T) {
	rng, w := source(1), Width[T]()
	for n := 1; n <= 70; n++ {
		for _, count := range []int{1, 2, w - 1, w} {
			src := random[T](rng, count*n)
			src[rng.IntN(len(src))] = T(math.Inf(1))
			dst, check := guarded[T](rng, n*w)
			Load(dst, src, n)
			check(t)
			for l := range w {
				for e := range n {
					if want, got := src[min(l, count-1)*n+e], dst[e*w+l]; got != want {
						t.Fatalf("n %d, lane %d, element %d: want %v, got %v", n, l, e, want, got)
					}
				}
			}
			back, check := guarded[T](rng, count*n)
			Store(back, dst, n)
			check(t)
			require.Equal(t, src, back, "n %d", n)
		}
	}
}

func TestTranspose(t *testing.T) { everywhere(t, testTranspose[float32], testTranspose[float64]) }

func testTranspose[T vec.Float](t *testing.T) {
	rng := source(2)
	for rows := 1; rows <= 40; rows++ {
		for cols := 1; cols <= 40; cols++ {
			src := random[T](rng, rows*cols)
			got, check := guarded[T](rng, rows*cols)
			want := make([]T, rows*cols)
			transposePortable(want, src, rows, cols)
			transpose(got, src, rows, cols)
			check(t)
			if !slices.Equal(want, got) {
				t.Fatalf("%d x %d: want %v, got %v", rows, cols, want, got)
			}
		}
	}
}

func TestLane(t *testing.T) {
	x := random[float32](source(3), 5*32)
	got := make([]float32, 5)
	Lane(got, x, 7)
	assert.Equal(t, []float32{x[7], x[39], x[71], x[103], x[135]}, got)
	want := slices.Clone(x)
	SetLane(x, []float32{1, 2, 3, 4, 5}, 31)
	for e := range 5 {
		want[e*32+31] = float32(e + 1)
	}
	assert.Equal(t, want, x)
}

func TestBorrow(t *testing.T) {
	for n := range 20 {
		lines, whole := Borrow[float64](n)
		assert.Len(t, lines, 16*n)
		scratch.Put(whole)
	}
}

// shapes calls f for matrices of up to Most rows and columns, and their transposes.
func shapes(f func(r, c int)) {
	for r := 1; r <= Most; r++ {
		for c := 1; c <= Most; c++ {
			f(r, c)
		}
	}
}

// either views lines as r x c, row-major or column-major.
func either[T vec.Float](lines []T, r, c int, transposed bool) Mat[T] {
	if transposed {
		return Of(lines, c, r).T()
	}
	return Of(lines, r, c)
}

// denormal makes the numbers of x denormal, and returns the distance between such numbers.
func denormal[T vec.Float](x []T) (least float64) {
	least = math.SmallestNonzeroFloat64
	if !vec.Double[T]() {
		least = math.SmallestNonzeroFloat32
	}
	for i, v := range x {
		x[i] = v * T(least) * (1 << 16)
	}
	return least
}

func TestMul(t *testing.T) { everywhere(t, testMul[float32], testMul[float64]) }

func testMul[T vec.Float](t *testing.T) {
	rng, w := source(4), Width[T]()
	shapes(func(r, c int) {
		k := 1 + rng.IntN(Most)
		for mask := range 8 {
			beta := []float64{0, 1, -0.5}[rng.IntN(3)]
			x, y := random[T](rng, r*k*w), random[T](rng, k*c*w)
			x[rng.IntN(len(x))] = T(math.NaN())
			y[rng.IntN(len(y))] = T(math.Inf(-1))
			z, check := guarded[T](rng, r*c*w)
			want := slices.Clone(z)
			if beta == 0 {
				z[0] = T(math.NaN())
			}
			a, b := either(x, r, k, mask&1 != 0), either(y, k, c, mask&2 != 0)
			productPortable(either(want, r, c, mask&4 != 0), 0.75, a, b, T(beta))
			Mul(either(z, r, c, mask&4 != 0), 0.75, a, b, beta)
			check(t)
			// a sum of k products of numbers of size 4 or less
			near(t, want, z, 8*float64(k)*vec.Eps[T](), 16, fmt.Sprint(r, c, k, mask, beta))
			least := denormal(x)
			productPortable(either(want, r, c, mask&4 != 0), 0.75, a, b, 0)
			Mul(either(z, r, c, mask&4 != 0), 0.75, a, b, 0)
			near(t, want, z, float64(k)+1, least, fmt.Sprint("denormal ", r, c, k, mask))
		}
	})
}

// TestMulIsTheProduct compares productPortable with the definition of the product.
func TestMulIsTheProduct(t *testing.T) {
	rng := source(5)
	x, y, z := random[float64](rng, 6*16), random[float64](rng, 12*16), make([]float64, 8*16)
	a, b, c := Of(x, 2, 3), Of(y, 4, 3).T(), Of(z, 2, 4)
	productPortable(c, 2, a, b, 0)
	for l := range 16 {
		for i := range 2 {
			for j := range 4 {
				s := 0.0
				for k := range 3 {
					s += x[(3*i+k)*16+l] * y[(3*j+k)*16+l]
				}
				assert.InDelta(t, 2*s, z[(4*i+j)*16+l], 1e-14)
			}
		}
	}
}

func TestSymmetrize(t *testing.T) { everywhere(t, testSymmetrize[float32], testSymmetrize[float64]) }

func testSymmetrize[T vec.Float](t *testing.T) {
	rng, w := source(6), Width[T]()
	for q := 1; q <= Most; q++ {
		s, check := guarded[T](rng, q*q*w)
		before := slices.Clone(s)
		Symmetrize(s, q)
		check(t)
		for i := range q {
			for j := range q {
				for l := range w {
					want := (before[(i*q+j)*w+l] + before[(j*q+i)*w+l]) / 2
					require.Equal(t, want, s[(i*q+j)*w+l])
				}
			}
		}
	}
}

// TestOrthonormal: Cholesky and Solve replace Y by Q with orthonormal columns, where Q times the
// factor is the old Y.
func TestOrthonormal(t *testing.T) { everywhere(t, testOrthonormal[float32], testOrthonormal[float64]) }

func testOrthonormal[T vec.Float](t *testing.T) {
	rng, w := source(7), Width[T]()
	shapes(func(n, q int) {
		if n < q {
			return
		}
		for _, transposed := range []bool{false, true} {
			lines, check := guarded[T](rng, n*q*w)
			y := either(lines, n, q, transposed)
			for i := range q { // of full rank
				for l := range w {
					y.line(i, i)[l] += 8
				}
			}
			before := slices.Clone(lines)
			g, checkG := guarded[T](rng, q*q*w)
			Mul(Of(g, q, q), 1, y.T(), y, 0)
			for l := range g {
				if l%w == 3 {
					g[l] = T(math.NaN())
				}
			}
			upper := slices.Clone(g)
			good := Cholesky(g, q, float64(q)*vec.Eps[T](), 1e4)
			assert.Equal(t, uint32(1<<w-1)&^8, good)
			for i := range q {
				for j := i + 1; j < q; j++ {
					e := (i*q + j) * w
					near(t, upper[e:e+w], g[e:e+w], 0, 0, "above the diagonal")
				}
			}
			Solve(y, g)
			check(t)
			checkG(t)
			gram := make([]T, q*q*w)
			Mul(Of(gram, q, q), 1, y.T(), y, 0)
			again := either(before, n, q, transposed)
			for l := range w {
				if l == 3 {
					assert.True(t, math.IsNaN(float64(lines[l])))
					continue
				}
				for i := range q {
					for j := range q {
						want := 0.0
						if i == j {
							want = 1
						}
						assert.InDelta(t, want, float64(gram[(i*q+j)*w+l]), 100*vec.Eps[T](), "%d x %d", n, q)
					}
				}
				// Y L^T, as far as the first column
				for i := range n {
					assert.InDelta(t, float64(again.line(i, 0)[l]), float64(y.line(i, 0)[l]/g[l]), 200*vec.Eps[T]())
				}
			}
		}
	})
}

func TestCholeskyRefuses(t *testing.T) { everywhere(t, testRefuses[float32], testRefuses[float64]) }

func testRefuses[T vec.Float](t *testing.T) {
	w, nan, inf := Width[T](), T(math.NaN()), T(math.Inf(1))
	bad := [][4]T{{1, 2, 2, 1}, {0, 0, 0, 0}, {nan, 0, 0, 1}, {1, 0, 0, nan}, {inf, 0, 0, 1}, {1, 0, inf, 1}, {-1, 0, 0, 1}, {4, 0, 0, 4}, {1, 0, 1, 1}}
	g := make([]T, 4*w)
	for l := range w {
		SetLane(g, []T{1, 0, 0.5, 2}, l)
	}
	want := uint32(1<<w - 1)
	for i, b := range bad {
		SetLane(g, b[:], i+2)
		want &^= 1 << (i + 2)
	}
	assert.Equal(t, fmt.Sprintf("%b", want), fmt.Sprintf("%b", Cholesky(g, 2, 2*vec.Eps[T](), 7)))
}

func TestAdvance(t *testing.T) { everywhere(t, testAdvance[float32], testAdvance[float64]) }

func testAdvance[T vec.Float](t *testing.T) {
	rng, w := source(8), Width[T]()
	for n := 1; n <= 70; n++ {
		x, v, f := random[T](rng, n*w), random[T](rng, n*w), random[T](rng, w)
		y, check := guarded[T](rng, n*w)
		want := make([]T, n*w)
		x[rng.IntN(len(x))] = T(math.NaN())
		advancePortable(want, x, f, v)
		Advance(y, x, f, v)
		check(t)
		near(t, want, y, vec.Eps[T](), 16, fmt.Sprint(n))
		least := denormal(x)
		denormal(v)
		advancePortable(want, x, f, v)
		Advance(y, x, f, v)
		near(t, want, y, 2, least, fmt.Sprint("denormal ", n))
		Advance(x, x, f, v)
		near(t, y, x, 0, 0, "in place")
	}
}

func TestDots(t *testing.T) { everywhere(t, testDots[float32], testDots[float64]) }

func testDots[T vec.Float](t *testing.T) {
	rng, w := source(9), Width[T]()
	for n := 1; n <= 70; n++ {
		u, v := random[T](rng, n*w), random[T](rng, n*w)
		u[rng.IntN(len(u))] = T(math.NaN())
		if Width[T]() == mostLanes { // their squares are no float32
			scale := func(x []T) {
				for e := range x {
					if e%w == 2 {
						x[e] *= 1e-30
					}
				}
			}
			scale(u)
			scale(v)
		}
		out, check := guarded[float64](rng, w)
		want := make([]float64, w)
		dotsPortable(want, u, v)
		Dots(out, u, v)
		check(t)
		near(t, want[:2], out[:2], 0x1p-52*float64(n), float64(16*n), fmt.Sprint(n))
		near(t, want[2:3], out[2:3], 0x1p-52*float64(n), 1e-60*float64(16*n)+float64(16*n)*float64(w/mostLanes^1), fmt.Sprint(n))
		near(t, want[3:], out[3:], 0x1p-52*float64(n), float64(16*n), fmt.Sprint(n))
	}
}

func TestPanics(t *testing.T) {
	x, wide := make([]float32, 4*32), make([]float32, (Most+1)*32)
	for name, f := range map[string]func(){
		"product of other shapes": func() { Mul(Of(x, 2, 2), 1, Of(x, 2, 1), Of(x, 2, 2), 0) },
		"too many columns":        func() { Mul(Of(wide, 1, Most+1), 1, Of(x, 1, 1), Of(wide, 1, Most+1), 0) },
		"short lines":             func() { Mul(Of(x, 2, 2), 1, Of(x[1:], 2, 2), Of(x, 2, 2), 0) },
		"short square":            func() { Symmetrize(x, 3) },
		"short Gram matrix":       func() { Cholesky(x, 3, 0, 1) },
		"short factor":            func() { Solve(Of(x, 1, 4), x) },
		"factors of other width":  func() { Advance(x, x, x[:31], x) },
		"sums of other width":     func() { Dots(make([]float64, 31), x, x) },
		"no lines":                func() { Dots(make([]float64, 32), x[:0], x[:0]) },
	} {
		assert.Panics(t, f, name)
	}
}

// FuzzTranspose takes any shape, seed and offset.
func FuzzTranspose(f *testing.F) {
	f.Add(uint8(9), uint8(32), uint64(1))
	f.Add(uint8(16), uint8(25), uint64(2))
	f.Fuzz(func(t *testing.T, rows, cols uint8, seed uint64) {
		if rows == 0 || cols == 0 {
			return
		}
		defer func(l cpu.Level) { cpu.Use = l }(cpu.Use)
		r, c, rng := int(rows), int(cols), source(seed)
		src := random[float32](rng, r*c)
		want := make([]float32, r*c)
		transposePortable(want, src, r, c)
		for _, l := range cpu.Levels() {
			cpu.Use = l
			got, check := guarded[float32](rng, r*c)
			transpose(got, src, r, c)
			check(t)
			assert.Equal(t, want, got)
		}
	})
}

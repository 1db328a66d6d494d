// SPDX-License-Identifier: Apache-2.0

package vec

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/internal/cpu"
)

// trial is a kernel with the lengths of its arguments, in multiples of n.
type trial[T Float] struct {
	name    string
	out, in []int
	run     func(out, in [][]T) []float64
}

func trials[T Float]() []trial[T] {
	return []trial[T]{
		{"Dot", nil, []int{1, 1}, func(_, x [][]T) []float64 { return []float64{Dot(x[0], x[1])} }},
		{"Sum", nil, []int{1}, func(_, x [][]T) []float64 { return []float64{Sum(x[0])} }},
		{"DotShift", nil, []int{1, 1}, func(_, x [][]T) []float64 {
			sum, dot := DotShift(x[0], x[1], 0.3)
			return []float64{sum, dot}
		}},
		{"SquareShift", nil, []int{1}, func(_, x [][]T) []float64 { return []float64{SquareShift(x[0], 0.3)} }},
		{"MaxAbs", nil, []int{1}, func(_, x [][]T) []float64 { return []float64{MaxAbs(x[0])} }},
		{"Norm", nil, []int{1}, func(_, x [][]T) []float64 { return []float64{Norm(x[0])} }},
		{"Scale", []int{1}, []int{1}, func(y, x [][]T) []float64 { Scale(y[0], -0.7, x[0]); return nil }},
		{"Shift", []int{1}, []int{1}, func(y, x [][]T) []float64 { Shift(y[0], x[0], 0.3); return nil }},
		{"Affine", []int{1}, []int{1}, func(y, x [][]T) []float64 { Affine(y[0], x[0], 0.9, 0.3); return nil }},
		{"Combine", []int{1}, []int{1, 1}, func(y, x [][]T) []float64 { Combine(y[0], 0.9, x[0], -1.1, x[1]); return nil }},
		{"Affine2", []int{1}, []int{1, 1}, func(y, x [][]T) []float64 { Affine2(y[0], 0.9, x[0], -1.1, x[1], 0.3); return nil }},
		{"Add", []int{1}, []int{1, 1}, func(y, x [][]T) []float64 { copy(y[0], x[0]); Add(y[0], x[1]); return nil }},
		{"in place", []int{1}, []int{1}, func(y, x [][]T) []float64 { copy(y[0], x[0]); Affine(y[0], y[0], 0.9, 0.3); return nil }},
		{"Rectify", []int{1}, []int{1}, func(y, x [][]T) []float64 { Rectify(y[0], x[0]); return nil }},
		{"RectifyBack", []int{1}, []int{1, 1}, func(y, x [][]T) []float64 { RectifyBack(y[0], x[0], x[1]); return nil }},
		{"RectifyTo", []int{1}, []int{1}, func(y, x [][]T) []float64 { RectifyTo(y[0], x[0], 0.5); return nil }},
		{"Taps", []int{1}, []int{4, 1, 1}, func(y, x [][]T) []float64 {
			w := []T{0.3, -0.7, 1.1, 0.9, -1.3, 0.4, 2.1, -0.6, 0.8}
			if n := len(y[0]); n > 0 {
				rows := append(append(append([]T{}, x[0]...), x[1]...), x[2]...)
				Taps(y[0], rows[:n+2], rows[n:2*n+2], rows[2*n:3*n+2], w)
			}
			return nil
		}},
		{"MaxPairs", []int{1}, []int{2, 2}, func(y, x [][]T) []float64 { MaxPairs(y[0], x[0], x[1]); return nil }},
		{"MaxPairsBack", []int{2, 2}, []int{2, 2, 1}, func(y, x [][]T) []float64 {
			top := make([]T, len(x[2]))
			MaxPairs(top, x[0], x[1])
			MaxPairsBack(y[0], y[1], x[0], x[1], top, x[2])
			return nil
		}},
	}
}

// guard stands before and after what a kernel may write.
const guard = 7777

// slice returns n elements, offset elements behind the start of an array, and the array.
func slice[T Float](n, offset int) (x, all []T) {
	all = make([]T, offset+n+5)
	for i := range all {
		all[i] = guard
	}
	return all[offset : offset+n : offset+n], all
}

// fill sets x to random numbers, of which some are 0 or equal to the number before; with odd, some
// are not finite.
func fill[T Float](rng *rand.Rand, x []T, odd bool) {
	for i := range x {
		x[i] = T(rng.NormFloat64())
		switch {
		case rng.IntN(7) == 0:
			x[i] = 0
		case rng.IntN(7) == 0 && i > 0:
			x[i] = x[i-1]
		case odd && rng.IntN(5) == 0:
			x[i] = T([]float64{math.NaN(), math.Inf(1), math.Inf(-1), math.Copysign(0, -1)}[rng.IntN(4)])
		}
	}
}

// TestLevels compares the kernels of every level with the portable ones: sums within
// their rounding, everything else exactly.
func TestLevels(t *testing.T) {
	t.Run("float32", testLevels[float32])
	t.Run("float64", testLevels[float64])
}

func testLevels[T Float](t *testing.T) {
	defer func(old cpu.Level) { cpu.Use = old }(cpu.Use)
	rng := rand.New(rand.NewPCG(3, 4))
	lengths := []int{127, 128, 129, 1000, 1023}
	for n := range 71 {
		lengths = append(lengths, n)
	}
	for _, trial := range trials[T]() {
		for _, n := range lengths {
			for offset := range 4 {
				compare(t, rng, trial, n, offset, offset == 3)
			}
		}
	}
}

func compare[T Float](t *testing.T, rng *rand.Rand, trial trial[T], n, offset int, odd bool) {
	in := make([][]T, len(trial.in))
	for i, k := range trial.in {
		in[i], _ = slice[T](k*n, offset)
		fill(rng, in[i], odd)
	}
	var outs [][]T
	var sums []float64
	for _, level := range cpu.Levels() {
		cpu.Use = level
		out, all := make([][]T, len(trial.out)), make([][]T, len(trial.out))
		for i, k := range trial.out {
			out[i], all[i] = slice[T](k*n, offset)
		}
		s := trial.run(out, in)
		if level == cpu.Portable {
			outs, sums = all, s
			continue
		}
		name := fmt.Sprint(trial.name, " ", level, " n=", n, " offset=", offset)
		for i := range all {
			require.True(t, same(outs[i], all[i]), "%s: want %v, got %v", name, outs[i], all[i])
		}
		for i := range s {
			// n additions in another order, each rounding a sum of at most about n or, where all terms are
			// positive, the result.
			tol := 0x1p-52 * math.Sqrt(float64(n+1)) * max(float64(n+1), min(math.Abs(sums[i]), math.MaxFloat64))
			equal := s[i] == sums[i] || math.Abs(s[i]-sums[i]) <= tol || math.IsNaN(s[i]) && math.IsNaN(sums[i])
			require.True(t, equal, "%s: want %v, got %v", name, sums[i], s[i])
		}
	}
}

// same compares with NaN equal to NaN, and the zeros too.
func same[T Float](a, b []T) bool {
	for i := range a {
		if a[i] != b[i] && (a[i] == a[i] || b[i] == b[i]) {
			return false
		}
	}
	return len(a) == len(b)
}

// FuzzLevels takes the kernel, the length and the offset.
func FuzzLevels(f *testing.F) {
	f.Add(0, 17, 1, uint64(1))
	f.Fuzz(func(t *testing.T, kernel, n, offset int, seed uint64) {
		defer func(old cpu.Level) { cpu.Use = old }(cpu.Use)
		all := trials[float32]()
		if kernel < 0 || kernel >= len(all) || n < 0 || n > 5000 || offset < 0 || offset > 64 {
			t.Skip()
		}
		compare(t, rand.New(rand.NewPCG(seed, 1)), all[kernel], n, offset, seed%2 == 0)
		compare(t, rand.New(rand.NewPCG(seed, 2)), trials[float64]()[kernel], n, offset, seed%2 == 0)
	})
}

// TestNodeKernels compares with the definitions.
func TestNodeKernels(t *testing.T) {
	nan := float32(math.NaN())
	for _, level := range cpu.Levels() {
		func() {
			defer func(old cpu.Level) { cpu.Use = old }(cpu.Use)
			cpu.Use = level
			x := []float32{-1, 0, 2, -3, 4, -5, 6, -7, 8, 1, -1, 2, -2, 3, -3, 4, -4}
			y := make([]float32, len(x))
			Rectify(y, x)
			assert.Equal(t, []float32{0, 0, 2, 0, 4, 0, 6, 0, 8, 1, 0, 2, 0, 3, 0, 4, 0}, y)
			Rectify(y[:1], []float32{nan})
			assert.True(t, y[0] != y[0])
			RectifyTo(y, x, 2.5)
			assert.Equal(t, []float32{0, 0, 2, 0, 2.5, 0, 2.5, 0, 2.5, 1, 0, 2, 0, 2.5, 0, 2.5, 0}, y)
			RectifyTo(y[:1], []float32{nan}, 6)
			assert.True(t, y[0] != y[0])
			RectifyBack(y[:3], []float32{1, -1, 0}, []float32{5, 6, 7})
			assert.Equal(t, []float32{5, 0, 0}, y[:3])

			// At a tie the gradient goes to the first element, and at a NaN nowhere.
			r0 := []float32{1, 2, 3, 3, 0, 0, nan, 1, -5, -4}
			r1 := []float32{0, 1, 3, 3, 0, 7, 1, 1, -3, -3}
			top, g := make([]float32, 5), []float32{10, 20, 30, 40, 50}
			MaxPairs(top, r0, r1)
			assert.Equal(t, []float32{2, 3, 7}, top[:3])
			assert.True(t, top[3] != top[3])
			assert.Equal(t, float32(-3), top[4])
			d0, d1 := make([]float32, 10), make([]float32, 10)
			MaxPairsBack(d0, d1, r0, r1, top, g)
			assert.Equal(t, []float32{0, 10, 20, 0, 0, 0, 0, 0, 0, 0}, d0)
			assert.Equal(t, []float32{0, 0, 0, 0, 0, 30, 0, 0, 50, 0}, d1)

			sum, dot := DotShift([]float64{1, 2, 3}, []float64{4, 5, 6}, 2)
			assert.Equal(t, 15.0, sum)
			assert.Equal(t, 2.0, dot)
			assert.Equal(t, 2.0, SquareShift([]float64{1, 2, 3}, 2))
			Scale(y[:1], 1, []float32{float32(math.Copysign(0, -1))})
			assert.True(t, math.Signbit(float64(y[0])))
		}()
	}
}

func BenchmarkDot(b *testing.B) {
	x := make([]float32, 11_166_912) // the convolutions of ResNet-18
	for _, level := range cpu.Levels() {
		b.Run(level.String(), func(b *testing.B) {
			defer func(old cpu.Level) { cpu.Use = old }(cpu.Use)
			cpu.Use = level
			b.SetBytes(int64(4 * len(x)))
			for b.Loop() {
				Dot(x, x)
			}
		})
	}
}

// SPDX-License-Identifier: Apache-2.0

package gemm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/kernelfold/kernelfold/internal/vec"
)

func TestMulPatches(t *testing.T) { everyLevel(t, testMulPatches[float32], testMulPatches[float64]) }

func testMulPatches[T vec.Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	for _, s := range [][4]int{ // rows of A, rows, width and pitch of the image
		{1, 1, 1, 3}, {5, 2, 1, 3}, {16, 4, 4, 6}, {14, 7, 4, 6}, {15, 3, 2, 4}, {6, 4, 2, 2}, {7, 8, 8, 10}, {13, 5, 8, 10},
		{3, 9, 8, 11}, {29, 6, 16, 18}, {9, 5, 16, 17}, {33, 3, 32, 34}, {2, 2, 64, 66}, {20, 7, 7, 9}, {12, 14, 14, 16},
		{11, 3, 28, 30}, {8, 2, 33, 40}, {10, 1, 49, 49}, {4, 3, 5, 5}, {17, 2, 20, 100}, {64, 6, 1, 1},
	} {
		for _, taps := range []int{1, 2, 9, 30} {
			checkPatches[T](t, rng, s[0], s[1], s[2], s[3], taps)
		}
	}
}

func checkPatches[T vec.Float](t *testing.T, rng *rand.Rand, r, rows, width, pitch, taps int) {
	nan := T(math.NaN())
	b := Patches[T]{Rows: rows, Width: width, Pitch: pitch, At: make([]int, taps)}
	end := 0
	for k := range b.At {
		b.At[k] = rng.IntN(3*pitch + 5)
		end = max(end, b.At[k]+(rows-1)*pitch+width)
	}
	b.Data = random[T](rng, end+Slack)
	inside := make([]bool, len(b.Data))
	for _, at := range b.At {
		for j := range rows * width {
			inside[at+j/width*pitch+j%width] = true
		}
	}
	for i, in := range inside { // what is not in a patch must not matter
		if !in {
			b.Data[i] = nan
		}
	}
	a := Of(random[T](rng, r*taps), r, taps)
	var panels Panels[T]
	panels.Pack(1.5, a)
	scaled := Of(make([]T, r*taps), r, taps)
	for i, v := range a.Data {
		scaled.Data[i] = 1.5 * v
	}
	var viewed Panels[T]
	viewed.View(scaled.Data, r, taps)
	ld := rows*width + 3
	for _, add := range []bool{false, true} {
		data := random[T](rng, r*ld+5)
		before := append([]T(nil), data...)
		same := append([]T(nil), data...)
		MulPatches(Mat[T]{data[2:], r, rows * width, ld, 1}, &panels, b, add)
		MulPatches(Mat[T]{same[2:], r, rows * width, ld, 1}, &viewed, b, add)
		if !slices.Equal(data, same) {
			t.Fatalf("%d rows, image %d x %d of pitch %d, %d taps, add %v: a view of the matrix gives other bits than packed panels", r, rows, width, pitch, taps, add)
		}
		for e, got := range data {
			i, j := (e-2)/ld, (e-2)%ld
			if e < 2 || i >= r || j >= rows*width {
				if got != before[e] {
					t.Fatalf("element %d outside the matrix was written", e)
				}
				continue
			}
			want, size := 0.0, 0.0
			for k, at := range b.At {
				v := 1.5 * float64(a.At(i, k)) * float64(b.Data[at+j/width*pitch+j%width])
				want, size = want+v, size+math.Abs(v)
			}
			if add {
				want, size = want+float64(before[e]), size+math.Abs(float64(before[e]))
			}
			// rounding of a sum of taps products is at most (taps+2) eps times the sum of their sizes
			if d := math.Abs(float64(got) - want); !(d <= float64(taps+2)*vec.Eps[T]()*size) {
				t.Fatalf("%d rows, image %d x %d of pitch %d, %d taps, add %v: (%d,%d): want %g, got %g",
					r, rows, width, pitch, taps, add, i, j, want, got)
			}
		}
	}
}

func BenchmarkMulPatches(b *testing.B) {
	for _, s := range [][3]int{{3, 32, 32}, {32, 64, 16}, {64, 128, 8}, {16, 16, 32}, {32, 32, 16}, {64, 64, 8},
		{64, 64, 56}, {128, 128, 28}, {256, 256, 14}, {512, 512, 7}} {
		channels, filters, side := s[0], s[1], s[2]
		b.Run(fmt.Sprint(s), func(b *testing.B) {
			pitch := side + 2
			p := Patches[float32]{make([]float32, channels*pitch*pitch+Slack), nil, side, side, pitch}
			for c := range channels {
				for k := range 9 {
					p.At = append(p.At, c*pitch*pitch+k/3*pitch+k%3)
				}
			}
			var a Panels[float32]
			a.Pack(1, Of(make([]float32, filters*len(p.At)), filters, len(p.At)))
			c := Of(make([]float32, filters*side*side), filters, side*side)
			for b.Loop() {
				MulPatches(c, &a, p, false)
			}
			b.ReportMetric(2*float64(filters*side*side*len(p.At))*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}

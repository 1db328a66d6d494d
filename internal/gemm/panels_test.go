// SPDX-License-Identifier: Apache-2.0

package gemm

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/kernelfold/kernelfold/internal/vec"
)

func TestMulPanels(t *testing.T) { everyLevel(t, testMulPanels[float32], testMulPanels[float64]) }

func testMulPanels[T vec.Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(41, 42))
	width := PanelWidth[T]()
	for _, s := range [][3]int{{1, 1, 1}, {14, 16, 32}, {15, 16, 16}, {64, 33, 48}, {29, 7, 65}, {3, maxDepth + 5, 5}, {6, 2 * maxDepth, 31}} {
		r, k, c := s[0], s[1], s[2]
		lda, ldc := k+rng.IntN(3), c+rng.IntN(3)
		a := Mat[T]{random[T](rng, r*lda), r, k, lda, 1}
		b, panels := Of(random[T](rng, k*c), k, c), make([]T, ceil(c, width)*width*k)
		for i := range panels {
			panels[i] = T(math.NaN()) // what lies beyond the columns must not matter
		}
		for i := range k {
			for j := range c {
				panels[j/width*width*k+i*width+j%width] = b.At(i, j)
			}
		}
		data := random[T](rng, 2+r*ldc)
		before := append([]T(nil), data...)
		MulPanels(Mat[T]{data[2:], r, c, ldc, 1}, a, panels)
		for e, got := range data {
			i, j := (e-2)/ldc, (e-2)%ldc
			if e < 2 || i >= r || j >= c {
				if got != before[e] {
					t.Fatalf("%v: element %d outside the matrix was written", s, e)
				}
				continue
			}
			want, size := 0.0, 0.0
			for p := range k {
				v := float64(a.At(i, p)) * float64(b.At(p, j))
				want, size = want+v, size+math.Abs(v)
			}
			if d := math.Abs(float64(got) - want); !(d <= float64(k+2)*vec.Eps[T]()*size) {
				t.Fatalf("%v: (%d,%d): want %v, got %v", s, i, j, want, got)
			}
		}
	}
}

// A row of the product has the same bits whichever rows are multiplied with it.
func TestMulPanelsRows(t *testing.T) {
	everyLevel(t, testMulPanelsRows[float32], testMulPanelsRows[float64])
}

func testMulPanelsRows[T vec.Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(43, 44))
	const r, k, c = 31, 40, 48
	a, b := Of(random[T](rng, r*k), r, k), random[T](rng, ceil(c, PanelWidth[T]())*PanelWidth[T]()*k)
	whole := Of(make([]T, r*c), r, c)
	MulPanels(whole, a, b)
	for from := 0; from < r; {
		n := min(r-from, 1+rng.IntN(9))
		part := Of(make([]T, n*c), n, c)
		MulPanels(part, a.Sub(from, 0, n, k), b)
		for i, v := range part.Data {
			if v != whole.Data[from*c+i] {
				t.Fatalf("row %d: want %v, got %v", from+i/c, whole.Data[from*c+i], v)
			}
		}
		from += n
	}
}

func TestTranspose(t *testing.T) { everyLevel(t, testTranspose[float32], testTranspose[float64]) }

func testTranspose[T vec.Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(45, 46))
	for r := 1; r <= 40; r += 1 + r/9 {
		for c := 1; c <= 40; c += 1 + c/9 {
			for _, far := range []int{0, 100} { // how far apart the rows of the result are
				offset, stride, ld := rng.IntN(4), r+rng.IntN(3)+far, c+rng.IntN(3)+(100-far)/2
				src := random[T](rng, offset+(r-1)*ld+c)[offset:]
				dst := random[T](rng, offset+(c-1)*stride+r+5)
				before := append([]T(nil), dst...)
				Transpose(dst[offset:offset+(c-1)*stride+r], stride, src, ld, r, c)
				for e, got := range dst {
					want := before[e]
					if i, j := (e-offset)/stride, (e-offset)%stride; e >= offset && i < c && j < r {
						want = src[j*ld+i]
					}
					if got != want {
						t.Fatalf("%d x %d, strides %d and %d: element %d: want %v, got %v", r, c, stride, ld, e, want, got)
					}
				}
			}
		}
	}
}

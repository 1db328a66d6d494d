// SPDX-License-Identifier: Apache-2.0

package gemm

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/kernelfold/kernelfold/internal/vec"
)

// The kernel of every level is compared with the portable one, element by element of
// every tile that it may be given, and so is packing.
func TestTiles(t *testing.T) { everyLevel(t, testTiles[float32], testTiles[float64]) }

func testTiles[T vec.Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(31, 32))
	width := tileWidth[T]()
	for rows := 1; rows <= tileHeight[T](); rows++ {
		for cols := 1; cols <= width; cols++ {
			for _, k := range []int{1, 2, 3, 4, 5, 8, 11, 70} {
				for mode := range 4 {
					offset, rs, cs, ldc, step := rng.IntN(4), 1, rows+rng.IntN(3), cols+rng.IntN(3), width/2+rng.IntN(3)
					if k%2 == 0 {
						rs, cs = k+1, 1
					}
					pieces := 2
					if mode&modeQuarters != 0 {
						pieces, step = 4, width/4+rng.IntN(3)
					}
					a := random[T](rng, offset+k*cs+rows*rs)[offset:]
					at, b := make([]int, k), random[T](rng, offset+(k+1)*width+4*step)[offset:]
					for p := range at {
						at[p] = rng.IntN(k*width + 1)
					}
					c := random[T](rng, offset+rows*ldc+8)[offset:]
					got := append([]T(nil), c...)
					tile(rows, cols, a, rs, cs, b, at, step, got, ldc, mode)
					for e, v := range got {
						i, j := e/ldc, e%ldc
						if i >= rows || j >= cols {
							if v != c[e] {
								t.Fatalf("%d x %d x %d mode %d: element %d outside the tile was written", rows, cols, k, mode, e)
							}
							continue
						}
						want, size := 0.0, 0.0
						if mode&modeAdd != 0 {
							want, size = float64(c[e]), math.Abs(float64(c[e]))
						}
						piece := width / pieces
						for p, o := range at {
							x := float64(a[i*rs+p*cs]) * float64(b[o+j/piece*step+j%piece])
							want, size = want+x, size+math.Abs(x)
						}
						if d := math.Abs(float64(v) - want); !(d <= float64(k+2)*vec.Eps[T]()*size) {
							t.Fatalf("%d x %d x %d mode %d: (%d,%d): want %g, got %g", rows, cols, k, mode, i, j, want, v)
						}
					}
				}
			}
		}
	}
}

func TestPack(t *testing.T) { everyLevel(t, testPack[float32], testPack[float64]) }

func testPack[T vec.Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(33, 34))
	most := max(tileWidth[T](), tileHeight[T]())
	for cols := 1; cols <= most; cols++ {
		for k := 1; k <= 70; k += 1 + k/20 {
			for kind := range 3 {
				ld, offset := 0, rng.IntN(4)
				var b Mat[T]
				switch kind {
				case 0:
					ld = cols + rng.IntN(3)
					b = Mat[T]{random[T](rng, offset+k*ld)[offset:][:(k-1)*ld+cols], k, cols, ld, 1}
				case 1:
					ld = k + rng.IntN(3)
					b = Mat[T]{random[T](rng, offset+cols*ld)[offset:][:(cols-1)*ld+k], k, cols, 1, ld}
				case 2:
					b = Mat[T]{random[T](rng, 2*k*cols+k), k, cols, 2*cols + 1, 2}
				}
				stride := cols + rng.IntN(2)*(most-cols)
				dst := random[T](rng, offset+k*stride+slack+8)
				before := append([]T(nil), dst...)
				pack(dst[offset:], stride, b, -1.5)
				for e, got := range dst {
					if e < offset || e >= offset+k*stride+slack {
						if got != before[e] {
							t.Fatalf("%d columns of %d, kind %d: element %d was written", cols, k, kind, e)
						}
						continue
					}
					p, j := (e-offset)/stride, (e-offset)%stride
					if p < k && j < cols && got != -1.5*b.At(p, j) {
						t.Fatalf("%d columns of %d, kind %d: (%d,%d): want %v, got %v", cols, k, kind, p, j, -1.5*b.At(p, j), got)
					}
				}
			}
		}
	}
}

func TestEliminate(t *testing.T) { everyLevel(t, testEliminate[float32], testEliminate[float64]) }

func testEliminate[T vec.Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(35, 36))
	for n := 1; n <= leaf; n++ {
		a, g := random[T](rng, n*n), make([]T, n*n)
		Gram(Of(g, n, n), 1, Of(a, n, n))
		var l, v [leaf * leaf]T
		for i := range n {
			g[i*n+i] += T(n)
			v[i*leaf+i] = 1
			copy(l[i*leaf:], g[i*n:][:n])
		}
		wantL, wantV := l, v
		var pivots, want [leaf]T
		eliminate(&l, &v, &pivots, n)
		portableEliminate(&wantL, &wantV, &want, n)
		// the condition number is below 10, and a factor of it grows each rounding
		close := func(what string, want, got T) {
			if d := math.Abs(float64(want - got)); !(d <= 20*vec.Eps[T]()*(math.Abs(float64(want))+float64(n))) {
				t.Fatalf("%d: %s: want %v, got %v", n, what, want, got)
			}
		}
		for j := range n {
			close("pivot", want[j], pivots[j])
			for i := range n {
				close("V", wantV[i*leaf+j], v[i*leaf+j])
				if i >= j {
					close("L", wantL[j*leaf+i], l[j*leaf+i])
				}
			}
		}
		for j := n * leaf; j < len(l); j++ {
			if l[j] != 0 || v[j] != 0 {
				t.Fatalf("%d: element %d was written", n, j)
			}
		}
	}
}

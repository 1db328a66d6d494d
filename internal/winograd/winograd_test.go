// SPDX-License-Identifier: Apache-2.0

package winograd

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/internal/cpu"
	"github.com/kernelfold/kernelfold/internal/gemm"
)

func everyLevel(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	defer func(l cpu.Level) { cpu.Use = l }(cpu.Use)
	for _, l := range cpu.Levels() {
		cpu.Use = l
		t.Run(l.String(), test)
	}
}

var transforms = map[string]*transform{"image": image, "filter": filter, "result": result, "result back": resultBack, "filter back": filterBack}

const guard = 12345

// The transforms of every level are compared with the portable ones, for blocks that lie in any
// order at any alignment, with denormal numbers and some that are not finite, and nothing may be
// written beside them.
func TestTransforms(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 2))
		for name, f := range transforms {
			for _, n := range []int{1, 3, 4, 8, 12, 16, 17, 32, 48, 80} {
				for _, blocks := range []int{1, 2, 5} {
					from, to := placed(rng, blocks, f.from, n), placed(rng, blocks, f.to, n)
					_, last := from.span(blocks, f.from, n)
					src, size := make([]float32, last+1), []float64{1, 0x1p-135}[rng.IntN(2)]
					for i := range src {
						src[i] = float32(size * rng.NormFloat64())
					}
					for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
						src[from.offset(rng.IntN(blocks), rng.IntN(f.from), rng.IntN(f.from))+rng.IntN(n)] = float32(v)
					}
					_, last = to.span(blocks, f.to, n)
					dst, want := make([]float32, last+40), make([]float32, last+40)
					for i := range dst {
						dst[i], want[i] = guard, guard
					}
					apply(f, dst[:last+1], to, src, from, blocks, n)
					f.portable(want, to, src, from, blocks, n)
					for i, v := range dst {
						// Sums of at most 36 terms, each a number below 5 times at most 9 in size.
						w := want[i]
						if d := math.Abs(float64(v - w)); !(d <= 36*45*(0x1p-24*size+0x1p-149)) && v != w && !(v != v && w != w) {
							t.Fatalf("%s, %d blocks of %d: element %d: want %v, got %v", name, blocks, n, i, want[i], v)
						}
					}
				}
			}
		}
	})
}

// A filter's panel of a product is transformed by assembly at every level that has some.
func TestPanelsAreFast(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		f, fast := *filter, false
		f.assembly = func(dst []float32, toNext, toRow, toCol int, src []float32, fromNext, fromRow, fromCol int, blocks, n int) bool {
			fast = filter.assembly(dst, toNext, toRow, toCol, src, fromNext, fromRow, fromCol, blocks, n)
			return fast
		}
		n, rng := gemm.PanelWidth[float32](), rand.New(rand.NewPCG(1, 2))
		from, to := placed(rng, 1, f.from, n), placed(rng, 1, f.to, n)
		_, read := from.span(1, f.from, n)
		_, written := to.span(1, f.to, n)
		apply(&f, make([]float32, written+1), to, make([]float32, read+1), from, 1, n)
		require.Equal(t, Fast(), fast, "%d elements", n)
	})
}

// placed returns a grid whose vectors do not overlap, with its dimensions in any order and up or down.
func placed(rng *rand.Rand, blocks, size, n int) Grid {
	var g Grid
	distance := n + rng.IntN(5)
	dimensions := []struct {
		step  *int
		count int
	}{{&g.Next, blocks}, {&g.Row, size}, {&g.Col, size}}
	for _, i := range rng.Perm(3) {
		d := dimensions[i]
		*d.step = distance
		distance = distance*d.count + rng.IntN(5)
		if rng.IntN(2) == 0 {
			*d.step *= -1
		}
	}
	first, _ := g.span(blocks, size, n)
	g.At = -first + rng.IntN(20)
	return g
}

// A block of pixels and a filter become the convolution of both.
func TestConvolution(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(3, 4))
		const n = 16
		draw := func(size int) ([]float32, Grid) {
			x := make([]float32, size*size*n)
			for i := range x {
				x[i] = float32(rng.NormFloat64())
			}
			return x, Grid{Row: size * n, Col: n}
		}
		d, ofD := draw(Window)
		g, ofG := draw(Kernel)
		v, m := make([]float32, Area*n), make([]float32, Area*n)
		y, ofY := draw(Tile)
		transformed := Grid{Row: Window * n, Col: n}
		Image(v, transformed, d, ofD, 1, n)
		Filter(m, transformed, g, ofG, 1, n)
		for i := range m {
			m[i] *= v[i]
		}
		Result(y, ofY, m, transformed, 1, n)
		for i := range Tile {
			for j := range Tile {
				for e := range n {
					want := 0.0
					for u := range Kernel {
						for w := range Kernel {
							want += float64(d[ofD.offset(0, i+u, j+w)+e]) * float64(g[ofG.offset(0, u, w)+e])
						}
					}
					if got := float64(y[ofY.offset(0, i, j)+e]); !(math.Abs(got-want) < 1e-4) {
						t.Fatalf("(%d,%d) of %d: want %v, got %v", i, j, e, want, got)
					}
				}
			}
		}
	})
}

// <Result(M), Y> = <M, ResultBack(Y)>, and so for the filters.
func TestAdjoint(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(5, 6))
		for _, pair := range [][2]*transform{{result, resultBack}, {filter, filterBack}} {
			const n = 16
			draw := func(size int) []float32 {
				x := make([]float32, size*size*n)
				for i := range x {
					x[i] = float32(rng.NormFloat64())
				}
				return x
			}
			grid := func(size int) Grid { return Grid{Row: size * n, Col: n} }
			f, back := pair[0], pair[1]
			x, y := draw(f.from), draw(f.to)
			fx, by := draw(f.to), draw(f.from)
			apply(f, fx, grid(f.to), x, grid(f.from), 1, n)
			apply(back, by, grid(f.from), y, grid(f.to), 1, n)
			left, right := 0.0, 0.0
			for i := range x {
				right += float64(x[i]) * float64(by[i])
			}
			for i := range y {
				left += float64(fx[i]) * float64(y[i])
			}
			if !(math.Abs(left-right) < 1e-3) {
				t.Errorf("want %v, got %v", left, right)
			}
		}
	})
}

func BenchmarkTransforms(b *testing.B) {
	for name, f := range transforms {
		const blocks, n = 64, 16
		b.Run(fmt.Sprint(name), func(b *testing.B) {
			to := Grid{Next: n, Row: 6 * (blocks + 1) * n, Col: (blocks + 1) * n}
			from := Grid{Next: f.from * f.from * n, Row: f.from * n, Col: n}
			src, dst := make([]float32, 36*blocks*n), make([]float32, 36*(blocks+1)*n)
			for b.Loop() {
				apply(f, dst, to, src, from, blocks, n)
			}
		})
	}
}

// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/cpu"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// square returns a convolution with 3 x 3 filters without strides.
func square(batch, channels, filters, height, width int, pad ...int) convolution {
	one := []int{1, 1}
	return convolution{[]int{batch, channels, height, width}, []int{filters, channels, 3, 3}, pad, one, one, 1}
}

// byWinograd returns the op of a convolution, whose body in float32 uses tilings for everything, and
// the direct body.
func (c convolution) byWinograd(t testing.TB) (*op, tiled, conv[float32]) {
	return c.byWinogradOf(t, c, false)
}

func (c torus) byWinograd(t testing.TB) (*op, tiled, conv[float32]) {
	return c.byWinogradOf(t, c, true)
}

func (c convolution) byWinogradOf(t testing.TB, d definition, circular bool) (*op, tiled, conv[float32]) {
	t.Helper()
	o, err := d.body(tensor.Float32)
	require.NoError(t, err)
	direct, ok := o.f32.(conv[float32])
	if !ok {
		direct = o.f32.(tiled).conv
	}
	pad := c.pad
	if len(pad) == 2 {
		pad = []int{pad[0], pad[0], pad[1], pad[1]}
	}
	along := func(i int) axis {
		return axis{size: c.x[2+i], kernel: 3, stride: 1, dilation: 1, pad: pad[2*i], after: pad[2*i+1], out: o.out[2+i],
			circular: circular && pad[2*i]+pad[2*i+1] > 0}
	}
	require.True(t, tileable(direct.convPlan, along(0), along(1)), "%v", c)
	return o, tilings(direct, along(0), along(1)), direct
}

// levels returns the instruction sets that are tested.
var levels = cpu.Levels

func eachLevel(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	defer func(l cpu.Level) { cpu.Use = l }(cpu.Use)
	for _, l := range levels() {
		cpu.Use = l
		t.Run(l.String(), test)
	}
}

// nearLargest is near with errors relative to the largest size, since a tile shares its errors, and
// with an allowance for those of the transforms, which do not average out in sums of few terms.
func nearLargest(t *testing.T, what string, got []float32, want, size []float64, n int) {
	t.Helper()
	near(t, what, got, want, slices.Repeat([]float64{slices.Max(size)}, len(size)), n+100)
}

// Values and gradients are those of the definition, for images of all sizes modulo that of a tile and
// any padding, and nothing is written around them.
func TestWinogradDefinition(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(5, 6))
		for height := 1; height <= 9; height++ {
			widths := []int{1, 2, 3, 4, 5, 6, 7, 8, 13, 18}
			if testing.Short() && height%4 == 3 {
				continue
			} else if testing.Short() {
				widths = []int{1 + rng.IntN(4), 5, 13 + rng.IntN(6)}
			}
			for _, width := range widths {
				c := square(1+rng.IntN(4), 16*(1+rng.IntN(3)), 16*(1+rng.IntN(3)), height, width,
					rng.IntN(3), rng.IntN(4), rng.IntN(3), rng.IntN(4))
				if !c.fits() {
					continue
				}
				o, b, _ := c.byWinograd(t)
				checkBy(t, c, o, b, 1, nearLargest)
				if c = square(1, 16, 16, height, width, 2, 0, 1, 1); rng.IntN(3) > 0 { // as much padding as the kernel has, or any
					c = square(1, 16, 16, height, width, rng.IntN(3), rng.IntN(4), rng.IntN(3), rng.IntN(4))
				}
				if !c.fits() {
					continue
				}
				around := torus{c}
				o, b, _ = around.byWinograd(t)
				checkBy(t, around, o, b, 1, nearLargest)
			}
		}
		for _, c := range []convolution{
			square(2, 16, 16, 33, 40, 1, 1), square(1, 80, 48, 12, 12, 1, 1), square(70, 16, 16, 3, 3, 1, 1), square(1, 528, 16, 5, 4, 1, 1),
		} {
			o, b, _ := c.byWinograd(t)
			checkBy(t, c, o, b, 1, nearLargest)
		}
	})
}

// The quantities that a convolution computes.
var quantityNames = [3]string{"value", "gradient in images", "gradient in filters"}

// evaluated returns the value and the gradients, from images, filters and a gradient of the result.
func evaluated[T vec.Float](t testing.TB, b body[T], of [3][]T) [3][]T {
	t.Helper()
	x, w, g := of[0], of[1], of[2]
	q := [3][]T{make([]T, len(g)), make([]T, len(x)), make([]T, len(w))}
	in := [][]T{x, w}
	require.NoError(t, b.Forward(q[0], in))
	require.NoError(t, b.Backward(q[1], 0, in, q[0], g))
	require.NoError(t, b.Backward(q[2], 1, in, q[0], g))
	return q
}

// data are kinds of images, filters and gradients of results: a number for a random number of
// each.
var data = map[string]func(rng *rand.Rand, kind int) float32{
	"normal": func(rng *rand.Rand, _ int) float32 { return float32(rng.NormFloat64()) },
	"rectified": func(rng *rand.Rand, kind int) float32 {
		v := float32(rng.NormFloat64())
		if kind == 0 {
			return max(0, v)
		}
		return v
	},
	"positive": func(rng *rand.Rand, _ int) float32 { return rng.Float32() },
	"far from zero": func(rng *rand.Rand, kind int) float32 {
		if kind == 0 {
			return 100 + rng.Float32()
		}
		return float32(rng.NormFloat64())
	},
	"signs": func(rng *rand.Rand, _ int) float32 {
		return float32(1-2*rng.IntN(2)) * (1 - 0x1p-23*float32(rng.IntN(1000)))
	},
	"sizes": func(rng *rand.Rand, _ int) float32 { return float32(rng.NormFloat64() * math.Exp(4*rng.NormFloat64())) },
	"sparse": func(rng *rand.Rand, _ int) float32 {
		if rng.IntN(10) > 0 {
			return 0
		}
		return float32(rng.NormFloat64())
	},
}

// The largest error, in value and gradients, is at most ten times that of the direct convolution. The
// reference is the convolution in float64, and errors are relative to the largest sum of the sizes of
// products. The bound holds for each kind of data that has sums of many terms of similar size, and for
// the largest error over all kinds: direct sums of few terms, as in sparse data, have next to no error.
func TestWinogradAccuracy(t *testing.T) {
	const most = 10
	few := []string{"sizes", "sparse"}
	shapes := []convolution{square(4, 16, 16, 32, 32, 1, 1), square(4, 32, 32, 16, 16, 1, 1), square(4, 64, 64, 8, 8, 1, 1)}
	if !testing.Short() {
		shapes = append(shapes, square(4, 64, 64, 32, 32, 1, 1), square(4, 128, 128, 16, 16, 1, 1), square(4, 256, 256, 8, 8, 1, 1))
	}
	for _, c := range shapes {
		t.Run(c.String(), func(t *testing.T) {
			o, b, direct := c.byWinograd(t)
			var tiles, own [3]float64
			for name, draw := range data {
				rng := rand.New(rand.NewPCG(7, 8))
				var all [3][]float32
				var wide, sizes [3][]float64
				for kind, n := range []int{o.in[0].TotalSize(), o.in[1].TotalSize(), o.out.TotalSize()} {
					for range n {
						v := draw(rng, kind)
						all[kind] = append(all[kind], v)
						wide[kind] = append(wide[kind], float64(v))
						sizes[kind] = append(sizes[kind], math.Abs(float64(v)))
					}
				}
				byTiles, directly := evaluated(t, b, all), evaluated(t, direct, all)
				want, size := evaluated(t, o.f64, wide), evaluated(t, o.f64, sizes)
				for i, quantity := range quantityNames {
					largest := slices.Max(size[i])
					e, d := largestError(byTiles[i], want[i])/largest, largestError(directly[i], want[i])/largest
					t.Logf("%s, %s: %.2g, %.1f times that of direct", name, quantity, e, e/d)
					tiles[i], own[i] = max(tiles[i], e), max(own[i], d)
					if !slices.Contains(few, name) {
						assert.LessOrEqual(t, e, most*d, "%s, %s", name, quantity)
					}
				}
			}
			for i, quantity := range quantityNames {
				t.Logf("all, %s: %.2g, %.1f times that of direct", quantity, tiles[i], tiles[i]/own[i])
				assert.LessOrEqual(t, tiles[i], most*own[i], quantity)
			}
		})
	}
}

func largestError(got []float32, want []float64) (e float64) {
	for i, v := range got {
		e = max(e, math.Abs(float64(v)-want[i]))
	}
	return e
}

// Where a sum of a transform would overflow, and where there is a NaN or Inf, the results are those of
// the direct convolution, to the bit.
func TestWinogradNotFinite(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		c := square(3, 16, 32, 9, 7, 1, 1)
		o, b, direct := c.byWinograd(t)
		for name, spoil := range map[string]func(x, w, g []float32){
			"NaN in an image":      func(x, _, _ []float32) { x[16*63+5] = float32(math.NaN()) },
			"NaN in a filter":      func(_, w, _ []float32) { w[100] = float32(math.NaN()) },
			"NaN in the gradient":  func(_, _, g []float32) { g[3] = float32(math.NaN()) },
			"Inf in an image":      func(x, _, _ []float32) { x[len(x)-1] = float32(math.Inf(1)) },
			"-Inf in a filter":     func(_, w, _ []float32) { w[0] = float32(math.Inf(-1)) },
			"Inf in the gradient":  func(_, _, g []float32) { g[len(g)-1] = float32(math.Inf(1)) },
			"Inf and filters of 0": func(x, w, _ []float32) { x[0] = float32(math.Inf(1)); clear(w) },
			"images at the maximum": func(x, w, g []float32) {
				for i := range x {
					x[i] = math.MaxFloat32 * float32(1-2*(i/7%2))
				}
				for i := range w {
					w[i] *= 1e-3
				}
				for i := range g {
					g[i] *= 1e-3
				}
			},
			"filters at the maximum": func(x, w, g []float32) {
				for i := range w {
					w[i] = math.MaxFloat32 * float32(1-2*(i%2))
				}
				for i := range x {
					x[i] *= 1e-3
				}
				for i := range g {
					g[i] *= 1e-3
				}
			},
		} {
			t.Run(name, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(9, 10))
				x, w, g := drawn[float32](rng, o.in[0].TotalSize()), drawn[float32](rng, o.in[1].TotalSize()), drawn[float32](rng, o.out.TotalSize())
				spoil(x, w, g)
				got, want := evaluated(t, b, [3][]float32{x, w, g}), evaluated(t, direct, [3][]float32{x, w, g})
				for i, name := range quantityNames {
					touched := false
					for j, v := range got[i] {
						if !(math.Abs(float64(want[i][j])) <= math.MaxFloat32) {
							touched = true
						}
						require.Equal(t, math.IsNaN(float64(want[i][j])), math.IsNaN(float64(v)), "%s: element %d", name, j)
						require.Equal(t, math.IsInf(float64(want[i][j]), 0), math.IsInf(float64(v), 0), "%s: element %d", name, j)
					}
					if touched {
						require.True(t, slices.EqualFunc(want[i], got[i], func(a, b float32) bool { return a == b || a != a && b != b }), name)
					}
				}
			})
		}
	})
}

// At any magnitude the errors keep their bound. Where results or their terms are subnormal, an
// error is a multiple of the smallest number.
func TestWinogradMagnitudes(t *testing.T) {
	c := square(2, 16, 16, 8, 8, 1, 1)
	o, b, direct := c.byWinograd(t)
	for exponent := -150; exponent <= 126; exponent += 12 {
		rng := rand.New(rand.NewPCG(11, 12))
		x, w, g := drawn[float32](rng, o.in[0].TotalSize()), drawn[float32](rng, o.in[1].TotalSize()), drawn[float32](rng, o.out.TotalSize())
		for _, s := range [][]float32{x, g} {
			for i := range s {
				s[i] = float32(math.Ldexp(float64(s[i]), exponent))
			}
		}
		for i := range w {
			w[i] = float32(math.Ldexp(float64(w[i]), -8))
		}
		// The gradient in the filters is a product of x and g.
		got, want := evaluated(t, b, [3][]float32{x, w, g}), evaluated(t, direct, [3][]float32{x, w, g})
		for i, name := range quantityNames {
			largest, off := 0.0, 0.0
			for j, v := range want[i] {
				if math.Abs(float64(v)) <= math.MaxFloat32 {
					largest = max(largest, math.Abs(float64(v)))
					off = max(off, math.Abs(float64(v)-float64(got[i][j])))
				} else {
					require.Equal(t, v != v, got[i][j] != got[i][j])
				}
			}
			// 144 terms, and an amplification of each rounding below 1000.
			assert.LessOrEqual(t, off, 1e-5*largest+1000*0x1p-149, "%s, 2^%d", name, exponent)
		}
	}
}

// Runs are the same to the bit; but for the gradient in the filters also with another number of cores.
func TestWinogradDeterministic(t *testing.T) {
	c := square(5, 32, 48, 14, 10, 1, 1)
	rng := rand.New(rand.NewPCG(1, 2))
	x, w, g := drawn[float32](rng, 5*32*140), drawn[float32](rng, 48*32*9), drawn[float32](rng, 5*48*140)
	run := func(procs int) [3][]float32 {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
		_, b, _ := c.byWinograd(t)
		return evaluated(t, b, [3][]float32{x, w, g})
	}
	one := run(1)
	for _, procs := range []int{1, 2, 3, 16} {
		first := run(procs)
		assert.Equal(t, one[0], first[0])
		assert.Equal(t, one[1], first[1])
		for range 3 {
			assert.Equal(t, first[2], run(procs)[2])
		}
	}
}

// A run allocates a few small things and no work space.
func TestWinogradAllocates(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	o, b, _ := square(4, 16, 32, 9, 9, 1, 1).byWinograd(t)
	rng := rand.New(rand.NewPCG(1, 2))
	x, w, g := drawn[float32](rng, o.in[0].TotalSize()), drawn[float32](rng, o.in[1].TotalSize()), drawn[float32](rng, o.out.TotalSize())
	q := evaluated(t, b, [3][]float32{x, w, g})
	in := [][]float32{x, w}
	assert.LessOrEqual(t, testing.AllocsPerRun(20, func() { require.NoError(t, b.Forward(q[0], in)) }), 6., "value")
	assert.LessOrEqual(t, testing.AllocsPerRun(20, func() { require.NoError(t, b.Backward(q[1], 0, in, q[0], g)) }), 6., "images")
	assert.LessOrEqual(t, testing.AllocsPerRun(20, func() { require.NoError(t, b.Backward(q[2], 1, in, q[0], g)) }), 6., "filters")
}

// The setting applies to convolutions that are made after it.
func TestWinogradSwitch(t *testing.T) {
	defer func(l cpu.Level) { cpu.Use = l }(cpu.Use)
	c := square(8, 64, 64, 8, 8, 1, 1)
	for _, l := range levels() {
		cpu.Use = l
		before, err := c.body(tensor.Float32)
		require.NoError(t, err)
		require.True(t, Winograd(false))
		without, err := c.body(tensor.Float32)
		require.NoError(t, err)
		require.False(t, Winograd(true))
		again, err := c.body(tensor.Float32)
		require.NoError(t, err)
		_, is := before.f32.(tiled)
		assert.Equal(t, l > cpu.Portable, is)
		assert.IsType(t, conv[float32]{}, without.f32)
		assert.IsType(t, before.f32, again.f32)
		assert.IsType(t, conv[float64]{}, before.f64)
	}
}

// What follows a convolution is done once to every result, and to those of a direct convolution where
// results are not finite.
func TestWinogradFinishes(t *testing.T) {
	for _, spoil := range []float32{1, float32(math.NaN())} {
		c := square(3, 16, 32, 9, 7, 1, 1)
		o, b, direct := c.byWinograd(t)
		rng := rand.New(rand.NewPCG(1, 2))
		x, w := drawn[float32](rng, o.in[0].TotalSize()), drawn[float32](rng, o.in[1].TotalSize())
		x[100] *= spoil
		finished := func(of convolver[float32]) []float32 {
			y := make([]float32, o.out.TotalSize())
			of.Convolve(y, x, w, func(r region) {
				for i := r.image; i < r.images; i++ {
					for j := r.channel; j < r.channels; j++ {
						for k := r.pixel; k < r.pixels; k++ {
							y[(i*32+j)*63+k] += 1000
						}
					}
				}
			})
			return y
		}
		byTiles := finished(b)
		for i, want := range finished(direct) {
			got := byTiles[i]
			if !(math.Abs(float64(got-want)) < 1e-2 || got != got && want != want) {
				t.Fatalf("element %d: want %v, got %v", i, want, got)
			}
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/cpu"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// convolution is a case: images (B, C, H, W) and filters (O, C/groups, KH, KW).
type convolution struct {
	x, w                  []int
	pad, stride, dilation []int
	groups                int
}

func (c convolution) String() string {
	return fmt.Sprintf("x %v w %v pad %v stride %v dilation %v groups %d", c.x, c.w, c.pad, c.stride, c.dilation, c.groups)
}

func (c convolution) node(x, w *gorgonia.Node) (*gorgonia.Node, error) {
	return Conv2dWith(x, w, c.w[2:], c.pad, c.stride, c.dilation, Groups(c.groups))
}

func leaf(g *gorgonia.ExprGraph, name string, of tensor.Dtype, shape ...int) *gorgonia.Node {
	v := tensor.New(tensor.Of(of), tensor.WithShape(shape...))
	return gorgonia.NewTensor(g, of, len(shape), gorgonia.WithName(name), gorgonia.WithValue(v))
}

// body returns the op of the node, and its shape.
func (c convolution) body(of tensor.Dtype) (*op, error) { return c.bodyBy(of, c.node) }

func (c convolution) bodyBy(of tensor.Dtype, node func(x, w *gorgonia.Node) (*gorgonia.Node, error)) (*op, error) {
	g := gorgonia.NewGraph()
	n, err := node(leaf(g, "x", of, c.x...), leaf(g, "w", of, c.w...))
	if err != nil {
		return nil, err
	}
	return n.Op().(*op), nil
}

// each calls f for every product of the definition, with the indices in the result, in
// the images and in the filters.
func (c convolution) each(out []int, f func(y, x, w int)) { c.eachBy(out, false, f) }

func (c convolution) eachBy(out []int, circular bool, f func(y, x, w int)) {
	top, left := c.pad[0], c.pad[1]
	if len(c.pad) == 4 {
		left = c.pad[2]
	}
	outputs, inputs := c.w[0]/c.groups, c.w[1]
	y := 0
	for b := range out[0] {
		for o := range out[1] {
			for i := range out[2] {
				for j := range out[3] {
					for k := range inputs {
						for u := range c.w[2] {
							for v := range c.w[3] {
								row, col := i*c.stride[0]+u*c.dilation[0]-top, j*c.stride[1]+v*c.dilation[1]-left
								if circular {
									row, col = ((row%c.x[2])+c.x[2])%c.x[2], ((col%c.x[3])+c.x[3])%c.x[3]
								}
								if row < 0 || row >= c.x[2] || col < 0 || col >= c.x[3] {
									continue
								}
								f(y, ((b*c.x[1]+o/outputs*inputs+k)*c.x[2]+row)*c.x[3]+col, ((o*inputs+k)*c.w[2]+u)*c.w[3]+v)
							}
						}
					}
					y++
				}
			}
		}
	}
}

// torus is a convolution with circular padding.
type torus struct{ convolution }

func (c torus) node(x, w *gorgonia.Node) (*gorgonia.Node, error) {
	return Conv2dWith(x, w, c.w[2:], c.pad, c.stride, c.dilation, Groups(c.groups), Circular())
}

func (c torus) body(of tensor.Dtype) (*op, error)   { return c.bodyBy(of, c.node) }
func (c torus) each(out []int, f func(y, x, w int)) { c.eachBy(out, true, f) }

// definition is what a body is compared with.
type definition interface {
	each(out []int, f func(y, x, w int))
	body(of tensor.Dtype) (*op, error)
}

const guard = 12345

// guarded returns a slice of n that lies at an odd offset between guards, and
// what checks them.
func guarded[T vec.Float](n int) (s []T, intact func() bool) {
	all := slices.Repeat([]T{guard}, n+101)
	return all[37 : 37+n : 37+n], func() bool {
		for i, v := range all {
			if (i < 37 || i >= 37+n) && v != guard {
				return false
			}
		}
		return true
	}
}

func drawn[T vec.Float](rng *rand.Rand, n int) []T {
	s, _ := guarded[T](n)
	for i := range s {
		s[i] = T(float32(rng.NormFloat64()))
	}
	return s
}

// near says where got is not want: sums of n products whose magnitudes add up to size
// are off by n eps size at most.
func near[T vec.Float](t *testing.T, what string, got []T, want, size []float64, n int) {
	t.Helper()
	for i, v := range got {
		if d := math.Abs(float64(v) - want[i]); !(d <= float64(n+2)*vec.Eps[T]()*size[i]) {
			t.Fatalf("%s: element %d: want %g, got %g, off by %g", what, i, want[i], v, d)
		}
	}
}

// check compares a body with the definition, so many times with other numbers.
func check[T vec.Float](t *testing.T, c definition, o *op, b body[T], times int) {
	t.Helper()
	checkBy(t, c, o, b, times, near[T])
}

// convolved is what a convolution makes of random images and filters, and of a random gradient.
type convolved[T vec.Float] struct{ x, w, g, y, dx, dw []T }

// ran draws the inputs, and requires that the body writes nothing beside its results.
func ran[T vec.Float](t *testing.T, rng *rand.Rand, o *op, b body[T]) (r convolved[T]) {
	t.Helper()
	r.x, r.w, r.g = drawn[T](rng, o.in[0].TotalSize()), drawn[T](rng, o.in[1].TotalSize()), drawn[T](rng, o.out.TotalSize())
	in := [][]T{r.x, r.w}
	var intact func() bool
	r.y, intact = guarded[T](len(r.g))
	require.NoError(t, b.Forward(r.y, in))
	require.True(t, intact(), "value")
	r.dx, intact = guarded[T](len(r.x))
	require.NoError(t, b.Backward(r.dx, 0, in, r.y, r.g))
	require.True(t, intact(), "gradient in images")
	r.dw, intact = guarded[T](len(r.w))
	require.NoError(t, b.Backward(r.dw, 1, in, r.y, r.g))
	require.True(t, intact(), "gradient in filters")
	return r
}

// sums makes room for the value and the gradients by the definition, and for the sizes of their terms.
func (r convolved[T]) sums() (want, size [3][]float64) {
	for i, s := range [][]T{r.y, r.dx, r.dw} {
		want[i], size[i] = make([]float64, len(s)), make([]float64, len(s))
	}
	return want, size
}

func checkBy[T vec.Float](t *testing.T, c definition, o *op, b body[T], times int,
	near func(t *testing.T, what string, got []T, want, size []float64, n int)) {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	for range times {
		r := ran(t, rng, o, b)
		x, w, g, y, dx, dw := r.x, r.w, r.g, r.y, r.dx, r.dw
		want, size := r.sums()
		c.each(o.out, func(i, j, k int) {
			for a, p := range [3]struct {
				at   int
				a, b T
			}{{i, x[j], w[k]}, {j, g[i], w[k]}, {k, g[i], x[j]}} {
				v := float64(p.a) * float64(p.b)
				want[a][p.at] += v
				size[a][p.at] += math.Abs(v)
			}
		})
		filters, channels := o.in[1][0], o.in[1][1]
		near(t, "value", y, want[0], size[0], len(w)/filters)
		near(t, "gradient in images", dx, want[1], size[1], len(w)/channels)
		near(t, "gradient in filters", dw, want[2], size[2], len(y)/filters)
	}
}

func checkBoth(t *testing.T, c definition, times int) {
	t.Helper()
	o, err := c.body(tensor.Float32)
	require.NoError(t, err, "%v", c)
	check(t, c, o, o.f32, times)
	check(t, c, o, o.f64, times)
}

// TestConv2dDefinition goes through geometries, and checks values, gradients and that
// nothing is written around them.
func TestConv2dDefinition(t *testing.T) {
	defer func(l cpu.Level) { cpu.Use = l }(cpu.Use)
	for _, l := range levels() {
		cpu.Use = l
		t.Run(l.String(), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(3, 4))
			pick := func(from ...int) int { return from[rng.IntN(len(from))] }
			done := 0
			for _, kernel := range [][]int{{1, 1}, {3, 3}, {5, 5}, {3, 5}, {2, 3}, {7, 7}, {1, 4}} {
				for _, stride := range [][]int{{1, 1}, {2, 2}, {3, 3}, {1, 2}, {3, 1}, {2, 3}} {
					for _, size := range [][]int{{1, 1}, {13, 9}, {8, 8}, {5, 4}, {2, 11}, {7, 17}} {
						for _, dilation := range [][]int{{1, 1}, {2, 2}, {1, 2}, {3, 1}} {
							if testing.Short() && pick(0, 1, 2) > 0 {
								continue
							}
							c := convolution{
								x: []int{pick(1, 2, 3, 5), pick(1, 3, 8, 17), size[0], size[1]}, stride: stride, dilation: dilation, groups: 1,
								pad: []int{pick(0, 1, 2, 3), pick(0, 1, 2, 3)},
							}
							c.w = []int{pick(1, 2, 5, 7, 16), c.x[1], kernel[0], kernel[1]}
							if pick(0, 1, 2) == 0 {
								c.pad = []int{pick(0, 1, 2, 3), pick(0, 1, 2, 3), pick(0, 1, 2, 3), pick(0, 1, 2, 3)}
							}
							if !c.fits() {
								continue
							}
							done++
							checkBoth(t, c, 1)
							if done%2 == 0 {
								checkBoth(t, torus{c}, 1)
							}
						}
					}
				}
			}
			least := 300
			if testing.Short() {
				least = 100
			}
			assert.Greater(t, done, least)
		})
	}
}

func (c convolution) fits() bool {
	p := c.pad
	if len(p) == 2 {
		p = []int{p[0], p[0], p[1], p[1]}
	}
	return c.dilation[0]*(c.w[2]-1)+1 <= c.x[2]+p[0]+p[1] && c.dilation[1]*(c.w[3]-1)+1 <= c.x[3]+p[2]+p[3]
}

// Geometries where something special happens.
func TestConv2dCorners(t *testing.T) {
	one := []int{1, 1}
	for name, c := range map[string]convolution{
		"image is the layout":       {[]int{3, 16, 9, 7}, []int{5, 16, 1, 1}, []int{0, 0}, one, one, 1},
		"large images":              {[]int{2, 3, 33, 40}, []int{4, 3, 3, 3}, one, one, one, 1},
		"result is the layout":      {[]int{4, 6, 8, 8}, []int{5, 6, 3, 3}, []int{2, 2}, one, one, 1},
		"padding beyond the kernel": {[]int{2, 2, 3, 3}, []int{3, 2, 1, 2}, []int{3, 3}, one, one, 1},
		"windows of padding alone":  {[]int{2, 2, 2, 2}, []int{3, 2, 2, 2}, []int{9, 7}, []int{3, 2}, one, 1},
		"pixels between windows":    {[]int{2, 2, 9, 9}, []int{3, 2, 1, 2}, []int{0, 0}, []int{3, 4}, one, 1},
		"pixels after windows":      {[]int{2, 2, 9, 9}, []int{3, 2, 2, 2}, []int{0, 1}, []int{4, 4}, one, 1},
		"phases without pixels":     {[]int{2, 2, 1, 2}, []int{3, 2, 5, 5}, []int{2, 2}, []int{3, 3}, one, 1},
		"stride divides dilation":   {[]int{2, 2, 9, 9}, []int{3, 2, 3, 3}, one, []int{2, 2}, []int{2, 4}, 1},
		"stride beyond the image":   {[]int{2, 2, 3, 3}, []int{3, 2, 3, 3}, one, []int{9, 8}, one, 1},
		"narrow images":             {[]int{11, 3, 4, 4}, []int{5, 3, 3, 3}, one, one, one, 1},
		"narrow, groups, strides":   {[]int{9, 4, 5, 6}, []int{6, 2, 3, 3}, one, []int{2, 1}, one, 2},
		"narrow columns":            {[]int{5, 6, 9, 2}, []int{7, 6, 3, 1}, []int{1, 0}, one, []int{2, 1}, 1},
		"pixels":                    {[]int{40, 5, 1, 1}, []int{7, 5, 1, 1}, []int{0, 0}, one, one, 1},
		"groups":                    {[]int{3, 6, 7, 5}, []int{9, 2, 3, 3}, one, one, one, 3},
		"groups, strides":           {[]int{3, 6, 7, 5}, []int{4, 3, 3, 2}, one, []int{2, 1}, one, 2},
		"groups, dilation":          {[]int{2, 4, 9, 8}, []int{6, 2, 3, 2}, one, []int{2, 1}, []int{2, 3}, 2},
		"groups, 1x1":               {[]int{3, 8, 7, 5}, []int{8, 4, 1, 1}, []int{0, 0}, one, one, 2},
		"depthwise":                 {[]int{3, 5, 9, 8}, []int{5, 1, 3, 3}, one, one, one, 5},
		"depthwise, strides":        {[]int{2, 3, 9, 8}, []int{3, 1, 3, 3}, one, []int{2, 3}, one, 3},
		"depthwise, no padding":     {[]int{2, 3, 6, 20}, []int{3, 1, 3, 3}, []int{0, 0}, one, one, 3},
		"depthwise, four sides":     {[]int{2, 3, 6, 5}, []int{3, 1, 3, 3}, []int{2, 0, 1, 2}, []int{2, 1}, one, 3},
		"depthwise, more padding":   {[]int{2, 3, 4, 3}, []int{3, 1, 3, 3}, []int{3, 1}, one, one, 3},
		"depthwise, one pixel":      {[]int{2, 3, 1, 1}, []int{3, 1, 3, 3}, one, []int{2, 2}, one, 3},
		"depthwise, dilation":       {[]int{2, 3, 9, 8}, []int{3, 1, 3, 3}, []int{2, 2}, one, []int{2, 2}, 3},
		"depthwise, large":          {[]int{3, 17, 30, 37}, []int{17, 1, 3, 3}, one, one, one, 17},
		"depthwise, 5x5":            {[]int{2, 3, 9, 8}, []int{3, 1, 5, 5}, []int{2, 2}, one, one, 3},
		"depthwise, multiplied":     {[]int{2, 3, 9, 8}, []int{6, 1, 5, 5}, []int{2, 2}, []int{2, 2}, one, 3},
	} {
		t.Run(name, func(t *testing.T) { checkBoth(t, c, 3) })
		t.Run(name+", circular", func(t *testing.T) { checkBoth(t, torus{c}, 3) })
	}
}

// A run allocates what the machine asks for, and no work space.
func TestConv2dAllocates(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	c := convolution{[]int{4, 3, 9, 9}, []int{5, 3, 3, 3}, []int{1, 1}, []int{2, 2}, []int{1, 1}, 1}
	o, err := c.body(tensor.Float32)
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(1, 2))
	in := [][]float32{drawn[float32](rng, 4*3*81), drawn[float32](rng, 5*27)}
	y := make([]float32, o.out.TotalSize())
	dx, dw := make([]float32, len(in[0])), make([]float32, len(in[1]))
	// Closures and headers of slices: a few small things a call.
	assert.LessOrEqual(t, testing.AllocsPerRun(20, func() { require.NoError(t, o.f32.Forward(y, in)) }), 6., "value")
	assert.LessOrEqual(t, testing.AllocsPerRun(20, func() { require.NoError(t, o.f32.Backward(dx, 0, in, y, y)) }), 6., "images")
	assert.LessOrEqual(t, testing.AllocsPerRun(20, func() { require.NoError(t, o.f32.Backward(dw, 1, in, y, y)) }), 6., "filters")
}

// Runs are the same to the bit; but for the gradient in the filters also with another
// number of cores.
func TestConv2dDeterministic(t *testing.T) {
	c := convolution{[]int{7, 8, 13, 9}, []int{96, 8, 3, 3}, []int{1, 1}, []int{1, 1}, []int{1, 1}, 1}
	rng := rand.New(rand.NewPCG(1, 2))
	in := [][]float32{drawn[float32](rng, 7*8*13*9), drawn[float32](rng, 96*8*9)}
	g := drawn[float32](rng, 7*96*13*9)
	run := func(procs int) (y, dx, dw []float32) {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
		o, err := c.body(tensor.Float32)
		require.NoError(t, err)
		y, dx, dw = make([]float32, len(g)), make([]float32, len(in[0])), make([]float32, len(in[1]))
		require.NoError(t, o.f32.Forward(y, in))
		require.NoError(t, o.f32.Backward(dx, 0, in, y, g))
		require.NoError(t, o.f32.Backward(dw, 1, in, y, g))
		return y, dx, dw
	}
	y1, dx1, _ := run(1)
	for _, procs := range []int{1, 2, 3, 16} {
		y, dx, dw := run(procs)
		assert.Equal(t, y1, y)
		assert.Equal(t, dx1, dx)
		for range 3 {
			_, _, again := run(procs)
			assert.Equal(t, dw, again)
		}
	}
}

// Cores that have no image of their own take a block of filters, to the same result.
func TestConv2dFewImages(t *testing.T) {
	for _, batch := range []int{1, 2, 3} {
		for _, groups := range []int{1, 2} {
			c := convolution{[]int{batch, 4, 9, 8}, []int{140, 4 / groups, 3, 3}, []int{1, 1}, []int{1, 1}, []int{1, 1}, groups}
			func() {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(5))
				checkBoth(t, c, 2)
			}()
		}
	}
}

// A NaN spoils the images and the filters that see it, and no more.
func TestConv2dNaN(t *testing.T) {
	c := convolution{[]int{3, 2, 9, 9}, []int{4, 2, 3, 3}, []int{1, 1}, []int{1, 1}, []int{1, 1}, 1}
	o, err := c.body(tensor.Float64)
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(1, 2))
	in := [][]float64{drawn[float64](rng, 3*2*81), drawn[float64](rng, 4*2*9)}
	in[0][2*81+4*9+4] = math.NaN() // image 1, channel 0, in the middle
	y := make([]float64, o.out.TotalSize())
	require.NoError(t, o.f64.Forward(y, in))
	for i, v := range y {
		b, row, col := i/(4*81), i%81/9, i%9
		assert.Equal(t, b == 1 && row >= 3 && row <= 5 && col >= 3 && col <= 5, v != v, "element %d", i)
	}
}

// FuzzConv2d checks any geometry that is accepted.
func FuzzConv2d(f *testing.F) {
	f.Add(uint8(4), uint8(4), uint8(3), uint8(3), uint8(1), uint8(1), uint8(1), uint8(1), uint8(0), uint8(0), uint8(0), uint8(9))
	f.Add(uint8(9), uint8(2), uint8(2), uint8(5), uint8(2), uint8(3), uint8(2), uint8(0), uint8(1), uint8(2), uint8(2), uint8(50))
	f.Fuzz(func(t *testing.T, h, w, kh, kw, top, bottom, left, right, s, d, groups, channels uint8) {
		c := convolution{
			x:   []int{1 + int(channels>>6), 0, 1 + int(h%14), 1 + int(w%14)},
			pad: []int{int(top % 8), int(bottom % 8), int(left % 8), int(right % 8)}, stride: []int{1 + int(s%4), 1 + int(s>>4%4)},
			dilation: []int{1 + int(d%4), 1 + int(d>>4%4)}, groups: 1 + int(groups%4),
		}
		c.w = []int{c.groups * (1 + int(channels>>3%8)), 1 + int(channels%8), 1 + int(kh%8), 1 + int(kw%8)}
		c.x[1] = c.groups * c.w[1]
		if !c.fits() {
			_, err := c.body(tensor.Float64)
			require.ErrorContains(t, err, "want a kernel that fits")
			return
		}
		checkBoth(t, c, 2)
		checkBoth(t, torus{c}, 1)
	})
}

// BenchmarkConv2dParts runs the value and the gradients of a layer one by one, float32.
func BenchmarkConv2dParts(b *testing.B) {
	for _, layer := range []struct {
		name string
		c    definition
	}{
		{"3x32x32 to 32", convolution{[]int{32, 3, 32, 32}, []int{32, 3, 3, 3}, []int{1, 1}, []int{1, 1}, []int{1, 1}, 1}},
		{"32x16x16 to 64", convolution{[]int{32, 32, 16, 16}, []int{64, 32, 3, 3}, []int{1, 1}, []int{1, 1}, []int{1, 1}, 1}},
		{"64x8x8 to 128", convolution{[]int{32, 64, 8, 8}, []int{128, 64, 3, 3}, []int{1, 1}, []int{1, 1}, []int{1, 1}, 1}},
		{"16x32x32 to 32, strided", convolution{[]int{32, 16, 32, 32}, []int{32, 16, 3, 3}, []int{1, 1}, []int{2, 2}, []int{1, 1}, 1}},
		{"64x16x16 to 128, strided", convolution{[]int{32, 64, 16, 16}, []int{128, 64, 3, 3}, []int{1, 1}, []int{2, 2}, []int{1, 1}, 1}},
		{"64x16x16 to 64, 1x1", convolution{[]int{32, 64, 16, 16}, []int{64, 64, 1, 1}, []int{0, 0}, []int{1, 1}, []int{1, 1}, 1}},
		{"256x4x4 to 256", convolution{[]int{32, 256, 4, 4}, []int{256, 256, 3, 3}, []int{1, 1}, []int{1, 1}, []int{1, 1}, 1}},
		{"64x16x16, depthwise", convolution{[]int{32, 64, 16, 16}, []int{64, 1, 3, 3}, []int{1, 1}, []int{1, 1}, []int{1, 1}, 64}},
		{"3x32x32 to 32, circular", torus{convolution{[]int{32, 3, 32, 32}, []int{32, 3, 3, 3}, []int{1, 1}, []int{1, 1}, []int{1, 1}, 1}}},
		{"64x8x8 to 128, circular", torus{convolution{[]int{32, 64, 8, 8}, []int{128, 64, 3, 3}, []int{1, 1}, []int{1, 1}, []int{1, 1}, 1}}},
		{"64x16x16 to 128, 4x4, strided", convolution{[]int{32, 64, 16, 16}, []int{128, 64, 4, 4}, []int{1, 1}, []int{2, 2}, []int{1, 1}, 1}},
		{"64x16x16 to 128, 4x4, strided, circular", torus{convolution{[]int{32, 64, 16, 16}, []int{128, 64, 4, 4}, []int{1, 1}, []int{2, 2}, []int{1, 1}, 1}}},
	} {
		o, err := layer.c.body(tensor.Float32)
		require.NoError(b, err)
		rng := rand.New(rand.NewPCG(1, 2))
		in := [][]float32{drawn[float32](rng, o.in[0].TotalSize()), drawn[float32](rng, o.in[1].TotalSize())}
		y, g := make([]float32, o.out.TotalSize()), drawn[float32](rng, o.out.TotalSize())
		dx, dw := make([]float32, len(in[0])), make([]float32, len(in[1]))
		flops := 2 * float64(len(y)*len(in[1])/o.in[1][0])
		for name, f := range map[string]func() error{
			"value":               func() error { return o.f32.Forward(y, in) },
			"gradient in images":  func() error { return o.f32.Backward(dx, 0, in, y, g) },
			"gradient in filters": func() error { return o.f32.Backward(dw, 1, in, y, g) },
		} {
			b.Run(layer.name+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := f(); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(flops*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}

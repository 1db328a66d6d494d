// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/vec"
)

// transposed returns the op of the adjoint of a convolution.
func (c convolution) transposed(of tensor.Dtype, opts ...ConvOption) (*op, error) {
	o, err := c.body(of)
	if err != nil {
		return nil, err
	}
	sides := c.pad
	if len(sides) == 2 {
		sides = []int{sides[0], sides[0], sides[1], sides[1]}
	}
	rest := func(i int) int {
		return (c.x[2+i] + sides[2*i] + sides[2*i+1] - c.dilation[i]*(c.w[2+i]-1) - 1) % c.stride[i]
	}
	g := gorgonia.NewGraph()
	x, w := leaf(g, "x", of, o.out...), leaf(g, "w", of, c.w...)
	n, err := ConvTranspose2d(x, w, c.w[2:], c.pad, c.stride, c.dilation, append(opts, Groups(c.groups), OutputPadding(rest(0), rest(1)))...)
	if err != nil {
		return nil, err
	}
	return n.Op().(*op), nil
}

// checkTransposed compares the adjoint of a convolution with the definition.
func checkTransposed[T vec.Float](t *testing.T, c definition, o *op, b body[T],
	near func(t *testing.T, what string, got []T, want, size []float64, n int)) {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	r := ran(t, rng, o, b)
	x, w, g, y, dx, dw := r.x, r.w, r.g, r.y, r.dx, r.dw
	want, size := r.sums()
	add := func(quantity, at int, a, b T) {
		want[quantity][at] += float64(a) * float64(b)
		size[quantity][at] += math.Abs(float64(a) * float64(b))
	}
	c.each(o.in[0], func(i, j, k int) {
		add(0, j, x[i], w[k])
		add(1, i, g[j], w[k])
		add(2, k, x[i], g[j])
	})
	inputs, outputs := o.in[1][0], o.in[1][1]
	near(t, "value", y, want[0], size[0], len(w)/outputs)
	near(t, "gradient in images", dx, want[1], size[1], len(w)/inputs)
	near(t, "gradient in filters", dw, want[2], size[2], len(x)/inputs)
}

// Values and gradients are those of the definition, in geometries of all kinds.
func TestConvTranspose2dDefinition(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	pick := func(from ...int) int { return from[rng.IntN(len(from))] }
	done := 0
	for range 400 {
		c := convolution{
			x: []int{pick(1, 2, 3, 5), 0, 1 + rng.IntN(13), 1 + rng.IntN(13)}, stride: []int{pick(1, 1, 2, 3), pick(1, 1, 2, 4)},
			dilation: []int{pick(1, 1, 2), pick(1, 1, 3)}, groups: pick(1, 1, 2, 3), pad: []int{rng.IntN(4), rng.IntN(4), rng.IntN(4), rng.IntN(4)},
		}
		c.w = []int{c.groups * pick(1, 2, 5), pick(1, 2, 3, 8), pick(1, 2, 3, 3, 5), pick(1, 2, 3, 3, 4)}
		c.x[1] = c.groups * c.w[1]
		if !c.fits() {
			continue
		}
		done++
		o, err := c.transposed(tensor.Float32)
		require.NoError(t, err, "%v", c)
		require.Equal(t, tensor.Shape(c.x), o.out, "%v", c)
		checkTransposed(t, c, o, o.f32, near)
		checkTransposed(t, c, o, o.f64, near)
		o, err = c.transposed(tensor.Float32, Circular())
		require.NoError(t, err, "%v", c)
		checkTransposed(t, torus{c}, o, o.f32, near)
		checkTransposed(t, torus{c}, o, o.f64, near)
	}
	assert.Greater(t, done, 200)
}

// Where a convolution uses Winograd's algorithm, so does its adjoint.
func TestConvTranspose2dWinograd(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		for _, c := range []convolution{square(8, 16, 32, 9, 12, 1, 1), square(4, 48, 16, 14, 11, 0, 2, 1, 2), square(8, 16, 16, 8, 8, 2, 2)} {
			o, tilings, _ := c.byWinograd(t)
			adjoint, err := c.transposed(tensor.Float32)
			require.NoError(t, err, "%v", c)
			assert.IsType(t, o.f32, adjoint.f32.(transposed[float32]).of)
			checkTransposed(t, c, adjoint, transposed[float32]{tilings}, nearLargest)
			_, tilings, _ = torus{c}.byWinograd(t)
			checkTransposed(t, torus{c}, adjoint, transposed[float32]{tilings}, nearLargest)
		}
	})
}

// The last bits do not depend on the number of cores, except for those of the gradient in the kernel.
func TestConvTranspose2dOnCores(t *testing.T) {
	c := convolution{[]int{7, 8, 13, 9}, []int{24, 8, 3, 3}, []int{1, 1}, []int{2, 1}, []int{1, 1}, 1}
	rng := rand.New(rand.NewPCG(1, 2))
	in := [][]float32{drawn[float32](rng, 7*24*7*9), drawn[float32](rng, 24*8*9)}
	g := drawn[float32](rng, 7*8*13*9)
	run := func(procs int) (y, dx []float32) {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
		o, err := c.transposed(tensor.Float32)
		require.NoError(t, err)
		y, dx = make([]float32, len(g)), make([]float32, len(in[0]))
		require.NoError(t, o.f32.Forward(y, in))
		require.NoError(t, o.f32.Backward(dx, 0, in, y, g))
		return y, dx
	}
	y1, dx1 := run(1)
	for _, procs := range []int{2, 5} {
		y, dx := run(procs)
		assert.Equal(t, y1, y)
		assert.Equal(t, dx1, dx)
	}
}

// BenchmarkConvTranspose2d runs layers of decoders, and the convolutions of which they are the adjoints.
func BenchmarkConvTranspose2d(b *testing.B) {
	one, two := []int{1, 1}, []int{2, 2}
	for _, layer := range []struct {
		name string
		c    convolution // from the images of the result
	}{
		{"128x8x8 to 64x16x16, 4x4", convolution{[]int{32, 64, 16, 16}, []int{128, 64, 4, 4}, one, two, one, 1}},
		{"64x16x16 to 32x32x32, 2x2", convolution{[]int{32, 32, 32, 32}, []int{64, 32, 2, 2}, []int{0, 0}, two, one, 1}},
		{"64x16x16 to 64x16x16, 3x3", convolution{[]int{32, 64, 16, 16}, []int{64, 64, 3, 3}, one, one, one, 1}},
	} {
		c := layer.c
		o, err := c.transposed(tensor.Float32)
		require.NoError(b, err)
		of, err := c.body(tensor.Float32)
		require.NoError(b, err)
		rng := rand.New(rand.NewPCG(1, 2))
		x, w, y := drawn[float32](rng, o.in[0].TotalSize()), drawn[float32](rng, o.in[1].TotalSize()), drawn[float32](rng, o.out.TotalSize())
		dx, dw := make([]float32, len(x)), make([]float32, len(w))
		flops := 2 * float64(len(x)*len(w)/c.w[0])
		for name, f := range map[string]func() error{
			"value":               func() error { return o.f32.Forward(y, [][]float32{x, w}) },
			"gradient in images":  func() error { return o.f32.Backward(dx, 0, [][]float32{x, w}, y, y) },
			"gradient in kernel":  func() error { return o.f32.Backward(dw, 1, [][]float32{x, w}, y, y) },
			"Conv2d, for images":  func() error { return of.f32.Backward(y, 0, [][]float32{y, w}, x, x) },
			"Conv2d, value":       func() error { return of.f32.Forward(dx, [][]float32{y, w}) },
			"Conv2d, for filters": func() error { return of.f32.Backward(dw, 1, [][]float32{y, w}, x, x) },
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

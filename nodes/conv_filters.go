// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"runtime"

	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/par"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// kernels writes the gradient with respect to the filters. It sums over parts of the batch
// concurrently, and then adds up these sums in a fixed order.
func (c conv[T]) kernels(dst, x, grad []T) {
	n := c.inputs * c.area
	size := c.filters * n
	const most = 1 << 25 // limit of the elements of sums
	parts := min(runtime.GOMAXPROCS(0), c.batch, max(1, most/size))
	sums := scratch.Get[T](parts * size)
	packed := panels(&c.work.grads, parts)
	par.Do(parts, func(part int) {
		sum := sums[part*size:][:size]
		from, to := part*c.batch/parts, (part+1)*c.batch/parts
		x := x[from*c.channels*c.pixelsIn : to*c.channels*c.pixelsIn]
		grad := grad[from*c.filters*c.pixelsOut : to*c.filters*c.pixelsOut]
		switch {
		case c.depthwise != nil:
			c.depthwiseKernels(sum, x, grad)
		case c.method == byDots:
			c.dots(sum, x, grad)
		case c.method == byColumns:
			c.columns(sum, x, grad)
		default:
			c.windows(sum, x, grad, &packed[part])
		}
	})
	par.Ranges(c.filters, 1+grain/n, func(from, to int) {
		whole := sums[from*n : to*n]
		for part := 1; part < parts; part++ {
			vec.Add(whole, sums[part*size+from*n:part*size+to*n])
		}
		if c.method != byWindows {
			copy(dst[from*n:], whole)
			return
		}
		for o := from; o < to; o++ {
			sum, w := sums[o*n:][:n], dst[o*n:][:n]
			for k := range c.area {
				for j, v := range sum[k*c.inputs:][:c.inputs] {
					w[j*c.area+k] = v
				}
			}
		}
	})
	scratch.Put(sums)
}

// windows sets sum, of shape (O, KH, KW, C/groups), to the product of grad and the matrix that has
// one row for each pixel of the result: the window of the image under the kernel. For this the
// channels of a pixel are stored next to each other, so that a window consists of a few long rows.
func (c conv[T]) windows(sum, x, grad []T, packed *gemm.Panels[T]) {
	n := c.inputs * c.area
	buffer := zeroed[T](c.window.size())
	for first := true; len(x) > 0; first = false {
		interleave(&c.window, buffer, x, c.inputs)
		for g := range c.groups {
			packed.Pack(1, gemm.Of(grad[g*c.outputs*c.pixelsOut:], c.outputs, c.pixelsOut))
			image := buffer[g*c.inputs*c.window.plane():]
			for _, r := range c.rowsOfWindow {
				to := gemm.Mat[T]{Data: sum[g*c.outputs*n+r.column:], R: c.outputs, C: r.taps.rows * r.taps.width, RS: n, CS: 1}
				gemm.MulPatches(to, packed, patches(&r.taps, image[r.offset:]), !first)
			}
		}
		x, grad = x[c.channels*c.pixelsIn:], grad[c.filters*c.pixelsOut:]
	}
	packed.Release()
	scratch.Put(buffer)
}

// columns sets sum, of shape (O, C/groups, KH, KW), to the same product, but stores the matrix, with
// one row for each tap. That is cheap for kernels of few taps.
func (c conv[T]) columns(sum, x, grad []T) {
	n := c.inputs * c.area
	buffer, columns := zeroed[T](c.single.size()), scratch.Get[T](n*c.pixelsOut)
	for beta := 0.0; len(x) > 0; beta = 1 {
		image := padded(&c.single, buffer, x, 1)
		for g := range c.groups {
			seen := image[g*c.inputs*c.single.plane():]
			if c.area > 1 { // otherwise the image is the matrix
				unfold(columns, seen, &c.singleTaps)
				seen = columns
			}
			a := gemm.Of(grad[g*c.outputs*c.pixelsOut:], c.outputs, c.pixelsOut)
			gemm.Mul(gemm.Of(sum[g*c.outputs*n:], c.outputs, n), 1, a, gemm.Of(seen, n, c.pixelsOut).T(), beta)
		}
		x, grad = x[c.channels*c.pixelsIn:], grad[c.filters*c.pixelsOut:]
	}
	scratch.Put(buffer)
	scratch.Put(columns)
}

// dots sets sum to the same product, tap by tap. It is for depthwise convolutions, whose matrices are
// too small for matrix products.
func (c conv[T]) dots(sum, x, grad []T) {
	buffer := zeroed[T](c.single.size())
	clear(sum)
	for len(x) > 0 {
		image := padded(&c.single, buffer, x, 1)
		for o := range c.filters {
			g, plane := grad[o*c.pixelsOut:], image[o*c.single.plane():]
			for k, e := range c.singleTaps.at {
				s := 0.0
				for y := range c.singleTaps.rows {
					s += vec.Dot(g[y*c.singleTaps.width:][:c.singleTaps.width], plane[e+y*c.singleTaps.pitch:][:c.singleTaps.width])
				}
				sum[o*c.area+k] += T(s)
			}
		}
		x, grad = x[c.channels*c.pixelsIn:], grad[c.filters*c.pixelsOut:]
	}
	scratch.Put(buffer)
}

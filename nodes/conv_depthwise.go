// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// depthwise is the geometry of a convolution in which each filter sees one channel and each channel one
// filter, with 3 x 3 kernels. It has too few multiplications per number to profit from a matrix product, so
// it is computed row by row from a padded copy of one plane, which stays in the cache.
type depthwise struct{ rows, cols axis }

// planDepthwise returns nil for any other convolution.
func (p *convPlan) planDepthwise() *depthwise {
	for _, a := range []axis{p.rows, p.cols} {
		if a.kernel != 3 || a.dilation != 1 || a.circular || a.pad > 2 || a.after > 2 {
			return nil
		}
	}
	if p.inputs != 1 || p.outputs != 1 {
		return nil
	}
	return &depthwise{p.rows, p.cols}
}

// inPlanes calls f for each plane of n, with a workspace of the given size that is 0 at first. The cores divide the planes.
func inPlanes[T vec.Float](n, elements, size int, f func(space []T, plane int)) {
	parallel(n, elements, func(from, to int) {
		space := zeroed[T](size)
		for p := from; p < to; p++ {
			f(space, p)
		}
		scratch.Put(space)
	})
}

// place copies lines, of n numbers each, to every down-th line and every right-th column of a plane.
func place[T vec.Float](dst []T, pitch, down, right int, src []T, n int) {
	for y := 0; y*n < len(src); y++ {
		to, from := dst[y*down*pitch:], src[y*n:][:n]
		if right == 1 {
			copy(to, from)
			continue
		}
		for i, v := range from {
			to[i*right] = v
		}
	}
}

// depthwiseValue computes the value.
func (c conv[T]) depthwiseValue(out, x, w []T, finish func(region)) {
	rows, cols := c.depthwise.rows, c.depthwise.cols
	height, pitch := rows.size+rows.pad+rows.after, cols.size+cols.pad+cols.after
	wide := (cols.out-1)*cols.stride + 1 // results without a stride
	inPlanes(c.batch*c.channels, len(x), height*pitch+wide, func(space []T, p int) {
		image, line := space[:height*pitch], space[height*pitch:][:wide]
		place(image[rows.pad*pitch+cols.pad:], pitch, 1, 1, x[p*c.pixelsIn:][:c.pixelsIn], cols.size)
		b, channel := p/c.channels, p%c.channels
		for y := range rows.out {
			at, to := image[y*rows.stride*pitch:], out[p*c.pixelsOut+y*cols.out:][:cols.out]
			if cols.stride == 1 {
				vec.Taps(to, at, at[pitch:], at[2*pitch:], w[9*channel:])
				continue
			}
			vec.Taps(line, at, at[pitch:], at[2*pitch:], w[9*channel:])
			for i := range to {
				to[i] = line[i*cols.stride]
			}
		}
		finish(region{b, b + 1, channel, channel + 1, 0, c.pixelsOut})
	})
}

// depthwiseImages computes the gradient with respect to the images: a convolution, with kernels that are rotated by half a turn, of grad
// with zeros between its rows and columns where there are strides.
func (c conv[T]) depthwiseImages(dst, grad, w []T, finish func(region)) {
	rows, cols := c.depthwise.rows, c.depthwise.cols
	height, pitch := rows.size+2, cols.size+2
	inPlanes(c.batch*c.channels, len(dst), height*pitch+9, func(space []T, p int) {
		g, turned := space[:height*pitch], space[height*pitch:][:9]
		b, channel := p/c.channels, p%c.channels
		for k := range turned {
			turned[8-k] = w[9*channel+k]
		}
		place(g[(2-rows.pad)*pitch+2-cols.pad:], pitch, rows.stride, cols.stride, grad[p*c.pixelsOut:][:c.pixelsOut], cols.out)
		for y := range rows.size {
			at := g[y*pitch:]
			vec.Taps(dst[p*c.pixelsIn+y*cols.size:][:cols.size], at, at[pitch:], at[2*pitch:], turned)
		}
		finish(region{b, b + 1, channel, channel + 1, 0, c.pixelsIn})
	})
}

// depthwiseKernels sets sum to the gradient with respect to the filters for some images. For each tap it multiplies a whole padded plane by
// one of grad in which everything else is 0.
func (c conv[T]) depthwiseKernels(sum, x, grad []T) {
	rows, cols := c.depthwise.rows, c.depthwise.cols
	height, pitch := rows.size+rows.pad+rows.after, cols.size+cols.pad+cols.after
	n := (rows.out-1)*rows.stride*pitch + (cols.out-1)*cols.stride + 1
	space := zeroed[T](height*pitch + n)
	defer scratch.Put(space)
	image, g := space[:height*pitch], space[height*pitch:][:n]
	clear(sum)
	for p := range len(x) / c.pixelsIn {
		place(image[rows.pad*pitch+cols.pad:], pitch, 1, 1, x[p*c.pixelsIn:][:c.pixelsIn], cols.size)
		place(g, pitch, rows.stride, cols.stride, grad[p*c.pixelsOut:][:c.pixelsOut], cols.out)
		to := sum[9*(p%c.channels):][:9]
		for k := range to {
			s := vec.Dot(g, image[k/3*pitch+k%3:][:n])
			if !finite(s) { // perhaps by 0 times an infinite pixel that the tap does not see
				s = c.tap(image[k/3*pitch+k%3:], pitch, grad[p*c.pixelsOut:])
			}
			to[k] += T(s)
		}
	}
}

// tap returns the sum over the pixels of a plane of the result of grad times the pixel of the image under a tap.
func (c conv[T]) tap(image []T, pitch int, grad []T) (s float64) {
	rows, cols := c.depthwise.rows, c.depthwise.cols
	for y := range rows.out {
		for i := range cols.out {
			s += float64(grad[y*cols.out+i]) * float64(image[y*rows.stride*pitch+i*cols.stride])
		}
	}
	return s
}

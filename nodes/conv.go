// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"runtime"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/par"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Conv2d is the convolution of gorgonia.Conv2d, with the same arguments:
//
//	y[b,o,i,j] = sum_cuv x[b,c, i*stride[0] + u*dilation[0] - top, j*stride[1] + v*dilation[1] - left] w[o,c,u,v],
//
// where x is 0 outside of the image; see Circular for another padding. x has shape (B, C, H, W), w (O, C, KH, KW), and the result
// (B, O, 1+(H+top+bottom-dilation[0]*(KH-1)-1)/stride[0], ...) with divisions rounded down. The
// gradients with respect to x and w are exact.
//
// kernelShape is {KH, KW}. pad is {rows, columns}, on both sides, or {top, bottom, left,
// right}, or nil for none; dilation may be nil for none.
//
// Images are not unfolded into a matrix (im2col). Matrix products read the padded image in place and
// write the result in place, which saves memory and time (Anderson et al. 2017; Zhang, Franchetti and
// Low 2018). Where it is faster, float32 convolutions with kernels of 3 x 3 use Winograd's algorithm;
// see Winograd. The batch is divided among the cores. The bits of the value and of the gradient with
// respect to x do not depend on the number of cores; those of the gradient with respect to w depend
// on GOMAXPROCS only.
//
// Conv2d returns an error for wrong ranks, a kernelShape other than that of w, channels that do not
// match, a kernel larger than the padded image, strides or dilations that are not positive, and
// negative padding.
func Conv2d(x, w *gorgonia.Node, kernelShape tensor.Shape, pad, stride, dilation []int) (*gorgonia.Node, error) {
	return Conv2dWith(x, w, kernelShape, pad, stride, dilation)
}

// Conv2dWith is Conv2d with options: Groups and Circular. It has the errors of Conv2d and those of the options.
func Conv2dWith(x, w *gorgonia.Node, kernelShape tensor.Shape, pad, stride, dilation []int, opts ...ConvOption) (*gorgonia.Node, error) {
	return conv2d("nodes.Conv2d", x, w, kernelShape, pad, stride, dilation, opts)
}

func conv2d(name string, x, w *gorgonia.Node, kernel tensor.Shape, pad, stride, dilation []int, opts []ConvOption) (*gorgonia.Node, error) {
	shapes, err := admit(name, []int{4, 4}, x, w)
	if err != nil {
		return nil, err
	}
	in, filter := shapes[0], shapes[1]
	o, err := optionsOf(name, opts)
	if err != nil {
		return nil, err
	}
	along, err := axes(name, filter, kernel, pad, stride, dilation, o)
	if err != nil {
		return nil, err
	}
	switch {
	case o.groups < 1 || in[1]%o.groups != 0 || filter[0]%o.groups != 0:
		return nil, fmt.Errorf("%s: want groups that divide %d channels and %d filters, got %d", name, in[1], filter[0], o.groups)
	case filter[1] != in[1]/o.groups:
		return nil, fmt.Errorf("%s: want filters of %d channels for %d groups and images of shape %v, got shape %v", name, in[1]/o.groups, o.groups, in, filter)
	case o.padding != [2]int{}:
		return nil, fmt.Errorf("%s: want no output padding, which is for ConvTranspose2d, got %v", name, o.padding)
	}
	for i := range along {
		a := &along[i]
		a.size = in[2+i]
		last := a.size + a.pad + a.after - a.dilation*(a.kernel-1) - 1 // last start of a kernel
		if last < 0 {
			return nil, fmt.Errorf("%s: want a kernel that fits into the padded image, got images of shape %v, kernel %v, dilation %v, padding %v",
				name, in, kernel, dilation, pad)
		}
		a.out = last/a.stride + 1
	}
	p := newConvPlan(in[0], in[1], filter[0], o.groups, along[0], along[1])
	s := signature{name: name, in: shapes, out: tensor.Shape{in[0], filter[0], along[0].out, along[1].out}}
	return apply(s, newTiled(p, along[0], along[1]), newConv[float64](p), x, w)
}

// maxPadding is the largest padding of one side: beyond it the sizes of a result could overflow.
const maxPadding = 1 << 20

// axes checks the arguments of a convolution that concern rows and columns, and returns them without the
// sizes of the images.
func axes(name string, filter, kernel tensor.Shape, pad, stride, dilation []int, o convOptions) (along [2]axis, err error) {
	if pad == nil {
		pad = []int{0, 0}
	}
	if dilation == nil {
		dilation = []int{1, 1}
	}
	switch {
	case len(kernel) != 2 || kernel[0] != filter[2] || kernel[1] != filter[3]:
		err = fmt.Errorf("%s: want the kernel shape %v of the filters, got %v", name, filter[2:], kernel)
	case len(pad) != 2 && len(pad) != 4:
		err = fmt.Errorf("%s: want padding of rows and columns or top, bottom, left and right, got %v", name, pad)
	case slices.Min(pad) < 0:
		err = fmt.Errorf("%s: want padding that is not negative, got %v", name, pad)
	case slices.Max(pad) > maxPadding:
		err = fmt.Errorf("%s: want padding of at most %d, got %v", name, maxPadding, pad)
	case len(stride) != 2 || stride[0] < 1 || stride[1] < 1:
		err = fmt.Errorf("%s: want two positive strides, got %v", name, stride)
	case len(dilation) != 2 || dilation[0] < 1 || dilation[1] < 1:
		err = fmt.Errorf("%s: want two positive dilations, got %v", name, dilation)
	}
	if err != nil {
		return along, err
	}
	sides := [4]int{pad[0], pad[0], pad[1], pad[1]}
	if len(pad) == 4 {
		sides = [4]int(pad)
	}
	for i := range along {
		along[i] = axis{kernel: kernel[i], stride: stride[i], dilation: dilation[i], pad: sides[2*i], after: sides[2*i+1]}
		along[i].circular = o.circular && along[i].pad+along[i].after > 0
	}
	return along, nil
}

// conv computes a convolution as matrix products with patches of images.
type conv[T vec.Float] struct {
	*convPlan
	work *convWork[T]
}

func newConv[T vec.Float](p *convPlan) conv[T] { return conv[T]{p, &convWork[T]{}} }

// convWork is what all runs of a node reuse. The panels have memory only while the node runs.
type convWork[T vec.Float] struct {
	weights []gemm.Panels[T] // packed once per run, for all images
	grads   []gemm.Panels[T] // one for each part of the batch
}

// panels extends p to at least n elements.
func panels[T vec.Float](p *[]gemm.Panels[T], n int) []gemm.Panels[T] {
	for len(*p) < n {
		*p = append(*p, gemm.Panels[T]{})
	}
	return *p
}

func release[T vec.Float](p []gemm.Panels[T]) {
	for i := range p {
		p[i].Release()
	}
}

// zeroed borrows a workspace of n zeros, followed by the elements that patches may read beyond them.
func zeroed[T vec.Float](n int) []T {
	s := scratch.Get[T](n + gemm.Slack)
	clear(s)
	return s
}

func (c conv[T]) Forward(out []T, in [][]T) error {
	c.Convolve(out, in[0], in[1], func(region) {})
	return nil
}

// Convolve multiplies the filters by the patches of each group of images. If there are fewer groups
// than cores, it also divides the filters into blocks.
func (c conv[T]) Convolve(out, x, w []T, finish func(region)) {
	if c.depthwise != nil {
		c.depthwiseValue(out, x, w, finish)
		return
	}
	n := c.inputs * c.area
	jobs := c.jobs(&c.image)
	const least = 32 // filters that are worth a block
	blocks := max(1, min(runtime.GOMAXPROCS(0)/jobs, c.outputs/least))
	weights := panels(&c.work.weights, c.groups*blocks)
	par.Do(c.groups*blocks, func(i int) {
		o, end := i*c.outputs/blocks, (i+1)*c.outputs/blocks
		if jobs == 1 { // packing would take a large part of the time
			weights[i].View(w[o*n:], end-o, n)
		} else {
			weights[i].Pack(1, gemm.Of(w[o*n:], end-o, n))
		}
	})
	par.Ranges(jobs*blocks, 1, func(from, to int) {
		buffer, piece := zeroed[T](c.image.size()), scratch.Get[T](c.outputs*c.pixelsOut*c.image.together)
		for j := from; j < to; j++ {
			b, images := c.job(j/blocks, &c.image)
			image := padded(&c.image, buffer, x[b*c.channels*c.pixelsIn:], images)
			for g := range c.groups {
				i := g*blocks + j%blocks
				o, end := i*c.outputs/blocks, (i+1)*c.outputs/blocks
				r := results[T]{out[(b*c.filters+o)*c.pixelsOut:], end - o, &c.result, images, c.filters * c.pixelsOut, c.image.together}
				r.multiply(&weights[i], patches(&c.taps, image[g*c.inputs*c.image.plane():]), piece)
				finish(region{b, b + images, o, end, 0, c.pixelsOut})
			}
		}
		scratch.Put(buffer)
		scratch.Put(piece)
	})
	release(weights)
}

// jobs returns the number of groups of images into which the layout divides the batch.
func (c *convPlan) jobs(l *layout) int { return (c.batch + l.together - 1) / l.together }

// job returns the first image of group i and the number of its images.
func (c *convPlan) job(i int, l *layout) (first, images int) {
	first = i * l.together
	return first, min(l.together, c.batch-first)
}

// results describes the destination of a product. The rows of the product are planes of images; its
// columns are pixels of a lattice, for all images of a group.
type results[T vec.Float] struct {
	dst      []T // planes of the first image
	planes   int
	pixels   *lattice
	images   int
	image    int // elements from one image to the next
	together int
}

// multiply writes the product of a and b to its destination. piece is a workspace.
func (r *results[T]) multiply(a *gemm.Panels[T], b gemm.Patches[T], piece []T) {
	n := r.pixels.n() * r.together
	if r.together == 1 && r.pixels.whole() {
		gemm.MulPatches(gemm.Of(r.dst, r.planes, n), a, b, false)
		return
	}
	gemm.MulPatches(gemm.Of(piece, r.planes, n), a, b, false)
	for i := range r.planes {
		for j := range r.images {
			scatter(r.pixels, r.dst[j*r.image+i*r.pixels.plane():], piece[i*n+j:], r.together)
		}
	}
}

// Backward writes the gradient with respect to the images or the filters.
func (c conv[T]) Backward(dst []T, i int, in [][]T, _, grad []T) error {
	if i == 0 {
		c.Transpose(dst, grad, in[1], func(region) {})
	} else {
		c.kernels(dst, in[0], grad)
	}
	return nil
}

// Transpose computes, for each phase of the images, that is, for the pixels under the same set of taps, a
// convolution of grad without strides.
func (c conv[T]) Transpose(dst, grad, w []T, finish func(region)) {
	if c.depthwise != nil {
		c.depthwiseImages(dst, grad, w, finish)
		return
	}
	if c.unrolled != nil {
		c.fold(dst, grad, w, finish)
		return
	}
	flipped := scratch.Get[T](len(w))
	par.Ranges(c.channels, 1+grain*c.channels/len(w), func(from, to int) {
		for j := from; j < to; j++ {
			g, start := j/c.inputs, 0
			for _, f := range c.phases {
				n := c.outputs * len(f.kernel)
				row := flipped[start+j*n:]
				for o := range c.outputs {
					pick(row[o*len(f.kernel):], w[((g*c.outputs+o)*c.inputs+j%c.inputs)*c.area:][:c.area], f.kernel)
				}
				start += c.channels * n
			}
		}
	})
	weights := panels(&c.work.weights, len(c.phases)*c.groups)
	next := flipped
	for i, f := range c.phases {
		n := c.outputs * len(f.kernel)
		for g := range c.groups {
			weights[i*c.groups+g].Pack(1, gemm.Of(next, c.inputs, n))
			next = next[c.inputs*n:]
		}
	}
	scratch.Put(flipped)
	par.Ranges(c.jobs(&c.grad), 1, func(from, to int) {
		buffer, piece := zeroed[T](c.grad.size()), scratch.Get[T](c.inputs*c.pixelsIn*c.grad.together)
		for j := from; j < to; j++ {
			b, images := c.job(j, &c.grad)
			y := padded(&c.grad, buffer, grad[b*c.filters*c.pixelsOut:], images)
			size := c.channels * c.pixelsIn
			dx := dst[b*size:][:images*size]
			if c.uncovered {
				clear(dx)
			}
			for i := range c.phases {
				f := &c.phases[i]
				for g := range c.groups {
					r := results[T]{dx[g*c.inputs*c.pixelsIn:], c.inputs, &f.pixels, images, size, c.grad.together}
					r.multiply(&weights[i*c.groups+g], patches(&f.taps, y[g*c.outputs*c.grad.plane():]), piece)
				}
			}
			finish(region{b, b + images, 0, c.channels, 0, c.pixelsIn})
		}
		scratch.Put(buffer)
		scratch.Put(piece)
	})
	release(weights)
}

// fold computes the gradient with respect to the padded images and adds their margins to the pixels that they repeat.
func (c conv[T]) fold(dst, grad, w []T, finish func(region)) {
	height, width := c.rows.unrolled().size, c.cols.unrolled().size
	whole := scratch.Get[T](c.batch * c.channels * height * width)
	conv[T]{c.unrolled, c.work}.Transpose(whole, grad, w, func(region) {})
	par.Ranges(c.batch, 1, func(from, to int) {
		for b := from; b < to; b++ {
			for plane := b * c.channels; plane < (b+1)*c.channels; plane++ {
				image := dst[plane*c.pixelsIn:][:c.pixelsIn]
				clear(image)
				for y := range height {
					row := whole[(plane*height+y)*width:][:width]
					into := image[modulo(y-c.rows.pad, c.rows.size)*c.cols.size:][:c.cols.size]
					for at := modulo(c.cols.pad, c.cols.size) - c.cols.size; at < width; at += c.cols.size { // a repetition of the image
						first, last := max(0, at), min(width, at+c.cols.size)
						vec.Add(into[first-at:last-at], row[first:last])
					}
				}
			}
			finish(region{b, b + 1, 0, c.channels, 0, c.pixelsIn})
		}
	})
	scratch.Put(whole)
}

// pick copies the listed taps of a kernel.
func pick[T vec.Float](dst, kernel []T, taps []int) {
	if len(taps) == len(kernel) {
		copy(dst, kernel)
		return
	}
	for i, k := range taps {
		dst[i] = kernel[k]
	}
}

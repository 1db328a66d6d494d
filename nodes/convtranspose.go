// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/vec"
)

// ConvTranspose2d is the transposed convolution of PyTorch's ConvTranspose2d, the adjoint of Conv2d as a
// map of images, which upsamples by its strides:
//
//	y[b,o,i*stride[0] + u*dilation[0] - top, j*stride[1] + v*dilation[1] - left] += sum_c x[b,c,i,j] w[c,o,u,v]
//
// for all i, j, u and v, where pixels outside of y are left out, unless the padding is Circular. x has shape (B, C, H, W), w (C, O, KH, KW), and the
// result (B, O, (H-1)*stride[0] - top - bottom + dilation[0]*(KH-1) + 1, ...), to which OutputPadding adds rows
// and columns. The gradients with respect to x and w are exact.
//
// For all x and z, <Conv2d(z), x> = <z, ConvTranspose2d(x)>, where Conv2d has the same w, padding, strides
// and dilation, and z the shape of y: the C filters of Conv2d see O channels. The value is computed like the gradient
// of Conv2d with respect to its images, with the same speed and the same rounding errors; see Conv2d.
//
// kernelShape, pad, stride and dilation are those of Conv2d. Options are OutputPadding, Groups and
// Circular.
//
// ConvTranspose2d returns an error for wrong ranks, a kernelShape other than that of w, channels that do not
// match, padding that leaves no pixel of the result, strides or dilations that are not positive, and negative
// padding.
func ConvTranspose2d(x, w *gorgonia.Node, kernelShape tensor.Shape, pad, stride, dilation []int, opts ...ConvOption) (*gorgonia.Node, error) {
	return convTranspose2d("nodes.ConvTranspose2d", x, w, kernelShape, pad, stride, dilation, opts)
}

func convTranspose2d(name string, x, w *gorgonia.Node, kernelShape tensor.Shape, pad, stride, dilation []int, opts []ConvOption) (*gorgonia.Node, error) {
	shapes, err := admit(name, []int{4, 4}, x, w)
	if err != nil {
		return nil, err
	}
	in, filter := shapes[0], shapes[1]
	o, err := optionsOf(name, opts)
	if err != nil {
		return nil, err
	}
	along, err := axes(name, filter, kernelShape, pad, stride, dilation, o)
	if err != nil {
		return nil, err
	}
	switch {
	case filter[0] != in[1]:
		return nil, fmt.Errorf("%s: want w of %d input channels for images of shape %v, got shape %v", name, in[1], in, filter)
	case o.groups < 1 || in[1]%o.groups != 0:
		return nil, fmt.Errorf("%s: want groups that divide %d channels, got %d", name, in[1], o.groups)
	}
	// The convolution whose adjoint this is makes images of shape in from those of the result.
	for i := range along {
		a := &along[i]
		if p := o.padding[i]; p < 0 || p > 0 && p >= max(a.stride, a.dilation) {
			return nil, fmt.Errorf("%s: want output padding from 0 to less than the stride or the dilation, %d and %d, got %v",
				name, a.stride, a.dilation, o.padding)
		}
		a.out = in[2+i]
		a.size = (a.out-1)*a.stride + a.dilation*(a.kernel-1) + 1 + o.padding[i] - a.pad - a.after
		if a.size < 1 {
			return nil, fmt.Errorf("%s: want padding that leaves pixels of the result, got images of shape %v, kernel %v, stride %v, dilation %v, padding %v",
				name, in, kernelShape, stride, dilation, pad)
		}
	}
	channels := filter[1] * o.groups
	p := newConvPlan(in[0], channels, in[1], o.groups, along[0], along[1])
	s := signature{name: name, in: shapes, out: tensor.Shape{in[0], channels, along[0].size, along[1].size}}
	return apply(s, transposed[float32]{newTiled(p, along[0], along[1])}, transposed[float64]{newConv[float64](p)}, x, w)
}

// twoWay is the body of a convolution that can be transposed.
type twoWay[T vec.Float] interface {
	convolver[T]
	GroupedConvolution
	// Transpose writes the gradient with respect to the images to dst, from that with respect to the result. It
	// calls finish as Convolve does.
	Transpose(dst, grad, w []T, finish func(region))
}

// transposed is the adjoint of a convolution: its value is the gradient of the convolution with respect to
// the images, for the gradient x.
type transposed[T vec.Float] struct{ of twoWay[T] }

func (t transposed[T]) Forward(out []T, in [][]T) error {
	t.Convolve(out, in[0], in[1], func(region) {})
	return nil
}

func (t transposed[T]) Convolve(out, x, w []T, finish func(region)) {
	t.of.Transpose(out, x, w, finish)
}

// Backward writes the gradient with respect to the images, which is the convolution of grad, or to the kernel, which
// is that of the convolution with images and gradient exchanged.
func (t transposed[T]) Backward(dst []T, i int, in [][]T, _, grad []T) error {
	if i == 0 {
		t.of.Convolve(dst, grad, in[1], func(region) {})
		return nil
	}
	return t.of.Backward(dst, 1, [][]T{grad, in[1]}, nil, in[0])
}

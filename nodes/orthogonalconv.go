// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/spectra"
	"github.com/kernelfold/kernelfold/manifolds"
)

// Factor is a parameter from which the kernel of an orthogonal convolution is computed: its shape, and the constraint that
// keeps it on its manifold. The shape is nil if there is no such factor.
type Factor struct {
	Shape      tensor.Shape
	Constraint manifolds.Constraint
}

// OrthogonalConvFactors returns the factors from which OrthogonalConvKernel computes the kernel of an orthogonal
// convolution. For each of g groups, with D = filters/g, C = channels/g, kernels of h x w and strides s and t:
//
//	matrix      D x s t c             on Stiefel, or on Orthogonal if it is square
//	projectors  (h-s) + (w-t), c x p  on Grassmann, with p = c/2 rounded down
//
// where c = max(C, D/(s t)), rounded down. Without strides, the matrix for more filters than channels is C x D, and c = D. The matrix has
// shape (g, 1, D, s t c), and the projectors (g, (h-s)+(w-t), c, p). A kernel of the size of the strides has no projectors, and c = C.
//
// Draw the factors by ManifoldInit with their constraints, and train them by a solver with the option solvers.Natural,
// which takes these constraints from the graph. Options other than Groups are ignored.
//
// The error wraps ErrNotOrthogonal if there is no such convolution: if the kernel is smaller than the strides, and
// for a depthwise convolution, because shifts are the only orthogonal kernels of one channel.
func OrthogonalConvFactors(filters, channels int, kernelShape tensor.Shape, stride []int, opts ...ConvOption) (matrix, projectors Factor, err error) {
	const name = "nodes.OrthogonalConvFactors"
	o, err := optionsOf(name, opts)
	if err != nil {
		return matrix, projectors, err
	}
	g := o.groups
	switch {
	case filters < 1 || channels < 1:
		err = fmt.Errorf("%s: want positive numbers of filters and channels, got %d and %d", name, filters, channels)
	case g < 1 || filters%g != 0 || channels%g != 0:
		err = fmt.Errorf("%s: want groups that divide %d channels and %d filters, got %d", name, channels, filters, g)
	}
	if err != nil {
		return matrix, projectors, err
	}
	p, err := newOrthogonalPlan(name, kernelShape, stride)
	if err != nil {
		return matrix, projectors, err
	}
	p.groups, p.filters, p.channels = g, filters/g, channels/g
	p.fill()
	if err := p.check(name); err != nil {
		return matrix, projectors, err
	}
	matrix, projectors = p.factors()
	return matrix, projectors, nil
}

// OrthogonalConvKernel returns the kernel of an orthogonal convolution, of shape (filters, channels/g, height, width) for g
// groups. Its factors have the shapes of OrthogonalConvFactors: m holds a matrix M for each group, and u matrices U of which
// the projectors P = U U' are made. u is nil where there are none. channels is the number of input channels of all groups.
//
// For each group the kernel is the block convolution
//
//	K = M * [P_1; I-P_1] * [P_2, I-P_2] * [P_3; I-P_3] * [P_4, I-P_4] * ...
//
// where A * B is the kernel of the convolution with B followed by that with A. The first factor is a kernel of the size of the
// strides, M[d, (a t + b) c + i] for filter d, tap (a, b) and channel i. The others have two taps, one below the
// other or side by side, alternating until K has its size. K is that of the first channels/g of the c input channels.
// If M is C x D, this is the kernel with filters
// and channels exchanged, so that the matrix comes last: K = ... * [P_2, I-P_2] * [P_1; I-P_1] * M'.
//
// Kernels of two taps P and I-P, for an orthogonal projector P, are orthogonal, and so is the product. The Jacobian J of the
// convolution of images with circular padding fulfils J'J = I, or JJ' = I if results are smaller than images; with
// zeros as padding its singular values are at most 1. See OrthogonalConv for the padding.
//
// With strides of 1 this is the block convolution orthogonal parametrisation (Li et al., Preventing gradient attenuation in
// Lipschitz constrained convolutional networks, NeurIPS 2019; Xiao et al., ICML 2018), and with others AOC (Boissin
// et al., An adaptive orthogonal convolution scheme for efficient and flexible CNN architectures, ICML 2025). There the
// factors are orthogonalised by iterations in each step; here solvers move them on their manifolds. Products of projectors do not reach all
// orthogonal convolutions.
//
// The gradients are exact, those of the formula as a polynomial in m and u. Value and gradients take 39 c² multiplications for each row of M and a kernel
// of 3 x 3.
//
// A run fails with an error that wraps ErrNotOrthogonal if a factor has left its manifold.
func OrthogonalConvKernel(m, u *gorgonia.Node, channels int, kernelShape tensor.Shape, stride []int) (*gorgonia.Node, error) {
	return orthogonalKernel("nodes.OrthogonalConvKernel", m, u, channels, kernelShape, stride)
}

// OrthogonalConv is Conv2d with the kernel that OrthogonalConvKernel makes of m and u. It has the number of groups of m.
// Rows are padded by at least (dilation (kernel-1) - stride + 1) / 2 on both sides, rounded up, and columns too, so
// the result is smaller than the image by the factor of the stride. Options other than Circular are ignored.
//
// With Circular the Jacobian J fulfils J'J = I if the result has as many numbers as x or more, and JJ' = I if it has as many or fewer. Without it,
// singular values are at most 1; those of directions at the border are smaller.
//
// The errors are those of OrthogonalConvKernel and Conv2d. An error wraps ErrNotOrthogonal for even kernels without a
// stride, which cannot be padded alike on both sides; for strides and dilations with a common divisor; and for circular
// images whose size a stride does not divide.
func OrthogonalConv(x, m, u *gorgonia.Node, kernelShape tensor.Shape, stride, dilation []int, opts ...ConvOption) (*gorgonia.Node, error) {
	const name = "nodes.OrthogonalConv"
	if x == nil || x.Dims() != 4 {
		_, err := admit(name, []int{4}, x)
		return nil, err
	}
	w, pad, err := orthogonalLayer(name, m, u, x.Shape()[1], kernelShape, stride, dilation)
	if err != nil {
		return nil, err
	}
	o, err := optionsOf(name, opts)
	if err != nil {
		return nil, err
	}
	for i, size := range x.Shape()[2:] {
		if o.circular && size%stride[i] != 0 {
			return nil, notOrthogonal("%s: want circular images of a size that the strides %v divide, got shape %v", name, stride, x.Shape())
		}
	}
	o.groups, o.padding = m.Shape()[0], [2]int{}
	return conv2d(name, x, w, kernelShape, pad, stride, dilation, []ConvOption{func(to *convOptions) { *to = o }})
}

// OrthogonalConvTranspose is the adjoint of OrthogonalConv: ConvTranspose2d with the same kernel. It maps the filters of m to
// the given number of channels, and its results are larger than its inputs by the factor of the strides. For factors of
// OrthogonalConvFactors(filters, channels, ...), x has that number of filters as channels.
//
// Its Jacobian is the transpose of that of OrthogonalConv. Options and errors are the same.
func OrthogonalConvTranspose(x, m, u *gorgonia.Node, channels int, kernelShape tensor.Shape, stride, dilation []int, opts ...ConvOption) (*gorgonia.Node, error) {
	const name = "nodes.OrthogonalConvTranspose"
	w, pad, err := orthogonalLayer(name, m, u, channels, kernelShape, stride, dilation)
	if err != nil {
		return nil, err
	}
	o, err := optionsOf(name, opts)
	if err != nil {
		return nil, err
	}
	o.groups = m.Shape()[0]
	for i, s := range stride {
		d := 1
		if dilation != nil {
			d = dilation[i]
		}
		o.padding[i] = s - 1 + 2*pad[i] - d*(kernelShape[i]-1)
	}
	return convTranspose2d(name, x, w, kernelShape, pad, stride, dilation, []ConvOption{func(to *convOptions) { *to = o }})
}

// orthogonalLayer returns the kernel and the padding of an orthogonal convolution.
func orthogonalLayer(name string, m, u *gorgonia.Node, channels int, kernel tensor.Shape, stride, dilation []int) (w *gorgonia.Node, pad []int, err error) {
	if w, err = orthogonalKernel(name, m, u, channels, kernel, stride); err != nil {
		return nil, nil, err
	}
	if dilation == nil {
		dilation = []int{1, 1}
	}
	if len(dilation) != 2 || dilation[0] < 1 || dilation[1] < 1 {
		return nil, nil, fmt.Errorf("%s: want two positive dilations, got %v", name, dilation)
	}
	pad = make([]int, 2)
	for i, s := range stride {
		span := dilation[i] * (kernel[i] - 1)
		switch pad[i] = (max(0, span-s+1) + 1) / 2; {
		case spectra.GCD(s, dilation[i]) != 1:
			return nil, nil, notOrthogonal("%s: want strides and dilations without a common divisor, got %v and %v", name, stride, dilation)
		case 2*pad[i] > span:
			return nil, nil, notOrthogonal("%s: want an odd kernel where the stride is 1, so that both sides are padded alike, got kernel %v, stride %v, dilation %v",
				name, kernel, stride, dilation)
		}
	}
	return w, pad, nil
}

func orthogonalKernel(name string, m, u *gorgonia.Node, channels int, kernel tensor.Shape, stride []int) (*gorgonia.Node, error) {
	p, err := newOrthogonalPlan(name, kernel, stride)
	if err != nil {
		return nil, err
	}
	in, ranks := gorgonia.Nodes{m}, []int{4}
	if len(p.steps) > 0 || u != nil {
		in, ranks = append(in, u), append(ranks, 4)
	}
	shapes, err := admit(name, ranks, in...)
	if err != nil {
		return nil, err
	}
	rows, wide := shapes[0][2], shapes[0][3]/p.phases()
	if p.groups = shapes[0][0]; p.groups < 1 || channels < 1 || channels%p.groups != 0 {
		return nil, fmt.Errorf("%s: want a number of channels that the %d groups of %s divide, got %d", name, p.groups, m.Name(), channels)
	}
	p.filters, p.channels = rows, channels/p.groups
	if p.phases() == 1 && rows == p.channels {
		p.filters = wide
	}
	p.fill()
	matrix, projectors := p.factors()
	switch {
	case !shapes[0].Eq(matrix.Shape):
		return nil, fmt.Errorf("%s: input 0, %s: want a matrix of a shape that OrthogonalConvFactors returns for %d channels, kernel %v and strides %v, got %v",
			name, m.Name(), channels, kernel, stride, shapes[0])
	case len(p.steps) == 0 && u != nil:
		return nil, fmt.Errorf("%s: want no projectors for a kernel of the size of the strides, got %s of shape %v", name, u.Name(), shapes[1])
	}
	if err := p.check(name); err != nil {
		return nil, err
	}
	if len(p.steps) > 0 && !shapes[1].Eq(projectors.Shape) {
		return nil, fmt.Errorf("%s: input 1, %s: want projectors of shape %v for the matrix %s of shape %v, got %v", name, u.Name(), projectors.Shape, m.Name(), shapes[0], shapes[1])
	}
	s := signature{name: name, in: shapes, out: tensor.Shape{p.groups * p.filters, p.channels, kernel[0], kernel[1]}}
	runs := new(uint64)
	f32 := orthogonalConv[float32]{p, runs, &orthogonalWork[float32]{}}
	f64 := orthogonalConv[float64]{p, runs, &orthogonalWork[float64]{}}
	if err := computeEarly(s, f32, f64, in...); err != nil {
		return nil, err
	}
	return apply(s, f32, f64, in...)
}

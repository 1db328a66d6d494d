// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/par"
	"github.com/kernelfold/kernelfold/internal/roles"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// ConvexPotential is a residual layer that is 1-Lipschitz if the convolution with w is:
//
//	z = x - 2 w' ReLU(w x + bias),
//
// where w x is the convolution of x with w, which keeps the size of the images, and w' its adjoint. It is a step of gradient descent on a convex function (Meunier,
// Delattre, Araujo and Allauzen 2022, eq. 8): its derivative I - 2 w' D w, with 0 <= D <= I, has singular values of at most
// 1 for |w| <= 1. With w of ConvSpectralNorm it is a convex potential layer (CPL), and with w of SLL the layer of Araujo, Havens, Delattre,
// Allauzen and Hu 2023, which divides by a number for each filter instead of one for all. Lipschitz recognises the layer and bounds |w|.
//
// x has shape (B, C, H, W), w (filters, C, height, width) with any number of filters, and bias (1, filters, 1, 1).
// Images are padded with zeros, or circularly with the option Circular. The layer consists of Conv2dWith, Bias,
// Rectify, ConvTranspose2d and a difference, so Fold leaves plain kernels.
//
// Kernels of an even height or width, for which no padding keeps the size, and other wrong shapes are errors.
func ConvexPotential(x, w, bias *gorgonia.Node, opts ...ConvOption) (*gorgonia.Node, error) {
	const name = "nodes.ConvexPotential"
	shapes, err := admit(name, []int{4, 4, 4}, x, w, bias)
	if err != nil {
		return nil, err
	}
	kernel := tensor.Shape{shapes[1][2], shapes[1][3]}
	if kernel[0]%2 == 0 || kernel[1]%2 == 0 {
		return nil, fmt.Errorf("%s: want kernels of an odd height and width, which can keep the size of images, got shape %v", name, shapes[1])
	}
	pad, ones := []int{kernel[0] / 2, kernel[1] / 2}, []int{1, 1}
	y, err := conv2d(name, x, w, kernel, pad, ones, nil, opts)
	if err != nil {
		return nil, err
	}
	if y, err = Bias(y, bias); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if y, err = Rectify(y); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if y, err = ConvTranspose2d(y, w, kernel, pad, ones, nil, opts...); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	s := signature{name: name, in: []tensor.Shape{shapes[0], shapes[0]}, out: shapes[0]}
	return apply(s, lessTwice[float32]{}, lessTwice[float64]{}, x, y)
}

// lessTwice is x - 2 y.
type lessTwice[T vec.Float] struct{}

func (lessTwice[T]) Forward(out []T, in [][]T) error {
	par.Ranges(len(out), grain, func(from, to int) { vec.Combine(out[from:to], 1, in[0][from:to], -2, in[1][from:to]) })
	return nil
}

func (lessTwice[T]) Backward(dst []T, i int, _ [][]T, _, grad []T) error {
	if i == 0 {
		copy(dst, grad)
		return nil
	}
	par.Ranges(len(dst), grain, func(from, to int) { vec.Scale(dst[from:to], -2, grad[from:to]) })
	return nil
}

// potential returns the convolution of x and its kernel if x - 2 y, which n computes, is a ConvexPotential whose inner nodes are not among those given.
func potential(n *gorgonia.Node, given gorgonia.Nodes) (c *convPlan, kernel, bias *gorgonia.Node) {
	x, y := roles.Inputs(n)[0], roles.Inputs(n)[1]
	var back *convPlan
	for ; !slices.Contains(given, y); y = roles.Inputs(y)[0] {
		o := operation(y)
		if o == nil {
			return nil, nil, nil
		}
		switch l := o.f64.(type) {
		case transposed[float64]:
			back, kernel = l.of.(conv[float64]).convPlan, roles.Inputs(y)[1]
		case rectify[float64]:
		case addBias[float64]:
			bias = roles.Inputs(y)[1]
		case conv[float64]:
			same := back != nil && l.rows == back.rows && l.cols == back.cols && l.groups == back.groups
			if from := roles.Inputs(y); same && from[0] == x && from[1] == kernel {
				return l.convPlan, kernel, bias
			}
			return nil, nil, nil
		default:
			return nil, nil, nil
		}
	}
	return nil, nil, nil
}

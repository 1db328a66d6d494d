// SPDX-License-Identifier: Apache-2.0

package models

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
)

// AOL adds an almost orthogonal convolution without a bias, which is 1-Lipschitz for any weights: see nodes.AOL. Its weights, "<layer>.weight", have shape
// (filters, channels/groups, size, size). They start as an orthonormal matrix in the middle of the kernel, so the layer is orthogonal
// at first, and need no constraint. Options are nodes.Circular and nodes.Groups.
func (b *Builder) AOL(layer string, x *gorgonia.Node, filters, size, stride, pad int, opts ...nodes.ConvOption) *gorgonia.Node {
	return b.Apply(layer, x, func(x *gorgonia.Node) (*gorgonia.Node, error) {
		channels, groups, err := groupsOf(x, filters, opts)
		if err != nil {
			return nil, err
		}
		v, err := b.Weight(layer+".weight", centred, filters, channels/groups, size, size)
		if err != nil {
			return nil, err
		}
		w, err := nodes.AOL(v, groups)
		if err != nil {
			return nil, err
		}
		return nodes.Conv2dWith(x, w, tensor.Shape{size, size}, []int{pad, pad}, []int{stride, stride}, nil, opts...)
	})
}

// SLL adds a residual layer that is 1-Lipschitz for any weights, nodes.ConvexPotential of nodes.SLL, with the given number of filters and a kernel of an odd size. Its learnables are
// "<layer>.weight", of shape (filters, channels, size, size), "<layer>.bias" and "<layer>.balance", of shape (1, filters, 1, 1), which start at 0. An option is
// nodes.Circular.
func (b *Builder) SLL(layer string, x *gorgonia.Node, filters, size int, opts ...nodes.ConvOption) *gorgonia.Node {
	return b.potential(layer, x, filters, size, opts, func(v *gorgonia.Node) (*gorgonia.Node, error) {
		q, err := b.Weight(layer+".balance", zeros, 1, filters, 1, 1)
		if err != nil {
			return nil, err
		}
		return nodes.SLL(v, q)
	})
}

// CPL adds a convex potential layer, which is 1-Lipschitz for any weights: nodes.ConvexPotential of nodes.ConvSpectralNorm with a slack of 5 %. Its learnables and
// arguments are those of SLL, but for the balance.
func (b *Builder) CPL(layer string, x *gorgonia.Node, filters, size int, opts ...nodes.ConvOption) *gorgonia.Node {
	return b.potential(layer, x, filters, size, opts, func(v *gorgonia.Node) (*gorgonia.Node, error) {
		return nodes.ConvSpectralNorm(v, 0.05)
	})
}

// potential adds a nodes.ConvexPotential, whose effective weights kernel computes from the learnable ones.
func (b *Builder) potential(layer string, x *gorgonia.Node, filters, size int, opts []nodes.ConvOption, kernel func(v *gorgonia.Node) (*gorgonia.Node, error)) *gorgonia.Node {
	return b.Apply(layer, x, func(x *gorgonia.Node) (*gorgonia.Node, error) {
		channels, groups, err := groupsOf(x, filters, opts)
		if err != nil {
			return nil, err
		}
		if groups > 1 {
			return nil, fmt.Errorf("want a layer without groups, got %d", groups)
		}
		v, err := b.Weight(layer+".weight", b.spec.Kernels, filters, channels, size, size)
		if err != nil {
			return nil, err
		}
		β, err := b.Weight(layer+".bias", zeros, 1, filters, 1, 1)
		if err != nil {
			return nil, err
		}
		w, err := kernel(v)
		if err != nil {
			return nil, err
		}
		return nodes.ConvexPotential(x, w, β, opts...)
	})
}

// NormPool adds pooling by the Euclidean norm over windows of size x size that do not overlap, which is 1-Lipschitz.
func (b *Builder) NormPool(x *gorgonia.Node, size int) *gorgonia.Node {
	return b.Apply("pool", x, func(x *gorgonia.Node) (*gorgonia.Node, error) {
		return nodes.NormPool2D(x, tensor.Shape{size, size}, []int{0, 0}, []int{size, size})
	})
}

// UnitLinear is Linear whose columns, one for each output, are divided by their norms: a last layer for certificates (Singla, Singla and Feizi 2022, section
// 5). The difference of two logits is then at most 2-Lipschitz as a function of x, and its constant is smaller for more similar columns.
func (b *Builder) UnitLinear(layer string, x *gorgonia.Node, outputs int) *gorgonia.Node {
	return b.linear(layer, x, outputs, nodes.UnitNorm)
}

// AOLLinear is Linear with the weights of nodes.AOL, which is 1-Lipschitz.
func (b *Builder) AOLLinear(layer string, x *gorgonia.Node, outputs int) *gorgonia.Node {
	return b.linear(layer, x, outputs, func(v *gorgonia.Node) (*gorgonia.Node, error) { return nodes.AOL(v, 1) })
}

// centred draws an orthonormal matrix in the middle of each kernel of zeros (Xiao et al. 2018).
func centred(seed uint64) gorgonia.InitWFn {
	return func(of tensor.Dtype, shape ...int) any {
		middle := nodes.Orthonormal(1, seed)(of, shape[0], shape[1], 1, 1)
		size := shape[2] * shape[3]
		at := shape[2]/2*shape[3] + shape[3]/2
		switch m := middle.(type) {
		case []float32:
			return spread(m, size, at)
		case []float64:
			return spread(m, size, at)
		}
		return middle
	}
}

// spread sets element at of each size elements, and the others to 0.
func spread[T float32 | float64](x []T, size, at int) []T {
	y := make([]T, len(x)*size)
	for i, v := range x {
		y[i*size+at] = v
	}
	return y
}

// SPDX-License-Identifier: Apache-2.0

package models

import (
	"fmt"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/nodes"
)

// Variant chooses the layers of a net of Certifiable.
type Variant string

// OrthogonalVariant makes all convolutions orthogonal: see Builder.Orthogonal. It is the default.
const OrthogonalVariant Variant = "orthogonal"

// AOLVariant has almost orthogonal convolutions: see Builder.AOL. All learnables are free.
const AOLVariant Variant = "aol"

// SLLVariant has almost orthogonal convolutions where the number of channels changes, and residual layers elsewhere: see Builder.SLL. All learnables are free.
const SLLVariant Variant = "sll"

// CPLVariant is SLLVariant with convex potential layers: see Builder.CPL.
const CPLVariant Variant = "cpl"

// lipschitzLayers are the 1-Lipschitz layers of a variant.
type lipschitzLayers struct {
	// conv adds a layer that changes the number of channels, with its bias and its activation.
	conv func(b *Builder, layer string, x *gorgonia.Node, filters, size, stride int) *gorgonia.Node
	// block adds a 3 x 3 layer that keeps the number of channels.
	block func(b *Builder, layer string, x *gorgonia.Node) *gorgonia.Node
}

var variants = map[Variant]lipschitzLayers{
	AOLVariant: {
		conv: almostOrthogonalUnit,
		block: func(b *Builder, layer string, x *gorgonia.Node) *gorgonia.Node {
			return almostOrthogonalUnit(b, layer, x, x.Shape()[1], 3, 1)
		},
	},
	SLLVariant: {
		conv: almostOrthogonalUnit,
		block: func(b *Builder, layer string, x *gorgonia.Node) *gorgonia.Node {
			return b.SLL(layer, x, 2*x.Shape()[1], 3, nodes.Circular())
		},
	},
	CPLVariant: {
		conv: almostOrthogonalUnit,
		block: func(b *Builder, layer string, x *gorgonia.Node) *gorgonia.Node {
			return b.CPL(layer, x, x.Shape()[1], 3, nodes.Circular())
		},
	},
	OrthogonalVariant: {
		conv: orthogonalUnit,
		block: func(b *Builder, layer string, x *gorgonia.Node) *gorgonia.Node {
			return orthogonalUnit(b, layer, x, x.Shape()[1], 3, 1)
		},
	},
}

// orthogonalUnit adds an orthogonal convolution on circular images, a bias and MaxMin.
func orthogonalUnit(b *Builder, layer string, x *gorgonia.Node, filters, size, stride int) *gorgonia.Node {
	return b.MaxMin(b.Bias(layer, b.Orthogonal(layer, x, filters, size, stride, nodes.Circular())))
}

// almostOrthogonalUnit adds an almost orthogonal convolution on circular images, a bias and MaxMin.
func almostOrthogonalUnit(b *Builder, layer string, x *gorgonia.Node, filters, size, stride int) *gorgonia.Node {
	return b.MaxMin(b.Bias(layer, b.AOL(layer, x, filters, size, stride, (size-1)/2, nodes.Circular())))
}

// Certifiable returns a net for certificates: all its layers but the last are 1-Lipschitz, by construction. For each of Widths, which must be even, it
// has
//
//	layer that makes that many channels, 3x3 for the first, 2x2 with a stride of 2 for the others -> layer 3x3
//
// and then a linear layer that computes the logits. A layer of the variant "orthogonal" is a circular orthogonal convolution, a bias, and MaxMin, so gradients
// keep their norm from layer to layer. Where a block has fewer outputs than inputs it is orthogonal onto its outputs. In the variants "aol", "sll" and "cpl" it is an almost orthogonal
// convolution; the second layer of each width is a residual one in "sll" and "cpl".
//
// The learnables are stage1.conv.weight, stage1.conv.projectors, stage1.conv.bias and so on, see Builder.Orthogonal, and fc.weight and fc.bias. Train
// it with
//
//	solvers.Natural(), solvers.Param("fc.weight", manifolds.Sphere{}, manifolds.FilterNorm(t))
//
// The second keeps the columns of the last layer at the norm t. The smaller t is, the more the loss rewards large margins: a small t favours large
// certified radii, a large one accuracy.
//
// It takes the options Widths, 32, 64, 128 by default, and Variant. Widths that are not even, and images that are too small to be halved that
// often, are errors; other errors are those of Options.
func Certifiable(batch int, o Options) (*Model, error) {
	if o.Widths == nil {
		o.Widths = []int{32, 64, 128}
	}
	if o.Variant == "" {
		o.Variant = OrthogonalVariant
	}
	layers, ok := variants[o.Variant]
	if !ok {
		return nil, fmt.Errorf("models: Certifiable: want a variant among %q, got %q", []Variant{OrthogonalVariant, AOLVariant, SLLVariant, CPLVariant}, o.Variant)
	}
	for i, c := range o.Widths {
		if c < 2 || c%2 != 0 {
			return nil, fmt.Errorf("models: Certifiable: want even widths, for MaxMin, got %v", o.Widths)
		}
		if side := min(o.Shape[1], o.Shape[2]); side>>i < 1 {
			return nil, fmt.Errorf("models: Certifiable: want images large enough for %d halvings, got %dx%d", i, o.Shape[1], o.Shape[2])
		}
	}
	return o.build("Certifiable", batch, func(b *Builder, x *gorgonia.Node) *gorgonia.Node {
		for i, width := range o.Widths {
			stage := b.In(fmt.Sprintf("stage%d", i+1))
			size, stride := 3, 1
			if i > 0 {
				size, stride = 2, 2
				if s := x.Shape(); s[2]%2 != 0 || s[3]%2 != 0 {
					b.Fail(fmt.Sprintf("stage%d", i+1), fmt.Errorf("want images of an even size, got shape %v", s))
					return x
				}
			}
			x = layers.conv(stage, "conv", x, width, size, stride)
			x = layers.block(stage, "block", x)
		}
		return b.Linear("fc", x, o.Classes)
	}, "Widths", "Variant")
}

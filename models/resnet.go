// SPDX-License-Identifier: Apache-2.0

package models

import (
	"fmt"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/nodes"
)

// ResNet returns the residual net for small images of depth 6n+2 (He, Zhang, Ren and Sun
// 2016, Deep residual learning, section 4.2): 20, 32, 44, 56, 110 in the paper.
//
//	conv1         3x3, 16 filters, bn1
//	layer1.0 ...  n blocks of two 3x3 convolutions, 16 filters
//	layer2.0 ...  n blocks, 32 filters, the first with stride 2
//	layer3.0 ...  n blocks, 64 filters, the first with stride 2
//	fc            global average pooling, then a linear layer
//
// A block is y = ReLU(bn2(conv2(ReLU(bn1(conv1(x))))) + shortcut(x)). Shortcuts that change
// shape take every second row and column, and channels of zeros where Zeros says (option A), or,
// with Projections, a convolution of 1x1 and stride 2 with batch norm, shortcut.0 and shortcut.1
// (option B).
//
// With PreActivation a block is y = conv2(ReLU(bn2(conv1(ReLU(bn1(x)))))) + x (He, Zhang, Ren
// and Sun 2016, Identity mappings, figure 1b). The batch norm bn1 and its ReLU then come after
// the last block instead of after conv1. As in the authors' code, shortcuts that change shape
// start from ReLU(bn1(x)), and those of option B have no batch norm.
//
// It takes the options PreActivation, Projections and, without it, Zeros. Another depth, or one above 10,000, is an error; other errors are
// those of Options.
func ResNet(batch, depth int, o Options) (*Model, error) {
	return o.resnet("ResNet", batch, depth, nil)
}

// resnet is ResNet with a probability of survival for each block, unless survival is nil, and
// with the further options named in has.
func (o Options) resnet(name string, batch, depth int, survival []float64, has ...string) (*Model, error) {
	n, err := blocks(name, depth, 6, 2)
	if err != nil {
		return nil, err
	}
	if o.Projections && o.Zeros != "" {
		return nil, fmt.Errorf("models: %s: want one of the options Projections and Zeros, got both", name)
	}
	r := residual{
		blocks: n, widths: [3]int{16, 32, 64},
		preActivation: o.PreActivation, projections: o.Projections, survival: survival,
	}
	return o.build(name, batch, r.net, append(has, "PreActivation", "Projections", "Zeros")...)
}

// maxDepth is the largest depth of a residual net. Those of the papers have up to 1202 layers.
const maxDepth = 10_000

// blocks returns the n for which depth = each*n + rest.
func blocks(name string, depth, each, rest int) (int, error) {
	if depth <= rest || depth > maxDepth || (depth-rest)%each != 0 {
		return 0, fmt.Errorf("models: %s: want a depth of %dn+%d, at most %d, got %d", name, each, rest, maxDepth, depth)
	}
	return (depth - rest) / each, nil
}

// residual describes the residual nets of this package: a convolution, three stages of blocks,
// and a linear layer.
type residual struct {
	blocks        int    // blocks in each stage
	widths        [3]int // filters in each stage
	preActivation bool
	projections   bool      // shortcuts that change shape are convolutions
	dropout       float64   // probability between the convolutions of a block
	survival      []float64 // probability for each block, or nil
}

func (r residual) net(b *Builder, x *gorgonia.Node) *gorgonia.Node {
	x = b.Conv("conv1", x, 16, 3, 1, 1)
	if !r.preActivation {
		x = b.BatchNorm("bn1", x, nodes.Rectified())
	}
	for stage, width := range r.widths {
		for i := range r.blocks {
			stride := 1
			if stage > 0 && i == 0 {
				stride = 2
			}
			x = r.block(b.In(fmt.Sprintf("layer%d.%d", stage+1, i)), x, width, stride, stage*r.blocks+i)
		}
	}
	if r.preActivation {
		x = b.BatchNorm("bn1", x, nodes.Rectified())
	}
	return b.Linear("fc", b.GlobalAveragePool(x), b.Spec().Classes)
}

// block adds block number l of the net.
func (r residual) block(b *Builder, x *gorgonia.Node, width, stride, l int) *gorgonia.Node {
	reshapes := stride != 1 || x.Shape()[1] != width
	if r.preActivation {
		y := b.BatchNorm("bn1", x, nodes.Rectified())
		if reshapes {
			x = y
		}
		y = b.Conv("conv1", y, width, 3, stride, 1)
		y = b.BatchNorm("bn2", y, nodes.Rectified())
		if r.dropout > 0 {
			y = b.Dropout("dropout", y, r.dropout)
		}
		y = b.Conv("conv2", y, width, 3, 1, 1)
		return r.add(b, y, r.shortcut(b, x, width, stride, reshapes), l)
	}
	y := b.BatchNorm("bn1", b.Conv("conv1", x, width, 3, stride, 1), nodes.Rectified())
	y = b.Conv("conv2", y, width, 3, 1, 1)
	shortcut := func() *gorgonia.Node { return r.shortcut(b, x, width, stride, reshapes) }
	if r.survival != nil {
		return b.Rectify(r.add(b, b.BatchNorm("bn2", y), shortcut(), l))
	}
	return b.BatchNormShortcut("bn2", y, shortcut, nodes.Rectified())
}

func (r residual) shortcut(b *Builder, x *gorgonia.Node, width, stride int, reshapes bool) *gorgonia.Node {
	switch {
	case !reshapes:
		return x
	case !r.projections:
		return b.Shortcut(x, width, stride)
	}
	x = b.Conv("shortcut.0", x, width, 1, stride, 0)
	if r.preActivation {
		return x
	}
	return b.BatchNorm("shortcut.1", x)
}

func (r residual) add(b *Builder, y, x *gorgonia.Node, l int) *gorgonia.Node {
	if r.survival == nil {
		return b.Add(y, x)
	}
	return b.StochasticDepth("survival", y, x, r.survival[l])
}

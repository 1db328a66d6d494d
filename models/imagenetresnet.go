// SPDX-License-Identifier: Apache-2.0

package models

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
)

// deepResidual is table 1 of the paper: the blocks in each stage, and whether they are bottlenecks.
var deepResidual = map[int]struct {
	blocks     [4]int
	bottleneck bool
}{
	18: {[4]int{2, 2, 2, 2}, false}, 34: {[4]int{3, 4, 6, 3}, false},
	50: {[4]int{3, 4, 6, 3}, true}, 101: {[4]int{3, 4, 23, 3}, true},
}

// ImageNetResNet returns the residual net for ImageNet of depth 18, 34, 50 or 101 (He, Zhang, Ren and Sun 2016, Deep
// residual learning, table 1), as in torchvision, with its names:
//
//	conv1         7x7, 64 filters, stride 2, bn1, ReLU, max pooling 3x3 with stride 2
//	layer1.0 ...  blocks of 64 filters
//	layer2.0 ...  blocks of 128 filters, the first with stride 2
//	layer3.0 ...  blocks of 256 filters, the first with stride 2
//	layer4.0 ...  blocks of 512 filters, the first with stride 2
//	fc            global average pooling, then a linear layer
//
// A block of n filters is two 3x3 convolutions in depths 18 and 34, and in depths 50 and 101 a bottleneck: convolutions
// of 1x1 with n, of 3x3 with n and of 1x1 with 4n filters. The stride is that of the first 3x3 convolution; the paper has that of
// bottlenecks in their first convolution. Shortcuts that change the shape are a convolution of 1x1 with batch
// normalisation, downsample.0 and downsample.1.
//
// It takes images of any size. For 1000 classes it has 11,689,512, 21,797,672, 25,557,032 or 44,549,160 parameters.
//
// It takes the option Width. Another depth is an error; other errors are those of Options.
func ImageNetResNet(batch, depth int, o Options) (*Model, error) {
	const name = "ImageNetResNet"
	r, ok := deepResidual[depth]
	if !ok {
		return nil, fmt.Errorf("models: %s: want a depth of 18, 34, 50 or 101, got %d", name, depth)
	}
	block := plainBlock
	if r.bottleneck {
		block = bottleneck
	}
	return o.build(name, batch, func(b *Builder, x *gorgonia.Node) *gorgonia.Node {
		x = b.BatchNorm("bn1", b.Conv("conv1", x, o.wide(64), 7, 2, 3), nodes.Rectified())
		x = b.Apply("maxpool", x, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			return nodes.MaxPool2D(x, tensor.Shape{3, 3}, []int{1, 1}, []int{2, 2})
		})
		for stage, blocks := range r.blocks {
			for i := range blocks {
				stride := 1
				if stage > 0 && i == 0 {
					stride = 2
				}
				x = block(b.In(fmt.Sprintf("layer%d.%d", stage+1, i)), x, o.wide(64<<stage), stride)
			}
		}
		return b.Linear("fc", b.GlobalAveragePool(x), o.Classes)
	}, "Width")
}

func plainBlock(b *Builder, x *gorgonia.Node, width, stride int) *gorgonia.Node {
	y := b.BatchNorm("bn1", b.Conv("conv1", x, width, 3, stride, 1), nodes.Rectified())
	return b.BatchNormShortcut("bn2", b.Conv("conv2", y, width, 3, 1, 1), downsample(b, x, width, stride), nodes.Rectified())
}

func bottleneck(b *Builder, x *gorgonia.Node, width, stride int) *gorgonia.Node {
	y := b.BatchNorm("bn1", b.Conv("conv1", x, width, 1, 1, 0), nodes.Rectified())
	y = b.BatchNorm("bn2", b.Conv("conv2", y, width, 3, stride, 1), nodes.Rectified())
	return b.BatchNormShortcut("bn3", b.Conv("conv3", y, 4*width, 1, 1, 0), downsample(b, x, 4*width, stride), nodes.Rectified())
}

// downsample returns the shortcut of a block.
func downsample(b *Builder, x *gorgonia.Node, width, stride int) func() *gorgonia.Node {
	return func() *gorgonia.Node {
		if x != nil && x.Dims() == 4 && x.Shape()[1] == width && stride == 1 {
			return x
		}
		return b.BatchNorm("downsample.1", b.Conv("downsample.0", x, width, 1, stride, 0))
	}
}

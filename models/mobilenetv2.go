// SPDX-License-Identifier: Apache-2.0

package models

import (
	"fmt"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/nodes"
)

// mobileNetV2 is table 2 of the paper: expansion, channels, blocks and stride of each stage.
var mobileNetV2 = [][4]int{{1, 16, 1, 1}, {6, 24, 2, 2}, {6, 32, 3, 2}, {6, 64, 4, 2}, {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}}

// MobileNetV2 returns MobileNetV2 (Sandler, Howard, Zhu, Zhmoginov and Chen 2018, table 2), with the names of
// torchvision:
//
//	features.0       3x3, 32 filters, stride 2
//	features.1 ...   17 inverted residuals
//	features.18      1x1, 1280 filters
//	classifier.1     global average pooling, dropout, then a linear layer
//
// An inverted residual expands the channels by a convolution of 1x1, filters each by a depthwise convolution of 3x3, and reduces them by another
// of 1x1 without an activation; its input is added if the shape is the same. Each convolution has a batch
// normalisation, and each but the last of a block ReLU6.
//
// It takes images of any size. For 1000 classes it has 3,504,872 parameters. Numbers of channels times the option Width are rounded to
// multiples of 8, as in the authors' code, and those of features.18 are at least 1280.
//
// It takes the options Dropout, which is 0.2 by default, and Width. Errors are those of Options.
func MobileNetV2(batch int, o Options) (*Model, error) {
	const name = "MobileNetV2"
	p, err := o.dropout(name, 0.2)
	if err != nil {
		return nil, err
	}
	width := o.Width
	if width == 0 {
		width = 1
	}
	return o.build(name, batch, func(b *Builder, x *gorgonia.Node) *gorgonia.Node {
		f := b.In("features")
		x = f.BatchNorm("0.1", f.Conv("0.0", x, eights(32*width), 3, 2, 1), nodes.RectifiedTo(6))
		n := 1
		for _, stage := range mobileNetV2 {
			for i := range stage[2] {
				stride := 1
				if i == 0 {
					stride = stage[3]
				}
				x = invertedResidual(f.In(fmt.Sprint(n, ".conv")), x, stage[0], eights(float64(stage[1])*width), stride)
				n++
			}
		}
		x = f.BatchNorm(fmt.Sprint(n, ".1"), f.Conv(fmt.Sprint(n, ".0"), x, eights(1280*max(1, width)), 1, 1, 0), nodes.RectifiedTo(6))
		return b.Linear("classifier.1", b.dropout("classifier.0", b.GlobalAveragePool(x), p), o.Classes)
	}, "Dropout", "Width")
}

// invertedResidual adds a block; the layers are numbered within it.
func invertedResidual(b *Builder, x *gorgonia.Node, expansion, channels, stride int) *gorgonia.Node {
	if x == nil || x.Dims() != 4 {
		return x // the builder has the error
	}
	y, n := x, 0
	inner := expansion * x.Shape()[1]
	if expansion != 1 {
		y = b.BatchNorm("0.1", b.Conv("0.0", y, inner, 1, 1, 0), nodes.RectifiedTo(6))
		n++
	}
	depthwise := b.In(fmt.Sprint(n))
	y = depthwise.BatchNorm("1", depthwise.Conv("0", y, inner, 3, stride, 1, nodes.Groups(inner)), nodes.RectifiedTo(6))
	y = b.Conv(fmt.Sprint(n+1), y, channels, 1, 1, 0)
	if stride == 1 && x.Shape()[1] == channels {
		return b.BatchNorm(fmt.Sprint(n+2), y, nodes.Plus(x))
	}
	return b.BatchNorm(fmt.Sprint(n+2), y)
}

// eights rounds a number of channels to a multiple of 8, to one that is at most a tenth less.
func eights(channels float64) int {
	n := max(8, int(channels+4)/8*8)
	if float64(n) < 0.9*channels {
		n += 8
	}
	return n
}

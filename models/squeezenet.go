// SPDX-License-Identifier: Apache-2.0

package models

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
)

// SqueezeNet returns SqueezeNet 1.1 (Iandola, Han, Moskewicz, Ashraf, Dally and Keutzer 2016, in the version of its
// authors that needs 2.4 times fewer operations), the net SN of Ozay and Okatani, with the names of torchvision:
//
//	features.0           3x3, 64 filters, stride 2, no padding
//	features.3, 4        fire modules of 16 and 128 filters
//	features.6, 7        fire modules of 32 and 256 filters
//	features.9 ... 12    fire modules of 48 and 384, then of 64 and 512 filters
//	classifier.1         dropout, 1x1, classes, ReLU, then global average pooling
//
// with a max pooling of 3x3 and stride 2, whose sizes are rounded up, before the modules 3, 6 and 9. A fire module squeezes the channels by a convolution
// of 1x1, and expands them by convolutions of 1x1 and 3x3 with half of the filters each. All have a bias and a ReLU.
//
// It takes images of 25x25 pixels or more. For 1000 classes it has 1,235,496 parameters.
//
// It takes the options Dropout, which is 0.5 by default, and Width. Errors are those of Options.
func SqueezeNet(batch int, o Options) (*Model, error) {
	const name = "SqueezeNet"
	p, err := o.dropout(name, 0.5)
	if err != nil {
		return nil, err
	}
	conv := func(b *Builder, layer string, x *gorgonia.Node, filters, size, stride, pad int) *gorgonia.Node {
		return b.Rectify(b.Bias(layer, b.Conv(layer, x, filters, size, stride, pad)))
	}
	return o.build(name, batch, func(b *Builder, x *gorgonia.Node) *gorgonia.Node {
		x = conv(b, "features.0", x, o.wide(64), 3, 2, 0)
		n := 2 // of the next layer; a ReLU was 1
		for _, modules := range [][][2]int{{{16, 64}, {16, 64}}, {{32, 128}, {32, 128}}, {{48, 192}, {48, 192}, {64, 256}, {64, 256}}} {
			x = b.Apply(fmt.Sprint("features.", n), x, func(x *gorgonia.Node) (*gorgonia.Node, error) {
				return nodes.MaxPool2DCeil(x, tensor.Shape{3, 3}, []int{0, 0}, []int{2, 2})
			})
			n++
			for _, m := range modules {
				fire := b.In(fmt.Sprint("features.", n))
				x = conv(fire, "squeeze", x, o.wide(m[0]), 1, 1, 0)
				x = fire.Concat(conv(fire, "expand1x1", x, o.wide(m[1]), 1, 1, 0), conv(fire, "expand3x3", x, o.wide(m[1]), 3, 1, 1))
				n++
			}
		}
		x = conv(b, "classifier.1", b.dropout("classifier.0", x, p), o.Classes, 1, 1, 0)
		return b.Flatten(b.GlobalAveragePool(x))
	}, "Dropout", "Width")
}

// SPDX-License-Identifier: Apache-2.0

package models

import (
	"fmt"

	"gorgonia.org/gorgonia"
)

// vgg holds columns A, B, D and E of table 1 of the paper: the number of filters of each 3x3
// convolution, and 0 for a max pooling.
var vgg = map[int][]int{
	11: {64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0},
	13: {64, 64, 0, 128, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0},
	16: {64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0},
	19: {64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512, 512, 512, 512, 0},
}

// VGG returns the convolutions of VGG-11, -13, -16 or -19 (Simonyan and Zisserman 2015, table 1)
// followed by one linear layer instead of three. This is the usual form for images of 32x32, which
// the five poolings reduce to one pixel.
//
// Layers are numbered as in torchvision, counting rectifiers and poolings: features.0.weight,
// features.0.bias ... classifier.weight. With BatchNorm, convolutions have no bias. Those of
// torchvision have one, which the running mean of the batch normalisation contains, so that one cannot
// be left out without the other; checkpoint.Import subtracts it from the mean.
//
// It takes the option BatchNorm.
func VGG(batch, depth int, o Options) (*Model, error) {
	layers, ok := vgg[depth]
	if !ok {
		return nil, fmt.Errorf("models: VGG: want a depth of 11, 13, 16 or 19, got %d", depth)
	}
	return o.build("VGG", batch, func(b *Builder, x *gorgonia.Node) *gorgonia.Node {
		n, f := 0, b.In("features")
		next := func() string { n++; return fmt.Sprint(n - 1) }
		for _, filters := range layers {
			if filters == 0 {
				x = f.MaxPool(x, 2)
				next()
				continue
			}
			layer := next()
			x = f.Conv(layer, x, filters, 3, 1, 1)
			if o.BatchNorm {
				x = f.BatchNormRectify(next(), x)
			} else {
				x = f.Rectify(f.Bias(layer, x))
			}
			next()
		}
		return b.Linear("classifier", x, o.Classes)
	}, "BatchNorm")
}

// SPDX-License-Identifier: Apache-2.0

package models

import (
	"fmt"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/nodes"
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
// followed by one linear layer instead of the three of ImageNetVGG. This is the usual form for images of 32x32, which
// the five poolings reduce to one pixel.
//
// Layers are numbered as in torchvision, counting rectifiers and poolings: features.0.weight,
// features.0.bias ... classifier.weight. With BatchNorm, convolutions have no bias. Those of
// torchvision have one, which the running mean of the batch normalisation contains, so that one cannot
// be left out without the other; checkpoint.Import subtracts it from the mean.
//
// It takes the option BatchNorm. Another depth is an error; other errors are those of Options.
func VGG(batch, depth int, o Options) (*Model, error) {
	layers, ok := vgg[depth]
	if !ok {
		return nil, fmt.Errorf("models: VGG: want a depth of 11, 13, 16 or 19, got %d", depth)
	}
	return o.build("VGG", batch, func(b *Builder, x *gorgonia.Node) *gorgonia.Node {
		return b.Linear("classifier", o.vggFeatures(b.In("features"), x, layers), o.Classes)
	}, "BatchNorm")
}

// vggFeatures adds the convolutions and poolings of VGG.
func (o Options) vggFeatures(b *Builder, x *gorgonia.Node, layers []int) *gorgonia.Node {
	n := 0
	next := func() string { n++; return fmt.Sprint(n - 1) }
	for _, filters := range layers {
		if filters == 0 {
			x = b.MaxPool(x, 2)
			next()
			continue
		}
		layer := next()
		x = b.Conv(layer, x, o.wide(filters), 3, 1, 1)
		if o.BatchNorm {
			x = b.BatchNorm(next(), x, nodes.Rectified())
		} else {
			x = b.Rectify(b.Bias(layer, x))
		}
		next()
	}
	return x
}

// ImageNetVGG returns VGG-11, -13, -16 or -19 with its classifier (Simonyan and Zisserman 2015, table 1), as in
// torchvision:
//
//	features      the convolutions and poolings of VGG
//	              adaptive average pooling to 7x7 pixels
//	classifier.0  linear, 4096 outputs, ReLU, dropout
//	classifier.3  linear, 4096 outputs, ReLU, dropout
//	classifier.6  linear, classes
//
// It takes images of 32x32 pixels or more. For 1000 classes VGG-16 has 138,357,544 parameters. With BatchNorm, convolutions have
// no bias, unlike those of torchvision: see VGG.
//
// It takes the options BatchNorm, Dropout, which is 0.5 by default, and Width. Another depth is an error; other errors are those of Options.
func ImageNetVGG(batch, depth int, o Options) (*Model, error) {
	const name = "ImageNetVGG"
	layers, ok := vgg[depth]
	if !ok {
		return nil, fmt.Errorf("models: %s: want a depth of 11, 13, 16 or 19, got %d", name, depth)
	}
	p, err := o.dropout(name, 0.5)
	if err != nil {
		return nil, err
	}
	return o.build(name, batch, func(b *Builder, x *gorgonia.Node) *gorgonia.Node {
		x = b.AdaptiveAveragePool(o.vggFeatures(b.In("features"), x, layers), 7, 7)
		c := b.In("classifier")
		for i := 0; i < 6; i += 3 {
			x = c.Rectify(c.Linear(fmt.Sprint(i), x, o.wide(4096)))
			x = c.dropout(fmt.Sprint(i+2), x, p)
		}
		return c.Linear("6", x, o.Classes)
	}, "BatchNorm", "Dropout", "Width")
}

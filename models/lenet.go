// SPDX-License-Identifier: Apache-2.0

package models

import "gorgonia.org/gorgonia"

// LeNet returns LeNet-5 (LeCun, Bottou, Bengio and Haffner 1998, figure 2) as it is used
// today:
//
//	conv1  5x5, 6 filters, padding 2, which makes 28x28 images the 32x32 of the paper
//	conv2  5x5, 16 filters, each on all channels
//	fc1    120
//	fc2    84
//	fc3    classes
//
// with ReLU instead of tanh, max pooling 2x2 after each convolution instead of a trained mean,
// and cross-entropy instead of radial basis functions. The paper calls fc1 a convolution, which
// for images of its size is the same. For 10 classes of 28x28 grey images the net has 61,706
// parameters. Errors are those of Options.
func LeNet(batch int, o Options) (*Model, error) {
	return o.build("LeNet", batch, func(b *Builder, x *gorgonia.Node) *gorgonia.Node {
		x = b.MaxPool(b.Rectify(b.Bias("conv1", b.Conv("conv1", x, 6, 5, 1, 2))), 2)
		x = b.MaxPool(b.Rectify(b.Bias("conv2", b.Conv("conv2", x, 16, 5, 1, 0))), 2)
		x = b.Rectify(b.Linear("fc1", x, 120))
		x = b.Rectify(b.Linear("fc2", x, 84))
		return b.Linear("fc3", x, o.Classes)
	})
}

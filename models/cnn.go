// SPDX-License-Identifier: Apache-2.0

package models

import (
	"fmt"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/nodes"
)

// CNN returns a small convolutional net. It has one block for each of Widths,
//
//	convolution 3x3, padding 1 -> bias or batch norm -> ReLU -> max pooling 2x2,
//
// and then a linear layer that computes the logits.
//
// The learnables are conv1.weight of shape (out, in, 3, 3), conv1.bias of shape (1, out, 1, 1) (or
// bn1.weight and bn1.bias of that shape), and so on for each block, then fc.weight of shape
// (in, classes) and fc.bias of shape (1, classes).
//
// It takes the options Widths and BatchNorm. Widths below 1 and images that are too small for the poolings are errors; other errors are those
// of Options.
func CNN(batch int, o Options) (*Model, error) {
	if o.Widths == nil {
		o.Widths = []int{16, 32, 64}
	}
	h, w := o.Shape[1], o.Shape[2]
	for i, c := range o.Widths {
		if c < 1 {
			return nil, fmt.Errorf("models: CNN: want positive widths, got %v", o.Widths)
		}
		if h < 2 || w < 2 {
			return nil, fmt.Errorf("models: CNN: want images large enough for %d poolings of 2x2, got %dx%d", i+1, o.Shape[1], o.Shape[2])
		}
		h, w = h/2, w/2
	}
	return o.build("CNN", batch, func(b *Builder, x *gorgonia.Node) *gorgonia.Node {
		for i, width := range o.Widths {
			x = b.Conv(fmt.Sprintf("conv%d", i+1), x, width, 3, 1, 1)
			if o.BatchNorm {
				x = b.BatchNorm(fmt.Sprintf("bn%d", i+1), x, nodes.Rectified())
			} else {
				x = b.Rectify(b.Bias(fmt.Sprintf("conv%d", i+1), x))
			}
			x = b.MaxPool(x, 2)
		}
		return b.Linear("fc", x, o.Classes)
	}, "Widths", "BatchNorm")
}

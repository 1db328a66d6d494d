// SPDX-License-Identifier: Apache-2.0

package models

import (
	"fmt"
	"slices"

	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
)

// Options are the arguments of the functions that build a net. The options of the second part
// apply to some nets only; to set one for another net is an error.
type Options struct {
	// Shape is channels, height and width of the images.
	Shape [3]int
	// Classes is the number of logits.
	Classes int
	// Dtype is tensor.Float32 (the default) or tensor.Float64.
	Dtype tensor.Dtype
	// Seed determines the initial weights and the noise. Those of a layer depend only on the
	// seed and on the name of the layer.
	Seed uint64
	// Kernels draws the initial convolution kernels. If it is nil, they are independent normal
	// numbers of variance 2/fan-in (He, Zhang, Ren and Sun 2015, eq. 10).
	Kernels Init
	// BatchNormOver, for example a *distributed.Group, makes batch normalisation in training
	// use the batches of all processes that train together: see nodes.Synchronised. If it is
	// nil, each process uses its own batch. A Predictor does not use it.
	BatchNormOver nodes.Sums

	// Widths is the number of filters in each block of CNN. The default is 16, 32, 64.
	Widths []int
	// BatchNorm adds batch normalisation after each convolution of CNN and VGG, in place of the
	// bias, which the mean that is subtracted would cancel.
	BatchNorm bool
	// PreActivation makes the blocks of ResNet, ConstantDepth and StochasticDepth those with
	// pre-activation (He, Zhang, Ren and Sun 2016, Identity mappings).
	PreActivation bool
	// Projections makes shortcuts that change the shape, in ResNet, ConstantDepth and
	// StochasticDepth, convolutions of 1x1 (option B) instead of adding channels of zeros
	// (option A).
	Projections bool
	// Zeros says where shortcuts of option A put the channels of zeros: ZerosAfter (the default)
	// or ZerosAround. Weights that were trained with one of them are useless with the other.
	Zeros Zeros
	// Dropout is the probability of dropout between the convolutions of a block of WideResNet,
	// at least 0 and less than 1.
	Dropout float64
	// Survival is the probability that the last block of StochasticDepth is kept. The default
	// is 0.5.
	Survival float64
}

// build makes the net. It returns an error if an option of the second part is set that is not
// among those named in has.
func (o Options) build(name string, batch int, layers Layers, has ...string) (*Model, error) {
	for _, option := range []struct {
		name string
		set  bool
	}{
		{"Widths", o.Widths != nil},
		{"BatchNorm", o.BatchNorm},
		{"PreActivation", o.PreActivation},
		{"Projections", o.Projections},
		{"Zeros", o.Zeros != ""},
		{"Dropout", o.Dropout != 0},
		{"Survival", o.Survival != 0},
	} {
		if option.set && !slices.Contains(has, option.name) {
			return nil, fmt.Errorf("models: %s has no option %s", name, option.name)
		}
	}
	return Build(Spec{
		Batch: batch, Shape: o.Shape, Classes: o.Classes, Dtype: o.Dtype, Seed: o.Seed, Kernels: o.Kernels, Zeros: o.Zeros,
		BatchNormOver: o.BatchNormOver,
	}, layers)
}

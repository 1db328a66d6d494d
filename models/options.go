// SPDX-License-Identifier: Apache-2.0

package models

import (
	"fmt"
	"slices"

	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
)

// Options says what the functions of this package build. The options of the second part
// are for some nets only; to set one for another net is an error.
type Options struct {
	// Shape is channels, height and width of the images.
	Shape [3]int
	// Classes is the number of logits.
	Classes int
	// Dtype is tensor.Float32 (also if it is not set) or tensor.Float64.
	Dtype tensor.Dtype
	// Seed decides the initial weights and the noise. Those of a layer depend on the seed
	// and the name of the layer alone.
	Seed uint64
	// Kernels draws the convolution kernels. If it is nil they are independent normal
	// numbers of variance 2/fan-in (He, Zhang, Ren and Sun 2015, eq. 10).
	Kernels Init
	// BatchNormOver, unless it is nil, makes batch normalisations of training those of the
	// batches of all processes that train together, such as a *distributed.Group: see
	// nodes.Synchronised. A net without them, and a Predictor, do without.
	BatchNormOver nodes.Sums

	// Widths is the number of filters of each block of CNN: 16, 32, 64 if it is nil.
	Widths []int
	// BatchNorm puts batch normalisation between convolution and rectifier of CNN and
	// VGG, and leaves out the bias, which it would cancel.
	BatchNorm bool
	// PreActivation makes ResNet, ConstantDepth and StochasticDepth nets of
	// pre-activation (He, Zhang, Ren and Sun 2016, Identity mappings).
	PreActivation bool
	// Projections makes the shortcuts of ResNet, ConstantDepth and StochasticDepth that
	// change shape convolutions of 1x1 (option B) instead of zeros (option A).
	Projections bool
	// Dropout is the probability of dropout between the convolutions of a block of
	// WideResNet: 0, which is none, or less than 1.
	Dropout float64
	// Survival is the probability that the last block of StochasticDepth is kept: 0.5 if
	// it is 0.
	Survival float64
}

// build checks that no option is set beyond those named, and makes the net.
func (o Options) build(name string, batch int, net Net, has ...string) (*Model, error) {
	for _, option := range []struct {
		name string
		set  bool
	}{
		{"Widths", o.Widths != nil},
		{"BatchNorm", o.BatchNorm},
		{"PreActivation", o.PreActivation},
		{"Projections", o.Projections},
		{"Dropout", o.Dropout != 0},
		{"Survival", o.Survival != 0},
	} {
		if option.set && !slices.Contains(has, option.name) {
			return nil, fmt.Errorf("models: %s has no option %s", name, option.name)
		}
	}
	return Build(Spec{
		Batch: batch, Shape: o.Shape, Classes: o.Classes, Dtype: o.Dtype, Seed: o.Seed, Kernels: o.Kernels, BatchNormOver: o.BatchNormOver,
	}, net)
}

// SPDX-License-Identifier: Apache-2.0

package models

import (
	"fmt"
	"math"
	"slices"

	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
)

// Options are the arguments of the functions that build a net. The options of the second part
// apply to some nets only; to set one for another net is an error. So is a value out of its range.
// Other errors of these functions are those of Build.
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
	// Margin and Temperature make the cost that of nets for certificates: see nodes.MarginCrossEntropy. Without them it is the
	// cross-entropy; a Temperature of 0 means 1.
	Margin, Temperature float64

	// Widths is the number of filters in each block of CNN. The default is 16, 32, 64.
	Widths []int
	// BatchNorm adds batch normalisation after each convolution of CNN, VGG and ImageNetVGG, in place of the
	// bias, which the subtraction of the mean would cancel.
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
	// or in the classifier of ImageNetVGG, SqueezeNet and MobileNetV2, at least 0 and less than 1. If it is
	// 0, these three use the probability of their paper; NoDropout leaves dropout out.
	Dropout float64
	// Width multiplies the number of channels of each layer of ImageNetResNet, ImageNetVGG, SqueezeNet and MobileNetV2, for
	// smaller nets. It is the width multiplier of MobileNets, at most 65536. The default is 1.
	Width float64
	// Survival is the probability that the last block of StochasticDepth is kept. The default
	// is 0.5.
	Survival float64
	// Variant chooses the layers of Certifiable. The default is OrthogonalVariant.
	Variant Variant
}

// NoDropout is a value of Options.Dropout for nets that have dropout by default.
const NoDropout = -1

// dropout returns the probability of dropout of a net that has one by default.
func (o Options) dropout(net string, byDefault float64) (float64, error) {
	switch {
	case o.Dropout == 0:
		return byDefault, nil
	case o.Dropout == NoDropout:
		return 0, nil
	case !(o.Dropout > 0 && o.Dropout < 1):
		return 0, fmt.Errorf("models: %s: want a probability of dropout from 0 to less than 1, or NoDropout, got %v", net, o.Dropout)
	}
	return o.Dropout, nil
}

// maxWidth is the largest factor of a number of channels. Beyond it products of such numbers could overflow.
const maxWidth = 1 << 16

// wide returns a number of channels times Width.
func (o Options) wide(channels int) int {
	if o.Width == 0 {
		return channels
	}
	return max(1, int(math.Round(o.Width*float64(channels))))
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
		{"Width", o.Width != 0},
		{"Variant", o.Variant != ""},
	} {
		if option.set && !slices.Contains(has, option.name) {
			return nil, fmt.Errorf("models: %s has no option %s", name, option.name)
		}
	}
	if !(o.Width >= 0 && o.Width <= maxWidth) {
		return nil, fmt.Errorf("models: %s: want a width above 0 and up to %d, got %v", name, maxWidth, o.Width)
	}
	return Build(Spec{
		Batch: batch, Shape: o.Shape, Classes: o.Classes, Dtype: o.Dtype, Seed: o.Seed, Kernels: o.Kernels, Zeros: o.Zeros,
		BatchNormOver: o.BatchNormOver, Margin: o.Margin, Temperature: o.Temperature,
	}, layers)
}

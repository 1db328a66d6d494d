// SPDX-License-Identifier: Apache-2.0

package models

import "fmt"

// ConstantDepth returns the residual net of constant depth, RCD, that Ozay and Okatani (2016,
// Optimization on submanifolds of convolution kernels in CNNs) compare with StochasticDepth: a
// ResNet, of depth 110 for CIFAR-10.
//
// It takes the options of ResNet and has its errors.
func ConstantDepth(batch, depth int, o Options) (*Model, error) {
	return o.resnet("ConstantDepth", batch, depth, nil)
}

// StochasticDepth returns the residual net of stochastic depth, RSD (Huang, Sun, Liu, Sedra and
// Weinberger 2016): a ResNet, of depth 110 for CIFAR-10. Each run in training keeps the branch of
// block l of L with the probability (eq. 4)
//
//	p_l = 1 - l/L (1 - p_L),
//
// and evaluation multiplies the branch by p_l. The option Survival is p_L. Which blocks are kept
// depends on the seed, the name of the block and the number of the run, which the buffers
// layer1.0.survival ... count.
//
// It takes the option Survival, above 0 and up to 1, and those of ResNet, and has its errors.
func StochasticDepth(batch, depth int, o Options) (*Model, error) {
	n, err := blocks("StochasticDepth", depth, 6, 2)
	if err != nil {
		return nil, err
	}
	if o.Survival == 0 {
		o.Survival = 0.5
	}
	if !(o.Survival > 0 && o.Survival <= 1) {
		return nil, fmt.Errorf("models: StochasticDepth: want a probability of survival above 0 and up to 1, got %v", o.Survival)
	}
	survival := make([]float64, 3*n)
	for i := range survival {
		survival[i] = 1 - float64(i+1)/float64(3*n)*(1-o.Survival)
	}
	return o.resnet("StochasticDepth", batch, depth, survival, "Survival")
}

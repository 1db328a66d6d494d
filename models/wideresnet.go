// SPDX-License-Identifier: Apache-2.0

package models

import "fmt"

// WideResNet returns WRN-d-k, the wide residual net of depth d = 6n+4 and widening factor k
// (Zagoruyko and Komodakis 2016, table 1): a ResNet with pre-activation and with 16k, 32k and 64k
// filters in the blocks,
//
//	conv1         3x3, 16 filters
//	layer1.0 ...  n blocks of two 3x3 convolutions, 16k filters
//	layer2.0 ...  n blocks, 32k filters, the first with stride 2
//	layer3.0 ...  n blocks, 64k filters, the first with stride 2
//	fc            bn1, ReLU, global average pooling, then a linear layer
//
// Shortcuts that change shape are convolutions of 1x1, shortcut.0. The paper counts them in d.
//
// It takes the option Dropout. Another depth, or one above 10,000, is an error, and so is a widening factor below 1; other errors are those of
// Options.
func WideResNet(batch, depth, widen int, o Options) (*Model, error) {
	n, err := blocks("WideResNet", depth, 6, 4)
	if err != nil {
		return nil, err
	}
	if widen < 1 || widen > maxWidth {
		return nil, fmt.Errorf("models: WideResNet: want a widening factor of 1 to %d, got %d", maxWidth, widen)
	}
	if !(o.Dropout >= 0 && o.Dropout < 1) {
		return nil, fmt.Errorf("models: WideResNet: want a probability of dropout from 0 to less than 1, got %v", o.Dropout)
	}
	r := residual{
		blocks: n, widths: [3]int{16 * widen, 32 * widen, 64 * widen},
		preActivation: true, projections: true, dropout: o.Dropout,
	}
	return o.build("WideResNet", batch, r.net, "Dropout")
}

// SPDX-License-Identifier: Apache-2.0

package models

import (
	"fmt"

	"github.com/kernelfold/kernelfold/nodes"
)

// Release returns a net for deployment: one that computes the outputs of t in evaluation, to rounding, and consists of plain convolutions,
// biases and linear layers. Kernels that the graph computes, by WeightNorm or Normalize for example, become weights; batch normalisations are
// folded into the kernels and biases before them: see nodes.Fold. Targets, cost and buffers are left out.
//
// The weights are copies, as they are now: training t on does not change the released net. Their names are those of the layers of t, with a
// bias in place of the batch normalisation, so checkpoint.Export writes them under the names of a module of PyTorch, or of a Model, without batch
// normalisation.
//
// A net that cannot be folded, for example one with a batch normalisation before the convolution, is an error that names the weights of the layer and
// wraps nodes.ErrUnfoldable. checkpoint.Export and onnx.Export take such a net as it is.
func Release(t Trainable) (*Net, error) {
	n, err := made(t)
	if err != nil {
		return nil, err
	}
	if len(n.Outputs) == 0 {
		return nil, fmt.Errorf("models: release: want a net with outputs, got none")
	}
	released, err := New(n.batch, n.released)
	if err != nil {
		return nil, fmt.Errorf("models: release: %w", err)
	}
	return released, nil
}

// released makes the graph of the released net for a batch.
func (n *Net) released(batch int) (*Net, error) {
	a, err := n.another(batch)
	if err != nil {
		return nil, err
	}
	if err := n.lend(a); err != nil {
		return nil, err
	}
	outputs, weights, err := nodes.Fold(a.Learnables, a.Outputs...)
	if err != nil {
		return nil, err
	}
	r := &Net{Outputs: outputs, Learnables: weights}
	leaves := byName(outputs[0].Graph().Inputs())
	for _, x := range a.Inputs {
		leaf := leaves[x.Name()]
		if leaf == nil {
			return nil, fmt.Errorf("input %s: want outputs that depend on it, got none", x.Name())
		}
		r.Inputs = append(r.Inputs, leaf)
	}
	return r, nil
}

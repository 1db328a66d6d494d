// SPDX-License-Identifier: Apache-2.0

package models

import (
	"fmt"
	"slices"

	"gorgonia.org/gorgonia"

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
	frozen, err := n.frozen()
	if err != nil {
		return nil, fmt.Errorf("models: release: %w", err)
	}
	released, err := New(n.batch, frozen.released)
	if err != nil {
		return nil, fmt.Errorf("models: release: %w", err)
	}
	return released, nil
}

// frozen returns a net that makes graphs with the weights that n has now, also when n has been trained on. Its statistics are copies too, unless the
// definition holds them.
func (n *Net) frozen() (*Net, error) {
	f, g := *n, gorgonia.NewGraph()
	f.Learnables = make(gorgonia.Nodes, len(n.Learnables))
	for i, l := range n.Learnables {
		v, err := gorgonia.CloneValue(l.Value())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", l.Name(), err)
		}
		f.Learnables[i] = gorgonia.NodeFromAny(g, v, gorgonia.WithName(l.Name()))
	}
	if n.graphOf == nil {
		return &f, nil
	}
	f.Buffers = slices.Clone(n.Buffers)
	for i := range f.Buffers {
		if s := f.Buffers[i].Statistics; s != nil { // noise has no effect on the outputs
			own := *s
			own.Mean, own.Variance = slices.Clone(s.Mean), slices.Clone(s.Variance)
			f.Buffers[i].Statistics = &own
		}
	}
	f.define = func(batch int) (*Net, error) { return n.graphOf(batch, &f) }
	return &f, nil
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

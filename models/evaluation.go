// SPDX-License-Identifier: Apache-2.0

package models

import (
	"fmt"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/nodes"
)

// evaluation is a graph of a model's net in evaluation, for a fixed number of images, and its
// machine. It shares the weights and the buffers of the model. Memory for results is allocated in
// the first run.
type evaluation struct {
	model  *Model
	images int
	graph  graph
	vm     gorgonia.VM
}

// evaluation makes a graph for the given number of images.
func (m *Model) evaluation(images int) (*evaluation, error) {
	s := m.spec
	s.Batch = images
	var collision error
	for range 3 { // the hashes of a graph contain addresses: another graph has others
		g, err := s.graph(m.net, m)
		if err != nil {
			return nil, err
		}
		if collision = nodes.CheckGraph(g.b.graph); collision == nil {
			return &evaluation{m, images, g, gorgonia.NewTapeMachine(g.b.graph, gorgonia.EvalMode())}, nil
		}
	}
	return nil, collision
}

// run appends the logits of up to e.images images, computed with the current weights of the model,
// to out. It fills the batch up with copies of the first image.
func (e *evaluation) run(out []float64, images []float32) ([]float64, error) {
	for i, n := range e.graph.b.learnables {
		if err := gorgonia.Let(n, e.model.Learnables[i].Value()); err != nil {
			return nil, fmt.Errorf("models: %s: %w", n.Name(), err)
		}
	}
	size := e.graph.input.Shape().TotalSize() / e.images
	switch x := e.graph.input.Value().Data().(type) {
	case []float32:
		batch(x, images, size)
	case []float64:
		batch(x, images, size)
	}
	defer e.vm.Reset()
	if err := nodes.Cause(e.vm.RunAll()); err != nil {
		return nil, fmt.Errorf("models: predict: %w", err)
	}
	classes := e.model.spec.Classes * len(images) / size
	switch l := e.graph.logits.Value().Data().(type) {
	case []float32:
		for _, v := range l[:classes] {
			out = append(out, float64(v))
		}
	case []float64:
		out = append(out, l[:classes]...)
	}
	return out, nil
}

// batch copies the images, of size numbers each, to dst, and fills the rest of it with copies of
// the first.
func batch[T float32 | float64](dst []T, images []float32, size int) {
	for i, v := range images {
		dst[i] = T(v)
	}
	for i := len(images); i < len(dst); i += size {
		copy(dst[i:], dst[:size])
	}
}

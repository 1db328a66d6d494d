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
	images        int
	classes       int
	input, logits *gorgonia.Node
	weights       map[*gorgonia.Node]*gorgonia.Node // learnables, and those of the model by them
	vm            gorgonia.VM
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
		e := &evaluation{images: images, classes: s.Classes}
		fused, err := nodes.Fuse(g.logits)
		if err != nil || !e.find(fused, m) { // the net has an operation that cannot be copied, or ignores the images
			e.find(g.logits, m)
		}
		if collision = nodes.CheckGraph(e.logits.Graph()); collision == nil {
			nodes.Plan(e.logits.Graph(), e.logits)
			e.vm = gorgonia.NewTapeMachine(e.logits.Graph(), gorgonia.EvalMode())
			return e, nil
		}
	}
	return nil, collision
}

// find takes the graph of the logits for e. It reports whether the logits depend on images.
func (e *evaluation) find(logits *gorgonia.Node, m *Model) bool {
	e.logits, e.input, e.weights = logits, nil, map[*gorgonia.Node]*gorgonia.Node{}
	of := map[string]*gorgonia.Node{}
	for _, n := range m.Learnables {
		of[n.Name()] = n
	}
	for _, n := range logits.Graph().Inputs() {
		if n.Name() == m.Input.Name() {
			e.input = n
		} else if l := of[n.Name()]; l != nil {
			e.weights[n] = l
		}
	}
	return e.input != nil
}

// run appends the logits of up to e.images images, computed with the current weights of the model,
// to out. It fills the batch up with copies of the first image.
func (e *evaluation) run(out []float64, images []float32) ([]float64, error) {
	for n, l := range e.weights {
		if err := gorgonia.Let(n, l.Value()); err != nil {
			return nil, fmt.Errorf("models: %s: %w", n.Name(), err)
		}
	}
	size := e.input.Shape().TotalSize() / e.images
	switch x := e.input.Value().Data().(type) {
	case []float32:
		batch(x, images, size)
	case []float64:
		batch(x, images, size)
	}
	defer e.vm.Reset()
	if err := nodes.Cause(e.vm.RunAll()); err != nil {
		return nil, fmt.Errorf("models: predict: %w", err)
	}
	n := len(images) / size * e.classes
	switch l := e.logits.Value().Data().(type) {
	case []float32:
		for _, v := range l[:n] {
			out = append(out, float64(v))
		}
	case []float64:
		out = append(out, l[:n]...)
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

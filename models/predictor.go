// SPDX-License-Identifier: Apache-2.0

package models

import (
	"fmt"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/nodes"
)

// Predictor evaluates the net of a Model in a graph of its own, with the weights and statistics
// of the model: batch normalisation uses the running statistics, and nothing is dropped. It must
// not run at the same time as the model.
type Predictor struct {
	model      *Model
	input      *gorgonia.Node
	learnables gorgonia.Nodes
	logits     gorgonia.Value
	pixels     []float32
	out        []float64
	vm         gorgonia.VM
}

// Predictor returns a predictor for the model. Close it after use.
func (m *Model) Predictor() (*Predictor, error) {
	var collision error
	for range 3 { // the hashes of a graph contain addresses: another graph has others
		g, err := m.spec.graph(m.net, m)
		if err != nil {
			return nil, err
		}
		p := &Predictor{model: m, input: g.input, learnables: g.b.learnables}
		gorgonia.Read(g.logits, &p.logits)
		if collision = nodes.CheckGraph(g.b.graph); collision == nil {
			p.vm = gorgonia.NewTapeMachine(g.b.graph, gorgonia.EvalMode())
			return p, nil
		}
	}
	return nil, collision
}

// Logits returns the logits of any number of images, as images x classes values in row-major
// order that are valid until the next call. It uses the current weights and statistics of the
// model. Images are evaluated in batches of the model's size; the last batch is filled up.
//
// If a logit is not finite, Logits returns an error that wraps nodes.ErrNotFinite.
func (p *Predictor) Logits(images []float32) ([]float64, error) {
	if p.vm == nil {
		return nil, fmt.Errorf("models: want an open predictor, got a closed one")
	}
	s := p.model.spec
	size := s.Shape[0] * s.Shape[1] * s.Shape[2]
	if len(images) == 0 || len(images)%size != 0 {
		return nil, fmt.Errorf("models: want images of %v, %d numbers each, got %d numbers", s.Shape, size, len(images))
	}
	for i, n := range p.learnables {
		if err := gorgonia.Let(n, p.model.Learnables[i].Value()); err != nil {
			return nil, fmt.Errorf("models: %s: %w", n.Name(), err)
		}
	}
	p.out = p.out[:0]
	for from := 0; from < len(images); from += s.Batch * size {
		if err := p.batch(images[from:min(len(images), from+s.Batch*size)]); err != nil {
			return nil, err
		}
	}
	p.out = p.out[:len(images)/size*s.Classes]
	for i, v := range p.out {
		if v-v != 0 {
			return nil, fmt.Errorf("models: logit of class %d of image %d: want a finite number, got %v: %w", i%s.Classes, i/s.Classes, v, nodes.ErrNotFinite)
		}
	}
	return p.out, nil
}

// batch appends the logits of a batch to p.out. A batch that is too small is filled up with
// copies of its first image.
func (p *Predictor) batch(images []float32) error {
	if missing := p.input.Shape().TotalSize() - len(images); missing > 0 {
		p.pixels = append(p.pixels[:0], images...)
		first := images[:p.input.Shape().TotalSize()/p.model.spec.Batch]
		for ; missing > 0; missing -= len(first) {
			p.pixels = append(p.pixels, first...)
		}
		images = p.pixels
	}
	if err := fill(p.input, images); err != nil {
		return err
	}
	defer p.vm.Reset()
	if err := nodes.Cause(p.vm.RunAll()); err != nil {
		return fmt.Errorf("models: predict: %w", err)
	}
	switch l := p.logits.Data().(type) {
	case []float32:
		for _, v := range l {
			p.out = append(p.out, float64(v))
		}
	case []float64:
		p.out = append(p.out, l...)
	}
	return nil
}

// Classify returns the class with the largest logit for each of any number of images. It fails
// where Logits fails.
func (p *Predictor) Classify(images []float32) ([]int, error) {
	logits, err := p.Logits(images)
	if err != nil {
		return nil, err
	}
	n := p.model.spec.Classes
	classes := make([]int, len(logits)/n)
	for i := range classes {
		row := logits[i*n : (i+1)*n]
		for c, v := range row {
			if v > row[classes[i]] {
				classes[i] = c
			}
		}
	}
	return classes, nil
}

// Close releases the tape machine. The predictor cannot be used afterwards. A predictor that is
// not closed is never freed.
func (p *Predictor) Close() error {
	// The graph refers to p.logits, so predictor and machine form a cycle, which is never freed
	// because the machine has a finalizer. Setting p.vm to nil breaks the cycle.
	vm := p.vm
	p.vm = nil
	if vm == nil {
		return nil
	}
	return vm.Close()
}

// Spec returns the specification of the predictor's model.
func (p *Predictor) Spec() Spec { return p.model.spec }

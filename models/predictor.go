// SPDX-License-Identifier: Apache-2.0

package models

import (
	"errors"
	"fmt"
	"slices"

	"github.com/kernelfold/kernelfold/nodes"
)

// Predictor evaluates the net of a Model, with the weights and statistics of the model: batch
// normalisation uses the running statistics, and nothing is dropped. It must not run at the same
// time as the model.
//
// A predictor has graphs of its own for several numbers of images, from 1 to the batch of the
// model, and divides images among them, so that its time depends on the number of images and not
// on the batch. It makes a graph when it first needs it.
type Predictor struct {
	model  *Model
	sizes  []int               // numbers of images for which there may be a graph, the largest first
	graphs map[int]*evaluation // by number of images; nil if the predictor is closed
	out    []float64
}

// Predictor returns a predictor for the model. Close it after use.
func (m *Model) Predictor() (*Predictor, error) {
	p := &Predictor{model: m, sizes: sizes(m.spec.Batch), graphs: map[int]*evaluation{}}
	if _, err := p.graph(1); err == nil {
		return p, nil
	}
	p.sizes = p.sizes[:1] // a net may be written for the batch of the model only
	if _, err := p.graph(m.spec.Batch); err != nil {
		return nil, err
	}
	return p, nil
}

// sizes returns the batch of a model and the powers of 4 up to half of it.
func sizes(batch int) []int {
	s := []int{batch}
	for n := 1; n <= batch/2; n *= 4 {
		s = slices.Insert(s, 1, n)
	}
	return s
}

// graph returns the largest graph that the images fill, or the smallest graph.
func (p *Predictor) graph(images int) (*evaluation, error) {
	size := p.sizes[len(p.sizes)-1]
	for _, n := range p.sizes {
		if n <= images {
			size = n
			break
		}
	}
	if e := p.graphs[size]; e != nil {
		return e, nil
	}
	e, err := p.model.evaluation(size)
	if err == nil {
		p.graphs[size] = e
	}
	return e, err
}

// Logits returns the logits of any number of images, as images x classes values in row-major
// order that are valid until the next call. It uses the current weights and statistics of the
// model. The logits of an image do not depend on the other images. In float32 their last bits may
// depend on how many images there are: see nodes.Winograd.
//
// If a logit is not finite, Logits returns an error that wraps nodes.ErrNotFinite.
func (p *Predictor) Logits(images []float32) ([]float64, error) {
	if p.graphs == nil {
		return nil, fmt.Errorf("models: want an open predictor, got a closed one")
	}
	s := p.model.spec
	size := s.Shape[0] * s.Shape[1] * s.Shape[2]
	if len(images) == 0 || len(images)%size != 0 {
		return nil, fmt.Errorf("models: want images of %v, %d numbers each, got %d numbers", s.Shape, size, len(images))
	}
	p.out = p.out[:0]
	for len(images) > 0 {
		e, err := p.graph(len(images) / size)
		if err != nil {
			return nil, err
		}
		n := min(len(images), e.images*size)
		if p.out, err = e.run(p.out, images[:n]); err != nil {
			return nil, err
		}
		images = images[n:]
	}
	for i, v := range p.out {
		if v-v != 0 {
			return nil, fmt.Errorf("models: logit of class %d of image %d: want a finite number, got %v: %w", i%s.Classes, i/s.Classes, v, nodes.ErrNotFinite)
		}
	}
	return p.out, nil
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

// Close releases the graphs. The predictor cannot be used afterwards.
func (p *Predictor) Close() error {
	var all error
	for _, e := range p.graphs {
		all = errors.Join(all, e.vm.Close())
	}
	p.graphs = nil
	return all
}

// Spec returns the specification of the predictor's model.
func (p *Predictor) Spec() Spec { return p.model.spec }

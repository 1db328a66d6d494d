// SPDX-License-Identifier: Apache-2.0

package models

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/isnil"
	"github.com/kernelfold/kernelfold/nodes"
)

// Predictor evaluates a Net, with its weights and buffers: batch normalisation uses the running
// statistics, and nothing is dropped. It is not safe for concurrent use, and must not run at the same time as the net.
//
// A predictor has graphs of its own for several numbers of examples, from 1 to the batch of the net,
// and divides examples among them, so that its time depends on the number of examples and not on the
// batch. It makes a graph when it first needs it.
type Predictor struct {
	net    *Net
	sizes  []int                    // numbers of examples for which there may be a graph, the largest first
	whole  error                    // why there are graphs for whole batches only, or nil
	graphs map[graphKey]*evaluation // nil if the predictor is closed
}

// graphKey says which graph of a predictor is meant.
type graphKey struct {
	examples int
	cost     bool
}

// Predictor returns a predictor for the net. Close it after use.
func (n *Net) Predictor() (*Predictor, error) {
	if n == nil || n.define == nil {
		return nil, errNotMade
	}
	p := &Predictor{net: n, sizes: sizes(n.batch), graphs: map[graphKey]*evaluation{}}
	if _, err := p.graph(1, len(n.Outputs) == 0); err != nil {
		return nil, err
	}
	return p, nil
}

var errClosed = errors.New("models: want an open predictor, got a closed one")

// usable returns an error for a predictor that no net has made, and for one that is closed.
func (p *Predictor) usable() error {
	switch {
	case p == nil || p.net == nil:
		return errors.New("models: want a predictor made by the method Predictor of a net, got nil or the zero Predictor")
	case p.graphs == nil:
		return errClosed
	}
	return nil
}

// made returns the net that New has made.
func made(t Trainable) (*Net, error) {
	if isnil.Of(t) || t.Base() == nil {
		return nil, errors.New("models: want a net, got nil")
	}
	if t.Base().define == nil {
		return nil, errNotMade
	}
	return t.Base(), nil
}

var errNotMade = errors.New("models: want a net made by New, got one without a definition")

// sizes returns the batch of a net and the powers of 4 up to half of it.
func sizes(batch int) []int {
	s := []int{batch}
	for n := 1; n <= batch/2; n *= 4 {
		s = slices.Insert(s, 1, n)
	}
	return s
}

// graph returns the largest graph that the examples fill, or the smallest graph. If the definition makes none of that
// size, there are graphs of the batch only from then on.
func (p *Predictor) graph(examples int, cost bool) (*evaluation, error) {
	key := graphKey{p.sizes[len(p.sizes)-1], cost}
	for _, n := range p.sizes {
		if n <= examples {
			key.examples = n
			break
		}
	}
	if e := p.graphs[key]; e != nil {
		return e, nil
	}
	e, err := p.net.evaluation(key.examples, cost)
	if undefined := (errUndefined{}); errors.As(err, &undefined) && len(p.sizes) > 1 {
		p.sizes, p.whole = p.sizes[:1], undefined.error
		return p.graph(examples, cost)
	}
	if err == nil {
		p.graphs[key] = e
	}
	return e, err
}

// each evaluates all examples, some at a time, and calls do after each run.
func (p *Predictor) each(examples []dense.Rows, cost bool, do func(e *evaluation, from, to int) error) error {
	n := 0
	for i, r := range examples {
		if i == 0 {
			n = r.Len
		}
		if r.Len != n {
			return fmt.Errorf("models: want as many examples in each tensor, got %d in the first and %d in tensor %d", n, r.Len, i)
		}
	}
	for from := 0; from < n; {
		e, err := p.graph(n-from, cost)
		if err != nil {
			return err
		}
		to := min(n, from+e.batch)
		if cost && to-from < e.batch {
			return fmt.Errorf("models: want batches of %d examples to evaluate the cost, because the definition makes no graph for others (%w), got %d", e.batch, p.whole, to-from)
		}
		if err := e.run(examples, from, to); err != nil {
			return err
		}
		if err := do(e, from, to); err != nil {
			return err
		}
		from = to
	}
	return nil
}

// Predict returns the outputs of any number of examples. It takes a tensor for each input of the net,
// of its shape and element type but for the number of examples, and returns one for each output. The
// outputs of an example do not depend on the other examples, unless operations of the net mix them.
// In float32 their last bits may depend on how many there are: see nodes.Winograd.
//
// If an output is not finite, Predict returns an error that wraps nodes.ErrNotFinite.
func (p *Predictor) Predict(inputs ...*tensor.Dense) ([]*tensor.Dense, error) {
	outputs, err := p.predict(inputs)
	if err != nil {
		return nil, err
	}
	for i, o := range outputs {
		rows, err := dense.RowsOf(o)
		if err != nil {
			return nil, err
		}
		if k, v := dense.NotFinite(o.Data()); k >= 0 {
			return nil, fmt.Errorf("models: output %d, %s, of example %d: want finite numbers, got %v: %w", i, p.net.Outputs[i].Name(), k/rows.Size, v, nodes.ErrNotFinite)
		}
	}
	return outputs, nil
}

func (p *Predictor) predict(inputs []*tensor.Dense) ([]*tensor.Dense, error) {
	if err := p.usable(); err != nil {
		return nil, err
	}
	if len(p.net.Outputs) == 0 {
		return nil, errors.New("models: want a net with outputs to predict, got none")
	}
	if len(p.net.Inputs) == 0 {
		return nil, errors.New("models: want a net with inputs to predict, got none")
	}
	examples, err := rowsOf(p.net.Inputs, inputs)
	if err != nil {
		return nil, err
	}
	outputs := make([]*tensor.Dense, len(p.net.Outputs))
	to := make([]dense.Rows, len(outputs))
	for i, o := range p.net.Outputs {
		shape := o.Shape().Clone()
		shape[0] = examples[0].Len
		outputs[i] = tensor.New(tensor.Of(o.Dtype()), tensor.WithShape(shape...))
		if to[i], err = dense.RowsOf(outputs[i]); err != nil {
			return nil, fmt.Errorf("models: output %d: %w", i, err)
		}
	}
	err = p.each(examples, false, func(e *evaluation, from, until int) error {
		for i, v := range e.values {
			rows, err := dense.RowsOf(v)
			if err != nil {
				return fmt.Errorf("models: output %d: %w", i, err)
			}
			to[i].Copy(from, rows, 0, until-from)
		}
		return nil
	})
	return outputs, err
}

// Evaluate returns the sums of the cost and of the score, NaN without one, over any number of
// examples. It takes a tensor for each input and then for each target of the net. The cost of a batch
// counts as often as it has examples, because it is their mean.
//
// If the cost is not finite, Evaluate returns an error that wraps nodes.ErrNotFinite.
func (p *Predictor) Evaluate(batch ...*tensor.Dense) (cost, score float64, err error) {
	if err := p.usable(); err != nil {
		return 0, 0, err
	}
	if p.net.Cost == nil {
		return 0, 0, errors.New("models: want a net with a cost to evaluate, got none")
	}
	examples, err := rowsOf(slices.Concat(p.net.Inputs, p.net.Targets), batch)
	if err != nil {
		return 0, 0, err
	}
	if p.net.Score == nil {
		score = math.NaN()
	}
	err = p.each(examples, true, func(e *evaluation, from, to int) error {
		last := len(e.values) - 1
		c := number(e.values[last])
		if c-c != 0 {
			return fmt.Errorf("models: cost of examples %d to %d: want a finite number, got %v: %w", from, to-1, c, nodes.ErrNotFinite)
		}
		cost += c * float64(to-from)
		if p.net.Score != nil {
			outputs, err := densesOf(e.values[:last])
			if err != nil {
				return err
			}
			s := p.net.Score(outputs, e.feeds[len(p.net.Inputs):])
			if s-s != 0 {
				return fmt.Errorf("models: score of examples %d to %d: want a finite number, got %v", from, to-1, s)
			}
			score += s
		}
		return nil
	})
	return cost, score, err
}

// Logits returns the first output, in float64, of any number of images, for a net with one input. It
// takes their numbers and returns those of the outputs in row-major order.
//
// If a logit is not finite, Logits returns an error that wraps nodes.ErrNotFinite.
func (p *Predictor) Logits(images []float32) ([]float64, error) {
	out, _, err := p.logits(images)
	return out, err
}

// logits is Logits, which also returns how many images the numbers are.
func (p *Predictor) logits(images []float32) (out []float64, n int, err error) {
	n, _, err = p.count(images)
	if err != nil {
		return nil, 0, err
	}
	of := p.net.Inputs[0]
	shape := of.Shape().Clone()
	shape[0] = n
	var backing any = images
	if of.Dtype() == tensor.Float64 {
		backing = widened(images)
	}
	outputs, err := p.predict([]*tensor.Dense{tensor.New(tensor.WithShape(shape...), tensor.WithBacking(backing))})
	if err != nil {
		return nil, 0, err
	}
	if out = widened(outputs[0].Data()); out == nil {
		return nil, 0, fmt.Errorf("models: want an output of float32 or float64, got %v: see Predict", outputs[0].Dtype())
	}
	if i, v := dense.NotFinite(out); i >= 0 {
		k := len(out) / n
		return nil, 0, fmt.Errorf("models: logit of class %d of image %d: want a finite number, got %v: %w", i%k, i/k, v, nodes.ErrNotFinite)
	}
	return out, n, nil
}

// count returns how many images the numbers are, for a net with one input, and how many numbers each has.
func (p *Predictor) count(images []float32) (n, size int, err error) {
	if err := p.usable(); err != nil {
		return 0, 0, err
	}
	if len(p.net.Inputs) != 1 {
		return 0, 0, fmt.Errorf("models: want a net with one input, got %v: see Predict", namesOf(p.net.Inputs))
	}
	of := p.net.Inputs[0].Shape()
	size = of.TotalSize() / of[0]
	if len(images) == 0 || len(images)%size != 0 {
		return 0, 0, fmt.Errorf("models: want images of %v, %d numbers each, got %d numbers", []int(of[1:]), size, len(images))
	}
	return len(images) / size, size, nil
}

// Classify returns the class with the largest logit for each of any number of images. It fails
// where Logits fails.
func (p *Predictor) Classify(images []float32) ([]int, error) {
	logits, n, err := p.logits(images)
	if err != nil {
		return nil, err
	}
	classes, k := make([]int, n), len(logits)/n
	for i := range classes {
		classes[i] = largest(logits[i*k : (i+1)*k])
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

// Net returns the net of the predictor.
func (p *Predictor) Net() *Net { return p.net }

// largest returns the index of the first of the largest numbers.
func largest[T float32 | float64](row []T) int {
	best := 0
	for i, v := range row {
		if v > row[best] {
			best = i
		}
	}
	return best
}

func densesOf(values []gorgonia.Value) ([]*tensor.Dense, error) {
	list := make([]*tensor.Dense, len(values))
	for i, v := range values {
		var ok bool
		if list[i], ok = v.(*tensor.Dense); !ok {
			return nil, fmt.Errorf("models: output %d: want a *tensor.Dense, got %T", i, v)
		}
	}
	return list, nil
}

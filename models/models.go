// SPDX-License-Identifier: Apache-2.0

// Package models builds reference CNNs as Gorgonia graphs, from stock ops that
// can be trusted, with initial weights that depend on a seed and nothing else.
//
//	m, err := models.CNN(32, models.Options{Shape: [3]int{1, 28, 28}, Classes: 10, Seed: 1})
//	...
//	vm := gorgonia.NewTapeMachine(m.Graph, gorgonia.BindDualValues(m.Learnables...))
//	err = m.SetBatch(pixels, labels) // fills m.Input and m.Target
//	err = vm.RunAll()
//	err = solver.Step(gorgonia.NodesToValueGrads(m.Learnables))
//	vm.Reset()
//
// Package models/train does this loop. A Predictor is the same net without the
// backward part, on the same weights. Build makes a Model of any other net.
package models

import (
	"fmt"
	"math"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Model is a classifier as a graph that computes its mean cross-entropy over
// a batch and the gradient of that in its learnables.
type Model struct {
	Graph *gorgonia.ExprGraph
	// Input has shape (batch, channels, height, width).
	Input *gorgonia.Node
	// Target has shape (batch, classes): 1 at the label, else 0.
	Target *gorgonia.Node
	// Logits has shape (batch, classes).
	Logits *gorgonia.Node
	// Cost is a scalar: -1/batch sum_b log softmax(logits_b)[label_b].
	Cost *gorgonia.Node
	// Learnables are the weights, with unique names, in the order of the layers.
	Learnables gorgonia.Nodes

	spec    Spec
	forward Forward
	cost    gorgonia.Value // what the graph writes Cost to
}

// Spec is what a Model is fed with.
type Spec struct {
	Batch   int          // images a run
	Shape   [3]int       // channels, height, width
	Classes int          // 2 at least
	Dtype   tensor.Dtype // tensor.Float32 (also if it is not set) or tensor.Float64
}

func (s *Spec) check() error {
	if s.Dtype.Type == nil {
		s.Dtype = tensor.Float32
	}
	switch {
	case s.Dtype != tensor.Float32 && s.Dtype != tensor.Float64:
		return fmt.Errorf("models: want float32 or float64, got %v", s.Dtype)
	case s.Batch < 1:
		return fmt.Errorf("models: want a batch of at least 1, got %d", s.Batch)
	case s.Shape[0] < 1 || s.Shape[1] < 1 || s.Shape[2] < 1:
		return fmt.Errorf("models: want images of a positive number of channels, rows and columns, got %v", s.Shape)
	case s.Classes < 2:
		return fmt.Errorf("models: want at least 2 classes, got %d", s.Classes)
	}
	return nil
}

// Forward adds a net to a graph: from the input, of shape (batch, channels,
// height, width), to the logits, of shape (batch, classes), and its learnables. It is called
// once for each graph that is made of a Model, and must add the same net, with
// learnables of the same names, each time.
type Forward func(g *gorgonia.ExprGraph, input *gorgonia.Node) (logits *gorgonia.Node, learnables gorgonia.Nodes, err error)

// Build makes a Model of a net: the cost on top of the logits, and the
// gradients.
func Build(s Spec, forward Forward) (*Model, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	m := &Model{spec: s, forward: forward}
	var err error
	if m.Graph, m.Input, m.Logits, m.Learnables, err = s.net(forward); err != nil {
		return nil, err
	}
	m.Target = gorgonia.NewMatrix(m.Graph, s.Dtype, gorgonia.WithName("target"),
		gorgonia.WithValue(tensor.New(tensor.Of(s.Dtype), tensor.WithShape(s.Batch, s.Classes))))
	if m.Cost, err = crossEntropy(m.Logits, m.Target, s.Classes); err != nil {
		return nil, fmt.Errorf("models: cost: %w", err)
	}
	gorgonia.Read(m.Cost, &m.cost)
	if _, err = gorgonia.Grad(m.Cost, m.Learnables...); err != nil {
		return nil, fmt.Errorf("models: gradient: %w", err)
	}
	return m, nil
}

// net makes a graph of the forward part and checks it.
func (s Spec) net(forward Forward) (g *gorgonia.ExprGraph, input, logits *gorgonia.Node, learnables gorgonia.Nodes, err error) {
	g = gorgonia.NewGraph()
	shape := tensor.Shape{s.Batch, s.Shape[0], s.Shape[1], s.Shape[2]}
	input = gorgonia.NewTensor(g, s.Dtype, 4, gorgonia.WithName("input"),
		gorgonia.WithValue(tensor.New(tensor.Of(s.Dtype), tensor.WithShape(shape...))))
	if logits, learnables, err = forward(g, input); err != nil {
		return
	}
	if want := (tensor.Shape{s.Batch, s.Classes}); !logits.Shape().Eq(want) {
		err = fmt.Errorf("models: want logits of shape %v, got %v", want, logits.Shape())
		return
	}
	names := map[string]bool{}
	for _, n := range learnables {
		if names[n.Name()] {
			err = fmt.Errorf("models: want learnables of unique names, got %q twice", n.Name())
			return
		}
		names[n.Name()] = true
	}
	return
}

// crossEntropy returns -classes * mean(target * logsoftmax(logits)), where
// the mean over all of batch*classes elements, of which one in classes counts, is that over
// the batch. LogSoftMax shifts by the maximum, so no logit overflows.
func crossEntropy(logits, target *gorgonia.Node, classes int) (*gorgonia.Node, error) {
	logp, err := gorgonia.LogSoftMax(logits, 1)
	if err != nil {
		return nil, err
	}
	picked, err := gorgonia.HadamardProd(logp, target)
	if err != nil {
		return nil, err
	}
	mean, err := gorgonia.Mean(picked)
	if err != nil {
		return nil, err
	}
	var minus *gorgonia.Node
	if logits.Dtype() == tensor.Float64 {
		minus = gorgonia.NewConstant(-float64(classes), gorgonia.WithName("-classes"))
	} else {
		minus = gorgonia.NewConstant(-float32(classes), gorgonia.WithName("-classes"))
	}
	return gorgonia.Mul(mean, minus)
}

// Spec returns what the model is fed with.
func (m *Model) Spec() Spec { return m.spec }

// Parameters returns the number of weights.
func (m *Model) Parameters() int {
	n := 0
	for _, l := range m.Learnables {
		n += l.Shape().TotalSize()
	}
	return n
}

// SetBatch copies a batch of images, batch x channels x height x width numbers
// in row-major order, to Input, and their labels to Target.
func (m *Model) SetBatch(images []float32, labels []int) error {
	if len(labels) != m.spec.Batch {
		return fmt.Errorf("models: want %d labels, got %d", m.spec.Batch, len(labels))
	}
	for i, l := range labels {
		if l < 0 || l >= m.spec.Classes {
			return fmt.Errorf("models: label %d of the batch: want 0..%d, got %d", i, m.spec.Classes-1, l)
		}
	}
	if err := fill(m.Input, images); err != nil {
		return err
	}
	switch t := m.Target.Value().Data().(type) {
	case []float32:
		oneHot(t, labels, m.spec.Classes)
	case []float64:
		oneHot(t, labels, m.spec.Classes)
	}
	return nil
}

// Loss returns the cost of the last run.
func (m *Model) Loss() float64 {
	if m.cost == nil {
		return math.NaN()
	}
	switch c := m.cost.Data().(type) {
	case float32:
		return float64(c)
	case float64:
		return c
	}
	return math.NaN()
}

func oneHot[T float32 | float64](dst []T, labels []int, classes int) {
	clear(dst)
	for i, l := range labels {
		dst[i*classes+l] = 1
	}
}

// fill copies images to the value of an input node.
func fill(input *gorgonia.Node, images []float32) error {
	if want := input.Shape().TotalSize(); len(images) != want {
		return fmt.Errorf("models: want %d numbers for an input of shape %v, got %d", want, input.Shape(), len(images))
	}
	switch x := input.Value().Data().(type) {
	case []float32:
		copy(x, images)
	case []float64:
		for i, v := range images {
			x[i] = float64(v)
		}
	}
	return nil
}

// Predictor is the forward part of a Model in a graph of its own, on the same weights.
type Predictor struct {
	model      *Model
	input      *gorgonia.Node
	learnables gorgonia.Nodes
	logits     gorgonia.Value
	out        []float64
	vm         gorgonia.VM
}

// Predictor returns a predictor for batches of the model's size. Close it
// after use.
//
// Batch normalisation takes the statistics of the batch that it is given, as
// in training: see Options.BatchNorm.
func (m *Model) Predictor() (*Predictor, error) {
	g, input, logits, learnables, err := m.spec.net(m.forward)
	if err != nil {
		return nil, err
	}
	if len(learnables) != len(m.Learnables) {
		return nil, fmt.Errorf("models: want %d learnables as before, got %d", len(m.Learnables), len(learnables))
	}
	for i, n := range learnables {
		if n.Name() != m.Learnables[i].Name() {
			return nil, fmt.Errorf("models: learnable %d: want %q as before, got %q", i, m.Learnables[i].Name(), n.Name())
		}
	}
	p := &Predictor{model: m, input: input, learnables: learnables}
	gorgonia.Read(logits, &p.logits)
	p.vm = gorgonia.NewTapeMachine(g)
	return p, nil
}

// Logits returns the logits of a batch of images, batch x classes in row-major
// order, valid until the next call. The weights are those that the model has at
// this moment.
func (p *Predictor) Logits(images []float32) ([]float64, error) {
	if p.vm == nil {
		return nil, fmt.Errorf("models: want an open predictor, got a closed one")
	}
	for i, n := range p.learnables {
		if err := gorgonia.Let(n, p.model.Learnables[i].Value()); err != nil {
			return nil, fmt.Errorf("models: %s: %w", n.Name(), err)
		}
	}
	if err := fill(p.input, images); err != nil {
		return nil, err
	}
	defer p.vm.Reset()
	if err := p.vm.RunAll(); err != nil {
		return nil, fmt.Errorf("models: predict: %w", err)
	}
	switch l := p.logits.Data().(type) {
	case []float32:
		p.out = p.out[:0]
		for _, v := range l {
			p.out = append(p.out, float64(v))
		}
	case []float64:
		p.out = append(p.out[:0], l...)
	}
	return p.out, nil
}

// Close frees the machine. The predictor cannot be used after it.
//
// The graph writes to p.logits, so the machine reaches the predictor: letting go of
// it breaks a cycle that the machine's finalizer would keep in memory for good.
func (p *Predictor) Close() error {
	vm := p.vm
	p.vm = nil
	if vm == nil {
		return nil
	}
	return vm.Close()
}

// Spec returns what the predictor is fed with.
func (p *Predictor) Spec() Spec { return p.model.spec }

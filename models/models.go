// SPDX-License-Identifier: Apache-2.0

// Package models builds reference CNNs as Gorgonia graphs, with the operations of package nodes
// and with initial weights that are determined by a seed.
//
//	m, err := models.ResNet(32, 20, models.Options{Shape: [3]int{3, 32, 32}, Classes: 10, Seed: 1})
//	...
//	vm := gorgonia.NewTapeMachine(m.Graph, gorgonia.BindDualValues(m.Learnables...))
//	err = m.SetBatch(pixels, labels) // fills m.Input and m.Target
//	err = vm.RunAll()
//	err = solver.Step(gorgonia.NodesToValueGrads(m.Learnables))
//	vm.Reset()
//	...
//	p, err := m.Predictor()
//	classes, err := p.Classify(images) // any number of images
//
// Package models/train has the training loop. A Predictor evaluates the net in graphs of its own,
// with the weights and statistics of the model.
//
//	CNN              blocks of a 3x3 convolution and a pooling
//	LeNet            LeCun, Bottou, Bengio and Haffner 1998
//	VGG              Simonyan and Zisserman 2015, for small images
//	ResNet           He, Zhang, Ren and Sun 2016, for small images; with pre-activation too
//	WideResNet       Zagoruyko and Komodakis 2016
//	ConstantDepth    the residual nets that Ozay and Okatani 2016 train on manifolds,
//	StochasticDepth  of constant depth, and of Huang et al. 2016
//
// Build makes a Model of any other net, which a function of type Net adds to a graph layer by
// layer.
package models

import (
	"fmt"
	"math"
	"sync"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
)

// Model is a classifier in training: a graph that computes the mean cross-entropy over a batch
// and its gradients with respect to the learnables.
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
	net     Net
	buffers []Buffer
	cost    gorgonia.Value // the value of Cost after a run
}

// Spec specifies a Model.
type Spec struct {
	Batch   int          // number of images in one run
	Shape   [3]int       // channels, height, width
	Classes int          // at least 2
	Dtype   tensor.Dtype // tensor.Float32 (the default) or tensor.Float64
	Seed    uint64       // determines the initial weights and the noise
	Kernels Init         // initial convolution kernels: see Options
	Zeros   Zeros        // where Builder.Shortcut puts channels of zeros: see Options

	BatchNormOver nodes.Sums // synchronises batch normalisation: see Options
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
	return s.Zeros.check()
}

// Net adds a net to a graph: it takes the images, of shape (batch, channels, height, width), and
// returns the logits, of shape (batch, classes). It is called once for each graph of a Model and its
// predictors and must add the same layers, with the same names, each time. A Predictor has graphs
// for other numbers of images than the batch of the model; the number is the first size of images,
// and Batch in the specification that the builder returns. The builder keeps errors.
type Net func(b *Builder, images *gorgonia.Node) (logits *gorgonia.Node)

// Build makes a Model of a net: it adds the cost and the gradients to the layers of the net.
func Build(s Spec, net Net) (*Model, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	g, err := s.graph(net, nil)
	if err != nil {
		return nil, err
	}
	m := &Model{
		Graph: g.b.graph, Input: g.input, Logits: g.logits, Learnables: g.b.learnables,
		spec: s, net: net, buffers: g.b.buffers,
	}
	m.Target = gorgonia.NewMatrix(m.Graph, s.Dtype, gorgonia.WithName("target"),
		gorgonia.WithValue(tensor.New(tensor.Of(s.Dtype), tensor.WithShape(s.Batch, s.Classes))))
	if m.Cost, err = nodes.CrossEntropy(m.Logits, m.Target); err != nil {
		return nil, fmt.Errorf("models: cost: %w", err)
	}
	gorgonia.Read(m.Cost, &m.cost)
	differentiating.Lock()
	defer differentiating.Unlock()
	if _, err = gorgonia.Grad(m.Cost, m.Learnables...); err != nil {
		return nil, fmt.Errorf("models: gradient: %w", err)
	}
	nodes.Plan(m.Graph, m.Logits, m.Cost)
	return m, nil
}

// differentiating lets models be built concurrently: gorgonia.Grad writes to a node that all
// graphs share.
var differentiating sync.Mutex

// graph is the graph of a net without a cost.
type graph struct {
	b             *Builder
	input, logits *gorgonia.Node
}

// graph makes a graph of a net. If of is not nil, the graph uses the weights and buffers of that
// model.
func (s Spec) graph(net Net, of *Model) (graph, error) {
	b := newBuilder(s, of)
	shape := tensor.Shape{s.Batch, s.Shape[0], s.Shape[1], s.Shape[2]}
	g := graph{b: b, input: gorgonia.NewTensor(b.graph, s.Dtype, 4, gorgonia.WithName("input"),
		gorgonia.WithValue(tensor.New(tensor.Of(s.Dtype), tensor.WithShape(shape...))))}
	g.logits = net(b, g.input)
	if b.err != nil {
		return g, b.err
	}
	if want := (tensor.Shape{s.Batch, s.Classes}); g.logits == nil || !g.logits.Shape().Eq(want) {
		return g, fmt.Errorf("models: want logits of shape %v, got %v", want, shapeOf(g.logits))
	}
	if of != nil && (len(b.learnables) != len(of.Learnables) || len(b.buffers) != len(of.buffers)) {
		return g, fmt.Errorf("models: want %d learnables and %d buffers as before, got %d and %d",
			len(of.Learnables), len(of.buffers), len(b.learnables), len(b.buffers))
	}
	return g, nil
}

func shapeOf(n *gorgonia.Node) any {
	if n == nil {
		return "nil"
	}
	return n.Shape()
}

// Spec returns the specification of the model.
func (m *Model) Spec() Spec { return m.spec }

// Parameters returns the total number of elements of the learnables.
func (m *Model) Parameters() int {
	n := 0
	for _, l := range m.Learnables {
		n += l.Shape().TotalSize()
	}
	return n
}

// Buffer is the state of a layer that is not learnt: either the running statistics of a batch
// normalisation, or the noise of a layer that draws random numbers. All graphs of a model share
// it.
type Buffer struct {
	Name       string            // the name of the layer, which is unique
	Statistics *nodes.Statistics // or nil
	Noise      *nodes.Noise      // or nil
}

// Buffers returns the buffers in the order of the layers. The buffers and the values of the
// learnables are the whole state of the model, all that is needed to continue training.
func (m *Model) Buffers() []Buffer { return append([]Buffer(nil), m.buffers...) }

// SetBatch copies a batch of images, of batch x channels x height x width values in row-major
// order, to Input, and sets Target for their labels.
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

// Loss returns the value of Cost in the last run, or NaN before the first run.
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

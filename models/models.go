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
//	ImageNetResNet   the residual nets for ImageNet of the same paper as ResNet
//	ImageNetVGG      VGG with its classifier
//	SqueezeNet       Iandola et al. 2016
//	MobileNetV2      Sandler, Howard, Zhu, Zhmoginov and Chen 2018
//	Certifiable      layers of Lipschitz constant 1, for certificates
//	ConstantDepth    the residual nets that Ozay and Okatani 2016 train on manifolds,
//	StochasticDepth  of constant depth, and of Huang et al. 2016
//
// Build makes a Model of any other classifier, which a function of type Layers adds to a graph layer by
// layer. A Model is a Net, and New makes a Net of any Gorgonia graph, with inputs, outputs and a cost
// of its own.
package models

import (
	"cmp"
	"errors"
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
)

// Model is a Net that classifies images: its cost is the mean cross-entropy over a batch, its score the
// number of images classified correctly.
type Model struct {
	*Net
	// Input has shape (batch, channels, height, width).
	Input *gorgonia.Node
	// Target has shape (batch, classes): 1 at the label, else 0.
	Target *gorgonia.Node
	// Logits has shape (batch, classes). The cost is
	//
	//	-1/batch sum_b log softmax(logits_b)[label_b].
	Logits *gorgonia.Node

	spec Spec
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

	// Margin and Temperature are those of the cost, nodes.MarginCrossEntropy. Without them it is the cross-entropy.
	Margin, Temperature float64

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
	if _, err := tally(0, "a batch", s.Dtype, "input", s.shape()); err != nil {
		return fmt.Errorf("models: %w", err)
	}
	return s.Zeros.check()
}

// shape returns that of a batch of images.
func (s *Spec) shape() tensor.Shape {
	return tensor.Shape{s.Batch, s.Shape[0], s.Shape[1], s.Shape[2]}
}

// Layers adds the layers of a classifier to a graph: it takes the images, of shape
// (batch, channels, height, width), and returns the logits, of shape (batch, classes). It is called
// once for each graph of a Model and its predictors and must add the same layers, with the same names,
// each time. A Predictor has graphs for other numbers of images than the batch of the model; the number
// is the first size of images, and Batch in the specification that the builder returns. The builder records errors.
type Layers func(b *Builder, images *gorgonia.Node) (logits *gorgonia.Node)

// Build makes a Model of the layers of a classifier: it adds the cost and the gradients. It returns an error if a field of the specification
// is out of its range, the first error of the layers, such as an image that is too small for them, and an error if the logits do not have the
// shape (batch, classes). If the net would be too large, the error is a *SizeError.
func Build(s Spec, layers Layers) (*Model, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	if layers == nil {
		return nil, errors.New("models: want layers, got nil")
	}
	graph := func(batch int, of *Net) (*Net, error) {
		sized := s
		sized.Batch = batch
		return sized.net(layers, of)
	}
	var first *Net // of the graph for training
	net, err := New(s.Batch, func(batch int) (*Net, error) {
		n, err := graph(batch, first)
		if first == nil {
			first = n
		}
		return n, err
	})
	if err != nil {
		return nil, err
	}
	net.graphOf = graph
	return &Model{Net: net, Input: net.Inputs[0], Target: net.Targets[0], Logits: net.Outputs[0], spec: s}, nil
}

// net makes the graph of a classifier. If of is not nil, the graph uses the weights and buffers of that
// net.
func (s Spec) net(layers Layers, of *Net) (*Net, error) {
	b := newBuilder(s, of)
	input := gorgonia.NewTensor(b.graph, s.Dtype, 4, gorgonia.WithName("input"), gorgonia.WithShape(s.shape()...))
	logits := layers(b, input)
	if b.err != nil {
		return nil, b.err
	}
	if want := (tensor.Shape{s.Batch, s.Classes}); logits == nil || !logits.Shape().Eq(want) {
		return nil, fmt.Errorf("models: want logits of shape %v, got %v", want, shapeOf(logits))
	}
	if err := b.draw(); err != nil {
		return nil, err
	}
	target := gorgonia.NewMatrix(b.graph, s.Dtype, gorgonia.WithName("target"), gorgonia.WithShape(s.Batch, s.Classes))
	cost, err := s.cost(logits, target)
	if err != nil {
		return nil, fmt.Errorf("models: cost: %w", err)
	}
	return &Net{
		Inputs: gorgonia.Nodes{input}, Targets: gorgonia.Nodes{target}, Outputs: gorgonia.Nodes{logits},
		Cost: cost, Learnables: b.learnables, Buffers: b.buffers, Score: hits,
	}, nil
}

// cost adds the cost.
func (s Spec) cost(logits, target *gorgonia.Node) (*gorgonia.Node, error) {
	if s.Margin == 0 && s.Temperature == 0 {
		return nodes.CrossEntropy(logits, target)
	}
	return nodes.MarginCrossEntropy(logits, target, s.Margin, cmp.Or(s.Temperature, 1))
}

// hits counts the images whose largest logit is that of the target. Images of a class of weight 0, whose target is 0, do not count.
func hits(outputs, targets []*tensor.Dense) float64 {
	switch logits := outputs[0].Data().(type) {
	case []float32:
		return agreements(logits, targets[0].Data().([]float32), outputs[0].Shape()[1])
	case []float64:
		return agreements(logits, targets[0].Data().([]float64), outputs[0].Shape()[1])
	}
	return 0
}

func agreements[T float32 | float64](logits, targets []T, classes int) (n float64) {
	for i := 0; i < len(logits); i += classes {
		if k := largest(targets[i : i+classes]); targets[i+k] > 0 && largest(logits[i:i+classes]) == k {
			n++
		}
	}
	return n
}

func shapeOf(n *gorgonia.Node) any {
	if n == nil {
		return "nil"
	}
	return n.Shape()
}

// Spec returns the specification of the model.
func (m *Model) Spec() Spec { return m.spec }

// SetBatch copies a batch of images, of batch x channels x height x width values in row-major
// order, to Input, and sets Target for their labels.
func (m *Model) SetBatch(images []float32, labels []int) error {
	if m.Net == nil {
		return errNotMade
	}
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

// SPDX-License-Identifier: Apache-2.0

package models

import (
	"fmt"
	"math"
	"math/rand/v2"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Options says what CNN builds.
type Options struct {
	// Shape is channels, height and width of the images.
	Shape [3]int
	// Classes is the number of logits.
	Classes int
	// Widths is the number of output channels of each block: 16, 32, 64 if it
	// is nil.
	Widths []int
	// BatchNorm puts stock batch normalisation, with a scale and a shift of
	// shape (1, C, 1, 1), between convolution and ReLU, and leaves out the
	// bias, which it would cancel.
	//
	// Stock BatchNorm computes a wrong input gradient in evaluation mode and
	// forgets its running statistics whenever a machine is made, so a
	// Predictor normalises by the statistics of its batch, as training does. Give it
	// batches of some size.
	BatchNorm bool
	// Dtype is tensor.Float32 (also if it is not set) or tensor.Float64.
	Dtype tensor.Dtype
	// Seed decides the initial weights.
	Seed uint64
}

// defaultWidths are the output channels of the blocks of CNN.
var defaultWidths = []int{16, 32, 64}

// CNN returns a small convolutional net: for each width a block of
//
//	convolution 3x3, padding 1 -> bias or batch norm -> ReLU -> max pooling 2x2
//
// while the image is larger than 1x1, then one linear layer to the logits.
//
// The learnables are conv1.weight of shape (out, in, 3, 3), conv1.bias of
// shape (1, out, 1, 1), or bn1.scale and bn1.shift of that shape, and so on, then
// linear.weight of shape (in, classes) and linear.bias of shape (1, classes).
// Kernels start as independent normal numbers of variance 2/fan-in (He, Zhang,
// Ren and Sun 2015, eq. 10), the linear layer with 1/fan-in, biases and shifts at 0,
// scales at 1. The weights of a layer depend on the seed and the name alone.
func CNN(batch int, o Options) (*Model, error) {
	if o.Widths == nil {
		o.Widths = defaultWidths
	}
	h, w := o.Shape[1], o.Shape[2]
	for i, c := range o.Widths {
		if c < 1 {
			return nil, fmt.Errorf("models: want positive widths, got %v", o.Widths)
		}
		if h < 2 || w < 2 {
			return nil, fmt.Errorf("models: want images that %d poolings of 2x2 leave something of, got %dx%d", i+1, o.Shape[1], o.Shape[2])
		}
		h, w = h/2, w/2
	}
	s := Spec{Batch: batch, Shape: o.Shape, Classes: o.Classes, Dtype: o.Dtype}
	if err := s.check(); err != nil {
		return nil, err
	}
	o.Dtype = s.Dtype
	return Build(s, o.forward)
}

// forward is the net. After the Reshape comes nothing but the product: the
// two share a buffer, which an element-wise op would write into.
func (o Options) forward(g *gorgonia.ExprGraph, x *gorgonia.Node) (*gorgonia.Node, gorgonia.Nodes, error) {
	b := builder{g: g, Options: o}
	in := o.Shape[0]
	for i, out := range o.Widths {
		x = b.block(x, i+1, in, out)
		in = out
	}
	if b.err != nil {
		return nil, nil, b.err
	}
	features := x.Shape().TotalSize() / x.Shape()[0]
	x = b.must("flatten")(gorgonia.Reshape(x, tensor.Shape{x.Shape()[0], features}))
	weight := b.normal("linear.weight", 1/float64(features), features, o.Classes)
	bias := b.constant("linear.bias", 0, 1, o.Classes)
	if b.err == nil {
		x = b.must("linear")(gorgonia.Mul(x, weight))
	}
	if b.err == nil {
		x = b.must("linear")(gorgonia.BroadcastAdd(x, bias, nil, []byte{0}))
	}
	return x, b.learnables, b.err
}

// block adds block i.
func (b *builder) block(x *gorgonia.Node, i, in, out int) *gorgonia.Node {
	if b.err != nil {
		return nil
	}
	name := fmt.Sprintf("conv%d", i)
	kernel := b.normal(name+".weight", 2/float64(9*in), out, in, 3, 3)
	x = b.must(name)(gorgonia.Conv2d(x, kernel, tensor.Shape{3, 3}, []int{1, 1}, []int{1, 1}, []int{1, 1}))
	if b.err != nil {
		return nil
	}
	if b.BatchNorm {
		scale := b.constant(fmt.Sprintf("bn%d.scale", i), 1, 1, out, 1, 1)
		shift := b.constant(fmt.Sprintf("bn%d.shift", i), 0, 1, out, 1, 1)
		y, _, _, _, err := gorgonia.BatchNorm(x, scale, shift, 0.9, 1e-5)
		x = b.must(name)(y, err)
	} else {
		bias := b.constant(name+".bias", 0, 1, out, 1, 1)
		x = b.must(name)(gorgonia.BroadcastAdd(x, bias, nil, []byte{0, 2, 3}))
	}
	if b.err != nil {
		return nil
	}
	if x = b.must(name)(gorgonia.Rectify(x)); b.err != nil {
		return nil
	}
	return b.must(name)(gorgonia.MaxPool2D(x, tensor.Shape{2, 2}, []int{0, 0}, []int{2, 2}))
}

// builder keeps the learnables and the first error while a net is built.
type builder struct {
	Options
	g          *gorgonia.ExprGraph
	learnables gorgonia.Nodes
	err        error
}

// must keeps the error of the layer.
func (b *builder) must(layer string) func(*gorgonia.Node, error) *gorgonia.Node {
	return func(n *gorgonia.Node, err error) *gorgonia.Node {
		if err != nil && b.err == nil {
			b.err = fmt.Errorf("models: %s: %w", layer, err)
		}
		return n
	}
}

// normal adds weights of independent normal numbers.
func (b *builder) normal(name string, variance float64, shape ...int) *gorgonia.Node {
	rng := rand.New(rand.NewPCG(b.Seed, hash(name)))
	std := math.Sqrt(variance)
	return b.learnable(name, func() float64 { return std * rng.NormFloat64() }, shape)
}

// constant adds weights of one value.
func (b *builder) constant(name string, value float64, shape ...int) *gorgonia.Node {
	return b.learnable(name, func() float64 { return value }, shape)
}

func (b *builder) learnable(name string, next func() float64, shape tensor.Shape) *gorgonia.Node {
	t := tensor.New(tensor.Of(b.Dtype), tensor.WithShape(shape...))
	switch w := t.Data().(type) {
	case []float32:
		for i := range w {
			w[i] = float32(next())
		}
	case []float64:
		for i := range w {
			w[i] = next()
		}
	}
	n := gorgonia.NewTensor(b.g, b.Dtype, len(shape), gorgonia.WithName(name), gorgonia.WithValue(t))
	b.learnables = append(b.learnables, n)
	return n
}

// hash is FNV-1a.
func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

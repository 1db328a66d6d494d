// SPDX-License-Identifier: Apache-2.0

package onnx

import (
	"fmt"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/roles"
	"github.com/kernelfold/kernelfold/nodes"
)

// translate adds an operation.
func (g *graph) translate(n *gorgonia.Node, in []*gorgonia.Node) (string, error) {
	o, ok := nodes.OperationOf(n)
	if !ok {
		return g.stock(n, in)
	}
	switch o.Name { // operations that need their inputs in another form
	case "Dropout":
		return g.add(in[0])
	case "Conv2d", "OrthogonalConv", "ConvTranspose2d", "OrthogonalConvTranspose":
		return g.convolution(o, in, nil)
	case "Bias":
		if c, ok := nodes.OperationOf(in[0]); ok && len(in[0].Shape()) == 4 && g.uses[in[0]] == 1 && g.learnt[in[1]] && c.Kernel != [2]int{} && c.Groups > 0 {
			return g.convolution(c, roles.Inputs(in[0]), in[1])
		}
	case "BatchNorm":
		return g.batchNorm(o, n, in)
	case "GroupNorm":
		return g.groupNorm(o, n, in)
	}
	x, err := g.all(in)
	if err != nil {
		return "", err
	}
	switch o.Name {
	case "Bias":
		return g.op(layer(in[1]), "Add", x), nil
	case "Linear":
		if in[0].Dims() != 2 {
			x[0] = g.op("flatten", "Flatten", x[:1])
		}
		return g.op(layer(in[1]), "Gemm", x), nil
	case "Rectify", "RectifyTo":
		return g.rectified(n, x[0], o.Top), nil
	case "MaxPool2D", "MaxPool2DCeil":
		return g.op("maxpool", "MaxPool", x, pooling(o)...), nil
	case "AveragePool2D":
		return g.op("avgpool", "AveragePool", x, append(pooling(o), integer("count_include_pad", 1))...), nil
	case "GlobalAveragePool2D":
		return g.op("avgpool", "GlobalAveragePool", x), nil
	case "AdaptiveAveragePool2D":
		return g.adaptive(n, in[0], x[0]), nil
	case "Flatten":
		return g.op("flatten", "Flatten", x), nil
	case "Concat":
		return g.op("concat", "Concat", x, integer("axis", 1)), nil
	case "Add":
		y := x[0]
		for _, more := range x[1:] {
			y = g.op("add", "Add", []string{y, more})
		}
		return y, nil
	case "StochasticDepth":
		y := g.op("survival", "Mul", []string{x[0], g.constant("survival", n, nil, []float64{o.Survival})})
		return g.op("add", "Add", []string{y, x[1]}), nil
	case "Shortcut":
		return g.shortcut(o, n, x[0]), nil
	case "MaxMin":
		half := []string{g.name("half"), g.name("half")}
		g.emit(g.name("split"), "Split", x, half, integer("axis", 1))
		return g.op("maxmin", "Concat", []string{g.op("max", "Max", half), g.op("min", "Min", half)}, integer("axis", 1)), nil
	}
	return "", unknown(n)
}

func unknown(n *gorgonia.Node) error {
	return fmt.Errorf("want an operation that can be written, or one of a kernel that models.Release folds, got %v", n.Op())
}

func pair(name string, v [2]int) message { return ints(name, v[:]...) }

// pads are in the order of ONNX: top, left, bottom, right.
func pads(p [4]int) message { return ints("pads", p[0], p[2], p[1], p[3]) }

func pooling(o nodes.Operation) []message {
	return []message{pair("kernel_shape", o.Kernel), pair("strides", o.Stride), pads(o.Pad)}
}

// convolution adds a convolution, with a bias unless it is nil.
func (g *graph) convolution(o nodes.Operation, in []*gorgonia.Node, bias *gorgonia.Node) (string, error) {
	if o.Circular {
		return "", fmt.Errorf("%s: want padding by zeros, got circular padding, which ONNX has for constants only", layer(in[1]))
	}
	x, err := g.all(in)
	if err != nil {
		return "", err
	}
	if bias != nil {
		β, err := g.leaf(bias, []int{bias.Shape()[1]})
		if err != nil {
			return "", err
		}
		x = append(x, β)
	}
	attributes := []message{pair("kernel_shape", o.Kernel), pair("strides", o.Stride), pair("dilations", o.Dilation), pads(o.Pad), integer("group", o.Groups)}
	if o.Name == "ConvTranspose2d" || o.Name == "OrthogonalConvTranspose" {
		return g.op(layer(in[1]), "ConvTranspose", x, append(attributes, pair("output_padding", o.OutputPadding))...), nil
	}
	return g.op(layer(in[1]), "Conv", x, attributes...), nil
}

// rectified adds a rectifier.
func (g *graph) rectified(n *gorgonia.Node, x string, top float64) string {
	if top > 0 {
		return g.op("relu", "Clip", []string{x, g.constant("bottom", n, nil, []float64{0}), g.constant("top", n, nil, []float64{top})})
	}
	return g.op("relu", "Relu", []string{x})
}

// perChannel adds a leaf of shape (1, C, 1, 1) or (1, C) as a vector.
func (g *graph) perChannel(n *gorgonia.Node) (string, error) {
	if n.Op() != nil || n.Value() == nil {
		return "", fmt.Errorf("want weights for scale and bias of a normalisation, got %v", n)
	}
	return g.leaf(n, []int{n.Shape().TotalSize()})
}

func (g *graph) batchNorm(o nodes.Operation, n *gorgonia.Node, in []*gorgonia.Node) (string, error) {
	x, err := g.add(in[0])
	if err != nil {
		return "", err
	}
	γ, err := g.perChannel(in[1])
	if err != nil {
		return "", err
	}
	β, err := g.perChannel(in[2])
	if err != nil {
		return "", err
	}
	name, c := layer(in[1]), len(o.Statistics.Mean)
	mean := g.constant(name+".running_mean", n, []int{c}, o.Statistics.Mean)
	variance := g.constant(name+".running_var", n, []int{c}, o.Statistics.Variance)
	y := g.op(name, "BatchNormalization", []string{x, γ, β, mean, variance}, float("epsilon", o.Epsilon))
	if o.Plus {
		more, err := g.add(in[3])
		if err != nil {
			return "", err
		}
		y = g.op("add", "Add", []string{y, more})
	}
	if o.Rectified {
		y = g.rectified(n, y, o.Top)
	}
	return y, nil
}

// groupNorm normalises each group as if it were a channel.
func (g *graph) groupNorm(o nodes.Operation, n *gorgonia.Node, in []*gorgonia.Node) (string, error) {
	x, err := g.all(in)
	if err != nil {
		return "", err
	}
	to := func(shape ...int64) string { return g.constant("shape", n, []int{len(shape)}, shape) }
	one, zero := make([]float64, o.Groups), make([]float64, o.Groups)
	for i := range one {
		one[i] = 1
	}
	shape := []int64{0}
	for _, s := range n.Shape()[1:] {
		shape = append(shape, int64(s))
	}
	y := g.op("groups", "Reshape", []string{x[0], to(0, int64(o.Groups), -1)})
	y = g.op("normalised", "InstanceNormalization", []string{y, g.constant("one", n, []int{o.Groups}, one), g.constant("zero", n, []int{o.Groups}, zero)}, float("epsilon", o.Epsilon))
	y = g.op("channels", "Reshape", []string{y, to(shape...)})
	y = g.op("scaled", "Mul", []string{y, x[1]})
	return g.op(layer(in[1]), "Add", []string{y, x[2]}), nil
}

// adaptive adds a pooling of equal windows where the sizes divide each other, and otherwise products with a matrix of means on either side.
func (g *graph) adaptive(n, of *gorgonia.Node, x string) string {
	in, out := of.Shape()[2:], n.Shape()[2:]
	if in[0]%out[0] == 0 && in[1]%out[1] == 0 {
		window := [2]int{in[0] / out[0], in[1] / out[1]}
		return g.op("avgpool", "AveragePool", []string{x}, pair("kernel_shape", window), pair("strides", window))
	}
	means := func(from, to int) (m []float64) { // to x from
		m = make([]float64, to*from)
		for i := range to {
			first, last := i*from/to, ((i+1)*from+to-1)/to
			for j := first; j < last; j++ {
				m[i*from+j] = 1 / float64(last-first)
			}
		}
		return m
	}
	right := means(in[1], out[1])
	turned := make([]float64, len(right))
	for i := range out[1] {
		for j := range in[1] {
			turned[j*out[1]+i] = right[i*in[1]+j]
		}
	}
	y := g.op("avgpool", "MatMul", []string{x, g.constant("columns", n, []int{in[1], out[1]}, turned)})
	return g.op("avgpool", "MatMul", []string{g.constant("rows", n, []int{out[0], in[0]}, means(in[0], out[0])), y})
}

func (g *graph) shortcut(o nodes.Operation, n *gorgonia.Node, x string) string {
	list := func(name string, v ...int64) string { return g.constant(name, n, []int{len(v)}, v) }
	if o.Stride != [2]int{1, 1} {
		const end = 1<<31 - 1
		x = g.op("stride", "Slice", []string{x, list("starts", 0, 0), list("ends", end, end), list("axes", 2, 3), list("steps", int64(o.Stride[0]), int64(o.Stride[1]))})
	}
	if o.Before+o.After > 0 {
		x = g.op("zeros", "Pad", []string{x, list("pads", 0, int64(o.Before), 0, 0, 0, int64(o.After), 0, 0)})
	}
	return x
}

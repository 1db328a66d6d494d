// SPDX-License-Identifier: Apache-2.0

// Package onnx writes nets in the format ONNX, which ONNX Runtime and other programs read, also in browsers.
//
//	released, err := models.Release(m)
//	err = onnx.Export("net.onnx", released)
//
// A net is written as it evaluates: batch normalisations use their running statistics, and nothing is
// dropped. All operations of package nodes that process images are supported, except Householder, NormPool2D,
// ConvexPotential and circular padding. Operations that compute kernels, such as WeightNorm, are not
// supported, but models.Release replaces the kernels that they compute by weights. Of Gorgonia's operations,
// those that ONNX has in the same form are supported: sums, products and quotients of nodes of one shape, of
// a matrix and a matrix, element-wise functions, SoftMax, Concat, Transpose and Reshape. Any other operation
// is an error that names it.
//
// Inputs have the names that they have in the net, and outputs are called output, or output0, output1 and so on if
// there are several. Their first size is that of the batch, which may be any number unless the net has constants other
// than scalars. Weights and numbers have the precision of the net; runtimes compute few operations in float64.
package onnx

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"gorgonia.org/gorgonia"
	gtensor "gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/disk"
	"github.com/kernelfold/kernelfold/internal/isnil"
	"github.com/kernelfold/kernelfold/internal/roles"
	"github.com/kernelfold/kernelfold/models"
)

// Versions of the format: opset 13 of the operations is of January 2021.
const (
	irVersion = 7
	opset     = 13
)

// Export writes a net to a file. The file is either replaced as a whole or left unchanged.
func Export(path string, t models.Trainable) error {
	err := disk.Replace(disk.OS{}, path, func(w io.Writer) error { return Write(w, t) })
	if err != nil {
		return fmt.Errorf("onnx: export %s: %w", path, err)
	}
	return nil
}

// Write writes a net. A net without outputs and a net of more than 2 GiB, which the format cannot hold, are errors.
func Write(w io.Writer, t models.Trainable) error {
	if isnil.Of(t) || t.Base() == nil {
		return fmt.Errorf("onnx: want a net, got nil")
	}
	n := t.Base()
	if len(n.Outputs) == 0 {
		return fmt.Errorf("onnx: want a net with outputs, got none")
	}
	g := &graph{
		free: true, names: map[string]bool{}, values: map[*gorgonia.Node]string{}, uses: map[*gorgonia.Node]int{},
		learnt: map[*gorgonia.Node]bool{},
	}
	for _, l := range n.Learnables {
		g.learnt[l] = true
	}
	for _, o := range n.Outputs {
		g.count(o)
	}
	for _, x := range n.Inputs {
		g.values[x] = g.name(x.Name())
	}
	names, types := make([]string, len(n.Outputs)), make([]int64, len(n.Outputs))
	for i := range names { // before those of layers
		name := "output"
		if len(n.Outputs) > 1 {
			name = fmt.Sprint("output", i)
		}
		names[i] = g.name(name)
	}
	for i, o := range n.Outputs {
		var err error
		if types[i], err = elements(o); err != nil {
			return fmt.Errorf("onnx: output %d: %w", i, err)
		}
		x, err := g.add(o)
		if err != nil {
			return fmt.Errorf("onnx: %w", err)
		}
		g.emit(names[i], "Identity", []string{x}, []string{names[i]})
	}
	if g.bad != nil {
		return g.bad
	}
	var all message
	for _, x := range g.nodes {
		all.bytes(1, x)
	}
	all.text(2, "net")
	for _, x := range g.initial {
		all.bytes(5, x)
	}
	for _, x := range n.Inputs {
		of, err := elements(x)
		if err != nil {
			return fmt.Errorf("onnx: %w", err)
		}
		all.bytes(11, value(g.values[x], of, g.shape(x.Shape())))
	}
	for i, o := range n.Outputs {
		all.bytes(12, value(names[i], types[i], g.shape(o.Shape())))
	}
	m := model(all, opset)
	const most = 1<<31 - 1
	if len(m) > most {
		return fmt.Errorf("onnx: want a net of at most %d bytes, got %d", most, len(m))
	}
	_, err := w.Write(m)
	return err
}

// graph is a graph that is being written.
type graph struct {
	free   bool            // the batch may have any size
	names  map[string]bool // of values and nodes
	values map[*gorgonia.Node]string
	uses   map[*gorgonia.Node]int // how often other nodes have the node as their input
	learnt map[*gorgonia.Node]bool

	nodes, initial []message
	bad            error // of a constant
}

// name returns a name that is not taken, and takes it.
func (g *graph) name(want string) string {
	name := want
	for i := 1; g.names[name]; i++ {
		name = fmt.Sprintf("%s_%d", want, i)
	}
	g.names[name] = true
	return name
}

func (g *graph) count(n *gorgonia.Node) {
	for _, c := range roles.Inputs(n) {
		if g.uses[c]++; g.uses[c] == 1 {
			g.count(c)
		}
	}
}

// shape returns a shape whose first size is that of the batch.
func (g *graph) shape(s gtensor.Shape) []int {
	shape := slices.Clone([]int(s))
	if g.free && len(shape) > 0 {
		shape[0] = -1
	}
	return shape
}

// elements returns the type of the elements of a node.
func elements(n *gorgonia.Node) (int64, error) {
	switch n.Dtype() {
	case gtensor.Float32:
		return typeFloat, nil
	case gtensor.Float64:
		return typeDouble, nil
	}
	return 0, fmt.Errorf("%s: want float32 or float64, got %v", n.Name(), n.Dtype())
}

func (g *graph) emit(name, kind string, in, out []string, attributes ...message) {
	g.nodes = append(g.nodes, node(name, kind, in, out, attributes...))
}

// op adds a node and returns the name of its result.
func (g *graph) op(name, kind string, in []string, attributes ...message) string {
	out := g.name(name)
	g.emit(out, kind, in, []string{out}, attributes...)
	return out
}

// constant adds numbers and returns their name. They have the precision of the node of, unless they are int64.
func (g *graph) constant(name string, of *gorgonia.Node, shape []int, data any) string {
	if x, ok := data.([]float64); ok && of.Dtype() == gtensor.Float32 {
		narrow := make([]float32, len(x))
		for i, v := range x {
			narrow[i] = float32(v)
		}
		data = narrow
	}
	if i, v := dense.NotFinite(data); i >= 0 && g.bad == nil {
		g.bad = fmt.Errorf("onnx: %s: want finite numbers in %v, got %v", name, of.Dtype(), v)
	}
	name = g.name(name)
	g.initial = append(g.initial, tensor(name, shape, data))
	return name
}

// leaf adds the value of a weight or of a constant, in the shape given, and returns its name.
func (g *graph) leaf(n *gorgonia.Node, shape []int) (string, error) {
	v, err := dense.Of(n.Value())
	if err != nil {
		return "", fmt.Errorf("%s: %w", n.Name(), err)
	}
	var data any = v.F32
	if v.F64 != nil {
		data = v.F64
	}
	return g.constant(n.Name(), n, shape, data), nil
}

// add adds a node with all that it needs, and returns the name of its value.
func (g *graph) add(n *gorgonia.Node) (string, error) {
	if name, ok := g.values[n]; ok {
		return name, nil
	}
	var name string
	var err error
	in := roles.Inputs(n)
	switch {
	case len(in) > 0:
		name, err = g.translate(n, in)
	case n.Value() == nil:
		err = fmt.Errorf("%s of shape %v: want a value, got none", n.Name(), n.Shape())
	default:
		if !g.learnt[n] && len(n.Shape()) > 0 {
			g.free = false // the constant may have the shape of the batch
		}
		name, err = g.leaf(n, n.Shape())
	}
	if err != nil {
		return "", err
	}
	g.values[n] = name
	return name, nil
}

// all adds nodes and returns the names of their values.
func (g *graph) all(list []*gorgonia.Node) (names []string, err error) {
	for _, n := range list {
		name, err := g.add(n)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

// layer returns the name of the layer of a weight.
func layer(w *gorgonia.Node) string {
	if i := strings.LastIndex(w.Name(), "."); i > 0 {
		return w.Name()[:i]
	}
	return w.Name()
}

// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"hash"
	"hash/fnv"
	"slices"

	"github.com/chewxy/hm"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// body computes the value and the gradients of a node, at one precision. The slices hold whole
// tensors in row-major order; the body stores their shapes. All fields of a body are part of the
// hash of the node, so that different nodes are never merged. State must be behind a pointer, which
// identifies it in the hash. The methods are exported because staticcheck reports unexported
// methods of generic types as unused.
type body[T vec.Float] interface {
	// Forward writes the value of the node to out. It must not keep or change in.
	Forward(out []T, in [][]T) error
	// Backward writes the gradient of the cost with respect to input i to dst. grad is the gradient
	// with respect to the output. dst holds arbitrary values before the call.
	Backward(dst []T, i int, in [][]T, out, grad []T) error
}

// signature describes a node to the graph.
type signature struct {
	name     string // as in the program: "nodes.WeightNorm"
	in       []tensor.Shape
	out      tensor.Shape
	constant int // bit i is set if there is no gradient with respect to input i
	// passes says that the gradient with respect to each input is that with respect to the output.
	passes bool
	mode   *mode
}

// mode says whether a node and its body are in training or in evaluation. It is nil for a node that
// does the same in both. The machine that was made last for the graph sets it.
type mode struct{ training bool }

// apply adds a node to the graph of its inputs.
func apply(s signature, f32 body[float32], f64 body[float64], in ...*gorgonia.Node) (*gorgonia.Node, error) {
	o := &op{signature: s, f32: f32, f64: f64}
	var of gorgonia.Op = o
	if s.mode != nil {
		of = &modal{o}
	}
	n, err := gorgonia.ApplyOp(of, in...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	return n, nil
}

// again returns an operation for another node that computes the same, with the same bodies and mode. If it is one of
// this package, it writes its value to memory of its own.
func again(of gorgonia.Op) gorgonia.Op {
	switch o := of.(type) {
	case *op:
		return &op{signature: o.signature, f32: o.f32, f64: o.f64}
	case *modal:
		return &modal{again(o.op).(*op)}
	}
	return of
}

// admit checks the inputs of a node and returns their shapes. The inputs must be nodes of one graph
// and one precision that are not empty, and must have the given ranks, where 0 means any rank.
func admit(name string, ranks []int, in ...*gorgonia.Node) ([]tensor.Shape, error) {
	shapes := make([]tensor.Shape, len(in))
	var graph *gorgonia.ExprGraph
	for i, n := range in {
		if n == nil {
			return nil, fmt.Errorf("%s: input %d: want a node, got nil", name, i)
		}
		if d := n.Dtype(); d != tensor.Float32 && d != tensor.Float64 {
			return nil, fmt.Errorf("%s: input %d, %s: want float32 or float64, got %v", name, i, n.Name(), d)
		}
		if n.Dtype() != in[0].Dtype() {
			return nil, fmt.Errorf("%s: want inputs of one precision, got %v and %v", name, in[0].Dtype(), n.Dtype())
		}
		if n.Graph() != nil { // a constant has none before its first use
			if graph != nil && n.Graph() != graph {
				return nil, fmt.Errorf("%s: want inputs of one graph, got %s of another", name, n.Name())
			}
			graph = n.Graph()
		}
		if ranks[i] != 0 && n.Dims() != ranks[i] {
			return nil, fmt.Errorf("%s: input %d, %s: want rank %d, got shape %v", name, i, n.Name(), ranks[i], n.Shape())
		}
		if shapes[i] = n.Shape().Clone(); shapes[i].TotalSize() < 1 {
			return nil, fmt.Errorf("%s: input %d, %s: want a node that is not empty, got shape %v", name, i, n.Name(), n.Shape())
		}
	}
	return shapes, nil
}

// op is the operation of a node. It writes its output to a buffer of its own, which every run reuses,
// and does not keep its inputs.
type op struct {
	signature
	f32    body[float32]
	f64    body[float64]
	buffer buffer
}

func (o *op) Arity() int           { return len(o.in) }
func (o *op) ReturnsPtr() bool     { return false }
func (o *op) CallsExtern() bool    { return false }
func (o *op) OverwritesInput() int { return -1 }
func (o *op) String() string       { return fmt.Sprintf("%s%v", o.name, o.in) }

// Type returns the types of the inputs and of the output, in one precision.
func (o *op) Type() hm.Type {
	types := make([]hm.Type, 0, len(o.in)+1)
	for _, s := range o.in {
		types = append(types, typeOf(s))
	}
	return hm.NewFnType(append(types, typeOf(o.out))...)
}

func typeOf(s tensor.Shape) hm.Type {
	a := hm.TypeVariable('a')
	if len(s) == 0 {
		return a
	}
	return gorgonia.TensorType{Dims: len(s), Of: a}
}

func (o *op) InferShape(in ...gorgonia.DimSizer) (tensor.Shape, error) {
	return o.out.Clone(), o.expect(in)
}

// expect checks that the inputs have the shapes for which the node was made.
func (o *op) expect(in []gorgonia.DimSizer) error {
	if len(in) < len(o.in) {
		return fmt.Errorf("%s: want %d inputs, got %d", o.name, len(o.in), len(in))
	}
	for i, s := range o.in {
		if got, ok := in[i].(tensor.Shape); !ok || !got.Eq(s) {
			return fmt.Errorf("%s: input %d: want shape %v, got %v", o.name, i, s, in[i])
		}
	}
	return nil
}

// WriteHash covers every field of the bodies and the signature.
func (o *op) WriteHash(h hash.Hash) {
	fmt.Fprintf(h, "%+v %T %+v %T %+v", o.signature, o.f32, o.f32, o.f64, o.f64)
}

// modal is the operation of a node that differs between training and evaluation.
type modal struct{ *op }

// SetTraining is called by NewTapeMachine, with false under gorgonia.EvalMode.
func (o *modal) SetTraining(training bool) error {
	o.mode.training = training
	return nil
}

// Training reports whether the next run of the node is in training. Other packages find it by
// asserting interface{ Training() bool } on the Op of a node.
func (o *modal) Training() bool { return o.mode.training }

func (o *op) Hashcode() uint32 { return hashcode(o) }

func hashcode(o gorgonia.Op) uint32 {
	h := fnv.New32a()
	o.WriteHash(h)
	return h.Sum32()
}

// Do computes the node.
func (o *op) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	a := arguments(len(in))
	defer a.back()
	if err := o.views(a, in, len(o.in)); err != nil {
		return nil, err
	}
	defer o.buffer.used()
	v, out := o.buffer.get(o.out, a.views[0])
	var err error
	if out.F64 != nil {
		err = o.f64.Forward(out.F64, a.f64)
	} else {
		err = o.f32.Forward(out.F32, a.f32)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.name, err)
	}
	return v, nil
}

// views checks the values that the machine passes: those of the inputs and, for a gradient, of the
// output and of the gradient with respect to it.
func (s *signature) views(a *args, in []gorgonia.Value, n int) error {
	if len(in) != n {
		return fmt.Errorf("%s: want %d inputs, got %d", s.name, n, len(in))
	}
	for i, v := range in {
		shape := s.out
		if i < len(s.in) {
			shape = s.in[i]
		}
		if t, ok := v.(*tensor.Dense); ok && t.RequiresIterator() {
			v = t.Materialize().(*tensor.Dense)
		}
		d, err := dense.Of(v)
		if err != nil {
			return fmt.Errorf("%s: input %d: %w", s.name, i, err)
		}
		a.set(i, d)
		if first := a.views[0]; d.Len() != shape.TotalSize() || d.Precision() != first.Precision() {
			return fmt.Errorf("%s: input %d: want shape %v, %s, got %v, %s", s.name, i, shape, first.Precision(), d.Shape, d.Precision())
		}
	}
	return nil
}

// DiffWRT reports which inputs have gradients.
func (o *op) DiffWRT(inputs int) []bool {
	d := make([]bool, inputs)
	for i := range d {
		d[i] = o.constant&(1<<i) == 0
	}
	return d
}

// SymDiff returns a gradient node for each input.
func (o *op) SymDiff(in gorgonia.Nodes, out, grad *gorgonia.Node) (gorgonia.Nodes, error) {
	if o.passes {
		return slices.Repeat(gorgonia.Nodes{grad}, len(in)), nil
	}
	all := append(append(gorgonia.Nodes{}, in...), out, grad)
	var gradients gorgonia.Nodes
	var together *sweep
	if _, ok := o.f32.(sweeper[float32]); ok {
		together = &sweep{gradients: make([]*gradient, len(in))}
		all = append(all[:len(in)], grad)
	}
	for i, wanted := range o.DiffWRT(len(in)) {
		if !wanted {
			gradients = append(gradients, nil)
			continue
		}
		g := &gradient{op: o, input: i, grad: grad, sweep: together}
		if together != nil {
			together.gradients[i] = g
		}
		n, err := gorgonia.ApplyOp(g, all...)
		if err != nil {
			return nil, fmt.Errorf("%s: gradient in input %d: %w", o.name, i, err)
		}
		g.node = n
		gradients = append(gradients, n)
	}
	return gradients, nil
}

// gradient is the operation that computes the gradient of a node with respect to one input. Its
// inputs are the inputs of the node, the output (unless the body is a sweeper, which does not need
// it) and the gradient with respect to the output, so that the machine does not overwrite these
// values too early.
type gradient struct {
	op     *op
	input  int
	node   *gorgonia.Node
	grad   *gorgonia.Node // the last input
	sweep  *sweep         // nil if the body computes each gradient for itself
	buffer buffer
}

// wanted reports whether anything uses the gradient. Gorgonia makes a gradient node for every input,
// even for the images, and machines run them all.
func (g *gradient) wanted() bool {
	m, _ := g.buffer.made.(*memory)
	if m != nil && m.wanted || g.buffer.lent() {
		return true
	}
	wanted := g.node == nil || len(g.node.DerivOf()) > 0 || g.node.Graph().To(g.node.ID()).Len() > 0
	if m != nil {
		m.wanted = wanted // which it remains: nodes of a graph do not go
	}
	return wanted
}

func (g *gradient) Arity() int {
	if g.sweep != nil {
		return len(g.op.in) + 1
	}
	return len(g.op.in) + 2
}

func (g *gradient) ReturnsPtr() bool     { return false }
func (g *gradient) CallsExtern() bool    { return false }
func (g *gradient) OverwritesInput() int { return -1 }
func (g *gradient) String() string       { return fmt.Sprintf("d%s/d%d", g.op, g.input) }
func (g *gradient) Hashcode() uint32     { return hashcode(g) }

func (g *gradient) WriteHash(h hash.Hash) {
	fmt.Fprintf(h, "gradient %d, sweep %p, of ", g.input, g.sweep)
	g.op.WriteHash(h)
}

func (g *gradient) Type() hm.Type {
	var types []hm.Type
	for _, s := range g.op.in {
		types = append(types, typeOf(s))
	}
	for len(types) < g.Arity() {
		types = append(types, typeOf(g.op.out))
	}
	return hm.NewFnType(append(types, typeOf(g.op.in[g.input]))...)
}

func (g *gradient) InferShape(in ...gorgonia.DimSizer) (tensor.Shape, error) {
	return g.op.in[g.input].Clone(), g.op.expect(in)
}

func (g *gradient) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	if g.onLispMachine() {
		return nil, machineError(g.op.name)
	}
	defer g.buffer.used()
	if g.sweep != nil {
		if v := g.sweep.take(g); v != nil {
			return v, nil
		}
	}
	a := arguments(len(in))
	defer a.back()
	if err := g.op.views(a, in, g.Arity()); err != nil {
		return nil, err
	}
	if g.sweep != nil && g.wanted() {
		v, err := g.sweep.compute(g, a)
		if err != nil {
			return nil, fmt.Errorf("%s: gradient in input %d: %w", g.op.name, g.input, err)
		}
		return v, nil
	}
	v, dst := g.buffer.get(g.op.in[g.input], a.views[0])
	if !g.wanted() {
		return v, nil
	}
	n := len(g.op.in)
	var err error
	if dst.F64 != nil {
		err = g.op.f64.Backward(dst.F64, g.input, a.f64[:n], a.f64[n], a.f64[n+1])
	} else {
		err = g.op.f32.Backward(dst.F32, g.input, a.f32[:n], a.f32[n], a.f32[n+1])
	}
	if err != nil {
		return nil, fmt.Errorf("%s: gradient in input %d: %w", g.op.name, g.input, err)
	}
	return v, nil
}

var (
	_ gorgonia.SDOp        = (*op)(nil)
	_ gorgonia.SDOp        = (*modal)(nil)
	_ gorgonia.TrainModeOp = (*modal)(nil)
	_ gorgonia.Op          = (*gradient)(nil)
)

// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/roles"
)

// ErrUnfoldable is wrapped by the error of Fold for a net that has no plain form, though there may be nothing wrong with it.
var ErrUnfoldable = errors.New("cannot be folded")

// Fold returns copies of roots, in a graph of their own, that compute the same in evaluation, to rounding, and have plain weights:
//
//   - A node that depends on weights alone, such as WeightNorm or Normalize of a kernel, becomes a weight with its value.
//   - A batch normalisation after Conv2d, ConvTranspose2d or Linear is multiplied into kernel and bias: with its factor a and its addend b of each
//     channel, w_c becomes a_c w_c, and the bias β_c becomes a_c β_c + b_c.
//   - The survival probability of StochasticDepth is multiplied into the convolution, with its batch normalisation, that ends
//     the branch. Dropout is left out.
//
// weights are the learnt leaves. Fold uses their current values and does not change them. The weights of the copies are returned too. A
// folded kernel has the name of the weight that it was computed from, and a new bias has the name of the kernel with "bias" in place of
// "weight". All other leaves have the names and values of those of the roots. There are no gradients.
//
// A batch normalisation that does not directly follow a convolution or a linear layer cannot be folded, nor can gorgonia.BatchNorm; they are
// errors that wrap ErrUnfoldable and name the weights of the layer. Nodes that cannot be copied are errors too. As with Fuse, use no
// machine for the graph of the roots afterwards.
func Fold(weights gorgonia.Nodes, roots ...*gorgonia.Node) (copies, plain gorgonia.Nodes, err error) {
	f := folder{fuser: newFuser(), fixed: map[*gorgonia.Node]bool{}, made: map[string]*gorgonia.Node{}}
	for i, w := range weights {
		if w == nil {
			return nil, nil, fmt.Errorf("nodes.Fold: want a node as weight %d, got nil", i)
		}
		f.fixed[w] = true
	}
	if err := f.countAll("nodes.Fold", roots); err != nil {
		return nil, nil, err
	}
	for _, r := range roots {
		c, err := f.copy(r)
		if err != nil {
			return nil, nil, fmt.Errorf("nodes.Fold: %w", err)
		}
		copies = append(copies, c)
	}
	return copies, f.plain, nil
}

// folder copies a graph. Unlike a fuser it changes weights.
type folder struct {
	fuser
	fixed map[*gorgonia.Node]bool // whether a node depends on weights alone, if that is known
	plain gorgonia.Nodes
	made  map[string]*gorgonia.Node // weights, by name
}

// isFixed reports whether a node depends on weights and constants alone, on one weight at least.
func (f *folder) isFixed(n *gorgonia.Node) bool {
	is, ok := f.fixed[n]
	if ok {
		return is
	}
	in := roles.Inputs(n)
	for _, c := range in {
		is = is || f.isFixed(c)
	}
	for _, c := range in {
		is = is && (f.isFixed(c) || c.Op() != nil && len(roles.Inputs(c)) == 0)
	}
	f.fixed[n] = is
	return is
}

// value returns that of a node which is fixed, or a constant.
func (f *folder) value(n *gorgonia.Node) (gorgonia.Value, error) {
	in := roles.Inputs(n)
	if len(in) == 0 {
		if v := n.Value(); v != nil {
			return v, nil
		}
		if n.Op() == nil {
			return nil, fmt.Errorf("want a value of %s, got none", n.Name())
		}
	}
	values := make([]gorgonia.Value, len(in))
	for i, c := range in {
		var err error
		if values[i], err = f.value(c); err != nil {
			return nil, err
		}
	}
	if m, ok := n.Op().(*modal); ok {
		defer func(was bool) { m.mode.training = was }(m.mode.training)
		m.mode.training = false
	}
	return n.Op().Do(values...)
}

// numbers returns the value of a node that is fixed, in float64.
func (f *folder) numbers(n *gorgonia.Node) ([]float64, error) {
	if !f.isFixed(n) {
		return nil, fmt.Errorf("want the input %s of a folded node to depend on weights alone, got one that does not", f.called(n))
	}
	v, err := f.value(n)
	if err != nil {
		return nil, err
	}
	d, err := dense.Of(v)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", n.Name(), err)
	}
	out := slices.Clone(d.F64)
	for _, x := range d.F32 {
		out = append(out, float64(x))
	}
	return out, nil
}

// origin returns the weight that a fixed node is named after: the kernel of maps of kernels, else the first weight.
func (f *folder) origin(n *gorgonia.Node) *gorgonia.Node {
	in := roles.Inputs(n)
	if len(in) == 0 {
		return n
	}
	if o := operation(n); o != nil {
		if k := o.KernelInput(); k >= 0 {
			return f.origin(in[k])
		}
	}
	for _, c := range in {
		if f.isFixed(c) {
			return f.origin(c)
		}
	}
	return in[0]
}

// weight adds a weight.
func (f *folder) weight(name string, of tensor.Dtype, shape tensor.Shape, numbers []float64) (*gorgonia.Node, error) {
	if f.made[name] != nil {
		return nil, fmt.Errorf("want weights that one layer uses, got a second use of %s, or two weights that have this name after folding (%w)", name, ErrUnfoldable)
	}
	var backing any = numbers
	if of == tensor.Float32 {
		narrow := make([]float32, len(numbers))
		for i, v := range numbers {
			narrow[i] = float32(v)
		}
		backing = narrow
	}
	if i, v := dense.NotFinite(backing); i >= 0 {
		return nil, fmt.Errorf("%s: want finite numbers after folding, got %v at element %d", name, v, i)
	}
	t := tensor.New(tensor.WithShape(shape.Clone()...), tensor.WithBacking(backing))
	n := gorgonia.NewTensor(f.graph, of, len(shape), gorgonia.WithName(name), gorgonia.WithValue(t))
	f.plain, f.made[name] = append(f.plain, n), n
	return n, nil
}

// copy returns the copy of a node.
func (f *folder) copy(n *gorgonia.Node) (c *gorgonia.Node, err error) {
	if c := f.copies[n]; c != nil {
		return c, nil
	}
	defer func() { f.copies[n] = c }()
	if f.isFixed(n) {
		numbers, err := f.numbers(n)
		if err != nil {
			return nil, err
		}
		return f.weight(f.origin(n).Name(), n.Dtype(), n.Shape(), numbers)
	}
	if _, ok := n.Op().(*gorgonia.BatchNormOp); ok {
		return nil, fmt.Errorf("want a batch normalisation of nodes.BatchNormWith, got %s (%w)", f.called(n), ErrUnfoldable)
	}
	in := roles.Inputs(n)
	if o := operation(n); o != nil {
		switch l := o.f32.(type) {
		case dropout[float32]:
			return f.copy(in[0])
		case batchNorm[float32]:
			u, err := f.affine(n)
			if err != nil {
				return nil, err
			}
			y, err := f.layer(u)
			if err == nil && len(in) > 3 {
				y, err = f.sum(y, in[3])
			}
			if err == nil && l.rectified {
				y, err = rectified(y, l.top)
			}
			return y, err
		case stochasticDepth[float32]:
			u, err := f.branch(in[0])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", f.called(n), err)
			}
			u.scale(l.survival)
			y, err := f.layer(u)
			if err != nil {
				return nil, err
			}
			return f.sum(y, in[1])
		}
	}
	return f.apply(n, n.Op(), in, f.copy)
}

func rectified(x *gorgonia.Node, top float64) (*gorgonia.Node, error) {
	if top > 0 {
		return RectifyTo(x, top)
	}
	return Rectify(x)
}

func (f *folder) sum(y, of *gorgonia.Node) (*gorgonia.Node, error) {
	addend, err := f.copy(of)
	if err != nil {
		return nil, err
	}
	return Add(y, addend)
}

// plainLayer is a convolution or a linear layer, and the weights that it will have.
type plainLayer struct {
	node   *gorgonia.Node // the convolution, or the linear layer
	w      []float64
	bias   []float64       // of each output channel
	name   string          // of the bias; empty if the layer had none
	filter func(i int) int // the output channel of weight i
}

// scale multiplies the result by a factor.
func (p *plainLayer) scale(by float64) {
	for i := range p.w {
		p.w[i] *= by
	}
	for c := range p.bias {
		p.bias[c] *= by
	}
}

// affine returns a layer that ends in n: a convolution or a linear layer, a bias, and a batch normalisation, each but the first of
// which may be missing. Anything else in n, such as its ReLU, is left to the caller.
func (f *folder) affine(n *gorgonia.Node) (*plainLayer, error) {
	o, in := operation(n), roles.Inputs(n)
	if o == nil {
		return nil, f.unfoldable(n)
	}
	inner := func() (*plainLayer, error) {
		p, err := f.branch(in[0])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.called(n), err)
		}
		return p, nil
	}
	switch l := o.f32.(type) {
	case convolver[float32], linear[float32]:
		w, err := f.numbers(in[1])
		if err != nil {
			return nil, err
		}
		p := &plainLayer{node: n, w: w, bias: make([]float64, o.out[1])}
		size := len(w) / o.out[1]
		p.filter = func(i int) int { return i / size }
		switch l.(type) {
		case linear[float32]:
			p.filter = func(i int) int { return i % o.out[1] }
		case transposed[float32]: // of shape (in, out of a group, height, width)
			shape := in[1].Shape()
			of, area := shape[1], shape[2]*shape[3]
			inputs := shape[0] * of / o.out[1] // of a group
			p.filter = func(i int) int { return i/area/of/inputs*of + i/area%of }
		}
		if len(in) > 2 {
			p.name = f.origin(in[2]).Name()
			p.bias, err = f.numbers(in[2])
		}
		return p, err
	case addBias[float32]:
		p, err := inner()
		if err != nil {
			return nil, err
		}
		β, err := f.numbers(in[1])
		if err != nil {
			return nil, err
		}
		for c := range p.bias {
			p.bias[c] += β[c]
		}
		if p.name == "" {
			p.name = f.origin(in[1]).Name()
		}
		return p, nil
	case batchNorm[float32]:
		p, err := inner()
		if err != nil {
			return nil, err
		}
		γ, err := f.numbers(in[1])
		if err != nil {
			return nil, err
		}
		β, err := f.numbers(in[2])
		if err != nil {
			return nil, err
		}
		a, b := make([]float64, len(p.bias)), make([]float64, len(p.bias))
		if err := normaliser(l.batchNormLayer, a, b, γ, β); err != nil {
			return nil, fmt.Errorf("%s: %w", f.called(n), err)
		}
		for i := range p.w {
			p.w[i] *= a[p.filter(i)]
		}
		for c := range p.bias {
			p.bias[c] = a[c]*p.bias[c] + b[c]
		}
		return p, nil
	}
	return nil, f.unfoldable(n)
}

func (f *folder) unfoldable(n *gorgonia.Node) error {
	return fmt.Errorf("want a convolution or a linear layer to fold into, used by nothing else, got %s (%w)", f.called(n), ErrUnfoldable)
}

// called is what an error calls a node: its name if it is a leaf, else its operation and the weights of that.
func (f *folder) called(n *gorgonia.Node) string {
	if n.Op() == nil {
		return n.Name()
	}
	var of []string
	for _, c := range roles.Inputs(n) {
		if f.isFixed(c) {
			of = append(of, f.origin(c).Name())
		}
	}
	if len(of) == 0 {
		return fmt.Sprint(n.Op())
	}
	return fmt.Sprintf("%v with %s", n.Op(), strings.Join(of, ", "))
}

// branch is affine of a node that is an input of another: nothing else may use it, and nothing but dropout may come between.
func (f *folder) branch(n *gorgonia.Node) (*plainLayer, error) {
	o := operation(n)
	if o == nil || f.uses[n] > 1 {
		return nil, f.unfoldable(n)
	}
	switch l := o.f32.(type) {
	case dropout[float32]:
		return f.branch(roles.Inputs(n)[0])
	case batchNorm[float32]:
		if l.rectified || len(roles.Inputs(n)) > 3 {
			return nil, f.unfoldable(n)
		}
	}
	return f.affine(n)
}

// layer adds a layer with its weights.
func (f *folder) layer(p *plainLayer) (*gorgonia.Node, error) {
	in := roles.Inputs(p.node)
	x, err := f.copy(in[0])
	if err != nil {
		return nil, err
	}
	name := f.origin(in[1]).Name()
	w, err := f.weight(name, p.node.Dtype(), in[1].Shape(), p.w)
	if err != nil {
		return nil, err
	}
	if p.name == "" {
		p.name = strings.TrimSuffix(name, ".weight") + ".bias"
	}
	_, isLinear := operation(p.node).f32.(linear[float32])
	shape := tensor.Shape{1, len(p.bias), 1, 1}
	if isLinear {
		shape = shape[:2]
	}
	β, err := f.weight(p.name, p.node.Dtype(), shape, p.bias)
	if err != nil {
		return nil, err
	}
	if isLinear {
		return Linear(x, w, β)
	}
	y, err := gorgonia.ApplyOp(again(p.node.Op()), x, w)
	if err != nil {
		return nil, err
	}
	return Bias(y, β)
}

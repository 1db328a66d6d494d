// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/roles"
)

// Fuse returns copies of roots, which lie in one graph, in a graph of their own that computes the same
// in evaluation and needs less time. In the copy a convolution and the nodes that follow it are one node, if nothing else
// uses the values between them:
//
//	Conv2d or ConvTranspose2d -> BatchNorm or Bias -> Add of another node, or StochasticDepth -> Rectify or RectifyTo,
//
// where each step after the first may be missing. The node applies the following operations to the results of the
// convolution while they are in the cache, so these operations cost no pass over memory. A batch normalisation in
// evaluation is affine: it becomes a factor and an addend for each channel, computed from the current statistics in
// each run. Unlike factors that are multiplied into the kernel beforehand, this needs no copy of the kernel that
// could be out of date, and the results equal those of the roots bit for bit. Dropout, which does nothing in
// evaluation, is left out.
//
// The inputs of the copies have the names and the values of those of the roots; values are shared, not
// copied. Use a machine with gorgonia.EvalMode for them, and none for the graph of the roots, with which
// they, and other copies of the same roots, share the state of operations: run one of them at a time.
// There are no gradients. Fuse returns an error if it cannot copy a node.
func Fuse(roots ...*gorgonia.Node) (gorgonia.Nodes, error) {
	f := newFuser()
	if err := f.countAll("nodes.Fuse", roots); err != nil {
		return nil, err
	}
	copies := make(gorgonia.Nodes, len(roots))
	for i, r := range roots {
		var err error
		if copies[i], err = f.copy(r); err != nil {
			return nil, fmt.Errorf("nodes.Fuse: %w", err)
		}
	}
	return copies, nil
}

// fuser copies a graph.
type fuser struct {
	graph  *gorgonia.ExprGraph
	uses   map[*gorgonia.Node]int // how often other nodes have the node as their input, and once more for a root
	copies map[*gorgonia.Node]*gorgonia.Node
}

func newFuser() fuser {
	return fuser{graph: gorgonia.NewGraph(), uses: map[*gorgonia.Node]int{}, copies: map[*gorgonia.Node]*gorgonia.Node{}}
}

// countAll counts the uses of all nodes that the roots need, with them.
func (f *fuser) countAll(name string, roots gorgonia.Nodes) error {
	for _, r := range roots {
		if r == nil || r.Graph() == nil {
			return fmt.Errorf("%s: want a node of a graph, got %v", name, r)
		}
		if f.uses[r]++; f.uses[r] == 1 {
			f.count(r)
		}
	}
	return nil
}

// count counts the uses of all nodes that n needs.
func (f *fuser) count(n *gorgonia.Node) {
	for _, c := range roles.Inputs(n) {
		if f.uses[c]++; f.uses[c] == 1 {
			f.count(c)
		}
	}
}

// copy returns the copy of a node.
func (f *fuser) copy(n *gorgonia.Node) (*gorgonia.Node, error) {
	if c := f.copies[n]; c != nil {
		return c, nil
	}
	in, of := roles.Inputs(n), n.Op()
	if o := operation(n); o != nil {
		if _, ok := o.f32.(dropout[float32]); ok {
			return f.copy(in[0])
		}
	}
	if u := f.match(n); u != nil && u.follows() {
		in, of = u.in, u.op()
	}
	c, err := f.apply(n, of, in, f.copy)
	f.copies[n] = c
	return c, err
}

// apply copies a leaf, or applies an operation to the copies of inputs.
func (f *fuser) apply(n *gorgonia.Node, of gorgonia.Op, in []*gorgonia.Node, copy func(n *gorgonia.Node) (*gorgonia.Node, error)) (*gorgonia.Node, error) {
	switch {
	case of == nil:
		c := gorgonia.NewUniqueNode(gorgonia.WithType(n.Type()), gorgonia.WithName(n.Name()), gorgonia.WithShape(n.Shape()...), gorgonia.In(f.graph))
		if v := n.Value(); v != nil {
			return c, gorgonia.Let(c, v)
		}
		return c, nil
	case len(in) == 0: // a constant
		return n.CloneTo(f.graph), nil
	case of.Type() == nil:
		return nil, fmt.Errorf("want an operation that computes a value, got %v", of)
	}
	copies := make(gorgonia.Nodes, len(in))
	for i, c := range in {
		var err error
		if copies[i], err = copy(c); err != nil {
			return nil, err
		}
	}
	return gorgonia.ApplyOp(again(of), copies...)
}

// operation returns the operation of a node of this package, and otherwise nil.
func operation(n *gorgonia.Node) *op {
	if n == nil {
		return nil
	}
	switch o := n.Op().(type) {
	case *op:
		return o
	case *modal:
		return o.op
	}
	return nil
}

// match returns the longest chain that ends in n, or nil if there is none.
func (f *fuser) match(n *gorgonia.Node) *chain {
	o := operation(n)
	if o == nil {
		return nil
	}
	in := roles.Inputs(n)
	switch l := o.f32.(type) {
	case convolver[float32]:
		return &chain{conv: o, in: in}
	case batchNorm[float32]:
		u := f.inner(in[0])
		if !u.normalise(o, l.batchNormLayer, in[1:3]) {
			return nil
		}
		if len(in) > 3 {
			u.add(in[3], 1)
		}
		u.last.rectify, u.last.top = l.rectified, l.top
		return u
	case addBias[float32]:
		if u := f.inner(in[0]); u.normalise(o, nil, in[1:]) {
			return u
		}
	case add[float32]:
		for i := range in {
			if u := f.inner(in[i]); len(in) == 2 && u.add(in[1-i], 1) {
				return u
			}
		}
	case stochasticDepth[float32]:
		if u := f.inner(in[0]); u.add(in[1], l.survival) {
			return u
		}
	case rectify[float32]:
		if u := f.inner(in[0]); u != nil {
			if top := u.last.top; top == 0 || l.top > 0 && l.top < top { // after another rectifier the smaller bound counts
				u.last.top = l.top
			}
			u.last.rectify = true
			return u
		}
	}
	return nil
}

// inner returns the chain that ends in n, or nil if there is none or if its value has another use.
func (f *fuser) inner(n *gorgonia.Node) *chain {
	if f.uses[n] > 1 {
		return nil
	}
	return f.match(n)
}

// chain is a convolution and the nodes after it that become one node.
type chain struct {
	conv, affine *op // affine is the batch normalisation or the bias, or nil
	last         finish
	in           []*gorgonia.Node // of the node: x and w, then scale and bias or bias, then the addend
}

func (c *chain) follows() bool { return c.affine != nil || c.last.addend || c.last.rectify }

// normalise adds a batch normalisation, or a bias if norm is nil. It returns false if the chain cannot
// have it.
func (c *chain) normalise(o *op, norm *batchNormLayer, in []*gorgonia.Node) bool {
	if c == nil || c.follows() {
		return false
	}
	c.affine, c.last.norm, c.last.bias = o, norm, norm == nil
	c.in = append(c.in, in...)
	return true
}

// add adds a sum of factor times the value with another node. It returns false if the chain cannot have
// it.
func (c *chain) add(other *gorgonia.Node, factor float64) bool {
	if c == nil || c.last.addend || c.last.rectify {
		return false
	}
	c.last.addend, c.last.factor = true, factor
	c.in = append(c.in, other)
	return true
}

// op returns the operation. Only a batch normalisation can fail in a run, so its name is in errors.
func (c *chain) op() *op {
	o := c.conv
	if c.affine != nil {
		o = c.affine
	}
	shapes := make([]tensor.Shape, len(c.in))
	for i, n := range c.in {
		shapes[i] = n.Shape()
	}
	channels, area := c.conv.out[1], c.conv.out[2]*c.conv.out[3]
	return &op{
		signature: signature{name: o.name, in: shapes, out: c.conv.out, constant: -1},
		f32:       fused[float32]{c.conv.f32.(convolver[float32]), channels, area, c.last, new(affine)},
		f64:       fused[float64]{c.conv.f64.(convolver[float64]), channels, area, c.last, new(affine)},
	}
}

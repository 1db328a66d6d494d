// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"

	"github.com/chewxy/hm"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/roles"
)

// Widen returns copies of roots, in a graph of their own, that compute the same in float64. Leaves have the names of those of the roots, and copies of their
// values; what is not float32 remains what it is.
//
// A stock operation that was made for float32 alone cannot be copied, which is an error. As with Fuse, use no machine for the graph of the roots
// afterwards.
func Widen(roots ...*gorgonia.Node) (gorgonia.Nodes, error) {
	const name = "nodes.Widen"
	w := widener{newFuser()}
	if err := w.countAll(name, roots); err != nil {
		return nil, err
	}
	copies := make(gorgonia.Nodes, len(roots))
	for i, r := range roots {
		var err error
		if copies[i], err = w.copy(r); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return copies, nil
}

type widener struct{ fuser }

// copy returns the copy of a node.
func (w *widener) copy(n *gorgonia.Node) (*gorgonia.Node, error) {
	if c := w.copies[n]; c != nil {
		return c, nil
	}
	c, err := w.leaf(n)
	if c == nil && err == nil {
		if f := elementwise(n); f != nil {
			if c, err = w.copy(roles.Inputs(n)[0]); err == nil {
				c, err = f(c)
			}
		} else {
			c, err = w.apply(n, n.Op(), roles.Inputs(n), w.copy)
		}
	}
	w.copies[n] = c
	return c, err
}

// elementwise returns the function that makes a stock operation on elements, and nil for any other node. The operation has a function of one precision.
func elementwise(n *gorgonia.Node) func(*gorgonia.Node) (*gorgonia.Node, error) {
	if n.Op() == nil || nameOf(n) != "gorgonia.elemUnaryOp" {
		return nil
	}
	return elementFunctions[n.Op().String()]
}

// elementFunctions are the constructors of stock operations on elements, by the names of the operations.
var elementFunctions = map[string]func(*gorgonia.Node) (*gorgonia.Node, error){
	"abs": gorgonia.Abs, "sign": gorgonia.Sign, "ceil": gorgonia.Ceil, "floor": gorgonia.Floor, "sin": gorgonia.Sin, "cos": gorgonia.Cos,
	"exp": gorgonia.Exp, "ln": gorgonia.Log, "log2": gorgonia.Log2, "neg": gorgonia.Neg, "square": gorgonia.Square, "sqrt": gorgonia.Sqrt,
	"inv": gorgonia.Inverse, "invSqrt": gorgonia.InverseSqrt, "cube": gorgonia.Cube, "tanh": gorgonia.Tanh, "sigmoid": gorgonia.Sigmoid,
	"log1p": gorgonia.Log1p, "expm1": gorgonia.Expm1, "softplus": gorgonia.Softplus,
}

// leaf returns the copy of a leaf or a constant of float32, and nil for any other node.
func (w *widener) leaf(n *gorgonia.Node) (*gorgonia.Node, error) {
	if n.Dtype() != tensor.Float32 || n.Op() != nil && len(roles.Inputs(n)) > 0 {
		return nil, nil
	}
	var value gorgonia.Value
	switch x := n.Value().(type) {
	case nil:
	case *gorgonia.F32:
		value = gorgonia.NewF64(float64(*x))
	case *tensor.Dense:
		if x.RequiresIterator() {
			x = x.Materialize().(*tensor.Dense)
		}
		wide := make([]float64, 0, x.DataSize())
		for _, v := range x.Float32s() {
			wide = append(wide, float64(v))
		}
		value = tensor.New(tensor.WithShape(x.Shape().Clone()...), tensor.WithBacking(wide))
	default:
		return nil, fmt.Errorf("%s: want a tensor or a number, got %T", n.Name(), x)
	}
	var of hm.Type = tensor.Float64
	if n.Dims() > 0 {
		of = gorgonia.TensorType{Dims: n.Dims(), Of: of}
	}
	c := gorgonia.NewUniqueNode(gorgonia.WithType(of), gorgonia.WithName(n.Name()), gorgonia.WithShape(n.Shape()...), gorgonia.In(w.graph))
	if value == nil {
		return c, nil
	}
	return c, gorgonia.Let(c, value)
}

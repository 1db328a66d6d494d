// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/roles"
	"github.com/kernelfold/kernelfold/internal/spectra"
)

// Operations of Gorgonia export neither their types nor their arguments. They are recognised by the names of their types and by
// what they print; anything else has no bound.

// stock bounds an operation of Gorgonia of one argument that depends on the inputs, or of several side by side.
func (b *bounder) stock(n *gorgonia.Node, in []*gorgonia.Node, from []reach) (own float64, r reach, err error) {
	var g gain
	size := float64(n.Shape().TotalSize())
	switch name, text := nameOf(n), n.Op().String(); name {
	case "gorgonia.reshapeOp", "gorgonia.transposeOp", "gorgonia.sliceOp", "gorgonia.maxOp":
		g = exact
	case "gorgonia.concatOp":
		r, err := b.beside(in, from)
		return 1, r, err
	case "gorgonia.dropoutOp":
		if !strings.Contains(text, "training=false") {
			return 0, reach{}, fmt.Errorf("%v: %w, got one in training", n, ErrTraining)
		}
		g = exact
	case "gorgonia.repeatOp", "gorgonia.upsampleOp":
		repeats := more(math.Sqrt(size / float64(in[0].Shape().TotalSize())))
		g = gain{repeats, repeats, 0, 0}
	case "gorgonia.sumOp":
		if in[0].Dims() > 2 {
			return 0, reach{}, fmt.Errorf("%v: %w, because the sums of Gorgonia over some axes of tensors are wrong", n, ErrNoBound)
		}
		terms := float64(in[0].Shape().TotalSize()) / size
		g = gain{more(math.Sqrt(terms)), more(math.Sqrt(terms)), 0, int(terms) + 2}
	case "gorgonia.globalAveragePoolOp":
		area := float64(in[0].Shape().TotalSize()) / size
		g = gain{more(1 / math.Sqrt(area)), more(1 / math.Sqrt(area)), 0, int(area) + 2}
	case "gorgonia.maxPoolOp", "gorgonia.avgPoolOp":
		g, err = pooling(n, in[0])
	case "gorgonia.elemUnaryOp":
		g, err = pointwise(n, text, math.Sqrt(size))
	case "gorgonia.elemBinOp":
		return b.binary(n, in, from)
	case "gorgonia.linAlgBinOp":
		return b.product(n, in, from)
	default:
		err = ErrNoBound
	}
	if err != nil {
		return 0, reach{}, fmt.Errorf("%v: %w", n, err)
	}
	return g.bound, from[0].through(g), nil
}

// pooling bounds MaxPool2D and AveragePool2D, which divides by the number of columns of the image instead of that of pixels in the window.
func pooling(n, x *gorgonia.Node) (g gain, err error) {
	text := n.Op().String()
	var rows, cols, down, along int
	_, at, _ := strings.Cut(text, "(kernel: ")
	if _, err := fmt.Sscanf(at, "(%d, %d)", &rows, &cols); err != nil {
		return g, ErrNoBound
	}
	_, at, _ = strings.Cut(text, "stride: ")
	if _, err := fmt.Sscanf(at, "(%d, %d)", &down, &along); err != nil || down < 1 || along < 1 {
		return g, ErrNoBound
	}
	reads := min((rows+down-1)/down, n.Shape()[2]) * min((cols+along-1)/along, n.Shape()[3])
	if strings.HasPrefix(text, "MaxPool") {
		r := more(math.Sqrt(float64(reads)))
		return gain{r, r, 0, 0}, nil
	}
	r := more(math.Sqrt(float64(reads*rows*cols)) / float64(x.Shape()[3]))
	return gain{r, r, 0, rows*cols + 2}, nil
}

// pointwise bounds a function of each of the elements, the root of whose number is given.
func pointwise(n *gorgonia.Node, text string, root float64) (gain, error) {
	switch text {
	case "abs", "neg":
		return exact, nil
	case "tanh":
		return gain{1, 1, 0, 8}, nil
	case "sin":
		return gain{1, 1, 0, 16}, nil
	case "cos":
		return gain{1, 1, root, 16}, nil
	case "sigmoid":
		return gain{0.25, 0.25, 0.5 * root, 16}, nil
	case "softplus":
		return gain{1, 1, root, 32}, nil
	}
	return gain{}, ErrNoBound
}

// binary bounds sums, differences, and products and quotients with a fixed node.
func (b *bounder) binary(n *gorgonia.Node, in []*gorgonia.Node, from []reach) (own float64, r reach, err error) {
	switch sign := operator(n); {
	case sign == "+" || sign == "-":
		return b.sum(n, in, from)
	case sign == "⊙" && b.fixed[in[0]] || (sign == "⊙" || sign == "÷") && b.fixed[in[1]]:
		x, f := 0, 1
		if b.fixed[in[0]] {
			x, f = 1, 0
		}
		v, _, err := b.spread(in[f])
		if err != nil {
			return 0, reach{}, fmt.Errorf("%v: %w", n, err)
		}
		most := 0.0
		for _, v := range v {
			factor := v
			if sign == "÷" {
				factor = 1 / v
			}
			if most = max(most, math.Abs(factor)); !finite(most) {
				return 0, reach{}, fmt.Errorf("%v: %w, because %s has the element %v", n, ErrNoBound, in[f].Name(), v)
			}
		}
		if n.Shape().TotalSize() != in[x].Shape().TotalSize() { // a scalar times a tensor
			most *= math.Sqrt(float64(n.Shape().TotalSize()))
		}
		most = more(most)
		return most, from[x].through(gain{most, most, 0, 1}), nil
	}
	return 0, reach{}, fmt.Errorf("%v: %w", n, ErrNoBound)
}

// operator returns the sign of a binary operation of elements, or "".
func operator(n *gorgonia.Node) string {
	if n.Op() == nil || nameOf(n) != "gorgonia.elemBinOp" {
		return ""
	}
	sign, _, _ := strings.Cut(n.Op().String(), " ")
	return sign
}

// product bounds the product of two matrices or vectors, one of which is fixed.
func (b *bounder) product(n *gorgonia.Node, in []*gorgonia.Node, from []reach) (own float64, r reach, err error) {
	x, f := 0, 1
	if b.fixed[in[0]] {
		x, f = 1, 0
	}
	if !b.fixed[in[f]] || in[0].Dims() > 2 || in[1].Dims() > 2 {
		return 0, reach{}, fmt.Errorf("%v: %w", n, ErrNoBound)
	}
	w, err := b.finite(in[f])
	if err != nil {
		return 0, reach{}, fmt.Errorf("%v: %w", n, err)
	}
	rows, cols := 1, len(w)
	if s := in[f].Shape(); s.Dims() == 2 {
		rows, cols = s[0], s[1]
	}
	g := gain{spectra.Norm(gemm.Of(w, rows, cols)), spectra.Norm(gemm.Of(spectra.Abs(w), rows, cols)), 0, max(rows, cols) + 2}
	return g.bound, from[x].through(g), nil
}

// spread returns the value of a fixed node as the numbers of a smaller one and how often they are repeated, as BroadcastAdd does. It also knows the size of
// a node that depends on the inputs.
func (b *bounder) spread(n *gorgonia.Node) (v []float64, times float64, err error) {
	times = 1
	for n.Op() != nil {
		switch nameOf(n) {
		case "gorgonia.sizeOp":
			var size float64
			if _, err := fmt.Sscanf(n.Op().String(), "SizeOf=%g", &size); err != nil {
				return nil, 0, ErrNoBound
			}
			return []float64{size}, times, nil
		case "gorgonia.repeatOp", "gorgonia.reshapeOp":
			from := roles.Inputs(n)[0]
			times *= float64(n.Shape().TotalSize()) / float64(from.Shape().TotalSize())
			n = from
			continue
		}
		break
	}
	v, err = b.finite(n)
	return v, times, err
}

// layer recognises a layer that Gorgonia makes of several nodes, whose last node is n: Conv2d, Rectify or LeakyRelu of x. No layer is recognised across an
// input.
func (b *bounder) layer(n *gorgonia.Node) (name string, x *gorgonia.Node, g gain, err error) {
	if x, plus, minus := b.slopes(n); x != nil {
		most := max(math.Abs(plus), math.Abs(minus))
		if name = "gorgonia.Rectify"; plus != 1 || minus != 0 {
			name = "gorgonia.LeakyRelu"
		}
		return name, x, gain{most, most, 0, 2}, nil
	}
	if n.Op() == nil || nameOf(n) != "gorgonia.linAlgBinOp" || n.Op().String() != "A × Bᵀ" {
		return "", nil, gain{}, nil
	}
	in := roles.Inputs(n)
	if !b.fixed[in[1]] || !b.inside(in[0]) || nameOf(in[0]) != "gorgonia.reshapeOp" {
		return "", nil, gain{}, nil
	}
	columns := roles.Inputs(in[0])[0]
	if !b.inside(columns) || nameOf(columns) != "gorgonia.im2colOp" {
		return "", nil, gain{}, nil
	}
	var rows, cols spectra.Axis
	if _, err := fmt.Sscanf(columns.Op().String(), "im2col<(%d,%d), (%d, %d), (%d,%d) (%d, %d)>", &rows.Kernel, &cols.Kernel, &rows.Before, &cols.Before,
		&rows.Stride, &cols.Stride, &rows.Dilation, &cols.Dilation); err != nil {
		return "", nil, gain{}, nil
	}
	x = roles.Inputs(columns)[0]
	rows.Size, cols.Size, rows.Out, cols.Out = x.Shape()[2], x.Shape()[3], columns.Shape()[1], columns.Shape()[2]
	w, err := b.finite(in[1])
	if err != nil {
		return "", nil, gain{}, fmt.Errorf("%v: %w", n, err)
	}
	c := spectra.Conv{Filters: in[1].Shape()[0], Channels: x.Shape()[1], Groups: 1, Rows: rows, Cols: cols, Weights: w}
	return "gorgonia.Conv2d", x, b.spectral(c, in[1].Shape()[1]+2), nil
}

// inside reports whether a node is one of an operation of Gorgonia that depends on the inputs and is none of them.
func (b *bounder) inside(n *gorgonia.Node) bool {
	return n.Op() != nil && operation(n) == nil && !b.fixed[n] && !slices.Contains(b.inputs, n)
}

// slopes recognises plus·max(x, 0) + minus·min(x, 0): products of x with a comparison of x and 0, multiples of them by a constant, and sums.
func (b *bounder) slopes(n *gorgonia.Node) (x *gorgonia.Node, plus, minus float64) {
	sign := operator(n)
	if sign == "" || !b.inside(n) {
		return nil, 0, 0
	}
	in := roles.Inputs(n)
	switch {
	case sign == "+" && operator(in[0]) == "⊙" && operator(in[1]) == "⊙":
		x, p, m := b.slopes(in[0])
		y, q, o := b.slopes(in[1])
		if x != nil && x == y {
			return x, p + q, m + o
		}
	case sign == "⊙" && b.fixed[in[1]] && in[1].IsScalar():
		if x, p, m := b.slopes(in[0]); x != nil {
			if v, err := b.finite(in[1]); err == nil {
				return x, v[0] * p, v[0] * m
			}
		}
	case sign == "⊙" && b.inside(in[1]):
		c := roles.Inputs(in[1])
		if len(c) != 2 || c[0] != in[0] || !b.fixed[c[1]] || !c[1].IsScalar() {
			return nil, 0, 0
		}
		if v, err := b.finite(c[1]); err != nil || v[0] != 0 {
			return nil, 0, 0
		}
		switch operator(in[1]) {
		case ">", ">=":
			return in[0], 1, 0
		case "<", "<=":
			return in[0], 0, 1
		}
	}
	return nil, 0, 0
}

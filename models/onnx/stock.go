// SPDX-License-Identifier: Apache-2.0

package onnx

import (
	"fmt"
	"slices"
	"strings"

	"gorgonia.org/gorgonia"
)

// functions are the element-wise functions of Gorgonia by their names.
var functions = map[string]string{
	"abs": "Abs", "sign": "Sign", "ceil": "Ceil", "floor": "Floor", "sin": "Sin", "cos": "Cos", "exp": "Exp", "ln": "Log", "neg": "Neg", "sqrt": "Sqrt",
	"inv": "Reciprocal", "tanh": "Tanh", "sigmoid": "Sigmoid", "softplus": "Softplus",
}

// operators are the element-wise operators of two nodes. Comparisons give the numbers 0 and 1.
var operators = map[string]string{
	"+": "Add", "-": "Sub", "⊙": "Mul", "÷": "Div", "^": "Pow", "<": "Less", ">": "Greater", "<=": "LessOrEqual", ">=": "GreaterOrEqual",
}

// stock adds an operation of Gorgonia. Its types are not exported, so it is recognised by its name and its text.
func (g *graph) stock(n *gorgonia.Node, in []*gorgonia.Node) (string, error) {
	kind, text := strings.TrimPrefix(strings.TrimPrefix(fmt.Sprintf("%T", n.Op()), "*"), "gorgonia."), n.Op().(fmt.Stringer).String()
	known := map[string]func(x []string) string{
		"elemUnaryOp": func(x []string) string {
			switch f := functions[text]; {
			case f != "":
				return g.op(text, f, x)
			case text == "square":
				return g.op(text, "Mul", []string{x[0], x[0]})
			}
			return ""
		},
		"elemBinOp": func(x []string) string {
			symbol, numbers, _ := strings.Cut(text, " ")
			f := operators[symbol]
			switch {
			case f == "" || !alike(in):
				return ""
			case strings.ContainsAny(symbol, "<>"):
				of, err := elements(in[0])
				if numbers != "true" || err != nil {
					return ""
				}
				return g.op("number", "Cast", []string{g.op("compare", f, x)}, integer("to", int(of)))
			}
			return g.op(strings.ToLower(f), f, x)
		},
		"linAlgBinOp": func(x []string) string {
			if in[0].Dims() != 2 || in[1].Dims() != 2 {
				return ""
			}
			turn := func(i int) { x[i] = g.op("transpose", "Transpose", x[i:i+1], ints("perm", 1, 0)) }
			if strings.HasPrefix(text, "Aᵀ") {
				turn(0)
			}
			if strings.HasSuffix(text, "ᵀ") {
				turn(1)
			}
			return g.op("matmul", "MatMul", x)
		},
		"softmaxOp": func(x []string) string {
			var axis int
			var log bool
			if _, err := fmt.Sscanf(text, "Softmax{%d, %t}()", &axis, &log); err != nil {
				return ""
			}
			if axis < 0 {
				axis = in[0].Dims() - 1
				if in[0].Shape().IsColVec() { // Gorgonia takes the softmax of the column
					axis = 0
				}
			}
			if log {
				return g.op("logsoftmax", "LogSoftmax", x, integer("axis", axis))
			}
			return g.op("softmax", "Softmax", x, integer("axis", axis))
		},
		"concatOp": func(x []string) string {
			var axis int
			if _, err := fmt.Sscanf(text, "Concat(axis=%d)", &axis); err != nil {
				return ""
			}
			return g.op("concat", "Concat", x, integer("axis", axis))
		},
		"transposeOp": func(x []string) string {
			var axes []int
			for _, a := range strings.FieldsFunc(text, func(r rune) bool { return r < '0' || r > '9' }) {
				axes = append(axes, int(a[0]-'0'))
			}
			if len(axes) != in[0].Dims() {
				return ""
			}
			return g.op("transpose", "Transpose", x, ints("perm", axes...))
		},
		"reshapeOp": func(x []string) string {
			shape := make([]int64, n.Dims())
			for i, s := range n.Shape() {
				shape[i] = int64(s)
			}
			if len(shape) == 0 {
				return ""
			}
			if in[0].Dims() > 0 && in[0].Shape()[0] == n.Shape()[0] {
				shape[0] = 0 // as it is
			} else {
				g.free = false
			}
			return g.op("reshape", "Reshape", append(x, g.constant("shape", n, []int{len(shape)}, shape)))
		},
		"globalAveragePoolOp": func(x []string) string { return g.op("avgpool", "GlobalAveragePool", x) },
	}
	write := known[kind]
	if write == nil {
		return "", unknown(n)
	}
	x, err := g.all(in)
	if err != nil {
		return "", err
	}
	name := write(x)
	if name == "" {
		return "", unknown(n)
	}
	return name, nil
}

// alike reports whether two nodes have the same shape, or one of them is a scalar.
func alike(in []*gorgonia.Node) bool {
	return len(in) == 2 && (in[0].Dims() == 0 || in[1].Dims() == 0 || slices.Equal(in[0].Shape(), in[1].Shape()))
}

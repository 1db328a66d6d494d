// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/roles"
	"github.com/kernelfold/kernelfold/internal/spectra"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// ErrNoBound is wrapped by the error of Lipschitz for a node of which no Lipschitz constant is known.
var ErrNoBound = errors.New("no Lipschitz constant is known")

// ErrTraining is wrapped by the error of Lipschitz for a node in training, such as a batch normalisation, whose results for an example
// depend on other examples or on chance. The mode of a graph is that of the machine made last for it: see gorgonia.EvalMode.
var ErrTraining = errors.New("want a graph in evaluation")

// Bounds are upper bounds of Lipschitz constants: see Lipschitz.
type Bounds struct {
	// Bound is that of the output as a function of the inputs:
	//
	//	|output(x) - output(y)| <= Bound |x - y|.
	Bound float64
	// Layers are all nodes between the inputs and the output, each after those that it uses.
	Layers []LayerBound

	last   *gorgonia.Node // the last linear layer, if only a bias follows, or nil
	before float64        // the bound of its input
	w      []float64      // its weights, rows x cols
	cols   int
	reach  reach
}

// LayerBound is the bound of a node.
type LayerBound struct {
	Node      *gorgonia.Node
	Name      string // of the weight that the node uses, such as "conv1.weight", if any
	Operation string // such as "nodes.Conv2d"
	// Bound is that of the node as a function of the nodes that it uses: of each of them alone, if it is a sum. Several nodes that
	// Gorgonia makes for Conv2d, Rectify or LeakyRelu have one bound, in the input of the layer.
	Bound float64
	// Total is that of the node as a function of the inputs of the graph.
	Total float64
}

// BoundOption is an option of Lipschitz.
type BoundOption func(*boundOptions)

type boundOptions struct {
	slack  float64
	gram   int
	byGram bool
}

// Slack sets how far the bound of a convolution may be above its norm on an infinite image: by the given fraction. The default is 0.01. The
// time grows with its inverse.
func Slack(fraction float64) BoundOption { return func(o *boundOptions) { o.slack = fraction } }

// Gram bounds convolutions by t steps of Gram iteration instead of the symbol on a grid. The bound is larger, and takes longer if t is
// more than 3 or 4. It serves for comparisons.
func Gram(t int) BoundOption { return func(o *boundOptions) { o.gram, o.byGram = t, true } }

// Lipschitz returns an upper bound of the Lipschitz constant of the output, in evaluation, as a function of the inputs of one example together, in
// the Euclidean norm: the largest product along the paths of the graph, where the bounds of the terms of a sum are added. With L the bound of the input
// of a node, and norms of matrices and of linear maps of images those in the Euclidean norm,
//
//	Conv2d, ConvTranspose2d, ...         |w| L: any padding, strides, dilation and groups
//	Linear                               |w| L
//	Bias, Flatten, Dropout, Shortcut     L
//	Rectify, MaxMin, Householder, Tanh   L
//	BatchNorm                            max |γ|/sqrt(σ² + ε) L, with the running variance
//	GroupNorm                            max |γ|/sqrt(ε) L, which is large
//	MaxPool2D, NormPool2D                sqrt(r) L, where at most r windows overlap in a pixel
//	AveragePool2D of k pixels            sqrt(r/k) L
//	GlobalAveragePool2D of k pixels      sqrt(1/k) L
//	AdaptiveAveragePool2D                sqrt(s) L, with s the largest sum of 1/k over the windows of a pixel
//	Add                                  the sum
//	ConvexPotential                      max(1, 2 |w|^2 - 1) L
//	Concat                               the root of the sum of squares
//	StochasticDepth                      survival L of the branch, and L of the shortcut
//
// Operations of Gorgonia are bounded in the same way, as those of the nodes: Conv2d, Mul with a weight on either side, sums and differences of nodes of one
// shape, of constants and by BroadcastAdd, products with and quotients by a weight or a constant, Rectify, LeakyRelu, Abs, Neg, Tanh, Sigmoid, Softplus, Sin,
// Cos, Reshape, Transpose, Slice, Concat, Max, Sum and Mean of vectors and matrices, MaxPool2D, AveragePool2D, GlobalAveragePool2D, Upsample2D, and Dropout.
//
// The norm of a convolution is bounded by its symbol on a grid, the norm of a matrix by its eigenvalues; both are proved in float64, with all rounding
// errors, and at most 1 % and about 10^-9 above the norm. (Package spectra and docs/certificates.md give details.)
// Kernels that the graph computes from weights, as WeightNorm does, enter with their values. The bound is that of the
// current weights.
//
// Any other node that depends on the inputs is an error that wraps ErrNoBound, a node in training one that wraps ErrTraining, and a
// weight that is not finite one that wraps ErrNotFinite. As with Fold, use no machine for the graph afterwards.
func Lipschitz(output *gorgonia.Node, inputs gorgonia.Nodes, opts ...BoundOption) (*Bounds, error) {
	const name = "nodes.Lipschitz"
	o := boundOptions{slack: 0.01}
	if err := setOptions(name, &o, opts); err != nil {
		return nil, err
	}
	switch {
	case output == nil || output.Graph() == nil:
		return nil, fmt.Errorf("%s: want a node of a graph, got %v", name, output)
	case len(inputs) == 0:
		return nil, fmt.Errorf("%s: want inputs, got none", name)
	case !(o.slack > 0) || math.IsInf(o.slack, 0):
		return nil, fmt.Errorf("%s: want a positive slack, got %v", name, o.slack)
	case o.byGram && (o.gram < 1 || o.gram > 8):
		return nil, fmt.Errorf("%s: want 1 to 8 steps of Gram iteration, got %d", name, o.gram)
	}
	b := bounder{
		folder: folder{fuser: newFuser(), fixed: map[*gorgonia.Node]bool{}}, options: o, inputs: inputs, reaches: map[*gorgonia.Node]reach{}, of: &Bounds{},
	}
	for _, x := range inputs {
		if x == nil || x.Graph() != output.Graph() {
			return nil, fmt.Errorf("%s: want inputs in the graph of the output, got %v", name, x)
		}
		b.fixed[x], b.reaches[x] = false, reach{bound: 1}
	}
	if err := b.countAll(name, gorgonia.Nodes{output}); err != nil {
		return nil, err
	}
	b.sort(output)
	r, err := b.visit(output)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	b.of.Bound, b.of.reach = r.bound, r
	return b.of, b.head(output)
}

// bounder bounds the nodes of a graph. Nodes that depend on no input are fixed.
type bounder struct {
	folder
	options boundOptions
	inputs  gorgonia.Nodes
	reaches map[*gorgonia.Node]reach
	of      *Bounds
}

// reach is what is known of the value v(x) of a node for inputs x, in exact arithmetic, and of its value v'(x) in float64:
//
//	|v(x) - v(y)| <= bound |x - y|,  |v(x)| <= zero + bound |x|,  |v'(x) - v(x)| <= still + slope |x|.
type reach struct{ bound, zero, still, slope float64 }

// sort finds out which nodes are fixed.
func (b *bounder) sort(n *gorgonia.Node) bool {
	if is, ok := b.fixed[n]; ok {
		return is
	}
	is := true
	for _, c := range roles.Inputs(n) {
		is = b.sort(c) && is
	}
	is = is || n.Op() != nil && nameOf(n) == "gorgonia.sizeOp" // of a shape
	b.fixed[n] = is
	return is
}

// gain is what a node does to one of its inputs, up to an addend: it is linear in the absolute values that are involved in rounding.
type gain struct {
	bound     float64 // Lipschitz constant
	absolute  float64 // the norm of sums of absolute values of products, at least bound
	addend    float64 // the norm of the value for an input of 0
	roundings int     // of a result
}

// exact is the gain of a node that neither stretches nor rounds.
var exact = gain{1, 1, 0, 0}

// more returns a bound of a result of few operations.
func more(x float64) float64 { return x * (1 + 0x1p-48) }

// through returns what is known of the value of a node with one input.
func (r reach) through(g gain) reach {
	γ := more(float64(g.roundings) * 0x1p-53)
	return reach{
		bound: more(g.bound * r.bound),
		zero:  more(g.bound*r.zero + g.addend),
		still: more(g.bound*r.still + γ*(g.absolute*(r.zero+r.still)+g.addend)),
		slope: more(g.bound*r.slope + γ*g.absolute*(r.bound+r.slope)),
	}
}

// plus returns what is known of a sum.
func (r reach) plus(s reach) reach {
	sum := reach{r.bound + s.bound, r.zero + s.zero, r.still + s.still, r.slope + s.slope}
	return sum.through(gain{1, 1, 0, 1})
}

// beside returns what is known of two values side by side.
func (r reach) beside(s reach) reach {
	return reach{more(math.Hypot(r.bound, s.bound)), more(r.zero + s.zero), more(r.still + s.still), more(r.slope + s.slope)}
}

// visit bounds a node and all that it uses.
func (b *bounder) visit(n *gorgonia.Node) (r reach, err error) {
	if r, ok := b.reaches[n]; ok {
		return r, nil
	}
	if b.fixed[n] {
		v, times, err := b.spread(n)
		if err != nil {
			return reach{}, err
		}
		return reach{zero: more(vec.Norm(v) * math.Sqrt(times))}, nil
	}
	in := roles.Inputs(n)
	if name, x, g, err := b.layer(n); err != nil {
		return reach{}, err
	} else if x != nil {
		from, err := b.visit(x)
		if err != nil {
			return reach{}, err
		}
		r := from.through(g)
		b.add(n, in, LayerBound{Operation: name, Bound: g.bound}, r)
		return r, nil
	}
	from := make([]reach, len(in))
	for i, c := range in {
		if !b.fixed[c] {
			if from[i], err = b.visit(c); err != nil {
				return reach{}, err
			}
		}
	}
	if m, ok := n.Op().(interface{ Training() bool }); ok && m.Training() {
		return reach{}, fmt.Errorf("%v: %w, got one in training", n, ErrTraining)
	}
	own, r, err := b.apply(n, in, from)
	if err != nil {
		return reach{}, err
	}
	b.add(n, in, LayerBound{Operation: nameOf(n), Bound: own}, r)
	return r, nil
}

// add adds what is known of a node.
func (b *bounder) add(n *gorgonia.Node, in []*gorgonia.Node, l LayerBound, r reach) {
	b.reaches[n] = r
	l.Node, l.Total = n, r.bound
	for _, c := range in {
		if w := b.origin(c); b.fixed[c] && b.fixed[w] && w.Op() == nil {
			l.Name = w.Name()
			break
		}
	}
	b.of.Layers = append(b.of.Layers, l)
}

// nameOf returns the name of an operation, such as nodes.Conv2d or gorgonia.reshapeOp.
func nameOf(n *gorgonia.Node) string {
	if o := operation(n); o != nil {
		return o.name
	}
	return strings.TrimPrefix(reflect.TypeOf(n.Op()).String(), "*")
}

// apply returns the bound of a node as a function of what it uses, and as one of the inputs.
func (b *bounder) apply(n *gorgonia.Node, in []*gorgonia.Node, from []reach) (own float64, r reach, err error) {
	o := operation(n)
	if o == nil {
		return b.stock(n, in, from)
	}
	for i, c := range in[1:] { // only sums have several inputs that depend on x
		sum := false
		switch o.f64.(type) {
		case add[float64], concat[float64], stochasticDepth[float64], lessTwice[float64]:
			sum = true
		case batchNorm[float64]:
			sum = i == 2
		}
		if !sum && !b.fixed[c] {
			return 0, reach{}, fmt.Errorf("%v: %w, because its input %v depends on those of the graph", n, ErrNoBound, c)
		}
	}
	var g gain
	switch l := o.f64.(type) {
	case add[float64]:
		return b.sum(n, in, from)
	case concat[float64]:
		r, err := b.beside(in, from)
		return 1, r, err
	case stochasticDepth[float64]:
		s, err := b.value(in[1], from[1])
		if err != nil {
			return 0, reach{}, err
		}
		r, err := b.value(in[0], from[0])
		return 1, r.through(gain{l.survival, l.survival, 0, 1}).plus(s), err
	case batchNorm[float64]:
		g, err = b.batchNorm(l.batchNormLayer, in)
		if err == nil && len(in) > 3 {
			x, err := b.value(in[0], from[0])
			if err != nil {
				return 0, reach{}, err
			}
			s, err := b.value(in[3], from[3])
			return g.bound, x.through(g).plus(s), err
		}
	case lessTwice[float64]:
		if own, r, err = b.potential(n, in, from); err != nil {
			return 0, reach{}, fmt.Errorf("%v: %w", n, err)
		}
		return own, r, nil
	case conv[float64]:
		g, err = b.convolution(l.convPlan, in[1])
	case transposed[float64]:
		g, err = b.convolution(l.of.(conv[float64]).convPlan, in[1])
		if c := l.of.(conv[float64]).convPlan; err == nil {
			g.roundings = c.outputs*c.area + 2
		}
	case linear[float64]:
		var w, β []float64
		if w, err = b.finite(in[1]); err != nil {
			break
		}
		if len(in) > 2 {
			if β, err = b.finite(in[2]); err != nil {
				break
			}
		}
		g = gain{spectra.Norm(gemm.Of(w, l.rows, l.cols)), spectra.Norm(gemm.Of(spectra.Abs(w), l.rows, l.cols)), more(vec.Norm(β)), l.rows + 2}
	case addBias[float64]:
		var β []float64
		β, err = b.finite(in[1])
		g = gain{1, 1, more(vec.Norm(β) * math.Sqrt(float64(l.area))), 1}
	case groupNorm[float64]:
		g, err = b.groupNorm(l, in)
	case rectify[float64], maxMin[float64], dropout[float64], shortcut[float64], flatten[float64]:
		g = exact
	case householder[float64]:
		g = gain{1, math.Sqrt2, 0, 16}
	case maxPool[float64]:
		r := more(math.Sqrt(float64(l.reads(0) * l.reads(1))))
		g = gain{r, r, 0, 0}
	case normPool[float64]:
		r := more(math.Sqrt(float64(l.reads(0) * l.reads(1))))
		g = gain{r, r, 0, 2*l.kernel[0]*l.kernel[1] + 2}
	case averagePool[float64]:
		r := more(math.Sqrt(float64(l.reads(0)*l.reads(1)) / float64(l.kernel[0]*l.kernel[1])))
		g = gain{r, r, 0, l.kernel[0]*l.kernel[1] + 2}
	case globalPool[float64]:
		area := in[0].Shape()[2] * in[0].Shape()[3]
		r := more(1 / math.Sqrt(float64(area)))
		g = gain{r, r, 0, area + 2}
	case adaptivePool[float64]:
		r := more(math.Sqrt(l.weight(l.rows, l.height) * l.weight(l.columns, l.width)))
		g = gain{r, r, 0, l.height*l.width + 2}
	default:
		return 0, reach{}, fmt.Errorf("%v: %w", n, ErrNoBound)
	}
	if err != nil {
		return 0, reach{}, fmt.Errorf("%v: %w", n, err)
	}
	return g.bound, from[0].through(g), nil
}

// value returns what is known of an input of a sum: r, or of a fixed node its norm.
func (b *bounder) value(n *gorgonia.Node, r reach) (reach, error) {
	if b.fixed[n] {
		return b.visit(n)
	}
	return r, nil
}

// sum bounds the sum or the difference of two or more values, of which one may be a scalar.
func (b *bounder) sum(n *gorgonia.Node, in []*gorgonia.Node, from []reach) (own float64, r reach, err error) {
	r, err = b.join(in, from, n.Shape().TotalSize(), reach.plus)
	return 1, r, err
}

// beside returns what is known of values side by side.
func (b *bounder) beside(in []*gorgonia.Node, from []reach) (r reach, err error) {
	return b.join(in, from, 0, reach.beside)
}

// join joins what is known of values, each repeated until it has a size, unless that is 0.
func (b *bounder) join(in []*gorgonia.Node, from []reach, size int, with func(r, s reach) reach) (r reach, err error) {
	for i, c := range in {
		s, err := b.value(c, from[i])
		if err != nil {
			return reach{}, err
		}
		if times := float64(size) / float64(c.Shape().TotalSize()); size > 0 && times != 1 {
			root := more(math.Sqrt(times))
			s = s.through(gain{root, root, 0, 0})
		}
		if i == 0 {
			r = s
		} else {
			r = with(r, s)
		}
	}
	return r, nil
}

// potential bounds x - 2 y: with y = w' ReLU(w x + bias), see ConvexPotential, by max(1, 2 |w|^2 - 1). Rounding errors are then those of the input, times
// that bound, and those made on the way.
func (b *bounder) potential(n *gorgonia.Node, in []*gorgonia.Node, from []reach) (own float64, r reach, err error) {
	twice := gain{2, 2, 0, 0}
	x, err := b.value(in[0], from[0])
	if err != nil {
		return 0, reach{}, err
	}
	plan, kernel, bias := potential(n, b.inputs)
	if plan == nil {
		return 1, x.plus(from[1].through(twice)), nil
	}
	g, err := b.convolution(plan, kernel)
	if err != nil {
		return 0, reach{}, err
	}
	step := reach{bound: more(x.bound + x.slope), zero: more(x.zero + x.still)}.through(g) // of what is computed
	if bias != nil {
		β, err := b.finite(bias)
		if err != nil {
			return 0, reach{}, err
		}
		step = step.through(gain{1, 1, more(vec.Norm(β) * math.Sqrt(float64(plan.pixelsOut))), 1})
	}
	g.roundings = plan.outputs*plan.area + 2
	made := step.through(g).through(twice)
	own = max(1, more(2*g.bound*g.bound-1))
	r = reach{more(own * x.bound), more(x.zero + made.zero), more(own*x.still + made.still), more(own*x.slope + made.slope)}
	return own, r.through(gain{1, 1, 0, 1}), nil
}

// finite returns the value of a fixed node, which must be finite.
func (b *bounder) finite(n *gorgonia.Node) ([]float64, error) {
	v, err := b.numbers(n)
	if err != nil {
		return nil, err
	}
	if i, x := dense.NotFinite(v); i >= 0 {
		return nil, notFinite("%s: element %d: want finite numbers, got %v", n.Name(), i, x)
	}
	return v, nil
}

func (b *bounder) convolution(p *convPlan, kernel *gorgonia.Node) (gain, error) {
	w, err := b.finite(kernel)
	if err != nil {
		return gain{}, err
	}
	along := func(a axis) spectra.Axis {
		return spectra.Axis{Size: a.size, Kernel: a.kernel, Stride: a.stride, Dilation: a.dilation, Before: a.pad, Out: a.out, Circular: a.circular}
	}
	c := spectra.Conv{Filters: p.filters, Channels: p.channels, Groups: p.groups, Rows: along(p.rows), Cols: along(p.cols), Weights: w}
	return b.spectral(c, p.inputs*p.area+2), nil
}

// spectral bounds a convolution.
func (b *bounder) spectral(c spectra.Conv, roundings int) gain {
	g := gain{absolute: c.Abs().Bound(b.options.slack), roundings: roundings}
	if b.options.byGram {
		g.bound = c.Gram(b.options.gram)
	} else {
		g.bound = c.Bound(b.options.slack)
	}
	return g
}

func (b *bounder) batchNorm(l *batchNormLayer, in []*gorgonia.Node) (gain, error) {
	γ, err := b.finite(in[1])
	if err != nil {
		return gain{}, err
	}
	β, err := b.finite(in[2])
	if err != nil {
		return gain{}, err
	}
	scale, addend := make([]float64, l.channels), make([]float64, l.channels)
	if err := normaliser(l, scale, addend, γ, β); err != nil {
		return gain{}, err
	}
	for c := range addend { // β - scale μ may cancel: what it is computed from is rounded
		addend[c] = math.Abs(β[c]) + math.Abs(scale[c]*l.statistics.Mean[c])
	}
	most := more(vec.MaxAbs(scale))
	return gain{most, most, more(vec.Norm(addend) * math.Sqrt(float64(l.area))), 8}, nil
}

// groupNorm uses that the derivative of (x - μ)/sqrt(σ² + ε) is a projection divided by sqrt(σ² + ε). Means and variances are rounded.
func (b *bounder) groupNorm(l groupNorm[float64], in []*gorgonia.Node) (gain, error) {
	γ, err := b.finite(in[1])
	if err != nil {
		return gain{}, err
	}
	β, err := b.finite(in[2])
	if err != nil {
		return gain{}, err
	}
	most := more(vec.MaxAbs(γ) / math.Sqrt(l.epsilon))
	return gain{most, 4 * most, more(vec.Norm(β) * math.Sqrt(float64(l.area))), 2*l.channels*l.area + 16}, nil
}

// reads returns how many windows overlap in an element along axis 0 or 1.
func (w window) reads(axis int) int {
	size, n := w.height, w.rows
	if axis == 1 {
		size, n = w.width, w.columns
	}
	times := make([]int, size)
	for i := range n {
		from, to := w.span(axis, i)
		for j := from; j < to; j++ {
			times[j]++
		}
	}
	return slices.Max(times)
}

// weight returns the largest sum of the weights, 1 divided by the size of the window, of an element in n windows of size elements.
func (adaptive) weight(n, size int) float64 {
	sums := make([]float64, size)
	for i := range n {
		from, to := share(i, n, size)
		for j := from; j < to; j++ {
			sums[j] += 1 / float64(to-from)
		}
	}
	return slices.Max(sums)
}

// head finds the last linear layer.
func (b *bounder) head(n *gorgonia.Node) error {
	for n.Op() != nil && !slices.Contains(b.inputs, n) {
		in, o := roles.Inputs(n), operation(n)
		switch {
		case o != nil:
		case operator(n) == "+" && b.fixed[in[1]] && n.Shape().Eq(in[0].Shape()):
			n = in[0]
			continue
		case nameOf(n) == "gorgonia.linAlgBinOp" && n.Op().String() == "A × B" && b.fixed[in[1]] && in[0].Dims() == 2 && in[1].Dims() == 2:
			w, err := b.finite(in[1])
			b.of.last, b.of.before, b.of.w, b.of.cols = n, b.reaches[in[0]].bound, w, in[1].Shape()[1]
			return err
		default:
			return nil
		}
		switch l := o.f64.(type) {
		case addBias[float64], dropout[float64]:
			n = in[0]
		case linear[float64]:
			w, err := b.finite(in[1])
			b.of.last, b.of.before, b.of.w, b.of.cols = n, b.reaches[in[0]].bound, w, l.cols
			return err
		default:
			return nil
		}
	}
	return nil
}

// Pair returns an upper bound of the Lipschitz constant of the difference of two numbers of the output, for an example. It is sqrt(2) Bound or, if the
// output is a linear layer with or without a bias, the bound of the input of that layer times the distance of the two
// columns of its weights, if that is smaller.
func (b *Bounds) Pair(i, j int) float64 {
	if i == j {
		return 0
	}
	pair := more(math.Sqrt2 * b.Bound)
	if b.last != nil {
		sum := 0.0
		for k := 0; k < len(b.w); k += b.cols {
			d := b.w[k+i] - b.w[k+j]
			sum += d * d
		}
		pair = min(pair, more(b.before*more(math.Sqrt(sum*(1+float64(len(b.w))*0x1p-52)))))
	}
	return pair
}

// Rounding returns an upper bound of the distance between the output in exact arithmetic and that which a graph in float64 computes, for an
// input of the given norm. (For float32 it would be of little use: products of bounds by layers are far above the errors that occur.)
func (b *Bounds) Rounding(norm float64) float64 { return more(b.reach.still + b.reach.slope*norm) }

// String returns a table of the layers, and the bound in its last line.
func (b *Bounds) String() string {
	var s strings.Builder
	wide := len("output")
	for _, l := range b.Layers {
		wide = max(wide, len(l.Name))
	}
	fmt.Fprintf(&s, "%-*s  %-24s  %10s  %10s\n", wide, "layer", "operation", "bound", "total")
	for _, l := range b.Layers {
		fmt.Fprintf(&s, "%-*s  %-24s  %10.4g  %10.4g\n", wide, l.Name, l.Operation, l.Bound, l.Total)
	}
	fmt.Fprintf(&s, "%-*s  %-24s  %10s  %10.4g\n", wide, "output", "", "", b.Bound)
	return s.String()
}

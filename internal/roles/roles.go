// SPDX-License-Identifier: Apache-2.0

// Package roles finds out from a graph whether a parameter is a kernel, that is, the filter of a
// convolution.
//
// The shape of a parameter is ambiguous: gorgonia.BatchNorm(x, nil, nil, ...) makes its scale and
// bias in the shape of x, (B, C, H, W), many programs make biases in that shape, and a learnt image
// has four axes too. The graph is not: a kernel is the filter input of a convolution, either
// directly or through operations that map kernels to kernels, such as weight normalisation.
//
// An operation of another package is recognised by one of these methods:
//
//	FilterInput() int // index of the filter input; negative if the operation is not a convolution
//	KernelInput() int // index of the kernel input; negative if it does not map kernels to kernels
//
// A convolution is taken for an ordinary one, in one group, unless it has the method
//
//	FilterGroups() (groups int, transposed bool)
//
// Package nodes describes them as nodes.Convolution, nodes.KernelMap and nodes.GroupedConvolution. The method PointInput, of
// nodes.PointInputs, says on which manifold an input must lie.
package roles

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Role says whether a parameter is a kernel.
type Role int

const (
	Unknown Role = iota // the parameter is in no graph, or nothing in its graph uses it
	Kernel              // the filter of a convolution
	Other               // anything else
)

func (r Role) String() string {
	switch r {
	case Kernel:
		return "kernel"
	case Other:
		return "other"
	}
	return "unknown"
}

// Answer is the role of a parameter and the reason.
type Answer struct {
	Role  Role
	Why   string // such as "filter of Conv2d through WeightNorm"
	ByUse bool   // the graph decided, not the shape

	Convolution // of a kernel
	// Unclear says why the graph does not tell the convolution, if it does not. It is then an ordinary one.
	Unclear string
}

// Convolution is what a kernel belongs to. The zero value is an ordinary convolution.
type Convolution struct {
	Groups     int  // 0 means one
	Transposed bool // the kernel has shape (in, out/groups, height, width)
}

func (c Convolution) String() string {
	s := fmt.Sprintf("%d groups", c.Groups)
	if c.Groups == 0 {
		s = "one group"
	}
	if c.Transposed {
		s += ", transposed"
	}
	return s
}

// ByShape judges a parameter by its shape: it is a kernel if it has rank 4 and more than one size
// other than 1. It is for parameters without a graph.
func ByShape(shape tensor.Shape) Answer {
	large := 0
	for _, s := range shape {
		if s > 1 {
			large++
		}
	}
	a := Answer{Role: Other, Why: "no graph: judged by its shape"}
	if len(shape) == 4 && large > 1 {
		a.Role = Kernel
	}
	return a
}

// Of returns the role of n in its graph. It reads the whole graph, so use a Reader or Read for
// several parameters. The role is Unknown if n is nil, is in no graph or is used by nothing.
func Of(n *gorgonia.Node) Answer {
	if n == nil || n.Graph() == nil {
		return Answer{Why: "no graph"}
	}
	return Read(n.Graph()).Of(n)
}

// A Reader judges parameters and reads each graph once. It keeps the graphs in memory and does not
// see nodes that are added later, so drop it when the parameters have been judged. The zero value
// is ready for use.
type Reader struct {
	graphs map[*gorgonia.ExprGraph]*Graph
}

// Of returns the role of a parameter with a value of the given shape. The use decides if the
// parameter is or embeds a *gorgonia.Node that something in its graph uses; otherwise the shape
// decides. The role is never Unknown.
func (r *Reader) Of(v gorgonia.ValueGrad, shape tensor.Shape) Answer {
	n := nodeOf(v)
	if n == nil || n.Graph() == nil {
		return ByShape(shape)
	}
	if a := r.Graph(n.Graph()).Of(n); a.Role != Unknown {
		return a
	}
	a := ByShape(shape)
	a.Why = "used by nothing in its graph: judged by its shape"
	return a
}

// nodeOf returns the node that a parameter is or embeds, or nil.
func nodeOf(v gorgonia.ValueGrad) *gorgonia.Node {
	if n, ok := v.(*gorgonia.Node); ok {
		return n
	}
	in, ok := v.(interface {
		Graph() *gorgonia.ExprGraph
		ID() int64
	})
	if !ok || in.Graph() == nil {
		return nil
	}
	for _, n := range in.Graph().AllNodes() {
		if n.ID() == in.ID() {
			return n
		}
	}
	return nil
}

// Graph returns the reading of g.
func (r *Reader) Graph(g *gorgonia.ExprGraph) *Graph {
	read, ok := r.graphs[g]
	if !ok {
		if r.graphs == nil {
			r.graphs = map[*gorgonia.ExprGraph]*Graph{}
		}
		read = Read(g)
		r.graphs[g] = read
	}
	return read
}

// A Graph is a snapshot of a graph with its edges. It does not contain nodes that are added later.
type Graph struct {
	consumers map[*gorgonia.Node][]*gorgonia.Node // in the order in which they were made
	nodes     map[*gorgonia.Node]bool
}

// Read reads the edges of g, in time linear in their number. It does not change g, but no other
// goroutine may add to g at the same time.
//
// It does not use ExprGraph.To and From. They look up nodes by a cached position, which is wrong
// after Gorgonia has removed a node (gorgonia.BinaryXent, for example, replaces log(1-x)), and To
// sorts a slice of the graph.
func Read(g *gorgonia.ExprGraph) *Graph {
	r := &Graph{map[*gorgonia.Node][]*gorgonia.Node{}, map[*gorgonia.Node]bool{}}
	for _, n := range g.AllNodes() {
		r.nodes[n] = true
	}
	for e := g.Edges(); e.Next(); {
		from, to := e.Edge().From().(*gorgonia.Node), e.Edge().To().(*gorgonia.Node)
		if r.nodes[to] && to.Op() != nil {
			r.consumers[from] = append(r.consumers[from], to)
		}
	}
	for n, c := range r.consumers {
		slices.SortFunc(c, func(a, b *gorgonia.Node) int { return cmp.Compare(a.ID(), b.ID()) })
		r.consumers[n] = slices.Compact(c)
	}
	return r
}

// Inputs returns the inputs of a node in the order of its operation's arguments. Gorgonia keeps
// them in an unexported field, and ExprGraph.From may return those of another node: see Read.
func Inputs(n *gorgonia.Node) []*gorgonia.Node {
	children := reflect.ValueOf(n).Elem().FieldByName("children")
	if !children.IsValid() {
		return nil
	}
	in := make([]*gorgonia.Node, children.Len())
	for i := range in {
		in[i] = (*gorgonia.Node)(children.Index(i).UnsafePointer())
	}
	return in
}

// inputs returns the inputs of a node, where an input that is not in the graph is nil.
func (g *Graph) inputs(n *gorgonia.Node) []*gorgonia.Node {
	in := Inputs(n)
	for i, c := range in {
		if !g.nodes[c] {
			in[i] = nil
		}
	}
	return in
}

// backward reports whether a node belongs to the backward pass: whether it is a gradient or has one
// among its inputs. Inputs that are leaves or constants do not count, because the constant 1 is the
// gradient of the cost and may be an input of any node.
func (g *Graph) backward(n *gorgonia.Node) bool {
	if len(n.DerivOf()) > 0 {
		return true
	}
	for _, in := range g.inputs(n) {
		if in != nil && len(in.DerivOf()) > 0 && len(g.inputs(in)) > 0 {
			return true
		}
	}
	return false
}

// place is a node whose value is computed from the parameter.
type place struct {
	node     *gorgonia.Node
	repeated bool // the value repeats the parameter, as for a gain per filter
	moved    bool // the weights lie elsewhere than in the parameter
}

// Of returns the role of n, a node of the graph. It follows n through all operations that map
// kernels to kernels: those with a KernelInput, reshapes, transposes, slices, concatenations,
// operations with one input that keep its shape, and element-wise operations that do not involve
// activations.
func (g *Graph) Of(n *gorgonia.Node) Answer {
	a, _ := g.of(n)
	return a
}

// Images returns the image inputs of the convolutions that a kernel is the filter of, each once. It is empty for
// what is no kernel.
func (g *Graph) Images(n *gorgonia.Node) []*gorgonia.Node {
	_, images := g.of(n)
	return images
}

// of is Of, with the images that a kernel is convolved with.
func (g *Graph) of(n *gorgonia.Node) (Answer, []*gorgonia.Node) {
	var images []*gorgonia.Node
	var filters, reasons, elsewheres, combined []string
	var convolutions []convolution
	start := place{node: n}
	through := map[place][]string{start: nil}
	used := false
	for queue := []place{start}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		for _, c := range g.consumers[at.node] {
			if g.backward(c) || ignored[typeName(c.Op())] {
				continue
			}
			for i, in := range g.inputs(c) {
				if in != at.node {
					continue
				}
				used = true
				u := g.use(c, i)
				switch {
				case u.kind == filter && at.repeated:
					elsewheres = append(elsewheres, "repeated over the filter of "+u.name)
				case u.kind == filter:
					filters = append(filters, "filter of "+u.name+path(through[at]))
					convolutions = append(convolutions, convolution{u.convolution, at.moved, filters[len(filters)-1]})
					if u.image != nil && !slices.Contains(images, u.image) {
						images = append(images, u.image)
					}
				case u.kind == passes:
					if u.reason != "" {
						combined = append(combined, u.reason)
					}
					next := place{c, at.repeated || u.repeats, at.moved || u.moves}
					if _, seen := through[next]; !seen {
						names := slices.Clip(through[at])
						if u.name != "" {
							names = append(names, u.name)
						}
						through[next] = names
						queue = append(queue, next)
					}
				case u.kind == elsewhere:
					elsewheres = append(elsewheres, u.reason)
				default:
					reasons = append(reasons, u.reason)
				}
			}
		}
	}
	a := Answer{Role: Other, ByUse: true}
	switch {
	case !used:
		return Answer{Why: "used by nothing in its graph"}, nil
	case len(filters) > 0 && n.Dims() != 4:
		a.Why = fmt.Sprintf("%s, but of shape %v, not (out, in, height, width)", filters[0], n.Shape())
	case len(filters) > 0:
		a.Role, a.Why = Kernel, strings.Join(distinct(filters), ", ")
		a.Convolution, a.Unclear = agree(convolutions)
		if len(elsewheres) > 0 {
			a.Why += "; also " + strings.Join(distinct(elsewheres), ", ")
		}
	default:
		a.Why = "not convolved with"
		if all := slices.Concat(elsewheres, combined, reasons); len(all) > 0 {
			a.Why = all[0] + ", not convolved with"
		}
		if len(elsewheres) > 0 && strings.HasPrefix(elsewheres[0], imageOf) {
			a.Why = elsewheres[0] + ", not its filter"
		}
	}
	if a.Role != Kernel {
		images = nil
	}
	return a, images
}

// convolution is a convolution with a parameter.
type convolution struct {
	Convolution
	moved bool // the kernel is not the parameter itself, nor a map of it in the same shape
	what  string
}

// agree returns what convolution a parameter belongs to, or why that is unclear.
func agree(all []convolution) (Convolution, string) {
	for _, c := range all {
		if c.Convolution != all[0].Convolution {
			return Convolution{}, fmt.Sprintf("%s in %v, %s in %v", all[0].what, all[0].Convolution, c.what, c.Convolution)
		}
		if c.moved && c.Convolution != (Convolution{}) {
			return Convolution{}, fmt.Sprintf("%s in %v, whose kernel has the weights in other places", c.what, c.Convolution)
		}
	}
	return all[0].Convolution, ""
}

// ClaimOf returns what the operations that use a parameter want of it, if it is or embeds a node: the result of the first whose method
//
//	PointInput(i int) (C, bool)
//
// returns true for the input that the parameter is. Use through other operations does not count. If two want different things, it returns
// an error.
func ClaimOf[C any](r *Reader, v gorgonia.ValueGrad) (claim C, ok bool, err error) {
	n := nodeOf(v)
	if n == nil || n.Graph() == nil {
		return claim, false, nil
	}
	g, by := r.Graph(n.Graph()), ""
	for _, c := range g.consumers[n] {
		op, points := c.Op().(interface{ PointInput(int) (C, bool) })
		if !points {
			continue
		}
		for i, in := range g.inputs(c) {
			want, wants := op.PointInput(i)
			switch {
			case in != n || !wants:
			case !ok:
				claim, by, ok = want, opName(c.Op()), true
			case !reflect.DeepEqual(want, claim):
				return claim, true, fmt.Errorf("%s wants it on %v, and %s on %v", by, claim, opName(c.Op()), want)
			}
		}
	}
	return claim, ok, nil
}

// imageOf is the beginning of the reason for the image input of a convolution.
const imageOf = "input of "

func path(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return " through " + strings.Join(distinct(names), " and ")
}

// distinct returns the strings without repetitions, in their order.
func distinct(s []string) (d []string) {
	for _, x := range s {
		if !slices.Contains(d, x) {
			d = append(d, x)
		}
	}
	return d
}

// kind says how a consumer uses an input.
type kind int

const (
	otherwise kind = iota // neither a kernel nor part of a layer: input of a penalty or a cost
	elsewhere             // not a kernel, but another part of a layer
	filter                // the filter of a convolution
	passes                // the input is a kernel if the value of the consumer is one
)

// use says how a consumer uses one of its inputs.
type use struct {
	kind    kind
	name    string // name of the convolution, or of the operation that the input passes through
	reason  string // why the input is not a kernel; with passes, if there is no better reason
	repeats bool   // with passes: the value repeats the input
	moves   bool   // with passes: the value has the weights in other places

	convolution Convolution    // with filter
	image       *gorgonia.Node // with filter
}

// ignored are operations from which nothing follows about their inputs.
var ignored = map[string]bool{"gorgonia.readOp": true, "gorgonia.letOp": true, "gorgonia.sizeOp": true}

// norms are the stock normalisations whose scale and bias are nodes of their own.
var norms = map[string]string{"gorgonia.BatchNormOp": "BatchNorm", "gorgonia.GroupNormOp": "GroupNorm"}

// activating are stock operations whose values are activations.
var activating = map[string]bool{
	"gorgonia.im2colOp": true, "gorgonia.maxPoolOp": true, "gorgonia.avgPoolOp": true, "gorgonia.globalAveragePoolOp": true,
	"gorgonia.upsampleOp": true, "gorgonia.BatchNormOp": true, "gorgonia.GroupNormOp": true,
}

// use judges input i of c.
func (g *Graph) use(c *gorgonia.Node, i int) use {
	op, in := c.Op(), g.inputs(c)
	if f := filterInput(op); f >= 0 {
		if i == f {
			u := use{kind: filter, name: opName(op), convolution: convolutionOf(op)}
			for j, x := range in {
				if u.image == nil && j != f && x != nil && x.Dims() == 4 {
					u.image = x
				}
			}
			return u
		}
		return use{kind: elsewhere, reason: imageOf + opName(op)}
	}
	if k := kernelInput(op); k >= 0 {
		if i == k {
			return use{kind: passes, name: opName(op), moves: !in[i].Shape().Eq(c.Shape())}
		}
		return use{kind: elsewhere, reason: fmt.Sprintf("input %d of %s, which makes a kernel of input %d", i, opName(op), k)}
	}
	switch typeName(op) {
	case "gorgonia.im2colOp":
		return use{kind: elsewhere, reason: imageOf + "Conv2d"}
	case "gorgonia.linAlgBinOp":
		if x := g.convolves(c, i); x != nil {
			return use{kind: filter, name: "Conv2d", image: x}
		}
		return use{kind: elsewhere, reason: "factor of a matrix product"}
	case "gorgonia.elemBinOp":
		return g.elementwise(c, in, i)
	case "gorgonia.repeatOp":
		if i == 0 {
			return use{kind: passes, repeats: true}
		}
	case "gorgonia.concatOp":
		for _, x := range in {
			if g.activation(x) {
				return use{kind: elsewhere, reason: "joined to activations"}
			}
		}
		return use{kind: passes, name: "Concat", moves: true}
	case "gorgonia.reshapeOp":
		return use{kind: passes, moves: true}
	case "gorgonia.transposeOp":
		return use{kind: passes, name: "Transpose", moves: true}
	case "gorgonia.sliceOp":
		return use{kind: passes, name: "Slice", moves: true}
	}
	if len(in) == 1 && in[0].Shape().Eq(c.Shape()) {
		return use{kind: passes, name: opName(op)}
	}
	return use{kind: otherwise, reason: "used by " + opName(op)}
}

// elementwise judges input i of c, an element-wise operation of two inputs.
func (g *Graph) elementwise(c *gorgonia.Node, in []*gorgonia.Node, i int) use {
	other := in[1-i]
	sum, how, name := false, "combined with", "an element-wise operation"
	switch sign, _, _ := strings.Cut(c.Op().String(), " "); sign {
	case "+", "-":
		sum, how, name = true, "added to", "a sum"
	case "⊙":
		how, name = "multiplied with", "a product"
	case "÷":
		how, name = "divided by", "a quotient"
		if i == 1 {
			how = "divisor of"
		}
	}
	switch norm := g.norm(other); {
	case norm != "" && !sum:
		return use{kind: elsewhere, reason: "scale of " + norm}
	case norm == "" && sum && other != nil && typeName(other.Op()) == "gorgonia.elemBinOp":
		for _, x := range g.inputs(other) {
			if norm = g.norm(x); norm != "" {
				return use{kind: elsewhere, reason: "bias of " + norm}
			}
		}
	}
	if other != nil && other.Shape().Eq(c.Shape()) && g.activation(other) {
		return use{kind: elsewhere, reason: how + " activations"}
	}
	return use{kind: passes, name: name, reason: how + " other values", repeats: !in[i].Shape().Eq(c.Shape())}
}

// norm returns the name of the stock normalisation whose value, before scale and bias, is n, or "".
func (g *Graph) norm(n *gorgonia.Node) string {
	if n == nil {
		return ""
	}
	return norms[typeName(n.Op())]
}

// convolves returns the image if the matrix product c is a convolution with its input i as the filter, and
// otherwise nil. It is one if the other factor is the matrix of patches that gorgonia.Im2Col makes, of shape (B,
// rows, columns, CAB) reshaped to (B rows columns) x CAB, or its transpose, and the product sums
// over CAB. The gradient with respect to the filter is a product with the patches too, but sums
// over images.
func (g *Graph) convolves(c *gorgonia.Node, i int) *gorgonia.Node {
	n := g.inputs(c)[1-i]
	transposed := false
	for n != nil && typeName(n.Op()) != "gorgonia.im2colOp" {
		in := g.inputs(n)
		switch typeName(n.Op()) {
		case "gorgonia.reshapeOp":
			from, to := in[0].Shape(), n.Shape()
			if from.Dims() == 0 || to.Dims() == 0 || from[from.Dims()-1] != to[to.Dims()-1] {
				return nil
			}
		case "gorgonia.transposeOp":
			if n.Dims() != 2 {
				return nil
			}
			transposed = !transposed
		default:
			return nil
		}
		n = in[0]
	}
	if n == nil {
		return nil
	}
	field := reflect.ValueOf(c.Op()).FieldByName([]string{"transB", "transA"}[i])
	if !field.IsValid() {
		return nil
	}
	// The left factor is summed over its columns, the right one over its rows.
	patchesLeft := i == 1
	if (transposed != field.Bool()) == patchesLeft {
		return nil
	}
	return g.inputs(n)[0]
}

// activation reports whether n depends, element by element, on the value of a convolution, a
// pooling or a normalisation. A dependence through coefficients that are repeated over a tensor
// does not count: in a dynamic convolution, which mixes several kernels by coefficients, these are
// kernels even if the coefficients depend on activations.
func (g *Graph) activation(n *gorgonia.Node) bool {
	seen := map[*gorgonia.Node]bool{}
	var depends func(n *gorgonia.Node) bool
	depends = func(n *gorgonia.Node) bool {
		if n == nil || n.Op() == nil || seen[n] {
			return false
		}
		seen[n] = true
		name := typeName(n.Op())
		if activating[name] || filterInput(n.Op()) >= 0 {
			return true
		}
		if ignored[name] || name == "gorgonia.repeatOp" {
			return false
		}
		for _, in := range g.inputs(n) {
			if in != nil && name == "gorgonia.elemBinOp" && !in.Shape().Eq(n.Shape()) {
				continue // a scalar
			}
			if depends(in) {
				return true
			}
		}
		return false
	}
	return depends(n)
}

func filterInput(op gorgonia.Op) int {
	if f, ok := op.(interface{ FilterInput() int }); ok {
		return f.FilterInput()
	}
	return -1
}

// convolutionOf returns what kind of convolution an operation with a filter input is.
func convolutionOf(op gorgonia.Op) Convolution {
	var c Convolution
	if g, ok := op.(interface{ FilterGroups() (int, bool) }); ok {
		c.Groups, c.Transposed = g.FilterGroups()
	}
	if c.Groups == 1 {
		c.Groups = 0
	}
	return c
}

func kernelInput(op gorgonia.Op) int {
	if k, ok := op.(interface{ KernelInput() int }); ok {
		return k.KernelInput()
	}
	return -1
}

// typeName returns the name of the type of an operation, without a pointer. The types of Gorgonia
// are not exported, so they can only be recognised by name.
func typeName(op gorgonia.Op) string {
	if op == nil {
		return ""
	}
	return strings.TrimPrefix(reflect.TypeOf(op).String(), "*")
}

// opName returns the name of an operation for messages: "WeightNorm" for one that prints as
// "nodes.WeightNorm[(8, 3, 3, 3)]", and for stock operations the name of the type.
func opName(op gorgonia.Op) string {
	name := op.String()
	if t, ok := strings.CutPrefix(typeName(op), "gorgonia."); ok && t != "elemUnaryOp" {
		return strings.TrimSuffix(t, "Op")
	}
	if i := strings.IndexAny(name, "[({ "); i > 0 {
		name = name[:i]
	}
	return name[strings.LastIndex(name, ".")+1:]
}

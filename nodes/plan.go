// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"unsafe"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/internal/roles"
)

// Plan makes the runs of a graph take less memory and time. Call it when the graph is complete, after
// gorgonia.Grad; package models does it for its graphs.
//
//   - Values and gradients that are not needed at the same time take the same memory, which halves
//     what the training of a net needs. The memory of the value of a node of this package is reused when all nodes
//     that use it have run; the node is then bound to a tensor of shape (1). The values of nodes that no other node
//     uses are kept, and those that a stock operation uses, such as gorgonia.Read. The gradients of leaves, and the
//     values and gradients of the nodes in keep, are kept too. A machine with gorgonia.BindDualValues adds the gradient of a leaf
//     to a value of the leaf, which Node.Grad returns; then only that is kept. Pass the leaves to gorgonia.BindDualValues: without
//     arguments it binds derivatives to all nodes, and a run fails because of those whose values are gone. To get the value of any
//     other node after a run, use gorgonia.Read.
//   - Sums that gorgonia.Grad inserts for values that are used more than once are computed like Add, on all cores and without allocations.
//
// Results are the same bit for bit. Nodes may be added to the graph later; the next run takes them into account.
func Plan(g *gorgonia.ExprGraph, keep ...*gorgonia.Node) {
	if g == nil {
		return
	}
	for _, n := range g.AllNodes() {
		addsOwn(n)
	}
	p := &plan{graph: g, keep: keep}
	for _, n := range g.AllNodes() {
		if b := bufferOf(n); b != nil {
			b.plan = p
		}
	}
}

// addsOwn gives a node that is a stock addition of two tensors of one shape the operation of Add.
// Gorgonia has no means to replace an operation, or to add up gradients otherwise. Where the
// field of the operation has another name, the addition remains.
func addsOwn(n *gorgonia.Node) {
	if n.Op() == nil || reflect.TypeOf(n.Op()).String() != "gorgonia.elemBinOp" || !strings.HasPrefix(fmt.Sprint(n.Op()), "+ ") || n.Dims() == 0 {
		return
	}
	field := reflect.ValueOf(n).Elem().FieldByName("op")
	o, err := addition(roles.Inputs(n))
	if err != nil || field.Kind() != reflect.Interface {
		return
	}
	reflect.NewAt(field.Type(), unsafe.Pointer(field.UnsafeAddr())).Elem().Set(reflect.ValueOf(o))
}

// bufferOf returns the buffer of a node of this package, or nil.
func bufferOf(n *gorgonia.Node) *buffer {
	if o := operation(n); o != nil {
		return &o.buffer
	}
	if g, ok := n.Op().(*gradient); ok {
		return &g.buffer
	}
	return nil
}

// plan shares memory among the values of a graph.
type plan struct {
	graph *gorgonia.ExprGraph
	keep  []*gorgonia.Node
	nodes int // of the graph for which leases are
	// leases are those of values that are given up, by their buffers; uses are the leases of the
	// inputs of a node, by its buffer.
	leases map[*buffer]*lease
	uses   map[*buffer][]*lease
	last   *lease // the gradient of leaves that was computed last, until another node runs
	free   []storage
}

// fewest is the number of elements from which a value is worth sharing memory.
const fewest = 1 << 9

// current finds out which nodes use which values, if the graph has changed.
func (p *plan) current() {
	all := p.graph.AllNodes()
	if len(all) == p.nodes {
		return
	}
	p.nodes, p.last, p.free = len(all), nil, nil
	p.leases, p.uses = map[*buffer]*lease{}, map[*buffer][]*lease{}
	for _, n := range all {
		b := bufferOf(n)
		if b == nil || n.Shape().TotalSize() < fewest || slices.Contains(p.keep, n) {
			continue
		}
		if slices.ContainsFunc(n.DerivOf(), p.kept) {
			if p.graph.To(n.ID()).Len() == 0 && !slices.ContainsFunc(n.DerivOf(), func(x *gorgonia.Node) bool { return slices.Contains(p.keep, x) }) {
				p.leases[b] = &lease{plan: p, leaves: n.DerivOf()}
			}
			continue
		}
		var users []*buffer
		ours := true
		for it := p.graph.To(n.ID()); it.Next(); {
			u := bufferOf(it.Node().(*gorgonia.Node))
			ours = ours && u != nil
			users = append(users, u)
		}
		if !ours || len(users) == 0 {
			continue
		}
		l := &lease{plan: p, users: len(users)}
		p.leases[b] = l
		for _, u := range users {
			p.uses[u] = append(p.uses[u], l)
		}
	}
}

// kept reports whether the gradient with respect to n stays: n is a leaf or is to be kept.
func (p *plan) kept(n *gorgonia.Node) bool { return n.Op() == nil || slices.Contains(p.keep, n) }

// used notes that a node has run, and releases those of its inputs that no other node needs.
func (p *plan) used(b *buffer) {
	p.settle()
	if l := p.leases[b]; l != nil && l.leaves != nil {
		l.note()
		p.last = l
	}
	for _, l := range p.uses[b] {
		if l.left--; l.left == 0 {
			l.end()
		}
	}
}

// settle gives up the gradient of leaves that was computed last, if the machine has added it to values of the leaves.
func (p *plan) settle() {
	if l := p.last; l != nil && l.added() {
		l.end()
	}
	p.last = nil
}

// storage is memory for values.
type storage struct {
	f32 []float32
	f64 []float64
}

func (s storage) size() int { return len(s.f32) + len(s.f64) }

// take returns memory for n elements: the best fit among the free pieces of less than twice the size, of
// equals the one freed last, which is most likely in the cache, and otherwise new memory.
func (p *plan) take(of tensor.Dtype, n int) storage {
	best := -1
	for i, s := range p.free {
		if (of == tensor.Float64) == (s.f64 != nil) && s.size() >= n && s.size() < 2*n && (best < 0 || s.size() <= p.free[best].size()) {
			best = i
		}
	}
	if best >= 0 {
		s := p.free[best]
		p.free = slices.Delete(p.free, best, best+1)
		return s
	}
	if of == tensor.Float64 {
		return storage{f64: make([]float64, n)}
	}
	return storage{f32: make([]float32, n)}
}

// freed is called with memory that is released. Tests set it.
var freed func(storage)

// lease is the memory of a value from the run of its node to that of the last node that uses it.
//
// The value is one tensor, which machines may keep in registers and write to when the value is no longer
// needed. While it has no memory, its contents are those of empty.
type lease struct {
	plan        *plan
	users, left int
	leaves      gorgonia.Nodes // of which it is the gradient; nothing else uses it
	at          int            // the first element of the gradient that is not 0, or -1
	before      []float64      // what the derivatives of the leaves were there before the machine adds the gradient
	held        storage        // its size is 0 between leases
	value       *tensor.Dense
	filled      []*tensor.Dense // with each memory that the value has had
	empty       *tensor.Dense
	now         *tensor.Dense // the contents of the value
}

// begin returns the value, with memory.
func (l *lease) begin(of tensor.Dtype, shape tensor.Shape) (gorgonia.Value, dense.View) {
	l.left = l.users
	if l.value != nil && !l.intact() { // something else uses it now
		l.value, l.filled, l.held = nil, nil, storage{}
	}
	if l.held.size() == 0 {
		l.held = l.plan.take(of, shape.TotalSize())
	}
	if l.value == nil {
		l.empty = tensor.New(tensor.Of(of), tensor.WithShape(1))
		l.value = new(tensor.Dense)
	}
	l.become(l.with(of, shape))
	v, _ := dense.Of(l.value)
	return l.value, v
}

// note remembers the derivatives of the leaves when the gradient has been computed.
func (l *lease) note() {
	g, _ := dense.Of(l.value)
	l.at = max(slices.IndexFunc(g.F32, func(x float32) bool { return x != 0 }), slices.IndexFunc(g.F64, func(x float64) bool { return x != 0 }))
	l.before = l.before[:0]
	for _, n := range l.leaves {
		d, _ := l.derivative(n)
		l.before = append(l.before, d)
	}
}

// added reports whether the machine has added the gradient to the derivatives of all leaves. It does not if it was made without
// gorgonia.BindDualValues, though the leaves may have derivatives of another machine.
func (l *lease) added() bool {
	for i, n := range l.leaves {
		if d, ok := l.derivative(n); !ok || math.Float64bits(d) == math.Float64bits(l.before[i]) { // the bits, as NaN stays NaN
			return false
		}
	}
	return true
}

// derivative returns the derivative of a leaf at the element, if it has one that is not in the memory that is held.
func (l *lease) derivative(n *gorgonia.Node) (d float64, ok bool) {
	if l.at < 0 || !hasDerivative(n) {
		return 0, false
	}
	g, err := n.Grad()
	if err != nil {
		return 0, false
	}
	v, err := dense.Of(g)
	switch held := (dense.View{F32: l.held.f32, F64: l.held.f64}); {
	case err != nil || v.Len() <= l.at || v.Storage() == held.Storage():
		return 0, false
	case v.F64 != nil:
		return v.F64[l.at], true
	}
	return float64(v.F32[l.at]), true
}

// with returns a tensor with the memory that is held.
func (l *lease) with(of tensor.Dtype, shape tensor.Shape) *tensor.Dense {
	n := shape.TotalSize()
	want := dense.View{F32: l.held.f32, F64: l.held.f64}.Storage()
	for _, t := range l.filled {
		if v, err := dense.Of(t); err == nil && v.Storage() == want && slices.Equal(v.Shape, shape) {
			return t
		}
	}
	var backing any = l.held.f32
	if of == tensor.Float64 {
		backing = l.held.f64[:n]
	} else {
		backing = l.held.f32[:n]
	}
	t := tensor.New(tensor.Of(of), tensor.WithShape(shape...), tensor.WithBacking(backing))
	l.filled = append(l.filled, t)
	return t
}

// become gives the value the contents of t.
func (l *lease) become(t *tensor.Dense) { *l.value, l.now = *t, t }

// intact reports whether the value still has the contents that it was given.
func (l *lease) intact() bool {
	is, err := dense.Of(l.value)
	was, ok := dense.Of(l.now)
	return err == nil && ok == nil && is.Storage() == was.Storage() && slices.Equal(is.Shape, was.Shape)
}

// end gives the memory back.
func (l *lease) end() {
	if l.held.size() == 0 {
		return
	}
	if freed != nil {
		freed(l.held)
	}
	if l.intact() {
		l.become(l.empty)
	}
	l.plan.free = append(l.plan.free, l.held)
	l.held = storage{}
}

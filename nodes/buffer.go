// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/dense"
)

// buffer holds the value of a node, which every run overwrites. It is made at the first run.
//
// The fields are interfaces because nodetest.Hash skips nil interfaces.
type buffer struct {
	made any // nil or a *memory
	plan any // nil or a *plan, which shares memory
}

// lent reports whether the memory of the value is released when all nodes that use it have run.
func (b *buffer) lent() bool {
	p, ok := b.plan.(*plan)
	return ok && p.leases[b] != nil
}

// used notes that the node of the buffer has run.
func (b *buffer) used() {
	if p, ok := b.plan.(*plan); ok {
		p.used(b)
	}
}

// memory is a value, and its data and shape at the time when it was made.
type memory struct {
	value  gorgonia.Value
	view   dense.View
	wanted bool // of a gradient: something uses it
}

// get returns the value to write a result of the given shape to, in the precision of like.
//
// A machine binds the value to the node and passes it to other operations, so other code can change
// it: gorgonia.Reshape changes its shape, and ExprGraph.UnbindAll and UnbindAllNonInputs return it to
// the pool of package tensor, from where it may be reused for any other tensor. get then makes a new value.
func (b *buffer) get(shape tensor.Shape, like dense.View) (gorgonia.Value, dense.View) {
	of := tensor.Float32
	if like.F64 != nil {
		of = tensor.Float64
	}
	if p, ok := b.plan.(*plan); ok {
		p.current()
		p.settle()
		if l := p.leases[b]; l != nil {
			return l.begin(of, shape)
		}
	}
	if m, ok := b.made.(*memory); ok && m.intact(of, shape) {
		return m.value, m.view
	}
	m := &memory{}
	switch {
	case len(shape) > 0:
		t := tensor.New(tensor.Of(of), tensor.WithShape(shape...)) // copies the shape
		m.value, m.view.Shape = t, t.Shape()
		if of == tensor.Float64 {
			m.view.F64 = t.Float64s()
		} else {
			m.view.F32 = t.Float32s()
		}
	case of == tensor.Float64:
		v := gorgonia.NewF64(0)
		m.value = v
		m.view, _ = dense.Of(v)
	default:
		v := gorgonia.NewF32(0)
		m.value = v
		m.view, _ = dense.Of(v)
	}
	b.made = m
	return m.value, m.view
}

// intact reports whether the value still has the memory and the shape that it was made with.
func (m *memory) intact(of tensor.Dtype, shape tensor.Shape) bool {
	if m.value.Dtype() != of {
		return false
	}
	v, err := dense.Of(m.value)
	return err == nil && v.Storage() == m.view.Storage() && v.Len() == m.view.Len() && slices.Equal(v.Shape, shape)
}

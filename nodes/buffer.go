// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/dense"
)

// buffer holds the value of a node, which every run overwrites. It is made at the first run.
type buffer struct{ made any } // nil or a *memory; an interface, since nodetest.Hash leaves nil interfaces out

// memory is a value and what it was when it was made.
type memory struct {
	value gorgonia.Value
	view  dense.View
}

// get returns the value for a result of the given shape, in the precision of like.
//
// A machine binds the value to the node and passes it to other operations, so it can be changed from
// outside: gorgonia.Reshape changes its shape, and ExprGraph.UnbindAll and UnbindAllNonInputs give it to the pool
// of package tensor, after which it may become any other tensor. Such a value is abandoned.
func (b *buffer) get(shape tensor.Shape, like dense.View) (gorgonia.Value, dense.View) {
	of := tensor.Float32
	if like.F64 != nil {
		of = tensor.Float64
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

// intact reports whether the value still is the tensor that was made, in its memory and of its shape.
func (m *memory) intact(of tensor.Dtype, shape tensor.Shape) bool {
	if m.value.Dtype() != of {
		return false
	}
	v, err := dense.Of(m.value)
	return err == nil && v.Storage() == m.view.Storage() && v.Len() == m.view.Len() && slices.Equal(v.Shape, shape)
}

// SPDX-License-Identifier: Apache-2.0

// Package dense is the one place where Gorgonia's values are checked and turned
// into slices.
package dense

import (
	"fmt"
	"unsafe"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/vec"
)

// View is the storage of a value in row-major order: one of F32 and F64 is set.
type View struct {
	Shape tensor.Shape
	F32   []float32
	F64   []float64
}

// Of views a *tensor.Dense, *gorgonia.F32 or *gorgonia.F64. The error says what was wanted and what was found.
func Of(v gorgonia.Value) (View, error) {
	switch t := v.(type) {
	case *gorgonia.F32:
		if t != nil {
			return View{F32: unsafe.Slice((*float32)(t), 1)}, nil
		}
	case *gorgonia.F64:
		if t != nil {
			return View{F64: unsafe.Slice((*float64)(t), 1)}, nil
		}
	case *tensor.Dense:
		if t != nil {
			return ofDense(t)
		}
	case nil:
	default:
		return View{}, fmt.Errorf("want a *tensor.Dense, *gorgonia.F32 or *gorgonia.F64, got %T", v)
	}
	return View{}, fmt.Errorf("want a value, got nil")
}

func ofDense(t *tensor.Dense) (View, error) {
	shape := t.Shape()
	if t.RequiresIterator() || t.DataOrder().IsColMajor() {
		return View{}, fmt.Errorf("want a contiguous row-major tensor, got a view or a transpose of shape %v", shape)
	}
	switch t.Dtype() {
	case tensor.Float32:
		return View{Shape: shape, F32: t.Float32s()}, nil
	case tensor.Float64:
		return View{Shape: shape, F64: t.Float64s()}, nil
	}
	return View{}, fmt.Errorf("want float32 or float64, got %v", t.Dtype())
}

// Len returns the number of values.
func (v View) Len() int { return len(v.F32) + len(v.F64) }

// Precision returns "float32" or "float64".
func (v View) Precision() string {
	if v.F64 != nil {
		return "float64"
	}
	return "float32"
}

// Storage returns a comparable identity of the memory viewed.
func (v View) Storage() unsafe.Pointer {
	if v.F64 != nil {
		return unsafe.Pointer(unsafe.SliceData(v.F64))
	}
	return unsafe.Pointer(unsafe.SliceData(v.F32))
}

// Slice views the values from, ..., to-1, without a shape.
func (v View) Slice(from, to int) View {
	if v.F64 != nil {
		return View{F64: v.F64[from:to]}
	}
	return View{F32: v.F32[from:to]}
}

// Bytes returns the viewed memory.
func (v View) Bytes() []byte {
	if v.F64 != nil {
		return unsafe.Slice((*byte)(v.Storage()), 8*len(v.F64))
	}
	return unsafe.Slice((*byte)(v.Storage()), 4*len(v.F32))
}

// Norm returns the Euclidean norm of all values, also where squares overflow.
func (v View) Norm() float64 {
	if v.F64 != nil {
		return vec.Norm(v.F64)
	}
	return vec.Norm(v.F32)
}

// FirstBad names the first value that is not finite.
func (v View) FirstBad() string {
	var data any = v.F32
	if v.F64 != nil {
		data = v.F64
	}
	if i, x := NotFinite(data); i >= 0 {
		return fmt.Sprintf("%v at element %d of %d", x, i, v.Len())
	}
	return "values whose norm overflows"
}

// NotFinite returns the first element of a []float32 or []float64 that is not finite, and its index: -1 if all are finite,
// or for data of any other type.
func NotFinite(data any) (int, float64) {
	switch x := data.(type) {
	case []float32:
		return notFinite(x)
	case []float64:
		return notFinite(x)
	}
	return -1, 0
}

func notFinite[T float32 | float64](x []T) (int, float64) {
	for i, v := range x {
		if v-v != 0 {
			return i, float64(v)
		}
	}
	return -1, 0
}

// Zero sets every value to 0.
func (v View) Zero() {
	clear(v.F32)
	clear(v.F64)
}

// SPDX-License-Identifier: Apache-2.0

package dense

import (
	"fmt"
	"reflect"
	"unsafe"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Rows is the storage of a tensor of any element type, cut along its first axis.
type Rows struct {
	Len, Size int // number of rows, elements of a row
	all       reflect.Value
}

// RowsOf views a *tensor.Dense of rank 1 at least, which must be contiguous and row-major.
func RowsOf(v gorgonia.Value) (Rows, error) {
	t, ok := v.(*tensor.Dense)
	if !ok {
		return Rows{}, fmt.Errorf("want a *tensor.Dense, got %T", v)
	}
	if t == nil {
		return Rows{}, fmt.Errorf("want a tensor, got nil")
	}
	shape := t.Shape()
	if len(shape) == 0 {
		return Rows{}, fmt.Errorf("want a tensor of rank 1 at least, got a scalar")
	}
	if shape.TotalSize() == 0 {
		return Rows{}, fmt.Errorf("want one element at least, got a tensor of shape %v", shape)
	}
	if t.RequiresIterator() || t.DataOrder().IsColMajor() {
		return Rows{}, fmt.Errorf("want a contiguous row-major tensor, got a view or a transpose of shape %v", shape)
	}
	return Rows{Len: shape[0], Size: shape.TotalSize() / shape[0], all: reflect.ValueOf(t.Data())}, nil
}

// Element returns the type of the elements.
func (r Rows) Element() reflect.Type { return r.all.Type().Elem() }

// Bytes returns the memory of all rows.
func (r Rows) Bytes() []byte {
	return unsafe.Slice((*byte)(r.all.UnsafePointer()), r.Len*r.Size*int(r.Element().Size()))
}

// Row returns row i, a slice such as []float32 that shares memory with the tensor.
func (r Rows) Row(i int) any { return r.slice(i, i+1).Interface() }

// Copy copies rows from to to-1 of src, which has the same type and size, to the rows from at on.
func (r Rows) Copy(at int, src Rows, from, to int) {
	reflect.Copy(r.slice(at, at+to-from), src.slice(from, to))
}

func (r Rows) slice(from, to int) reflect.Value {
	return r.all.Slice3(from*r.Size, to*r.Size, to*r.Size)
}

// CopyRow copies row i to dst, a slice of the same type and size.
func (r Rows) CopyRow(dst any, i int) error {
	to := reflect.ValueOf(dst)
	if to.Type() != r.all.Type() || to.Len() != r.Size {
		return fmt.Errorf("want %d elements of %v for each example, got %d of %v", to.Len(), to.Type().Elem(), r.Size, r.all.Type().Elem())
	}
	reflect.Copy(to, r.slice(i, i+1))
	return nil
}

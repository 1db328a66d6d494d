// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"sync"

	"github.com/kernelfold/kernelfold/internal/dense"
)

// args are the memory of several values, of one precision.
type args struct {
	views []dense.View
	f32   [][]float32
	f64   [][]float64
}

var lent = sync.Pool{New: func() any { return new(args) }}

// arguments borrows args for n values, all of them nil. Return them by back.
func arguments(n int) *args {
	a := lent.Get().(*args)
	if cap(a.views) < n {
		a.views, a.f32, a.f64 = make([]dense.View, n), make([][]float32, n), make([][]float64, n)
	}
	a.views, a.f32, a.f64 = a.views[:n], a.f32[:n], a.f64[:n]
	return a
}

func (a *args) set(i int, v dense.View) { a.views[i], a.f32[i], a.f64[i] = v, v.F32, v.F64 }

// back returns args, which must not be used afterwards and keep nothing alive.
func (a *args) back() {
	clear(a.views)
	clear(a.f32)
	clear(a.f64)
	lent.Put(a)
}

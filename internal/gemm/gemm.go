// SPDX-License-Identifier: Apache-2.0

// Package gemm multiplies matrices, and factors the small ones that the
// geometry of orthonormal frames needs.
//
// A Mat is a strided view, so a transpose costs nothing, and a formula for tall matrices can be used
// for the transposes of wide ones. Products run in float32 or float64, on factors packed into
// panels. They are deterministic: the bits are the same on one core and on many.
package gemm

import (
	"unsafe"

	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Mat is an R x C matrix whose element (i, j) is Data[i*RS + j*CS].
type Mat[T vec.Float] struct {
	Data   []T
	R, C   int
	RS, CS int
}

// Of views data as a row-major r x c matrix.
func Of[T vec.Float](data []T, r, c int) Mat[T] { return Mat[T]{data, r, c, c, 1} }

// T returns the transpose, a view of the same data.
func (m Mat[T]) T() Mat[T] { return Mat[T]{m.Data, m.C, m.R, m.CS, m.RS} }

// At returns element (i, j).
func (m Mat[T]) At(i, j int) T { return m.Data[i*m.RS+j*m.CS] }

// Sub returns the r x c block at (i, j), a view.
func (m Mat[T]) Sub(i, j, r, c int) Mat[T] {
	return Mat[T]{m.Data[i*m.RS+j*m.CS:], r, c, m.RS, m.CS}
}

// same reports whether both are the same view of the same data.
func (m Mat[T]) same(n Mat[T]) bool {
	return unsafe.SliceData(m.Data) == unsafe.SliceData(n.Data) && m.R == n.R && m.C == n.C && m.RS == n.RS && m.CS == n.CS
}

// Mul sets C = alpha A B + beta C. C must not overlap A or B. With beta = 0, C
// need not be initialised.
func Mul[T vec.Float](c Mat[T], alpha float64, a, b Mat[T], beta float64) {
	multiply(c, alpha, a, b, beta, general)
}

// MulUpper sets C = A U for an upper triangular U whose zeros are stored, in about half the time of
// Mul. It leaves out most terms below the diagonal of U, so NaN or Inf in a column of A need not
// reach earlier columns of C. C must not overlap A or U.
func MulUpper[T vec.Float](c, a, u Mat[T]) { multiply(c, 1, a, u, 0, upperB) }

func multiply[T vec.Float](c Mat[T], alpha float64, a, b Mat[T], beta float64, f form) {
	if a.C != b.R || c.R != a.R || c.C != b.C {
		panic("gemm: shapes do not match")
	}
	if c.R == 0 || c.C == 0 {
		return
	}
	if beta != 0 && beta != 1 {
		c.scale(T(beta))
	}
	p := product[T]{c: c, a: a, b: b, alpha: T(alpha), adding: beta != 0, form: f}
	switch {
	case a.C == 0:
		if beta == 0 {
			c.scale(0)
		}
	case c.CS == 1:
		p.spread()
	case c.RS == 1:
		t := p.transposed()
		t.spread()
	default:
		t := Of(scratch.Get[T](c.R*c.C), c.R, c.C)
		p.c, p.adding = t, false
		p.spread()
		for i := range c.R {
			for j, v := range t.Data[i*c.C:][:c.C] {
				if beta != 0 {
					v += c.At(i, j)
				}
				c.Data[i*c.RS+j*c.CS] = v
			}
		}
		scratch.Put(t.Data)
	}
}

// scale sets C = beta C. With beta = 0 it does not read C.
func (m Mat[T]) scale(beta T) {
	for i := range m.R {
		for j, e := 0, i*m.RS; j < m.C; j, e = j+1, e+m.CS {
			if beta == 0 {
				m.Data[e] = 0
			} else {
				m.Data[e] *= beta
			}
		}
	}
}

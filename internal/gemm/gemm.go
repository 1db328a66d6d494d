// SPDX-License-Identifier: Apache-2.0

// Package gemm multiplies matrices, and factors the small ones that the
// geometry of orthonormal frames needs.
//
// A Mat is a strided view, so that a transpose costs nothing and a formula for
// tall matrices serves wide ones. Products are packed into panels, in float32
// or float64, and are deterministic: the same to the bit on one core and on many.
package gemm

import (
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

// Mul sets C = alpha A B + beta C. C must not overlap A or B. With beta = 0, C
// need not be initialised.
func Mul[T vec.Float](c Mat[T], alpha float64, a, b Mat[T], beta float64) {
	if a.C != b.R || c.R != a.R || c.C != b.C {
		panic("gemm: shapes do not match")
	}
	if c.R == 0 || c.C == 0 {
		return
	}
	if beta != 0 && beta != 1 {
		c.scale(T(beta))
	}
	switch {
	case a.C == 0:
		if beta == 0 {
			c.scale(0)
		}
	case c.CS == 1:
		multiply(c, T(alpha), a, b, beta != 0, whole)
	case c.RS == 1:
		multiply(c.T(), T(alpha), b.T(), a.T(), beta != 0, whole)
	default:
		t := Of(scratch.Get[T](c.R*c.C), c.R, c.C)
		multiply(t, T(alpha), a, b, false, whole)
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

// scale sets C = beta C, and with beta = 0 does not look at what C was.
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

// Gram sets G = alpha A^T A, symmetric to the bit.
func Gram[T vec.Float](g Mat[T], alpha float64, a Mat[T]) {
	Mul(g, alpha, a.T(), a, 0)
	for i := range g.R {
		for j := range i {
			g.Data[j*g.RS+i*g.CS] = g.Data[i*g.RS+j*g.CS]
		}
	}
}

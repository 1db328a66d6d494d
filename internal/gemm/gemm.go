// SPDX-License-Identifier: Apache-2.0

// Package gemm multiplies matrices, and factors the small ones that the
// geometry of orthonormal frames needs.
//
// A Mat is a strided view, so that a transpose costs nothing and a formula for
// tall matrices serves wide ones. Products are packed into panels, in float32
// or float64, and are deterministic.
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

// Block sizes: a packed block of A (mc x kc) stays in the second-level cache,
// a panel of B (kc x nr) in the first.
const (
	mr, nr = 2, 4
	mc, nc = 96, 1024
	kc     = 256
	small  = 2048 // multiply-adds below which packing does not pay
)

// Mul sets C = alpha A B + beta C. C must not overlap A or B. With beta = 0, C
// need not be initialised.
func Mul[T vec.Float](c Mat[T], alpha float64, a, b Mat[T], beta float64) {
	if a.C != b.R || c.R != a.R || c.C != b.C {
		panic("gemm: shapes do not match")
	}
	if c.R*c.C*a.C <= small {
		naive(c, T(alpha), a, b, T(beta))
		return
	}
	for i := range c.R {
		for j, e := 0, i*c.RS; j < c.C; j, e = j+1, e+c.CS {
			if beta == 0 {
				c.Data[e] = 0
			} else if beta != 1 {
				c.Data[e] *= T(beta)
			}
		}
	}
	k := a.C
	panelsA, panelsB := (min(mc, c.R)+mr-1)/mr, (min(nc, c.C)+nr-1)/nr
	pa := scratch.Get[T](panelsA * mr * min(kc, k))
	pb := scratch.Get[T](panelsB * nr * min(kc, k))
	for p0 := 0; p0 < k; p0 += kc {
		kb := min(kc, k-p0)
		for j0 := 0; j0 < c.C; j0 += nc {
			nb := min(nc, c.C-j0)
			pack(pb, nr, b.Sub(p0, j0, kb, nb).T())
			for i0 := 0; i0 < c.R; i0 += mc {
				mb := min(mc, c.R-i0)
				pack(pa, mr, a.Sub(i0, p0, mb, kb))
				for j := 0; j < nb; j += nr {
					for i := 0; i < mb; i += mr {
						t := kernel(pa[i*kb:(i+mr)*kb], pb[j*kb:(j+nr)*kb])
						for y := range min(mr, mb-i) {
							e := (i0+i+y)*c.RS + (j0+j)*c.CS
							for x := range min(nr, nb-j) {
								c.Data[e] += T(alpha) * t[y*nr+x]
								e += c.CS
							}
						}
					}
				}
			}
		}
	}
	scratch.Put(pa)
	scratch.Put(pb)
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

// pack copies the rows of m, in panels of height h padded with zeros, so that
// the values a kernel takes next lie next to each other.
func pack[T vec.Float](dst []T, h int, m Mat[T]) {
	for i := 0; i < m.R; i += h {
		panel := dst[i*m.C:][:h*m.C]
		for y := range h {
			if i+y >= m.R {
				for p := range m.C {
					panel[p*h+y] = 0
				}
				continue
			}
			e := (i + y) * m.RS
			for p := range m.C {
				panel[p*h+y] = m.Data[e]
				e += m.CS
			}
		}
	}
}

// kernel returns the mr x nr product of a panel of A and a panel of B.
func kernel[T vec.Float](a, b []T) [mr * nr]T {
	var c00, c01, c02, c03, c10, c11, c12, c13 T
	for len(a) >= mr && len(b) >= nr {
		a0, a1 := a[0], a[1]
		b0, b1, b2, b3 := b[0], b[1], b[2], b[3]
		c00 += a0 * b0
		c01 += a0 * b1
		c02 += a0 * b2
		c03 += a0 * b3
		c10 += a1 * b0
		c11 += a1 * b1
		c12 += a1 * b2
		c13 += a1 * b3
		a, b = a[mr:], b[nr:]
	}
	return [mr * nr]T{c00, c01, c02, c03, c10, c11, c12, c13}
}

func naive[T vec.Float](c Mat[T], alpha T, a, b Mat[T], beta T) {
	for i := range c.R {
		for j := range c.C {
			var s T
			x, y := i*a.RS, j*b.CS
			for range a.C {
				s += a.Data[x] * b.Data[y]
				x += a.CS
				y += b.RS
			}
			e := i*c.RS + j*c.CS
			if beta == 0 {
				c.Data[e] = alpha * s
			} else {
				c.Data[e] = alpha*s + beta*c.Data[e]
			}
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

// Package lanes does linear algebra on many tiny matrices at once, such as the 3 x 3
// slices of a convolution.
//
// Each lane of a vector register belongs to another matrix, and a register holds the same element
// of all of them. No operation crosses lanes, so even the smallest matrices are fast. A line is one
// element of all lanes, 128 bytes: 32 matrices of float32 or 16 of float64. Load and Store convert
// from and to matrices that lie one after the other.
//
// Operations compute in T, except Dots, which sums in float64. A lane with values that are not
// finite does not affect the others.
package lanes

import (
	"math"
	"unsafe"

	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Most is the largest number of rows or columns for which lanes are faster.
const Most = 8

const (
	lineBytes = 128
	cacheLine = 64
	mostLanes = lineBytes / 4
)

// Width returns the number of lanes.
func Width[T vec.Float]() int {
	var x T
	return lineBytes / int(unsafe.Sizeof(x))
}

// Borrow returns a workspace of n lines, aligned for vectors, with arbitrary contents. Return it
// with scratch.Put(whole).
func Borrow[T vec.Float](n int) (lines, whole []T) {
	w := Width[T]()
	whole = scratch.Get[T]((n + 1) * w)
	skip := 0
	for uintptr(unsafe.Pointer(&whole[skip]))%cacheLine != 0 && skip < w {
		skip++
	}
	return whole[skip : skip+n*w : skip+n*w], whole
}

// Mat is an R x C matrix of lines: element (i, j) of all lanes is line i*RS + j*CS of Data.
type Mat[T vec.Float] struct {
	Data   []T
	R, C   int
	RS, CS int
}

// Of views lines as a row-major r x c matrix.
func Of[T vec.Float](lines []T, r, c int) Mat[T] { return Mat[T]{lines, r, c, c, 1} }

// T returns the transpose, a view of the same lines.
func (m Mat[T]) T() Mat[T] { return Mat[T]{m.Data, m.C, m.R, m.CS, m.RS} }

func (m Mat[T]) line(i, j int) []T {
	w := Width[T]()
	return m.Data[(i*m.RS+j*m.CS)*w:][:w:w]
}

func (m Mat[T]) check() {
	if m.R < 1 || m.C < 1 || len(m.Data) < ((m.R-1)*m.RS+(m.C-1)*m.CS+1)*Width[T]() {
		panic("lanes: lines are missing")
	}
}

// Load writes the matrices of n elements that lie one after the other in src to the lanes of n
// lines. If there are fewer matrices than lanes, the remaining lanes get the last matrix.
func Load[T vec.Float](dst, src []T, n int) {
	w, count := Width[T](), len(src)/n
	dst = dst[:n*w]
	if count == w {
		transpose(dst, src, w, n)
		return
	}
	for l := range w {
		point := src[min(l, count-1)*n:][:n]
		for e, v := range point {
			dst[e*w+l] = v
		}
	}
}

// Store writes the first lanes of n lines to the matrices in dst, of which there are at most Width.
func Store[T vec.Float](dst, src []T, n int) {
	w, count := Width[T](), len(dst)/n
	src = src[:n*w]
	if count == w {
		transpose(dst, src, n, w)
		return
	}
	for l := range count {
		Lane(dst[l*n:(l+1)*n], src, l)
	}
}

// Lane writes the elements of one lane to dst.
func Lane[T vec.Float](dst, src []T, lane int) {
	w := Width[T]()
	for e := range dst {
		dst[e] = src[e*w+lane]
	}
}

// SetLane writes src to one lane of dst.
func SetLane[T vec.Float](dst, src []T, lane int) {
	w := Width[T]()
	for e, v := range src {
		dst[e*w+lane] = v
	}
}

// Mul sets C = alpha A B + beta C, where C has at most Most columns. C must not overlap A or B. With
// beta = 0, C need not be initialised.
func Mul[T vec.Float](c Mat[T], alpha float64, a, b Mat[T], beta float64) {
	if a.C != b.R || c.R != a.R || c.C != b.C || c.C > Most {
		panic("lanes: shapes do not match")
	}
	a.check()
	b.check()
	c.check()
	if !productKernel(c.Data, a.Data, b.Data, c.R, c.C, a.C, c.RS, c.CS, a.RS, a.CS, b.RS, b.CS, T(alpha), T(beta)) {
		productPortable(c, T(alpha), a, b, T(beta))
	}
}

// Symmetrize sets S = (S + S^T) / 2, S of q x q lines.
func Symmetrize[T vec.Float](s []T, q int) {
	Of(s, q, q).check()
	if !symmetrizeKernel(s, q, 0.5) {
		symmetrizePortable(s, q)
	}
}

// LeastPivot is a lower bound of the pivots of y^T y, relative to their diagonal elements, for
// which one pass of Cholesky-QR makes y orthonormal to rounding: its error is eps over that. For
// y = x + v, with x orthonormal and v tangent and of norm below 1, they are all above 1/2.
const LeastPivot = 0.25

// Cholesky replaces the lower triangle of the symmetric q x q matrices G by L, G = L L^T, with
// 1/l_ii in place of l_ii. It returns a bit mask of the lanes in which every pivot l_ii^2 is above
// least g_ii and the trace is below limit. The contents of all other lanes are undefined.
func Cholesky[T vec.Float](g []T, q int, least, limit float64) uint32 {
	Of(g, q, q).check()
	if good, done := choleskyKernel(g, q, T(least), 1, T(limit)); done {
		return good
	}
	return choleskyPortable(g, q, T(least), T(limit))
}

// Solve sets Y = Y L^-T, where l is the result of Cholesky.
func Solve[T vec.Float](y Mat[T], l []T) {
	y.check()
	Of(l, y.C, y.C).check()
	if !solveKernel(y.Data, l, y.R, y.C, y.RS, y.CS) {
		solvePortable(y, l)
	}
}

// Advance sets Y = X + t V, where t is a line that holds one factor for each lane. Y may be X or V.
func Advance[T vec.Float](y, x, t, v []T) {
	if w := Width[T](); len(y) == 0 || len(y)%w != 0 || len(x) != len(y) || len(v) != len(y) || len(t) != w {
		panic("lanes: shapes do not match")
	}
	if !advanceKernel(y, x, t, v, len(y)/len(t)) {
		advancePortable(y, x, t, v)
	}
}

// Dots sets out, with one number per lane, to the sum of the products of the lines of u and v.
func Dots[T vec.Float](out []float64, u, v []T) {
	if w := Width[T](); len(u) == 0 || len(u)%w != 0 || len(u) != len(v) || len(out) != w {
		panic("lanes: shapes do not match")
	}
	if !dotsKernel(out, u, v, len(u)/len(out)) {
		dotsPortable(out, u, v)
	}
}

// transpose sets dst to the transpose of the row-major rows x cols matrix src.
func transpose[T vec.Float](dst, src []T, rows, cols int) {
	if !transposeKernel(dst, src, rows, cols) {
		transposePortable(dst, src, rows, cols)
	}
}

// The functions below specify the assembly.

func transposePortable[T vec.Float](dst, src []T, rows, cols int) {
	for i := range rows {
		for j, v := range src[i*cols:][:cols] {
			dst[j*rows+i] = v
		}
	}
}

func productPortable[T vec.Float](c Mat[T], alpha T, a, b Mat[T], beta T) {
	var buffer [mostLanes]T
	sum := buffer[:Width[T]()]
	for i := range c.R {
		for j := range c.C {
			clear(sum)
			for k := range a.C {
				x, y := a.line(i, k)[:len(sum)], b.line(k, j)[:len(sum)]
				for l := range sum {
					sum[l] += x[l] * y[l]
				}
			}
			to := c.line(i, j)[:len(sum)]
			for l, s := range sum {
				if beta == 0 {
					to[l] = alpha * s
				} else {
					to[l] = alpha*s + beta*to[l]
				}
			}
		}
	}
}

func symmetrizePortable[T vec.Float](s []T, q int) {
	m := Of(s, q, q)
	for i := range q {
		for j := range i {
			x, y := m.line(i, j), m.line(j, i)
			for l := range x {
				v := (x[l] + y[l]) / 2
				x[l], y[l] = v, v
			}
		}
	}
}

func choleskyPortable[T vec.Float](g []T, q int, tiny, limit T) (good uint32) {
	m := Of(g, q, q)
	for l := range Width[T]() {
		var trace T
		ok := true
		for i := range q {
			for j := range i {
				s := m.line(i, j)[l]
				for k := range j {
					s -= m.line(i, k)[l] * m.line(j, k)[l]
				}
				m.line(i, j)[l] = s * m.line(j, j)[l]
			}
			whole := m.line(i, i)[l]
			d := whole
			for k := range i {
				v := m.line(i, k)[l]
				d -= v * v
			}
			trace += whole
			ok = ok && d > tiny*whole
			m.line(i, i)[l] = T(1 / math.Sqrt(float64(d)))
		}
		if ok && trace < limit {
			good |= 1 << l
		}
	}
	return good
}

func solvePortable[T vec.Float](y Mat[T], l []T) {
	m := Of(l, y.C, y.C)
	for i := range y.R {
		for j := range y.C {
			s := y.line(i, j)
			for k := range j {
				a, b := y.line(i, k)[:len(s)], m.line(j, k)[:len(s)]
				for l := range s {
					s[l] -= a[l] * b[l]
				}
			}
			for l, v := range m.line(j, j)[:len(s)] {
				s[l] *= v
			}
		}
	}
}

func advancePortable[T vec.Float](y, x, t, v []T) {
	for e := 0; e < len(y); e += len(t) {
		to, from, way := y[e:][:len(t)], x[e:][:len(t)], v[e:][:len(t)]
		for l, f := range t {
			to[l] = from[l] + f*way[l]
		}
	}
}

func dotsPortable[T vec.Float](out []float64, u, v []T) {
	clear(out)
	for e := 0; e < len(u); e += len(out) {
		a, b := u[e:][:len(out)], v[e:][:len(out)]
		for l := range out {
			out[l] += float64(a[l]) * float64(b[l])
		}
	}
}

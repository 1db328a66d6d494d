// SPDX-License-Identifier: Apache-2.0

package gemm

import (
	"math"

	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// leaf is the side of the squares on the diagonal that are factored and inverted
// element by element, in float64. All the rest is products.
const leaf = 16

// Cholesky replaces the lower triangle of the symmetric row-major n x n matrix g
// by L, g = L L^T. It reports whether g is positive definite to working
// precision; if not, the triangle is left half done.
//
// It takes a square on the diagonal at a time, multiplies what is below with its
// inverse, and subtracts what these columns make up of the rest.
func Cholesky[T vec.Float](g []T, n int) bool {
	if n == 0 {
		return true
	}
	tiny := float64(n) * vec.Eps[T]()
	work := scratch.Get[T](n + leaf*leaf + n*leaf)
	defer scratch.Put(work)
	whole, u, below := work[:n], work[n:][:leaf*leaf], work[n+leaf*leaf:]
	for i := range n {
		whole[i] = g[i*n+i]
	}
	all := Of(g, n, n)
	for k := 0; k < n; k += leaf {
		m := min(leaf, n-k)
		if !factor(all.Sub(k, k, m, m), whole[k:], tiny) {
			return false
		}
		rest := n - k - m
		if rest == 0 {
			break
		}
		inverse := Of(u, m, m)
		invert(inverse, all.Sub(k, k, m, m))
		b := all.Sub(k+m, k, rest, m)
		l := Of(below, rest, m)
		MulUpper(l, b, inverse)
		for i := range rest {
			copy(b.Data[i*n:][:m], l.Data[i*m:][:m])
		}
		multiply(all.Sub(k+m, k+m, rest, rest), -1, l, l.T(), 1, lowerC)
	}
	return true
}

// factor is Cholesky for a square up to leaf. whole is what was on the diagonal
// before anything was subtracted.
func factor[T vec.Float](g Mat[T], whole []T, tiny float64) bool {
	var v [leaf * leaf]float64 // by columns, so that the inner loop has no sum to wait for
	n := g.R
	for i := range n {
		for j, x := range g.Data[i*g.RS:][:i+1] {
			v[j*leaf+i] = float64(x)
		}
	}
	for j := range n {
		vj := v[j*leaf+j:][:n-j]
		d := vj[0]
		if !(d > tiny*float64(whole[j])) || math.IsInf(d, 0) {
			return false
		}
		d = math.Sqrt(d)
		vj[0] = d
		for i := range vj[1:] {
			vj[i+1] /= d
		}
		for i := 1; i < len(vj); i++ {
			f, x := vj[i], vj[i:]
			vi := v[(j+i)*leaf+j+i:][:len(x)]
			for k := range vi {
				vi[k] -= f * x[k]
			}
		}
	}
	for i := range n {
		row := g.Data[i*g.RS:][:i+1]
		for j := range row {
			row[j] = T(v[j*leaf+i])
		}
	}
	return true
}

// InverseTransposed sets u, upper triangular and row-major with a zero lower
// triangle, to L^-T, where the lower triangle of l is L.
func InverseTransposed[T vec.Float](u, l []T, n int) {
	if n == 0 {
		return
	}
	work := scratch.Get[T](n * n / 4)
	inverseTransposed(Of(u, n, n), Of(l, n, n), work)
	scratch.Put(work)
}

// inverseTransposed halves L:
//
//	[ P 0 ]^-T   [ P^-T  -P^-T Q^T R^-T ]
//	[ Q R ]    = [ 0      R^-T          ]
func inverseTransposed[T vec.Float](u, l Mat[T], work []T) {
	n := l.R
	if n <= leaf {
		invert(u, l)
		return
	}
	p := (n/2 + leaf - 1) / leaf * leaf
	r := n - p
	inverseTransposed(u.Sub(0, 0, p, p), l.Sub(0, 0, p, p), work)
	inverseTransposed(u.Sub(p, p, r, r), l.Sub(p, p, r, r), work)
	for i := p; i < n; i++ {
		clear(u.Data[i*u.RS:][:p])
	}
	t := Of(work, p, r)
	MulUpper(t, l.Sub(p, 0, r, p).T(), u.Sub(p, p, r, r))
	Mul(u.Sub(0, p, p, r), -1, u.Sub(0, 0, p, p), t, 0)
}

// invert is inverseTransposed for a square up to leaf.
func invert[T vec.Float](u, l Mat[T]) {
	var v [leaf * leaf]float64 // L^-1, by rows
	n := l.R
	for i := range n {
		row := l.Data[i*l.RS:][:i+1]
		d := 1 / float64(row[i])
		vi := v[i*leaf:][:i+1]
		for k := range i {
			f := -d * float64(row[k])
			for j, x := range v[k*leaf:][:k+1] {
				vi[j] += f * x
			}
		}
		vi[i] = d
	}
	for j := range n {
		row := u.Data[j*u.RS:][:n]
		clear(row[:j])
		for i := j; i < n; i++ {
			row[i] = T(v[i*leaf+j])
		}
	}
}

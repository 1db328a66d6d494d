// SPDX-License-Identifier: Apache-2.0

package gemm

import (
	"math"

	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// leaf is the size of the diagonal blocks that are factored and inverted element by element. All
// other blocks are computed by products.
const leaf = 16

// Cholesky replaces the lower triangle of the symmetric row-major n x n matrix g
// by L, g = L L^T. It reports whether g is positive definite to working
// precision; if not, the contents of the triangle are undefined.
func Cholesky[T vec.Float](g []T, n int) bool {
	u := scratch.Get[T](n * n)
	defer scratch.Put(u)
	return CholeskyInverse(u, g, n)
}

// CholeskyInverse does what Cholesky does and also sets u to L^-T, row-major and upper triangular
// with a lower triangle of zeros.
func CholeskyInverse[T vec.Float](u, g []T, n int) bool {
	if n == 0 {
		return true
	}
	work := scratch.Get[T](n + n*n/4)
	defer scratch.Put(work)
	f := factors[T]{whole: work[:n], work: work[n:], tiny: float64(n) * vec.Eps[T]()}
	for i := range n {
		f.whole[i] = g[i*n+i]
	}
	return f.factor(Of(u, n, n), Of(g, n, n), 0)
}

// InverseTransposed sets u to L^-T, row-major and upper triangular with a lower triangle of zeros,
// where L is the lower triangle of l.
func InverseTransposed[T vec.Float](u, l []T, n int) {
	if n == 0 {
		return
	}
	f := factors[T]{work: scratch.Get[T](n * n / 4)}
	f.invert(Of(u, n, n), Of(l, n, n))
	scratch.Put(f.work)
}

// factors is the workspace of a factorisation. The factorisation is recursive, by halves:
//
//	    [ P 0 ]          [ P^-T  -P^-T Q^T R^-T ]
//	L = [ Q R ]   L^-T = [ 0      R^-T          ]
type factors[T vec.Float] struct {
	whole []T // the diagonal of G before anything was subtracted
	work  []T // as large as a quarter of the matrix
	tiny  float64
}

func half(n int) int { return (n/2 + leaf - 1) / leaf * leaf }

// factor is CholeskyInverse for a diagonal block that begins at row i of G.
func (f *factors[T]) factor(u, g Mat[T], i int) bool {
	n := g.R
	if n <= leaf {
		return f.leaf(u, g, i)
	}
	p := half(n)
	r := n - p
	if !f.factor(u.Sub(0, 0, p, p), g.Sub(0, 0, p, p), i) {
		return false
	}
	q, t := g.Sub(p, 0, r, p), Of(f.work, r, p)
	MulUpper(t, q, u.Sub(0, 0, p, p))
	for k := range r {
		copy(q.Data[k*q.RS:][:p], t.Data[k*p:][:p])
	}
	multiply(g.Sub(p, p, r, r), -1, t, t.T(), 1, lowerC)
	if !f.factor(u.Sub(p, p, r, r), g.Sub(p, p, r, r), i+p) {
		return false
	}
	f.corner(u, g, p)
	return true
}

// invert is InverseTransposed for a diagonal block.
func (f *factors[T]) invert(u, l Mat[T]) {
	n := l.R
	if n <= leaf {
		invert(u, l)
		return
	}
	p := half(n)
	r := n - p
	f.invert(u.Sub(0, 0, p, p), l.Sub(0, 0, p, p))
	f.invert(u.Sub(p, p, r, r), l.Sub(p, p, r, r))
	f.corner(u, l, p)
}

// corner completes an inverse whose two diagonal blocks are known.
func (f *factors[T]) corner(u, l Mat[T], p int) {
	r := l.R - p
	for i := p; i < l.R; i++ {
		clear(u.Data[i*u.RS:][:p])
	}
	t := Of(f.work, p, r)
	MulUpper(t, l.Sub(p, 0, r, p).T(), u.Sub(p, p, r, r))
	Mul(u.Sub(0, p, p, r), -1, u.Sub(0, 0, p, p), t, 0)
}

// leaf is factor for a block of at most leaf rows.
func (f *factors[T]) leaf(u, g Mat[T], i int) bool {
	var l, v [leaf * leaf]T
	var pivots [leaf]T
	n := g.R
	transposeLeaf(Of(l[:], n, leaf), g)
	for j := range n {
		v[j*leaf+j] = 1
	}
	eliminate(&l, &v, &pivots, n)
	for j, d := range pivots[:n] {
		if d := float64(d); !(d > f.tiny*float64(f.whole[i+j])) || math.IsInf(d, 0) {
			return false
		}
	}
	for i := range n {
		row := g.Data[i*g.RS:][:i+1]
		for j := range row {
			row[j] = l[j*leaf+i]
		}
	}
	transposeLeaf(u, Of(v[:], n, leaf))
	return true
}

// transposeLeaf sets A, a square block of at most leaf rows, to B^T.
func transposeLeaf[T vec.Float](a, b Mat[T]) {
	n := a.R
	if n == leaf { // pack works in squares that divide leaf, so it writes nothing outside A
		pack(a.Data, a.RS, b.T(), 1)
		return
	}
	for i := range n {
		for j, x := range b.Data[i*b.RS:][:n] {
			a.Data[j*a.RS+i] = x
		}
	}
}

// invert is InverseTransposed for a block of at most leaf rows.
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

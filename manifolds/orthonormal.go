// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/lapack"
	lapackgo "gonum.org/v1/gonum/lapack/gonum"

	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// This file holds the ways to make the columns of a tall matrix orthonormal.
// Each returns an empty string, or the reason why it cannot.

// choleskyQR sets dst to r times the Q of y = Q R, by the Cholesky factor of the
// Gram matrix: y^T y = R^T R, Q = y R^-1. The error of one pass is eps times the
// squared condition number of y, which for y = x + v, v tangent, is at most
// 1 + |v|^2 and is read off the trace. y is overwritten.
func (m stiefel[T]) choleskyQR(dst, y []T, b block[T]) string {
	q := min(b.n, b.p)
	g, u := scratch.Get[T](q*q), scratch.Get[T](q*q)
	defer scratch.Put(g)
	defer scratch.Put(u)
	for pass := 0; ; pass++ {
		gemm.Gram(gemm.Of(g, q, q), 1/(m.r()*m.r()), b.tall(y))
		excess := 0.0 // |v|^2 / r^2
		for i := range q {
			excess += float64(g[i*q+i]) - 1
		}
		if !(excess < 0.01/vec.Eps[T]()) || !gemm.Cholesky(g, q) {
			return householder(dst, y, b, m.r())
		}
		gemm.InverseTransposed(u, g, q)
		gemm.MulUpper(b.tall(dst), b.tall(y), gemm.Of(u, q, q))
		if excess < 1 {
			return ""
		}
		copy(y, dst)
	}
}

// newtonSchulz sets dst to r times the polar factor of y = x + v, none of whose singular
// values is below r. y is overwritten.
func (m stiefel[T]) newtonSchulz(dst, y []T, b block[T]) string {
	if m.iterate(dst, y, b, 1, 10) {
		return ""
	}
	return polar(dst, y, b, m.r())
}

// iterate sets dst to r times the polar factor of y by y <- y (3 I - y^T y) / 2 (r = 1),
// which converges where the singular values of y lie below sqrt 3, until the defect
// E = y^T y - I is small enough for the series y (I + E)^(-1/2). It reports false, with
// y as it was, if |E| exceeds limit, and, with y lost, if that many iterations do not do.
func (m stiefel[T]) iterate(dst, y []T, b block[T], limit float64, iterations int) bool {
	n, q := max(b.n, b.p), min(b.n, b.p)
	g := scratch.Get[T](q * q)
	defer scratch.Put(g)
	from, to := y, dst
	for range iterations {
		e := m.defect(g, b.tall(from), q)
		if !(e <= limit) {
			return false
		}
		degree := seriesDegree(e, vec.Eps[T]()*math.Sqrt(float64(q)), min(6, 1+n/q))
		series(g, q, max(degree, 1))
		gemm.Mul(b.tall(to), 1, b.tall(from), gemm.Of(g, q, q), 0)
		if degree > 0 {
			if &to[0] != &dst[0] {
				copy(dst, to)
			}
			return true
		}
		from, to = to, from
	}
	return false
}

// seriesDegree returns how many terms after the first (I + E)^(-1/2) needs, |E| = e, for
// the defect of y (I + E)^(-1/2) to be below tol, or 0 if that is more than most.
func seriesDegree(e, tol float64, most int) int {
	rest := e * e // of the first degree; each coefficient is below 1/2
	for d := 1; d <= most; d++ {
		if rest < tol*(1-e) {
			return d
		}
		rest *= e
	}
	return 0
}

// series replaces the symmetric e by the terms up to the given degree, at least 1, of
// (I + E)^(-1/2) = I - E/2 + 3/8 E^2 - 5/16 E^3 + ...
func series[T vec.Float](e []T, q, degree int) {
	c := [7]float64{1}
	for k := 1; k <= degree; k++ {
		c[k] = -c[k-1] * float64(2*k-1) / float64(2*k)
	}
	diagonal := func(p []T, v float64) {
		for i := range q {
			p[i*q+i] += T(v)
		}
	}
	if degree == 1 {
		vec.Scale(e, c[1], e)
		diagonal(e, c[0])
		return
	}
	p, t := scratch.Get[T](q*q), scratch.Get[T](q*q)
	vec.Scale(p, c[degree], e)
	diagonal(p, c[degree-1])
	for k := degree - 2; k >= 0; k-- {
		gemm.Mul(gemm.Of(t, q, q), 1, gemm.Of(e, q, q), gemm.Of(p, q, q), 0)
		diagonal(t, c[k])
		p, t = t, p
	}
	copy(e, p)
	scratch.Put(p)
	scratch.Put(t)
}

var lapack64 lapackgo.Implementation

// householder sets dst to r times the Q of y = Q R, R with positive diagonal,
// by Householder reflections in float64.
func householder[T vec.Float](dst, y []T, b block[T], r float64) string {
	n, q := max(b.n, b.p), min(b.n, b.p)
	a, work := scratch.Get[float64](n*q), scratch.Get[float64](2*q)
	defer scratch.Put(a)
	defer scratch.Put(work)
	scale, reason := widen(a, y, b)
	if reason != "" {
		return reason
	}
	tau, work := work[:q], work[q:]
	lapack64.Dgeqr2(n, q, a, q, tau, work)
	signs := scratch.Get[float64](q)
	defer scratch.Put(signs)
	largest := 0.0
	for j := range q {
		signs[j] = math.Copysign(r, a[j*q+j])
		largest = max(largest, math.Abs(a[j*q+j]))
	}
	for j := range q {
		if d := math.Abs(a[j*q+j]); !(d > float64(n)*0x1p-52*largest) {
			return fmt.Sprintf("want full rank, got a diagonal of R from %.3g to %.3g", scale*d, scale*largest)
		}
	}
	lapack64.Dorg2r(n, q, q, a, q, tau, work)
	d := b.tall(dst)
	for i := range n {
		for j := range q {
			d.Data[i*d.RS+j*d.CS] = T(signs[j] * a[i*q+j])
		}
	}
	return ""
}

// singular is the thin singular value decomposition of a tall x in float64:
// x / scale = U S W^T.
type singular struct {
	n, q   int
	scale  float64
	u, wt  []float64 // n x q, q x q
	values []float64 // descending
}

// decompose fails where x has not full rank. What it returns is to be freed.
func decompose[T vec.Float](x []T, b block[T]) (d singular, reason string) {
	n, q := max(b.n, b.p), min(b.n, b.p)
	a := scratch.Get[float64](n * q)
	defer scratch.Put(a)
	scale, reason := widen(a, x, b)
	if reason != "" {
		return d, reason
	}
	lwork := 8*q + n + 2*q*q // room for the path by QR of tall matrices
	work := scratch.Get[float64](lwork)
	defer scratch.Put(work)
	d = singular{n, q, scale, scratch.Get[float64](n * q), scratch.Get[float64](q * q), scratch.Get[float64](q)}
	if !lapack64.Dgesvd(lapack.SVDStore, lapack.SVDStore, n, q, a, q, d.values, d.u, q, d.wt, q, work, lwork) {
		d.free()
		return d, "want a matrix whose singular values can be computed"
	}
	if !(d.values[q-1] > float64(n)*0x1p-52*d.values[0]) {
		d.free()
		return d, fmt.Sprintf("want full rank, got singular values from %.3g to %.3g", scale*d.values[q-1], scale*d.values[0])
	}
	return d, ""
}

func (d singular) free() {
	scratch.Put(d.u)
	scratch.Put(d.wt)
	scratch.Put(d.values)
}

// polar sets dst to r times the polar factor of x = U S W^T, which is U W^T, in float64:
// by Newton-Schulz iteration, or by the singular value decomposition where that fails.
func polar[T vec.Float](dst, x []T, b block[T], r float64) string {
	n, q := max(b.n, b.p), min(b.n, b.p)
	a, y := scratch.Get[float64](n*q), scratch.Get[float64](n*q)
	defer scratch.Put(a)
	defer scratch.Put(y)
	if _, reason := widen(a, x, b); reason != "" {
		return reason
	}
	if tallPolar(y, a, n, q, vec.Eps[T]()) || squarePolar(y, a, n, q) {
		vec.Scale(y, r, y)
		narrow(b.tall(dst), y)
		return ""
	}
	d, reason := decompose(x, b)
	if reason != "" {
		return reason
	}
	gemm.Mul(gemm.Of(a, n, q), r, gemm.Of(d.u, n, q), gemm.Of(d.wt, q, q), 0)
	narrow(b.tall(dst), a)
	d.free()
	return ""
}

// tallPolar sets y to the polar factor of a far taller than wide a, which is Q times that
// of R where a = Q R, by Cholesky-QR: a first pass, whose defect grows as the square of the
// condition number, and a second that mends it. It reports false, with a as it was,
// where the defect does not vanish in a precision of eps.
func tallPolar(y, a []float64, n, q int, eps float64) bool {
	if n < 2*q {
		return false
	}
	square := func() []float64 { return scratch.Get[float64](q * q) }
	g, h, u, r := square(), square(), square(), square()
	defer scratch.Put(g)
	defer scratch.Put(h)
	defer scratch.Put(u)
	defer scratch.Put(r)
	of := func(x []float64) gemm.Mat[float64] { return gemm.Of(x, q, q) }

	gemm.Gram(of(g), 1, gemm.Of(a, n, q))
	if !gemm.Cholesky(g, q) {
		return false
	}
	gemm.InverseTransposed(u, g, q)
	gemm.MulUpper(gemm.Of(y, n, q), gemm.Of(a, n, q), of(u))
	var one stiefel[float64]
	if e := one.defect(h, gemm.Of(y, n, q), q); !(e < eps*math.Sqrt(float64(n*q))/8) {
		return false
	}
	for i := range q {
		h[i*q+i]++
	}
	if !gemm.Cholesky(h, q) {
		return false
	}
	gemm.InverseTransposed(u, h, q)
	clearUpper(g, q)
	clearUpper(h, q)
	gemm.Mul(of(r), 1, of(h).T(), of(g).T(), 0)
	if !squarePolar(h, r, q, q) {
		return false
	}
	gemm.Mul(of(g), 1, of(u), of(h), 0)
	copy(a, y)
	gemm.Mul(gemm.Of(y, n, q), 1, gemm.Of(a, n, q), of(g), 0)
	return true
}

func clearUpper(l []float64, q int) {
	for i := range q {
		clear(l[i*q+i+1 : (i+1)*q])
	}
}

// squarePolar sets y to the polar factor of the n x q matrix a by Newton-Schulz iteration
// from a over an estimate of its largest singular value. It is stable (Nakatsukasa, Higham
// 2012), and takes log_1.5 of the condition number of a and five iterations more. It
// reports false where that is above about a million. a is overwritten.
func squarePolar(y, a []float64, n, q int) bool {
	g, v := scratch.Get[float64](q*q), scratch.Get[float64](2*q)
	defer scratch.Put(g)
	defer scratch.Put(v)
	gemm.Gram(gemm.Of(g, q, q), 1, gemm.Of(a, n, q))
	vec.Scale(a, 1/math.Sqrt(largestEigenvalue(g, v, q)), a)
	if !gemm.Cholesky(g, q) {
		return false
	}
	var one stiefel[float64]
	return one.iterate(y, a, block[float64]{k: 1, n: n, p: q}, 2*math.Sqrt(float64(q)), 40)
}

// largestEigenvalue estimates that of the symmetric positive semidefinite g from below, by
// ten steps of power iteration. v is work space of length 2 q.
func largestEigenvalue(g, v []float64, q int) float64 {
	v, w := v[:q], v[q:]
	for i := range v { // of no direction that a matrix might have
		v[i] = 1 + math.Sin(float64(i*i))
	}
	size := 0.0
	for range 10 {
		vec.Scale(v, 1/vec.Norm(v), v)
		for i := range w {
			w[i] = vec.Dot(g[i*q:(i+1)*q], v)
		}
		size = vec.Norm(w)
		v, w = w, v
	}
	return size
}

// polarAdjoint sets dst to the adjoint, applied to g, of the derivative of r
// times the polar factor at v = U S W^T: with M = U^T g W it is
// r (U K W^T + (I - U U^T) g W S^-1 W^T), K_ij = (M_ij - M_ji) / (s_i + s_j),
// which is r (U (K - M S^-1) + g W S^-1) W^T.
func polarAdjoint[T vec.Float](dst, v, g []T, b block[T], r float64) string {
	d, reason := decompose(v, b)
	if reason != "" {
		return reason
	}
	n, q, s := d.n, d.q, d.values
	a, gw := scratch.Get[float64](n*q), scratch.Get[float64](n*q)
	m, k := scratch.Get[float64](q*q), scratch.Get[float64](q*q)
	u, w := gemm.Of(d.u, n, q), gemm.Of(d.wt, q, q).T()
	t := b.tall(g)
	for i := range n {
		for j := range q {
			a[i*q+j] = float64(t.At(i, j))
		}
	}
	gemm.Mul(gemm.Of(gw, n, q), 1, gemm.Of(a, n, q), w, 0)
	gemm.Mul(gemm.Of(m, q, q), 1, u.T(), gemm.Of(gw, n, q), 0)
	for i := range q {
		for j := range q {
			k[i*q+j] = (m[i*q+j] - m[j*q+i]) / (s[i] + s[j])
			if n > q {
				k[i*q+j] -= m[i*q+j] / s[j]
			}
		}
	}
	for i := range n {
		for j := range q {
			gw[i*q+j] /= s[j]
			if n == q { // I - U U^T is 0
				gw[i*q+j] = 0
			}
		}
	}
	gemm.Mul(gemm.Of(gw, n, q), 1, u, gemm.Of(k, q, q), 1)
	gemm.Mul(gemm.Of(a, n, q), r/d.scale, gemm.Of(gw, n, q), w.T(), 0)
	narrow(b.tall(dst), a)
	for _, x := range [][]float64{a, gw, m, k} {
		scratch.Put(x)
	}
	d.free()
	return ""
}

// narrow copies the row-major a to d.
func narrow[T vec.Float](d gemm.Mat[T], a []float64) {
	for i := range d.R {
		for j := range d.C {
			d.Data[i*d.RS+j*d.CS] = T(a[i*d.C+j])
		}
	}
}

// widen copies the tall view of x to the row-major a, divided by its largest
// element, which it returns, so that no square overflows or vanishes.
func widen[T vec.Float](a []float64, x []T, b block[T]) (largest float64, reason string) {
	largest = vec.MaxAbs(x)
	if !(largest > 0) || math.IsInf(largest, 0) || math.IsInf(1/largest, 0) {
		return 0, fmt.Sprintf("want a finite matrix of full rank, got largest element %g", largest)
	}
	t := b.tall(x)
	for i := range t.R {
		for j := range t.C {
			a[i*t.C+j] = float64(t.At(i, j)) / largest
		}
	}
	return largest, ""
}

// exp: [x w] exp(block) [I; 0], times exp(-A) in the Euclidean metric, and one
// Newton-Schulz step against rounding.
func (m stiefel[T]) exp(dst, x, v block[T]) error {
	q := min(x.n, x.p)
	s := 1 / (m.r() * m.r())
	a, g := scratch.Get[T](q*q), scratch.Get[T](q*q)
	w, y := scratch.Get[T](x.n*x.p), scratch.Get[T](x.n*x.p)
	both, e := scratch.Get[float64](4*q*q), scratch.Get[float64](4*q*q)
	work := scratch.Get[float64](8 * q * q)
	defer scratch.Put(a)
	defer scratch.Put(g)
	defer scratch.Put(w)
	defer scratch.Put(y)
	defer scratch.Put(both)
	defer scratch.Put(e)
	defer scratch.Put(work)
	half := 1.0
	if m.Metric == CanonicalMetric {
		half = 0.5
	}
	for i := range x.k {
		xi := x.tall(x.at(i))
		copy(w, v.at(i))
		gemm.Mul(gemm.Of(a, q, q), s, xi.T(), x.tall(w), 0) // A = x^T v
		for j := range q {                                  // skew but for rounding
			for k := range j + 1 {
				c := (a[j*q+k] - a[k*q+j]) / 2
				a[j*q+k], a[k*q+j] = c, -c
			}
		}
		if m.Metric == CanonicalMetric { // w = v - x A/2
			gemm.Mul(x.tall(w), -0.5, xi, gemm.Of(a, q, q), 1)
		}
		gemm.Gram(gemm.Of(g, q, q), s, x.tall(w))
		if n := vec.Norm(g); !(n <= 1e8) {
			return &PointError{"Stiefel", "exp", i, fmt.Sprintf("want a step of norm at most 10^4 radii, got %.3g", math.Sqrt(n))}
		}
		for j := range q {
			for k := range q {
				ajk := half * float64(a[j*q+k])
				both[j*2*q+k] = ajk
				both[(q+j)*2*q+q+k] = ajk
				both[j*2*q+q+k] = -float64(g[j*q+k])
				both[(q+j)*2*q+k] = 0
			}
			both[(q+j)*2*q+j] = 1
		}
		gemm.Exp(e, both, work, 2*q)
		left := gemm.Of(e, 2*q, 2*q).Sub(0, 0, 2*q, q)
		if m.Metric == EuclideanMetric {
			for j, c := range a {
				both[j] = -float64(c)
			}
			f := both[q*q : 2*q*q]
			gemm.Exp(f, both[:q*q], work, q)
			gemm.Mul(gemm.Of(both[2*q*q:], 2*q, q), 1, left, gemm.Of(f, q, q), 0)
			left = gemm.Of(both[2*q*q:], 2*q, q)
		}
		for j := range q {
			for k := range q {
				a[j*q+k], g[j*q+k] = T(left.At(j, k)), T(left.At(q+j, k))
			}
		}
		gemm.Mul(x.tall(y), 1, xi, gemm.Of(a, q, q), 0)
		gemm.Mul(x.tall(y), 1, x.tall(w), gemm.Of(g, q, q), 1)
		if reason := m.newtonSchulz(dst.at(i), y, x); reason != "" {
			return &PointError{"Stiefel", "exp", i, reason}
		}
	}
	return nil
}

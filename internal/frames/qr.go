// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"fmt"
	"math"

	lapackgo "gonum.org/v1/gonum/lapack/gonum"

	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

var lapack64 lapackgo.Implementation

// rankTolerance returns the ratio of the smallest to the largest pivot, or singular value, up to
// which a float64 matrix of n rows counts as rank-deficient. The rounding errors of a column of n
// elements add up to about sqrt(n) eps; the 4 is a safety margin.
func rankTolerance(n int) float64 { return 4 * math.Sqrt(float64(n)) * 0x1p-52 }

// CholeskyQR sets dst to r times the Q of y = Q R, where R has a positive diagonal, by the Cholesky
// factor of the Gram matrix: y^T y = R^T R, Q = y R^-1. The error of one pass is eps times the
// squared condition number of y. For y = x + v, with x a frame of norm r and v tangent, the squared
// condition number is at most 1 + excess, where excess = |v|^2 / r^2 is read off the trace of the
// Gram matrix, and no pivot is below r^2. A second pass follows where the excess is at least 1, or
// where a pivot is small relative to its diagonal element: v is then not tangent, because it
// consists of rounding errors. Where y^T y / r^2 - I is so small that its square is lost in rounding, R^-1 is known
// without factors.
//
// CholeskyQR returns false if the excess is not below maxExcess or y does not have full rank. y is
// then unchanged or has been replaced by a matrix with the same Q. y is overwritten. dst and y must
// have the same layout.
func CholeskyQR[T vec.Float](dst, y gemm.Mat[T], r, maxExcess float64) bool {
	q := y.C
	whole := scratch.Get[T](2*q*q + q)
	defer scratch.Put(whole)
	g, u, diagonal := whole[:q*q], whole[q*q:2*q*q], whole[2*q*q:]
	// The second pass can correct an error of up to 0.01.
	maxExcess, least := min(maxExcess, 0.01/vec.Eps[T]()), 100*vec.Eps[T]()
	for {
		gemm.Gram(gemm.Of(g, q, q), 1/(r*r), y)
		excess := 0.0
		for i := range q {
			diagonal[i] = g[i*q+i]
			excess += float64(g[i*q+i]) - 1
		}
		if inverseOfShort(u, g, q, excess) {
			gemm.MulUpper(dst, y, gemm.Of(u, q, q))
			return true
		}
		if !(excess < maxExcess) || !gemm.CholeskyInverse(u, g, q) {
			return false
		}
		share := 1.0 // the least pivot over its diagonal element
		for i, d := range diagonal {
			l := float64(g[i*q+i])
			share = min(share, l*l/float64(d))
		}
		if !(share > least) {
			return false
		}
		gemm.MulUpper(dst, y, gemm.Of(u, q, q))
		if excess < 1 && share > 0.25 {
			return true
		}
		copy(y.Data, dst.Data[:len(y.Data)])
	}
}

// inverseOfShort sets u to R^-1, R^T R = g, by the first terms of its series in E = g - I,
//
//	R^-1 = I - T + O(E^2), where T is the upper triangle of E with half the diagonal,
//
// and returns true, if the other terms are an eighth of the rounding error of 1 or less. excess is the trace of E, which bounds its
// norm where y = x + v as above, but for rounding.
func inverseOfShort[T vec.Float](u, g []T, q int, excess float64) bool {
	limit := math.Sqrt(vec.Eps[T]()) / 4
	if !(math.Abs(excess) <= limit) {
		return false
	}
	square := 0.0
	for i := range q {
		row := g[i*q : (i+1)*q]
		d := float64(row[i] - 1)
		square += d*d + 2*vec.Dot(row[i+1:], row[i+1:])
	}
	if !(square <= limit*limit) {
		return false
	}
	for i := range q {
		row, to := g[i*q:(i+1)*q], u[i*q:(i+1)*q]
		clear(to[:i])
		to[i] = 1 - (row[i]-1)/2
		vec.Scale(to[i+1:], -1, row[i+1:])
	}
	return true
}

// thinQR replaces the row-major n x p matrix a, n >= p, by Q and sets r to R, p x p, of a = Q R, by Householder
// reflections. Where a does not have full rank, some columns of Q are chosen arbitrarily so that Q is orthonormal, and their rows of R vanish.
func thinQR(a, r []float64, n, p int) {
	whole := scratch.Get[float64](2 * p)
	defer scratch.Put(whole)
	tau, work := whole[:p], whole[p:]
	lapack64.Dgeqr2(n, p, a, p, tau, work)
	for i := range p {
		clear(r[i*p : i*p+i])
		copy(r[i*p+i:(i+1)*p], a[i*p+i:(i+1)*p])
	}
	lapack64.Dorg2r(n, p, p, a, p, tau, work)
}

// Householder sets dst to r times the Q of y = Q R, where R has a positive diagonal, by Householder
// reflections in float64. The error is 2^-52 times the condition number of y. It fails if y does
// not have full rank in float64. dst may be y.
func Householder[T vec.Float](dst, y gemm.Mat[T], r float64) error {
	n, q := y.R, y.C
	a, whole := scratch.Get[float64](n*q), scratch.Get[float64](3*q)
	defer scratch.Put(a)
	defer scratch.Put(whole)
	scale, err := normalize(a, y)
	if err != nil {
		return err
	}
	tau, work, signs := whole[:q], whole[q:2*q], whole[2*q:]
	lapack64.Dgeqr2(n, q, a, q, tau, work)
	largest := 0.0
	for j := range q {
		signs[j] = math.Copysign(r, a[j*q+j])
		largest = max(largest, math.Abs(a[j*q+j]))
	}
	for j := range q {
		if d := math.Abs(a[j*q+j]); !(d > rankTolerance(n)*largest) {
			return fmt.Errorf("want full rank, got a diagonal of R from %.3g to %.3g", scale*d, scale*largest)
		}
	}
	lapack64.Dorg2r(n, q, q, a, q, tau, work)
	for i := range n {
		for j := range q {
			dst.Data[i*dst.RS+j*dst.CS] = T(signs[j] * a[i*q+j])
		}
	}
	return nil
}

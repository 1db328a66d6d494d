// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"errors"
	"math"

	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// The inverse retractions of frames set v, n x q, to the tangent vector at the frame x whose retraction is the frame y. All
// matrices are row-major in float64, x^T x = y^T y = I, and M = x^T y. v may be neither x nor y.

// errReach is the error for frames that no retraction connects.
var errReach = errors.New("want a point within reach of the retraction")

// meet sets m, q x q, to x^T y.
func meet(m, x, y []float64, n, q int) {
	gemm.Mul(gemm.Of(m, q, q), 1, gemm.Of(x, n, q).T(), gemm.Of(y, n, q), 0)
}

// minus sets v to y s - x.
func minus(v, y, s, x []float64, n, q int) {
	copy(v, x)
	gemm.Mul(gemm.Of(v, n, q), 1, gemm.Of(y, n, q), gemm.Of(s, q, q), -1)
}

// InversePolar inverts the polar retraction: v = y S - x, where S is the symmetric solution of M S + S M^T = 2 I. It fails
// where S is not positive definite.
func InversePolar(v, x, y []float64, n, q int) error {
	whole := scratch.Get[float64](2 * q * q)
	defer scratch.Put(whole)
	m, s := whole[:q*q], whole[q*q:]
	meet(m, x, y, n, q)
	if err := lyapunov(s, m, q); err != nil {
		return err
	}
	copy(m, s)
	if !gemm.Cholesky(m, q) {
		return errReach
	}
	minus(v, y, s, x, n, q)
	return nil
}

// lyapunov sets s to the solution of M S + S M^T = 2 I by the iteration for the sign of a matrix,
//
//	A <- (c A + (c A)^-1) / 2,   E <- (c E + A^-1 E A^-T / c) / 2,   A = M, E = 2 I at first, c = |det A|^(-1/q),
//
// after which S = E / 2 (Roberts 1980; Byers 1987). It fails where an eigenvalue of M has no positive real part. m is overwritten.
func lyapunov(s, m []float64, q int) error {
	whole := scratch.Get[float64](3 * q * q)
	defer scratch.Put(whole)
	inverse, e, t := whole[:q*q], whole[q*q:2*q*q], whole[2*q*q:]
	of := func(a []float64) gemm.Mat[float64] { return gemm.Of(a, q, q) }
	clear(e)
	AddDiagonal(e, q, 2)
	for range 60 {
		copy(t, m)
		if err := invert(inverse, t, q); err != nil {
			return err
		}
		c := 0.0
		for i := range q {
			c -= math.Log(math.Abs(t[i*q+i]))
		}
		if c = math.Exp(c / float64(q)); math.Abs(c-1) < 0.1 { // scaling would spoil the last digits
			c = 1
		}
		gemm.Mul(of(t), 1, of(inverse), of(e), 0)
		gemm.Mul(of(e), 0.5/c, of(t), of(inverse).T(), c/2)
		change := 0.0
		for i, a := range m {
			m[i] = (c*a + inverse[i]/c) / 2
			change = math.Hypot(change, m[i]-a)
		}
		if !(change <= math.MaxFloat64) {
			return errReach
		}
		if change > 1e-8 { // the iteration doubles the digits
			continue
		}
		AddDiagonal(m, q, -1)
		if !(vec.Norm(m) < 1e-6) { // the sign of M is not I
			return errReach
		}
		vec.Scale(s, 0.5, e)
		Symmetrize(s, q)
		return nil
	}
	return errReach
}

// InverseQR inverts the QR retraction: v = y R - x, where R is upper triangular and M R + R^T M^T = 2 I. Column j of R solves a
// system with the first rows and columns of M. It fails where R has no positive diagonal.
func InverseQR(v, x, y []float64, n, q int) error {
	whole := scratch.Get[float64](4*q*q + q)
	defer scratch.Put(whole)
	m, l, r, p := whole[:q*q], whole[q*q:2*q*q], whole[2*q*q:3*q*q], whole[3*q*q:4*q*q]
	meet(m, x, y, n, q)
	copy(l, m) // M = L U without exchanges, which would mix its leading blocks
	for k := range q {
		if !Invertible(math.Abs(l[k*q+k])) {
			return errReach
		}
		for i := k + 1; i < q; i++ {
			f := l[i*q+k] / l[k*q+k]
			l[i*q+k] = f
			vec.Combine(l[i*q+k+1:i*q+q], 1, l[i*q+k+1:i*q+q], -f, l[k*q+k+1:k*q+q])
		}
	}
	clear(r)
	for j := range q {
		c := whole[4*q*q : 4*q*q+j+1]
		for i := range j {
			c[i] = -p[j*q+i] // of M R, which columns before j determine
		}
		c[j] = 1
		for i := range c {
			c[i] -= vec.Dot(l[i*q:i*q+i], c[:i])
		}
		for i := j; i >= 0; i-- {
			c[i] = (c[i] - vec.Dot(l[i*q+i+1:i*q+j+1], c[i+1:])) / l[i*q+i]
		}
		for i, a := range c {
			r[i*q+j] = a
		}
		if !(c[j] > 0) || math.IsInf(c[j], 1) {
			return errReach
		}
		for i := range q {
			p[i*q+j] = vec.Dot(m[i*q:i*q+j+1], c)
		}
	}
	minus(v, y, r, x, n, q)
	return nil
}

// InverseCayley inverts the Cayley retraction: v = 2 y (I + M)^-1 + 2 x (I + M^T)^-1 - 2 x (Zhu, Sato 2020). It fails where M has
// the eigenvalue -1.
func InverseCayley(v, x, y []float64, n, q int) error {
	whole := scratch.Get[float64](2 * q * q)
	defer scratch.Put(whole)
	m, work := whole[:q*q], whole[q*q:]
	meet(work, x, y, n, q)
	AddDiagonal(work, q, 1)
	if err := invert(m, work, q); err != nil {
		return err
	}
	inverse := gemm.Of(m, q, q)
	copy(v, x)
	gemm.Mul(gemm.Of(v, n, q), 2, gemm.Of(x, n, q), inverse.T(), -2)
	gemm.Mul(gemm.Of(v, n, q), 2, gemm.Of(y, n, q), inverse, 1)
	return nil
}

// InverseHorizontal inverts the polar retraction of subspaces: v = y M^-1 - x. It fails where a direction of one subspace is
// orthogonal to the other.
func InverseHorizontal(v, x, y []float64, n, q int) error {
	whole := scratch.Get[float64](2 * q * q)
	defer scratch.Put(whole)
	m, work := whole[:q*q], whole[q*q:]
	meet(work, x, y, n, q)
	if err := invert(m, work, q); err != nil {
		return err
	}
	minus(v, y, m, x, n, q)
	return nil
}

// invert sets inverse to a^-1, both q x q, and leaves the pivots on the diagonal of a. It fails for a condition number of 2^52.
func invert(inverse, a []float64, q int) error {
	before := vec.Norm(a)
	clear(inverse)
	AddDiagonal(inverse, q, 1)
	if solve(a, inverse, q, q) != nil || !(before*vec.Norm(inverse) < 0x1p52) {
		return errReach
	}
	return nil
}

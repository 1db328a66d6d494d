// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"math"

	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// polarIterations limits the iterations of squarePolar.
const polarIterations = 45

// Polar sets dst to r times U W^T, the polar factor of x = U S W^T, which is the frame nearest to
// x. It computes in float64, by Newton-Schulz iteration or, where that fails, by singular value
// decomposition. The defect of the result is of the order of eps, the precision that the caller
// needs. Polar fails if x does not have full rank in float64. dst may be x.
func Polar[T vec.Float](dst, x gemm.Mat[T], r, eps float64) error {
	n, q := x.R, x.C
	a, y := scratch.Get[float64](n*q), scratch.Get[float64](n*q)
	defer scratch.Put(a)
	defer scratch.Put(y)
	if _, err := normalize(a, x); err != nil {
		return err
	}
	if tallPolar(y, a, n, q, eps, polarIterations) || squarePolar(y, a, n, q, polarIterations) {
		Narrow(dst, y, r)
		return nil
	}
	d, err := decomposeFull(x)
	if err != nil {
		return err
	}
	gemm.Mul(gemm.Of(a, n, q), 1, gemm.Of(d.U, n, q), gemm.Of(d.Wt, q, q), 0)
	d.Free()
	Narrow(dst, a, r)
	return nil
}

// tallPolar sets y to the polar factor of a matrix that is much taller than wide: with a = Q R it
// is Q times the polar factor of R. Q comes from Cholesky-QR in two passes. The defect after the
// first grows as the square of the condition number, and the second removes it. tallPolar returns
// false, with a unchanged, if n < 2 q or if the defect is not below the precision eps.
func tallPolar(y, a []float64, n, q int, eps float64, iterations int) bool {
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
	if e := Defect(h, gemm.Of(y, n, q), 1); !(e < eps*math.Sqrt(float64(n*q))/8) {
		return false
	}
	AddDiagonal(h, q, 1)
	if !gemm.Cholesky(h, q) {
		return false
	}
	gemm.InverseTransposed(u, h, q)
	ClearUpper(g, q)
	ClearUpper(h, q)
	gemm.Mul(of(r), 1, of(h).T(), of(g).T(), 0)
	if !squarePolar(h, r, q, q, iterations) {
		return false
	}
	gemm.Mul(of(g), 1, of(u), of(h), 0)
	copy(a, y)
	gemm.Mul(gemm.Of(y, n, q), 1, gemm.Of(a, n, q), of(g), 0)
	return true
}

// squarePolar sets y to the polar factor of the n x q matrix a by Newton-Schulz iteration. It
// starts at sqrt(2) a / b, where b is an upper bound of the largest singular value. All singular
// values are then at most sqrt(2), which one iteration maps to 1/sqrt(2), so that none converges
// to -1. This is stable (Nakatsukasa, Higham 2012). The number of iterations is about
// log_1.5(b / smallest singular value) + 5. squarePolar returns false if the given number does not
// suffice; polarIterations are enough for a condition number of about a million. a is overwritten.
func squarePolar(y, a []float64, n, q, iterations int) bool {
	g := scratch.Get[float64](q * q)
	defer scratch.Put(g)
	gemm.Gram(gemm.Of(g, q, q), 1, gemm.Of(a, n, q))
	vec.Scale(a, math.Sqrt(2/eigenvalueBound(g, q)), a)
	if !gemm.Cholesky(g, q) {
		return false
	}
	// The squares of the singular values lie from 0 to 2, so the defect is at most sqrt(q).
	return NewtonSchulz(gemm.Of(y, n, q), gemm.Of(a, n, q), 1, 1.01*math.Sqrt(float64(q)), iterations)
}

// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"fmt"

	"gonum.org/v1/gonum/mat"

	"github.com/kernelfold/kernelfold/internal/gemm"
)

// CayleyColumns sets f, 2q x q, to (I - N/2)^-1 (I + N/2) [I; 0]. It fails where I - N/2 is
// singular in float64. For the N of Generator with c = 1 that cannot happen, except by rounding:
// the eigenvalues of N are those of Omega and 0, all imaginary, so the eigenvalues of I - N/2 have
// real part 1.
func CayleyColumns(f, n []float64, q int) error {
	p := 2 * q
	right := mat.NewDense(p, q, nil)
	for i := range p {
		for j := range q {
			right.Set(i, j, n[i*p+j]/2)
		}
	}
	for j := range q {
		right.Set(j, j, 1+right.At(j, j))
	}
	return cayleySolve(f, n, right, q, false)
}

// CayleyColumnsAdjoint sets dn, p x p with p = 2q, to the gradient with respect to N of a function
// whose gradient with respect to f, the result of CayleyColumns, is df:
//
//	1/2 (I - N/2)^-T df ([I; 0] + f)^T.
func CayleyColumnsAdjoint(dn, n, f, df []float64, q int) error {
	p := 2 * q
	solved := make([]float64, p*q)
	if err := cayleySolve(solved, n, mat.NewDense(p, q, df[:p*q]), q, true); err != nil {
		return err
	}
	sum := append([]float64(nil), f[:p*q]...)
	AddDiagonal(sum, q, 1)
	gemm.Mul(gemm.Of(dn, p, p), 0.5, gemm.Of(solved, p, q), gemm.Of(sum, p, q).T(), 0)
	return nil
}

// cayleySolve sets x to (I - N/2)^-1 b, or to (I - N/2)^-T b.
func cayleySolve(x, n []float64, b *mat.Dense, q int, transposed bool) error {
	p := 2 * q
	s := mat.NewDense(p, p, nil)
	for i := range p {
		for j := range p {
			s.Set(i, j, -n[i*p+j]/2)
		}
		s.Set(i, i, 1+s.At(i, i))
	}
	var lu mat.LU
	lu.Factorize(s)
	if err := lu.SolveTo(mat.NewDense(p, q, x[:p*q]), transposed, b); err != nil {
		return fmt.Errorf("want a matrix whose Cayley transform can be computed: %w", err)
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"fmt"
	"math"

	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// CayleyColumns sets f, 2q x q, to (I - N/2)^-1 (I + N/2) [I; 0]. It fails where I - N/2 is
// singular in float64. For the N of Generator with c = 1 that cannot happen, except by rounding:
// the eigenvalues of N are those of Omega and 0, all imaginary, so the eigenvalues of I - N/2 have
// real part 1.
func CayleyColumns(f, n []float64, q int) error {
	p := 2 * q
	right := scratch.Get[float64](p * q)
	defer scratch.Put(right)
	for i := range p {
		for j := range q {
			right[i*q+j] = n[i*p+j] / 2
		}
	}
	AddDiagonal(right, q, 1)
	return cayleySolve(f, n, right, q, false)
}

// CayleyColumnsAdjoint sets dn, p x p with p = 2q, to the gradient with respect to N of a function
// whose gradient with respect to f, the result of CayleyColumns, is df:
//
//	1/2 (I - N/2)^-T df ([I; 0] + f)^T.
func CayleyColumnsAdjoint(dn, n, f, df []float64, q int) error {
	p := 2 * q
	solved := make([]float64, p*q)
	if err := cayleySolve(solved, n, df[:p*q], q, true); err != nil {
		return err
	}
	sum := append([]float64(nil), f[:p*q]...)
	AddDiagonal(sum, q, 1)
	gemm.Mul(gemm.Of(dn, p, p), 0.5, gemm.Of(solved, p, q), gemm.Of(sum, p, q).T(), 0)
	return nil
}

// cayleySolve sets x, 2q x q, to (I - N/2)^-1 b, or to (I - N/2)^-T b, by elimination with row pivots.
func cayleySolve(x, n, b []float64, q int, transposed bool) error {
	p := 2 * q
	whole := scratch.Get[float64](p * p)
	defer scratch.Put(whole)
	for i := range p {
		for j := range p {
			v := n[i*p+j]
			if transposed {
				v = n[j*p+i]
			}
			whole[i*p+j] = -v / 2
		}
	}
	AddDiagonal(whole, p, 1)
	copy(x[:p*q], b)
	if err := solve(whole, x, p, q); err != nil {
		return fmt.Errorf("want a matrix whose Cayley transform can be computed: %w", err)
	}
	return nil
}

// solve sets x, p x q, to a^-1 x by elimination with row pivots, which it leaves on the diagonal of a, p x p. It fails where a is
// singular.
func solve(a, x []float64, p, q int) error {
	left := func(i int) []float64 { return a[i*p : (i+1)*p] }
	right := func(i int) []float64 { return x[i*q : (i+1)*q] }
	for j := range p {
		best := j
		for i := j + 1; i < p; i++ {
			if math.Abs(left(i)[j]) > math.Abs(left(best)[j]) {
				best = i
			}
		}
		if best != j {
			for _, row := range []func(int) []float64{left, right} {
				u, v := row(j), row(best)
				for e := range u {
					u[e], v[e] = v[e], u[e]
				}
			}
		}
		pivot := left(j)[j]
		if !Invertible(math.Abs(pivot)) {
			return fmt.Errorf("want a matrix that can be inverted, got the pivot %g", pivot)
		}
		for i := j + 1; i < p; i++ {
			if f := left(i)[j] / pivot; f != 0 {
				vec.Combine(left(i)[j:], 1, left(i)[j:], -f, left(j)[j:])
				vec.Combine(right(i), 1, right(i), -f, right(j))
			}
		}
	}
	for j := p - 1; j >= 0; j-- {
		vec.Scale(right(j), 1/left(j)[j], right(j))
		for i := range j {
			vec.Combine(right(i), 1, right(i), -left(i)[j], right(j))
		}
	}
	return nil
}

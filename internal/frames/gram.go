// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"math"

	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Defect sets e, q x q, to x^T x / r^2 - I and returns its Frobenius norm. Where r^2 or the squares
// of the elements of x do not fit T, the result is not finite.
func Defect[T vec.Float](e []T, x gemm.Mat[T], r float64) float64 {
	gemm.Gram(gemm.Of(e, x.C, x.C), 1/(r*r), x)
	AddDiagonal(e, x.C, -1)
	return vec.Norm(e)
}

// AddDiagonal adds c to the diagonal of a, q x q.
func AddDiagonal[T vec.Float](a []T, q int, c float64) {
	for i := range q {
		a[i*q+i] += T(c)
	}
}

// addDiagonal adds c to the diagonal of a.
func addDiagonal[T vec.Float](a gemm.Mat[T], c float64) {
	for i := range a.R {
		a.Data[i*(a.RS+a.CS)] += T(c)
	}
}

// Symmetrize sets s to (s + s^T) / 2, in tiles that stay in the cache.
func Symmetrize[T vec.Float](s []T, q int) {
	const tile = 32
	for i0 := 0; i0 < q; i0 += tile {
		for j0 := 0; j0 <= i0; j0 += tile {
			for i := i0; i < min(i0+tile, q); i++ {
				for j := j0; j < min(j0+tile, i); j++ {
					v := (s[i*q+j] + s[j*q+i]) / 2
					s[i*q+j], s[j*q+i] = v, v
				}
			}
		}
	}
}

// Skew sets a to (a - a^T) / 2.
func Skew[T vec.Float](a []T, q int) {
	for i := range q {
		for j := range i + 1 {
			v := (a[i*q+j] - a[j*q+i]) / 2
			a[i*q+j], a[j*q+i] = v, -v
		}
	}
}

// ClearUpper sets the elements above the diagonal of l, q x q, to 0.
func ClearUpper[T vec.Float](l []T, q int) {
	for i := range q {
		clear(l[i*q+i+1 : (i+1)*q])
	}
}

// EigenvalueBound returns an upper bound of the largest eigenvalue of the symmetric positive
// semidefinite g, q x q: the smaller of its Frobenius norm and its largest row sum of absolute
// values. Unlike the result of a power iteration, it is never below the eigenvalue, except by
// rounding.
func EigenvalueBound[T vec.Float](g []T, q int) float64 {
	rows := 0.0
	for i := range q {
		sum := 0.0
		for _, v := range g[i*q : (i+1)*q] {
			sum += math.Abs(float64(v))
		}
		rows = max(rows, sum)
	}
	return min(rows, vec.Norm(g[:q*q]))
}

// Invertible reports whether a vector of the given norm can be divided by it: the norm is
// positive, and the norm and its inverse are finite.
func Invertible(norm float64) bool {
	return norm > 0 && !math.IsInf(norm, 0) && !math.IsInf(1/norm, 0)
}

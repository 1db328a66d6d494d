// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"math"

	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/scratch"
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
func AddDiagonal[T vec.Float](a []T, q int, c float64) { addDiagonal(gemm.Of(a, q, q), c) }

// addDiagonal adds c to the diagonal of a.
func addDiagonal[T vec.Float](a gemm.Mat[T], c float64) {
	for i, e, step := 0, 0, a.RS+a.CS; i < a.R; i, e = i+1, e+step {
		a.Data[e] += T(c)
	}
}

// Symmetrize sets s to (s + s^T) / 2, a few rows at a time.
func Symmetrize[T vec.Float](s []T, q int) {
	const few = 32
	mirrored := scratch.Get[T](min(few, q) * q)
	defer scratch.Put(mirrored)
	for from := 0; from < q; from += few {
		to := min(from+few, q)
		gemm.Transpose(mirrored, to, s[from:], q, to, to-from)
		if to-from == q { // all of them
			vec.Combine(s[:q*q], 0.5, s[:q*q], 0.5, mirrored)
			break
		}
		for i := from; i < to; i++ {
			row := s[i*q : i*q+to]
			vec.Combine(row, 0.5, row, 0.5, mirrored[(i-from)*to:(i-from+1)*to])
		}
		gemm.Transpose(s[from:], q, s[from*q:], q, to-from, from)
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

// eigenvalueBound returns an upper bound of the largest eigenvalue of the symmetric positive
// semidefinite g, q x q: the smaller of its Frobenius norm and its largest row sum of absolute
// values. Unlike the result of a power iteration, it is never below the eigenvalue, except by
// rounding.
func eigenvalueBound[T vec.Float](g []T, q int) float64 {
	rows := 0.0
	for i := range q {
		row, sum := g[i*q:(i+1)*q], [4]float64{} // independent sums, so that none waits for another
		for ; len(row) >= 4; row = row[4:] {
			sum[0] += math.Abs(float64(row[0]))
			sum[1] += math.Abs(float64(row[1]))
			sum[2] += math.Abs(float64(row[2]))
			sum[3] += math.Abs(float64(row[3]))
		}
		for j, v := range row {
			sum[j] += math.Abs(float64(v))
		}
		rows = max(rows, sum[0]+sum[1]+sum[2]+sum[3])
	}
	return min(rows, vec.Norm(g[:q*q]))
}

// Invertible reports whether a vector of the given norm can be divided by it: the norm is
// positive, and the norm and its inverse are finite.
func Invertible(norm float64) bool {
	return norm > 0 && !math.IsInf(norm, 0) && !math.IsInf(1/norm, 0)
}

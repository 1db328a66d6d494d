// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"math"

	"github.com/kernelfold/kernelfold/internal/par"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Eigenvalues returns the eigenvalues of a symmetric n x n matrix, row-major, in ascending order, and overwrites it. ok
// is false if they cannot be computed, for example because the matrix contains NaN.
//
// Reflections make it tridiagonal, from the last row to the first (Golub, Van Loan, Matrix Computations, section 8.3.1): with the reflection
// I - b v v^T that keeps the first element of a row alone, and p = b A v,
//
//	A <- A - v w^T - w v^T,   w = p - b/2 (p^T v) v.
//
// Both triangles are kept, so that every row is contiguous, and a row is updated and multiplied by the next v while it is in the cache.
// The error is a few roundings of the largest eigenvalue: values that are 1e-100 of it become 0.
func Eigenvalues(a []float64, n int) (values []float64, ok bool) {
	values = make([]float64, n)
	largest := vec.MaxAbs(a)
	switch {
	case largest == 0:
		return values, true
	case !(largest <= math.MaxFloat64):
		return values, false
	}
	for i := range a { // squares must not overflow or vanish
		a[i] /= largest
		if math.Abs(a[i]) < 1e-150 {
			a[i] = 0
		}
	}
	work := scratch.Get[float64](4 * n)
	defer scratch.Put(work)
	off, v, w, next := work[:n], work[n:2*n], work[2*n:3*n], work[3*n:]
	row := func(i, k int) []float64 { return a[i*n : i*n+k] }
	var beta float64 // of the reflection whose v and w are to be applied; 0 if there is none
	update := func(i, k int) {
		if beta != 0 {
			vec.Affine2(row(i, k), 1, row(i, k), -v[i], w[:k], 0)
			vec.Affine2(row(i, k), 1, row(i, k), -w[i], v[:k], 0)
		}
	}
	for k := n - 1; k > 0; k-- { // row k and column k leave the matrix, k x k remains
		update(k, k+1)
		values[k] = a[k*n+k]
		var b float64
		off[k-1], b = reflect(next[:k], row(k, k))
		// Rows of the rest: apply the previous reflection, then multiply by the next v.
		p := values[:k]
		par.Ranges(k, 1+grain/k, func(from, to int) {
			for i := from; i < to; i++ {
				update(i, k)
				p[i] = b * vec.Dot(row(i, k), next[:k])
			}
		})
		half := -b / 2 * vec.Dot(p, next[:k])
		copy(v, next[:k])
		vec.Combine(w[:k], 1, p, half, next[:k])
		beta = b
	}
	update(0, 1)
	values[0] = a[0]
	for _, part := range [][]float64{values, off[:n-1]} {
		for i, x := range part {
			if math.Abs(x) < 1e-100 { // Dsterf panics where it would scale a block
				part[i] = 0
			}
		}
	}
	ok = lapack64.Dsterf(n, values, off[:n-1])
	for i := range values {
		values[i] *= largest
	}
	return values, ok
}

// grain is the number of elements from which on another core is worthwhile.
const grain = 1 << 14

// reflect sets v and returns b such that x (I - b v v^T) has no element but the last, which it returns too.
func reflect(v, x []float64) (last, b float64) {
	copy(v, x)
	end := len(x) - 1
	rest := vec.Norm(x[:end])
	if rest == 0 {
		return x[end], 0
	}
	norm := math.Hypot(rest, x[end])
	last = -math.Copysign(norm, x[end])
	v[end] = x[end] - last
	vec.Scale(v, 1/v[end], v) // so that v ends in 1, and its square cannot vanish
	return last, (last - x[end]) / last
}

// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"fmt"
	"math"

	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// NewtonSchulz sets dst to r times the polar factor of y by
//
//	y <- y (3 I - y^T y / r^2) / 2
//
// until the defect E = y^T y / r^2 - I is small enough for the series y (I + E)^(-1/2). A singular
// value s of y / r converges to 1 if s < sqrt(3); a larger one may converge to -1 or not at all.
// The caller must make sure that none is larger. A limit of at most 2 is sufficient.
//
// NewtonSchulz returns false if |E| exceeds limit, or if the given number of iterations does not
// suffice. In the first case y is unchanged if that happens in the first iteration; otherwise y has
// been replaced by a matrix with the same polar factor. y is overwritten. dst and y must have the
// same layout.
func NewtonSchulz[T vec.Float](dst, y gemm.Mat[T], r, limit float64, iterations int) bool {
	n, q := y.R, y.C
	g := scratch.Get[T](q * q)
	defer scratch.Put(g)
	from, to := y, dst
	for range iterations {
		e := Defect(g, from, r)
		if !(e <= limit) {
			return false
		}
		degree := seriesDegree(e, vec.Eps[T]()*math.Sqrt(float64(q)), 1+n/q)
		inverseRoot(g, q, max(degree, 1))
		gemm.Mul(to, 1, from, gemm.Of(g, q, q), 0)
		if degree > 0 {
			if &to.Data[0] != &dst.Data[0] {
				copy(dst.Data, to.Data[:len(dst.Data)])
			}
			return true
		}
		from, to = to, from
	}
	return false
}

// StartNewtonSchulz divides x by
//
//	|x^T x|_F^(1/2),
//
// an upper bound of its singular values, and returns that bound. x must have R >= C and fill its
// Data. It fails if x is zero or not finite.
func StartNewtonSchulz[T vec.Float](x gemm.Mat[T]) (float64, error) {
	// Divide by the largest element first, so that no product overflows or vanishes.
	largest := vec.MaxAbs(x.Data)
	if !Invertible(largest) {
		return 0, fmt.Errorf("want a matrix of positive finite norm, got largest element %g", largest)
	}
	for i, a := range x.Data {
		x.Data[i] = T(float64(a) / largest)
	}
	g := scratch.Get[T](x.C * x.C)
	defer scratch.Put(g)
	gemm.Gram(gemm.Of(g, x.C, x.C), 1, x)
	root := math.Sqrt(vec.Norm(g))
	vec.Scale(x.Data, 1/root, x.Data)
	return largest * root, nil
}

// StepNewtonSchulz sets y to 3/2 x - 1/2 x x^T x. g is a q x q workspace. x and y must have the
// same layout.
func StepNewtonSchulz[T vec.Float](y, x gemm.Mat[T], g []T) {
	q := x.C
	gemm.Gram(gemm.Of(g, q, q), 1, x)
	copy(y.Data, x.Data)
	gemm.Mul(y, -0.5, x, gemm.Of(g, q, q), 1.5)
}

// AdjointNewtonSchulz replaces d, the gradient with respect to the result of StepNewtonSchulz, by
// the gradient with respect to x,
//
//	3/2 D - 1/2 (D x^T x + x D^T x + x x^T D).
//
// The workspaces are work, with the layout of x, and g and s, q x q each.
func AdjointNewtonSchulz[T vec.Float](d, x, work gemm.Mat[T], g, s []T) {
	q := x.C
	square := gemm.Of(g, q, q)
	copy(work.Data, d.Data)
	gemm.Gram(square, 1, x)
	gemm.Mul(d, -0.5, work, square, 1.5) // D x^T x
	gemm.Mul(square, 1, x.T(), work, 0)  // x^T D + D^T x
	for i := range q {
		for j := range q {
			s[i*q+j] = g[i*q+j] + g[j*q+i]
		}
	}
	gemm.Mul(d, -0.5, x, gemm.Of(s, q, q), 1)
}

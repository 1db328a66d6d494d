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
// until the defect E = y^T y / r^2 - I is small enough for the series y (I + E)^(-1/2). A singular value s of y / r goes
// to 1 if s < sqrt 3, and to -1 or anywhere if it is larger: the caller must know that it is not. That follows from
// |E| <= limit where limit is at most 2.
//
// It reports false, with y as it was, if |E| exceeds limit at first, and, with a y of the same polar factor, if that many
// iterations do not do. y is overwritten. dst and y have one layout.
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
		degree := SeriesDegree(e, vec.Eps[T]()*math.Sqrt(float64(q)), 1+n/q)
		InverseRoot(g, q, max(degree, 1))
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

// StartNewtonSchulz divides x, R >= C and all of Data, by
//
//	|x^T x|_F^(1/2),
//
// an upper bound of its singular values, and returns that. It fails if x is zero or not finite.
func StartNewtonSchulz[T vec.Float](x gemm.Mat[T]) (float64, error) {
	// By the largest element first, so that no product overflows or vanishes.
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

// StepNewtonSchulz sets y to 3/2 x - 1/2 x x^T x. g is work space, q x q. x and y have one layout.
func StepNewtonSchulz[T vec.Float](y, x gemm.Mat[T], g []T) {
	q := x.C
	gemm.Gram(gemm.Of(g, q, q), 1, x)
	copy(y.Data, x.Data)
	gemm.Mul(y, -0.5, x, gemm.Of(g, q, q), 1.5)
}

// AdjointNewtonSchulz replaces d, the gradient in what StepNewtonSchulz makes of x, by that in x,
//
//	3/2 D - 1/2 (D x^T x + x D^T x + x x^T D).
//
// The work space holds a matrix of the layout of x, and twice q x q.
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

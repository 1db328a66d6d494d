// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"fmt"
	"math"

	"github.com/kernelfold/kernelfold/internal/vec"
)

// This file decides in which range of radii and elements the products of frames are safe in T. Outside it, the methods
// of Stiefel compute in float64, on matrices divided by powers of two, which is exact: {x : x^T x = r^2 I} times 2^-e
// is the manifold of radius 2^-e r, and what is linear in a vector is linear in its powers of two.

// inRange reports whether the radius is one for which products of points, and of points with vectors of elements from
// 10^-30 to 10^30, neither overflow nor vanish in T: sums of a few thousand products of r and 10^30 stay below the largest
// float32, 3e38, and single products of r over the root of as many, and 10^-30, above the smallest, 1e-38. In
// float64 the same holds for elements from 10^-250 to 10^250.
func (m stiefel[T]) inRange() bool {
	r, limit := m.r(), 0x1p16
	if vec.Eps[T]() < 0x1p-30 {
		limit = 0x1p120
	}
	return 1/limit <= r && r <= limit
}

// moderate reports whether a point times s, q x q, is finite in T. s that is not finite is not moderate.
func (m stiefel[T]) moderate(s []T) bool {
	limit := 0x1p120
	if vec.Eps[T]() < 0x1p-30 {
		limit = 0x1p1016
	}
	return vec.MaxAbs(s)*m.r() <= limit
}

// widened returns the manifold in float64 of radius 2^-exponent r, from 1/2 to 1.
func (m stiefel[T]) widened() (wide stiefel[float64], exponent int) {
	wide = stiefel[float64](m)
	wide.Radius, exponent = math.Frexp(m.r())
	return wide, exponent
}

// exponentOf returns the e for which the largest element of x lies from 1/2 2^e to 2^e, and 0 for a zero x and one
// that is not finite.
func exponentOf[T vec.Float](x []T) int {
	_, e := math.Frexp(vec.MaxAbs(x))
	return e
}

// ldexp sets dst to 2^e x.
func ldexp[A, B vec.Float](dst []A, x []B, e int) {
	for i, v := range x {
		dst[i] = A(math.Ldexp(float64(v), e))
	}
}

func allFinite[T vec.Float](x []T) bool { return vec.MaxAbs(x) <= math.MaxFloat64 }

// extremes returns the largest T, and the smallest that has all its digits.
func extremes[T vec.Float]() (smallest, largest float64) {
	if vec.Eps[T]() < 0x1p-30 {
		return 0x1p-1022, math.MaxFloat64
	}
	return 0x1p-126, math.MaxFloat32
}

// holds returns an error unless T can hold points of the radius.
func (m stiefel[T]) holds(op string) error {
	if smallest, largest := extremes[T](); !(smallest <= m.r() && m.r() <= largest) {
		return &PointError{"Stiefel", op, 0, fmt.Sprintf("want a radius from %.3g to %.3g, which the precision holds, got %.3g",
			smallest, largest, m.r())}
	}
	return nil
}

// errRange says that a result does not fit T.
func errRange[T vec.Float](what string) error {
	_, largest := extremes[T]()
	return fmt.Errorf("want a %s of elements up to %.3g, which the precision holds, got larger ones", what, largest)
}

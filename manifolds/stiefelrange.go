// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"fmt"
	"math"

	"github.com/kernelfold/kernelfold/internal/vec"
)

// This file decides for which radii and elements matrix products can be computed in T without
// overflow or underflow. For all others, the methods of Stiefel divide the matrices by powers of
// two, which is exact, and compute in float64: points divided by 2^e lie on the manifold of
// radius 2^-e r, and the operations on tangent vectors are linear.

// inRange reports whether the radius is one for which the product of two points, or of a point
// and a matrix with elements from 1e-30 to 1e30, neither overflows nor vanishes in T. In float32,
// sums of a few thousand products of r and 1e30 stay below the largest number, 3e38, and single
// products of an element of a point and 1e-30 stay above the smallest, 1e-38. In float64 the same
// holds for elements from 1e-250 to 1e250.
func (m stiefel[T]) inRange() bool {
	r, limit := m.r(), 0x1p16
	if vec.Double[T]() {
		limit = 0x1p120
	}
	return 1/limit <= r && r <= limit
}

// moderate reports whether the product of a point and s, a q x q matrix, is certain to be finite
// in T.
func (m stiefel[T]) moderate(s []T) bool {
	limit := 0x1p120
	if vec.Double[T]() {
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

// exponentOf returns the e for which the largest |element| of x lies between 2^(e-1) and 2^e. It
// returns 0 if x is zero or not finite.
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

// limits returns the smallest normal and the largest finite number of T.
func limits[T vec.Float]() (smallest, largest float64) {
	if vec.Double[T]() {
		return 0x1p-1022, math.MaxFloat64
	}
	return 0x1p-126, math.MaxFloat32
}

// holds returns an error unless T can hold points of the radius.
func (m stiefel[T]) holds(op string) error {
	if smallest, largest := limits[T](); !(smallest <= m.r() && m.r() <= largest) {
		return &PointError{m.name, op, 0, fmt.Sprintf("want a radius from %.3g to %.3g, which the precision holds, got %.3g",
			smallest, largest, m.r())}
	}
	return nil
}

// errRange returns the error for a result with elements that overflow T.
func errRange[T vec.Float](what string) error {
	_, largest := limits[T]()
	return fmt.Errorf("want a %s of elements up to %.3g, which the precision holds, got larger ones", what, largest)
}

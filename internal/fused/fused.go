// SPDX-License-Identifier: Apache-2.0

// Package fused makes whole steps of gradient descent in place, in one or two passes over memory:
// tangent projection, update, retraction, transport and the clearing of the gradient together.
//
// The caller must make sure that no square overflows or vanishes and that no step is so long that
// rounding errors become large. A point that is shorter than a thousandth of the radius does not move. The functions return the
// index of the first such point; its tangent momentum is then undefined. An Inf in a point makes the sum of |v|^2 NaN.
//
// Points are independent: the bits of a result do not depend on how the points are divided among
// calls.
package fused

import "github.com/kernelfold/kernelfold/internal/vec"

// Sphere is a sphere of the given radius. If Centred, it lies in the space orthogonal to the vector
// of ones.
type Sphere struct {
	Radius  float64
	Centred bool
}

// part returns the elements from..to of x, or nil if x is nil.
func part[T vec.Float](x []T, from, to int) []T {
	if x == nil {
		return nil
	}
	return x[from:to:to]
}

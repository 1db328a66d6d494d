// SPDX-License-Identifier: Apache-2.0

// Package fused makes whole steps of gradient descent in two passes over memory, or
// one: projection, update, retraction, transport and the clearing of the gradient
// together, in place.
//
// Within is when a step can be made here: no square overflows or is lost, and no step is so
// long that rounding shows. A point that is not on its sphere, because it is not finite or
// shorter than a thousandth of the radius, has no step: it and its momentum stay as they
// are, and the step returns the first such point.
//
// Points are independent: a step made for some of them, and then for the others, has
// the same bits as one made for all.
package fused

import "github.com/kernelfold/kernelfold/internal/vec"

// Spheres are of radius Radius, in the space orthogonal to the vector of ones if Centred.
type Sphere struct {
	Radius  float64
	Centred bool
}

// piece is the elements from..to of x, or nil if x is.
func piece[T vec.Float](x []T, from, to int) []T {
	if x == nil {
		return nil
	}
	return x[from:to:to]
}

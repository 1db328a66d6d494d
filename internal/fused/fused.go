// SPDX-License-Identifier: Apache-2.0

// Package fused makes whole steps of gradient descent in two passes over memory, or
// one: projection, update, retraction, transport and the clearing of the gradient
// together, in place.
//
// It cannot fail. Gradient and momentum are to be finite, with norms below 10^15 in
// float32 and 10^150 in float64, also times the rate, so that no square overflows. What a
// point that is not finite becomes is not finite, and a vector shorter than 10^-15 is left
// where it is.
//
// Points are independent: a step made for some of them, and then for the others, has
// the same bits as one made for all.
package fused

import (
	"math"

	"github.com/kernelfold/kernelfold/internal/vec"
)

// Step says how points x move along d = Ahead m + Slope g, where g is the Euclidean
// gradient and m the momentum:
//
//	v  = P_x(d)                               tangent projection
//	y  = R_x(-Rate/g_t v)                     retraction by normalisation
//	m <- Keep m + Take g                      ambient momentum
//	m <- P_y(P_x(Keep m + Take g))            tangent momentum
//	x <- y,  g <- 0
//
// Without momentum m is nil.
type Step struct {
	Keep, Take   float64
	Ahead, Slope float64 // equal to Keep and Take if Tangent
	Rate         float64
	Tangent      bool
	Radius       float64 // of the spheres
	Centred      bool    // the spheres are orthogonal to the vector of ones
	Curvature    float64 // g_t is that of spheres of this curvature; 1 where it is 0
}

// Moved is what a step did: the sums of |v|^2 and of |Rate/g_t v|^2 over the points,
// and the largest g_t.
type Moved struct{ Direction, Length, Factor float64 }

// plus gathers what two parts of a step did.
func (a Moved) plus(b Moved) Moved {
	return Moved{a.Direction + b.Direction, a.Length + b.Length, max(a.Factor, b.Factor)}
}

// GeometricFactor is the g_t of Ozay and Okatani for a direction of norm r on a manifold of curvature
// at most c.
func GeometricFactor(r, c float64) float64 {
	rho := 1 / math.Sqrt(c)
	gamma := max((2*rho+r)*(2*rho+r), 1+c*(rho+r))
	return math.Sqrt(max(1, r*r*gamma))
}

// piece is the elements from..to of x, or nil if x is.
func piece[T vec.Float](x []T, from, to int) []T {
	if x == nil {
		return nil
	}
	return x[from:to:to]
}

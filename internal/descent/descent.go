// SPDX-License-Identifier: Apache-2.0

// Package descent says what a step of gradient descent with momentum is. Package
// manifolds makes it by the operations of any manifold, packages fused and lanes make it
// at once for some.
package descent

import "math"

// Step is a step of gradient descent with momentum. For every point x with Euclidean
// gradient g and momentum m,
//
//	v  = grad(Ahead m + Slope g)              Riemannian gradient, the direction
//	y  = R_x(-Rate/g_t v)                     retraction
//	m <- Keep m + Take g                      ambient momentum
//	x <- y,  g <- 0
//
// and with Tangent, where m is a tangent vector and T the transport from x to y,
//
//	v  = Ahead m + Slope grad(g)
//	m <- T(Keep m + Take grad(g)).
//
// Where T is the tangent projection at y, and m goes into the projection of the next step at y anyway, Late
// leaves m at x and saves that one.
//
// In Euclidean space x moves by -Rate (v + Decay x). Without momentum there is no m.
type Step struct {
	Keep, Take   float64
	Ahead, Slope float64
	Rate         float64
	Decay        float64 // only in Euclidean space
	Tangent      bool    // whether m is a tangent vector
	Late         bool    // whether a tangent m comes, and is left, before its transport by projection
	Geometric    bool    // whether g_t is Factor of the norm of v, or 1
}

// LooksAhead reports whether the direction is another combination of momentum and
// gradient than the momentum after the step.
func (s Step) LooksAhead() bool { return s.Keep != s.Ahead || s.Take != s.Slope }

// Progress is what a step did: the sums of |v|^2, without decay, and of |Rate/g_t v|^2 over
// the points, and the largest g_t.
type Progress struct{ Direction, Length, Factor float64 }

// Plus gathers what two parts of a step did.
func (a Progress) Plus(b Progress) Progress {
	return Progress{a.Direction + b.Direction, a.Length + b.Length, max(a.Factor, b.Factor)}
}

// Factor returns the geometric step factor
//
//	g(R, c) = max(1, R' (2 + R')),  R' = R c^(-1/2),
//
// for a direction of norm R where the sectional curvature is at most c, and 1 where c is 0.
// On the unit sphere it is the factor of Ozay and Okatani (arXiv 1610.07008, theorem 2), and
// on a sphere of radius r that of the same loss as a function of x/r, whose gradient is r times as long.
func Factor(r, c float64) float64 {
	if c == 0 {
		return 1
	}
	r /= math.Sqrt(c)
	return max(1, r*(2+r))
}

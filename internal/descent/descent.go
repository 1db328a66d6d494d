// SPDX-License-Identifier: Apache-2.0

// Package descent defines a step of gradient descent with momentum. Package manifolds makes the
// step with the operations of any manifold; packages fused and lanes have fused kernels for it on
// some manifolds.
package descent

import "math"

// Step is a step of gradient descent with momentum. For every point x with Euclidean gradient g
// and ambient momentum m,
//
//	v  = grad(Ahead m + Slope g)              Riemannian gradient, the direction
//	y  = R_x(-Rate/g_t v)                     retraction
//	m <- Keep m + Take g                      ambient momentum
//	x <- y,  g <- 0
//
// With Tangent, m is a tangent vector, and with T the transport from x to y,
//
//	v  = Ahead m + Slope grad(g)
//	m <- T(Keep m + Take grad(g)).
//
// Where T is the tangent projection at y, the next step applies it to m anyway. Late saves that
// projection: m is stored as a tangent vector at x, and is tangent at the previous point when the step begins.
//
// In Euclidean space x moves by -Rate (v + Decay x). Without momentum there is no m.
//
// With Factors, the direction v of point k is multiplied by Factors[k]; m does not change.
type Step struct {
	Keep, Take   float64
	Ahead, Slope float64
	Rate         float64
	Decay        float64 // only in Euclidean space
	Tangent      bool    // whether m is a tangent vector
	Late         bool    // whether a tangent m is stored before its transport by projection
	Geometric    bool    // g_t is Factor of the norm of v; otherwise it is 1

	Factors []float64 // by which the direction of each point is multiplied; nil for none
	Longest float64   // with Factors, a bound of the norm of the direction of all points
}

// LooksAhead reports whether the direction differs from the momentum after the step, as with
// Nesterov's momentum.
func (s Step) LooksAhead() bool { return s.Keep != s.Ahead || s.Take != s.Slope }

// Progress describes a step: Direction is the sum of |v|^2, without decay, over the points,
// Length the sum of |Rate/g_t v|^2, and Factor the largest g_t.
type Progress struct{ Direction, Length, Factor float64 }

// Plus returns the progress of two parts of a step together.
func (a Progress) Plus(b Progress) Progress {
	return Progress{a.Direction + b.Direction, a.Length + b.Length, max(a.Factor, b.Factor)}
}

// Factor returns the geometric step factor
//
//	g(R, c) = max(1, R' (2 + R')),  R' = R c^(-1/2),
//
// for a direction of norm R where the sectional curvature is at most c > 0, and 1 where c is 0 or
// negative. On the unit sphere it is the factor of Ozay and Okatani (arXiv 1610.07008, theorem 2). On a
// sphere of radius r it is the factor for the same loss as a function of x/r, whose gradient is r
// times as long.
func Factor(r, c float64) float64 {
	if !(c > 0) {
		return 1
	}
	r /= math.Sqrt(c)
	return max(1, r*(2+r))
}

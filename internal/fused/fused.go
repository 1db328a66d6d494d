// SPDX-License-Identifier: Apache-2.0

// Package fused makes whole steps of gradient descent in two passes over memory, or
// one: projection, update, retraction, transport and the clearing of the gradient
// together, in place.
//
// It cannot fail. Gradient and momentum are to be finite, with norms below 10^15 in
// float32 and 10^150 in float64, so that no square overflows. What a point that is not
// finite becomes is not finite, and a zero vector is left where it is.
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

// Flat makes the step in Euclidean space, where the projection is the identity and the
// retraction is addition:
//
//	x <- Shrink x - Rate (Ahead m + Slope g),  m <- Keep m + Take g,  g <- 0.
func Flat[T vec.Float](x, m, g []T, s Step, shrink float64) Moved {
	dd := momentsOf(x, m, g, s.Ahead, s.Slope).DD
	b := blend{XX: shrink, XM: -s.Rate * s.Ahead, XG: -s.Rate * s.Slope, MM: s.Keep, MG: s.Take}
	apply(b, x, m, g)
	return Moved{dd, s.Rate * s.Rate * dd, 1}
}

// Spheres makes the step for the vectors of n elements that x holds one after the
// other, each on a sphere.
func Spheres[T vec.Float](x, m, g []T, n int, s Step) Moved {
	total := Moved{Factor: 1}
	for from := 0; from < len(x); from += n {
		to := from + n
		xs, gs := x[from:to:to], g[from:to:to]
		var ms []T
		if m != nil {
			ms = m[from:to:to]
		}
		b, moved, far := s.blend(momentsOf(xs, ms, gs, s.Ahead, s.Slope), n)
		apply(b, xs, ms, gs)
		if far {
			vec.Scale(xs, s.Radius/vec.Norm(xs), xs)
		}
		total = total.plus(moved)
	}
	return total
}

// Columns makes the step for the columns of the row-major r x c matrices that x holds one
// after the other, each column on a sphere.
func Columns[T vec.Float](x, m, g []T, r, c int, s Step) Moved {
	total := Moved{Factor: 1}
	col := make([]T, 3*r)
	for at := 0; at < len(x); at += r * c {
		for j := range c {
			xs, ms, gs := col[:r], col[r:2*r], col[2*r:]
			if m == nil {
				ms = nil
			}
			for i := range r {
				e := at + i*c + j
				xs[i], gs[i] = x[e], g[e]
				if m != nil {
					ms[i] = m[e]
				}
			}
			total = total.plus(Spheres(xs, ms, gs, r, s))
			for i := range r {
				e := at + i*c + j
				x[e], g[e] = xs[i], 0
				if m != nil {
					m[e] = ms[i]
				}
			}
		}
	}
	return total
}

// moments are the sums that a step on a sphere needs of x and d.
type moments struct{ XX, XD, DD, X, D float64 }

// momentsOf sums x x, x d, d d, x and d, where d = p m + q g.
func momentsOf[T vec.Float](x, m, g []T, p, q float64) moments {
	var s moments
	f, h := T(p), T(q)
	g = g[:len(x)]
	for i, v := range x {
		d := h * g[i]
		if m != nil {
			d += f * m[i]
		}
		a, b := float64(v), float64(d)
		s.XX += a * a
		s.XD += a * b
		s.DD += b * b
		s.X += a
		s.D += b
	}
	return s
}

// blend says where a step takes x and m:
//
//	x <- XX x + XM m + XG g + X1
//	m <- MX x + MM m + MG g + M1
//	g <- 0
type blend struct{ XX, XM, XG, X1, MX, MM, MG, M1 float64 }

// blend turns the moments of a vector of n elements into its step, with c = <x, d>/|x|^2:
//
//	v = d - c x,  y = r (x - t v)/|x - t v|,  |x - t v|^2 = |x|^2 + t^2 |v|^2,
//	<y, v> = -t |v|^2 r/|x - t v|.
//
// far says that the step is so long that rounding asks for another normalisation.
func (s Step) blend(o moments, n int) (b blend, moved Moved, far bool) {
	if s.Centred {
		k := 1 / float64(n)
		o.XX -= o.X * o.X * k
		o.XD -= o.X * o.D * k
		o.DD -= o.D * o.D * k
		o.X, o.D = o.X*k, o.D*k // means
	} else {
		o.X, o.D = 0, 0
	}
	if !(o.XX > 0) {
		return blend{XX: 1, MM: s.Keep, MG: s.Take}, Moved{Factor: 1}, false
	}
	c := o.XD / o.XX
	vv := max(0, o.DD-c*o.XD)
	factor := 1.0
	if s.Curvature > 0 {
		factor = GeometricFactor(math.Sqrt(vv), s.Curvature)
	}
	t := s.Rate / factor
	f := s.Radius / math.Sqrt(o.XX+t*t*vv)
	b.XX, b.XM, b.XG = f*(1+t*c), -f*t*s.Ahead, -f*t*s.Slope
	b.X1 = -b.XX*o.X + f*t*o.D
	if s.Tangent {
		k := f * t * vv / (s.Radius * s.Radius) // -<y, v>/r^2
		b.MX, b.MM, b.MG = k*b.XX-c, k*b.XM+s.Keep, k*b.XG+s.Take
		b.M1 = k*b.X1 + c*o.X - o.D
	} else {
		b.MM, b.MG = s.Keep, s.Take
	}
	return b, Moved{vv, t * t * vv, factor}, t*t*o.DD > 100*s.Radius*s.Radius
}

// GeometricFactor is the g_t of Ozay and Okatani for a direction of norm r on a manifold of curvature
// at most c.
func GeometricFactor(r, c float64) float64 {
	rho := 1 / math.Sqrt(c)
	gamma := max((2*rho+r)*(2*rho+r), 1+c*(rho+r))
	return math.Sqrt(max(1, r*r*gamma))
}

// apply makes the step.
func apply[T vec.Float](b blend, x, m, g []T) {
	xx, xm, xg, x1 := T(b.XX), T(b.XM), T(b.XG), T(b.X1)
	mx, mm, mg, m1 := T(b.MX), T(b.MM), T(b.MG), T(b.M1)
	g = g[:len(x)]
	if m == nil {
		for i, v := range x {
			x[i] = xx*v + xg*g[i] + x1
			g[i] = 0
		}
		return
	}
	m = m[:len(x)]
	for i, v := range x {
		u, h := m[i], g[i]
		x[i] = xx*v + xm*u + xg*h + x1
		m[i] = mx*v + mm*u + mg*h + m1
		g[i] = 0
	}
}

// AdamStep is a step of Adam in Euclidean space (Kingma, Ba 2015), element by element:
//
//	m <- Beta1 m + (1-Beta1) g',  s <- Beta2 s + (1-Beta2) g'^2,  g' = Slope g
//	x <- Shrink x - Rate m/Correct1 / (sqrt(s/Correct2) + Eps),  g <- 0.
//
// With a slice largest (AMSGrad), s in the last line is the largest s so far.
type AdamStep struct {
	Beta1, Beta2, Eps, Slope, Shrink, Rate, Correct1, Correct2 float64
}

// Adam makes the step and returns the sum of squares of what x moves by for a Rate of 1.
// largest may be nil.
func Adam[T vec.Float](x, m, s, largest, g []T, a AdamStep) float64 {
	b1, c1, b2, c2 := T(a.Beta1), T(1-a.Beta1), T(a.Beta2), T(1-a.Beta2)
	i1, i2, eps, slope := T(1/a.Correct1), T(1/a.Correct2), T(a.Eps), T(a.Slope)
	shrink, rate := T(a.Shrink), T(a.Rate)
	total := 0.0
	m, s, g = m[:len(x)], s[:len(x)], g[:len(x)]
	for i, v := range x {
		h := slope * g[i]
		m[i] = b1*m[i] + c1*h
		s[i] = b2*s[i] + c2*h*h
		top := s[i]
		if largest != nil {
			top = max(top, largest[i])
			largest[i] = top
		}
		d := i1 * m[i] / (T(math.Sqrt(float64(i2*top))) + eps)
		x[i] = shrink*v - rate*d
		g[i] = 0
		total += float64(d) * float64(d)
	}
	return total
}

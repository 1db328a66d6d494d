// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"fmt"
	"math"

	"github.com/kernelfold/kernelfold/internal/vec"
)

// angle returns the speed |v| (|v - mean v| on a centred sphere) and the angle t = speed/r of the
// geodesic step with velocity v. reason is not empty if v is not finite.
func (s spheres[T]) angle(l line, v []T) (speed, t float64, reason string) {
	speed, _ = s.spread(l, v)
	if t = speed / s.r; !(t <= math.MaxFloat64) {
		return speed, t, fmt.Sprintf("want a finite step, got norm %g", speed)
	}
	return speed, t, ""
}

// exp: cos(|v|/r) x + r sin(|v|/r) v/|v|, normalised against rounding.
func (s spheres[T]) exp(dst, x, v block[T]) error {
	return s.each(x, func(l line) string {
		_, t, reason := s.angle(l, v.data)
		if reason != "" {
			return reason
		}
		sinc := 1.0
		if t > 0 {
			sinc = math.Sin(t) / t
		}
		cos := math.Cos(t)
		m := cos*s.mean(l, x.data) + sinc*s.mean(l, v.data) // rounding only
		if fits[T](cos) && fits[T](sinc) {
			combine(l, dst.data, cos, x.data, sinc, v.data, -m)
		} else {
			combineWide(l, dst.data, cos, x.data, -m, sinc, v.data, 0)
		}
		if s.centred && m != 0 { // again: the result may be much shorter than the means
			s.centre(l, dst.data, dst.data)
		}
		return s.normalise(l, dst.data, 0)
	}, "exp")
}

// parallel: u - 2 <u, s> / |s|^2 s with s = x + y, along the shortest geodesic from x to y. For
// tangent u this equals u - <u, y> / (r^2 + <x, y>) s, but avoids the cancellation in
// r^2 + <x, y>. It is a reflection, and therefore an isometry whatever the rounding of s.
func (s spheres[T]) parallel(dst, x, y, u block[T]) error {
	floor := 8 * vec.Eps[T]() * s.r
	return s.each(x, func(l line) string {
		uz, zz := 0.0, 0.0
		for e, end := l.at, l.at+l.n*l.stride; e < end; e += l.stride {
			z := float64(x.data[e]) + float64(y.data[e])
			uz += float64(u.data[e]) * z
			zz += z * z
		}
		if !(math.Sqrt(zz) > floor) {
			return "want points that are not antipodal"
		}
		c, square := 2*uz/zz, 0.0
		for e, end := l.at, l.at+l.n*l.stride; e < end; e += l.stride {
			w := float64(u.data[e]) - c*(float64(x.data[e])+float64(y.data[e]))
			square += w * w
			dst.data[e] = T(w)
		}
		if !finite(l, dst.data, square) {
			return overflow
		}
		return ""
	}, "parallel transport")
}

// transportAlong: the tangent projection at y, or parallel transport along the geodesic with
// velocity v, of any length,
//
//	u + <u, e> ((cos t - 1) e - sin t x/r),  e = v/|v|,  t = |v|/r.
func (s spheres[T]) transportAlong(dst, x, v, y, u block[T]) error {
	if !s.geodesic {
		return s.tangent(dst, y, u)
	}
	return s.each(x, func(l line) string {
		speed, t, reason := s.angle(l, v.data)
		if reason != "" {
			return reason
		}
		m, unit, along := s.mean(l, v.data), speed, 0.0
		if speed == 0 {
			unit = 1 // then e = 0
		}
		for e, end := l.at, l.at+l.n*l.stride; e < end; e += l.stride {
			along += float64(u.data[e]) * ((float64(v.data[e]) - m) / unit)
		}
		half := math.Sin(t / 2)
		a, b := -2*half*half*along, -math.Sin(t)*along/s.r // cos t - 1 is -2 sin^2(t/2)
		square := 0.0
		for e, end := l.at, l.at+l.n*l.stride; e < end; e += l.stride {
			w := float64(u.data[e]) + (a*((float64(v.data[e])-m)/unit) + b*float64(x.data[e]))
			square += w * w
			dst.data[e] = T(w)
		}
		if !finite(l, dst.data, square) {
			return overflow
		}
		return ""
	}, "transport along")
}

// chord describes d = y + sign x - mean, where sign is -1, or 1 if the angle theta between x and
// y is obtuse. d - along x is the projection of y onto the tangent space at x, and norm is its
// norm. Projecting d instead of y keeps it accurate where y is close to x or -x.
type chord struct{ sign, mean, along, norm, theta float64 }

func (s spheres[T]) chord(l line, x, y []T) chord {
	inner := dot(l, x, y)
	c := chord{sign: -1}
	if inner < 0 {
		c.sign = 1
	}
	if s.centred {
		c.mean = (sum(l, y) + c.sign*sum(l, x)) / float64(l.n)
	}
	xd, dd := 0.0, 0.0
	for e, end := l.at, l.at+l.n*l.stride; e < end; e += l.stride {
		d := float64(y[e]) + c.sign*float64(x[e]) - c.mean
		xd += float64(x[e]) * d
		dd += d * d
	}
	c.along = xd / (s.r * s.r)
	c.norm = math.Sqrt(max(0, dd-c.along*xd))
	c.theta = math.Atan2(s.r*c.norm, inner)
	return c
}

// log: the projection of y onto the tangent space at x, rescaled to length r theta.
func (s spheres[T]) log(dst, x, y block[T]) error {
	return s.towards("log", dst, x, y, math.Pi, "want points that are not antipodal", func(theta float64) float64 { return theta })
}

// inverse: the same, rescaled to length r tan(theta), or that of log if geodesic.
func (s spheres[T]) inverse(dst, x, y block[T]) error {
	if s.geodesic {
		return s.log(dst, x, y)
	}
	return s.towards("inverse retraction", dst, x, y, math.Pi/2, "want points at an angle below pi/2", math.Tan)
}

// towards writes the projection of y onto the tangent space at x, rescaled to length r times the function of the angle
// between x and y. It fails for the reason at that angle and above.
func (s spheres[T]) towards(op string, dst, x, y block[T], angle float64, reason string, length func(theta float64) float64) error {
	return s.each(x, func(l line) string {
		c := s.chord(l, x.data, y.data)
		scale := 1.0
		if c.norm > 0 {
			scale = s.r * length(c.theta) / c.norm
		}
		if angle-c.theta < 4*vec.Eps[T]() {
			return reason
		}
		if c.theta != c.theta {
			return "want finite points"
		}
		for e, end := l.at, l.at+l.n*l.stride; e < end; e += l.stride {
			d := float64(y.data[e]) + c.sign*float64(x.data[e]) - c.mean
			dst.data[e] = T(scale * (d - c.along*float64(x.data[e])))
		}
		if s.centred {
			s.centre(l, dst.data, dst.data)
		}
		return ""
	}, op)
}

// dist: r theta, and the root of the sum of squares over the vectors of a point.
func (s spheres[T]) dist(out []float64, x, _, y block[T]) error {
	count, j := s.lines(x), 0
	clear(out)
	err := s.each(x, func(l line) string {
		theta := s.chord(l, x.data, y.data).theta
		out[j/count] += theta * theta
		j++
		if theta != theta {
			return "want finite points"
		}
		return ""
	}, "distance")
	for i, t := range out {
		out[i] = s.r * math.Sqrt(t)
	}
	return err
}

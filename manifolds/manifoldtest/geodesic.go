// SPDX-License-Identifier: Apache-2.0

package manifoldtest

import (
	"fmt"
	"math"

	"github.com/kernelfold/kernelfold/manifolds"
)

// exponential: the curve Exp_x(tv) starts at x with velocity v, stays on the
// manifold, and is a geodesic of the metric.
func exponential(t *trial) {
	x := t.point()
	v := t.vector(x, 1)
	t.equal("Exp_x(0) = x", t.exp(x, x.Like()), x, lengths(x))
	for _, f := range []float64{1e-3, 1, 10, 100} {
		t.moves(fmt.Sprintf("Exp_x(v) for |v| = %g|x|", f), x, t.direction(x, f), t.m.(manifolds.Exponential).Exp)
	}
	t.order("Exp_x(tv) = x + tv + O(t^2)", 2, t.rounding(x), func(s float64) []float64 {
		return norms(minus(t.exp(x, scaled(s, v)), combine(1, x, s, v)))
	})
	if t.prec.double {
		t.constantSpeed(x, v)
		if x.N*x.P <= 64 { // larger shapes take too long
			t.stationary(x, v)
		}
	}
}

// constantSpeed: <y', y'>_y = <v, v>_x along y = Exp_x(sv). The error of the central difference is
// h^2/6 times the third derivative, plus rounding / h, about 1e-10 each.
func (t *trial) constantSpeed(x, v manifolds.Points) {
	const h = 1e-5
	vv := t.inner(x, v, v)
	for _, s := range []float64{0.3, 1} {
		y := t.exp(x, scaled(s, v))
		dy := scaled(1/(2*h), minus(t.exp(x, scaled(s+h, v)), t.exp(x, scaled(s-h, v))))
		dy = t.tangent(y, dy)
		for k, d := range t.inner(y, dy, dy) {
			if vv[k] > 0 {
				t.atMost(fmt.Sprintf("the speed of Exp_x(tv) at t = %g is that at 0, relative difference", s), math.Abs(d/vv[k]-1), 1e-7)
			}
		}
	}
}

// stationary: a geodesic is a critical point of the energy, the integral of <y', y'>_y, among
// curves with the same ends. Energies are computed as sums over chords; the tolerance is their
// error, of order 1/chords^2.
func (t *trial) stationary(x, v manifolds.Points) {
	const chords, eps, tolerance = 64, 1e-4, 1e-3
	for k := range min(x.K, 2) {
		start, velocity, bump := repeat(x, k, 2*chords+1), repeat(v, k, 2*chords+1), repeat(t.gauss(), k, 2*chords+1)
		size := roots(t.inner(start, velocity, velocity))
		ts, sines := make([]float64, 2*chords+1), make([]float64, 2*chords+1)
		for i := range ts {
			ts[i] = float64(i) / (2 * chords)
			sines[i] = math.Sin(math.Pi*ts[i]) * size[i]
		}
		y := t.exp(start, scaledBy(ts, velocity))
		w := t.resized(y, t.tangent(y, bump), sines)

		energy := func(e float64) float64 {
			z := t.retract(y, scaled(e, w))
			chord, middle := filled(t.prec, Shape{chords, x.N, x.P}, 0), filled(t.prec, Shape{chords, x.N, x.P}, 0)
			for e, np := 0, x.N*x.P; e < chord.Len(); e++ {
				i := 2*np*(e/np) + e%np
				put(chord, e, value(z, i+2*np)-value(z, i))
				put(middle, e, value(z, i+np))
			}
			u := t.tangent(middle, chord)
			sum := 0.0
			for _, d := range t.inner(middle, u, u) {
				sum += d * chords
			}
			return sum
		}
		if e := energy(0); e > 0 {
			t.atMost("Exp_x(tv) has stationary energy among curves with its ends, relative derivative",
				math.Abs(energy(eps)-energy(-eps))/(2*eps*e), tolerance)
		}
	}
}

func ones(n int) []float64 {
	x := make([]float64, n)
	for k := range x {
		x[k] = 1
	}
	return x
}

// shortest returns tangent vectors at x whose length in the metric is f times the injectivity radius, up to which geodesics are shortest. If
// the radius is infinite their norm is f |x|, and if it is unknown a tenth of that, or less if such steps lead far away.
func (t *trial) shortest(x manifolds.Points, f float64) manifolds.Points {
	switch radius := t.known().InjectivityRadius; {
	case radius == 0:
		return t.vector(x, 0.1*f)
	case math.IsInf(radius, 1):
		return t.vector(x, f)
	default:
		return t.resized(x, t.direction(x, 1), times(f*radius, ones(x.K)))
	}
}

// resized returns tangent vectors at x scaled to the given lengths in the metric. A zero vector stays zero.
func (t *trial) resized(x, v manifolds.Points, size []float64) manifolds.Points {
	factors := make([]float64, x.K)
	for k, long := range roots(t.inner(x, v, v)) {
		if long > 0 {
			factors[k] = size[k] / long
		}
	}
	return scaledBy(factors, v)
}

// logarithm: Log is the inverse of the exponential map, and Dist the length of Log.
func logarithm(t *trial) {
	x := t.point()
	zero, size := make([]float64, x.K), lengths(x)
	t.equalNumbers("dist(x, x) = 0", t.dist(x, x), zero, size)
	t.equal("log_x x = 0", t.log(x, x), x.Like(), size)
	if !has[manifolds.Exponential](t.m) {
		t.logarithmAt(x, t.retract(x, t.vector(x, 0.1)))
		return
	}
	for _, f := range []float64{1e-6, 1e-3, 0.1, 0.5, 0.9, 0.999, 1 - 1e-6} {
		if f > 0.5 && x.N*x.P > 512 {
			break // iterative logarithms of large points take too long
		}
		v := t.shortest(x, f)
		length := roots(t.inner(x, v, v))
		y := t.exp(x, v)
		w := t.logarithmAt(x, y)
		at := fmt.Sprintf(" for v of %g of the injectivity radius", f)
		// Near the cut locus the distance is well conditioned, but the direction is not.
		t.equalNumbers("dist(x, Exp_x(v)) = |v|"+at, t.dist(x, y), length, t.spans(x, v))
		if f <= 0.9 {
			t.equal("log_x Exp_x(v) = v"+at, w, v, times(4, size))
		}
	}
}

// logarithmAt checks the equations that hold for any two points, and returns log_x y.
func (t *trial) logarithmAt(x, y manifolds.Points) manifolds.Points {
	d, v := t.dist(x, y), t.log(x, y)
	size, span := lengths(x), t.spans(x, v)
	t.equal("log_x y is tangent, T_x log_x y = log_x y", t.tangent(x, v), v, size)
	t.equalNumbers("|log_x y| = dist(x, y)", roots(t.inner(x, v, v)), d, span)
	t.equalNumbers("dist(x, y) = dist(y, x)", t.dist(y, x), d, span)
	if has[manifolds.Exponential](t.m) {
		t.equalPoints("Exp_x(log_x y) = y", t.exp(x, v), y, times(4, size))
	}
	return v
}

// parallel: parallel transport along the shortest geodesic.
func parallel(t *trial) {
	x := t.point()
	// Near the cut locus, rounding errors of y are amplified: on a sphere by a factor of 6 at 0.9 of
	// the injectivity radius.
	for _, f := range []float64{1e-3, 0.5, 0.9} {
		v := t.shortest(x, f)
		y := t.retract(x, v)
		if has[manifolds.Exponential](t.m) {
			y = t.exp(x, v)
		}
		u, w := t.vector(x, 1), t.vector(x, 0.7)
		uy, wy := t.parallel(x, y, u), t.parallel(x, y, w)
		nu, nw := largest(t.sizes(x, u), t.sizes(y, uy)), largest(t.sizes(x, w), t.sizes(y, wy))

		t.equal("the transported u is tangent at y", t.tangent(y, uy), uy, nu)
		t.equalNumbers("<u, w>_x = <transported u, transported w>_y", t.inner(y, uy, wy), t.inner(x, u, w), times(8, mul(nu, nw)))
		t.equalNumbers("|u|_x = |transported u|_y", t.inner(y, uy, uy), t.inner(x, u, u), times(8, mul(nu, nu)))
		t.equal("transport from x to y and back is the identity", t.parallel(y, x, uy), u, times(8, nu))
		t.equal("transporting 2u - 3w gives 2 of u - 3 of w",
			t.parallel(x, y, combine(2, u, -3, w)), combine(2, uy, -3, wy), add(times(2, nu), times(3, nw)))
		if has[manifolds.Logarithm](t.m) {
			t.equal("log_x y is transported to -log_y x", t.parallel(x, y, t.log(x, y)), scaled(-1, t.log(y, x)), times(8, lengths(x)))
		}
	}
	u := t.vector(x, 1)
	t.equal("transport from x to x is the identity", t.parallel(x, x, u), u, norms(u))

	// With the metric of the ambient space, the derivative of a parallel vector along the geodesic is
	// normal. The error of the central difference is about 1e-10.
	if t.prec.double && has[manifolds.Exponential](t.m) && !has[manifolds.Metric](t.m) {
		const h = 1e-5
		v := t.shortest(x, 0.3)
		at := func(s float64) manifolds.Points { return t.parallel(x, t.exp(x, scaled(s, v)), u) }
		du := t.tangent(t.exp(x, v), scaled(1/(2*h), minus(at(1+h), at(1-h))))
		for k, d := range norms(du) {
			if n := norms(u)[k]; n > 0 {
				t.atMost("the derivative of the transported u is normal, |T u'|/|u|", d/n, 1e-7)
			}
		}
	}
}

// curvature: the injectivity radius is not negative, and no plane has a larger curvature than the
// upper bound, or a smaller one than the lower bound if that is not 0. The curvature of the plane of u and w follows from the distance between the ends of two
// geodesics,
//
//	d(Exp_x(u), Exp_x(w))^2 = |u - w|^2 - K/3 |u ^ w|^2 + ...
//
// where further terms are smaller by two orders.
func curvature(t *trial) {
	bound, lowest, radius := t.known().Curvature, t.known().LowestCurvature, t.known().InjectivityRadius
	if math.IsNaN(bound) {
		t.fail("Curvature", "a number", "NaN")
	}
	if !(lowest <= 0) {
		t.fail("LowestCurvature", "at most 0", fmt.Sprint(lowest))
	}
	if !(radius >= 0) {
		t.fail("InjectivityRadius", "a positive number or infinity, or 0 for unknown", fmt.Sprint(radius))
	}
	if radius == 0 && bound == 0 && lowest == 0 { // nothing is claimed
		return
	}
	if !t.prec.double || !has[manifolds.Exponential](t.m) || !has[manifolds.Logarithm](t.m) {
		return
	}
	const f = 0.05
	x := t.point()
	size := lengths(x)
	// Beside the lengths that the curvature allows, further terms are small.
	most := times(f/math.Sqrt(max(math.Abs(bound), -lowest)), ones(x.K))
	short := func() manifolds.Points {
		v := t.vector(x, f)
		return t.resized(x, v, smallest(roots(t.inner(x, v, v)), most))
	}
	for range 4 {
		u, w := short(), short()
		diff := minus(u, w)
		uu, ww, uw, dd := t.inner(x, u, u), t.inner(x, w, w), t.inner(x, u, w), t.inner(x, diff, diff)
		d := t.dist(t.exp(x, u), t.exp(x, w))
		for k := range d {
			area := uu[k]*ww[k] - uw[k]*uw[k]
			if area < 0.1*uu[k]*ww[k] || area == 0 {
				continue // hardly a plane
			}
			K := 3 * (dd[k] - d[k]*d[k]) / area
			t.atMost("the sectional curvature", K, bound+0.05*math.Abs(bound)+0.05/(size[k]*size[k]))
			if lowest < 0 {
				t.atLeast("the sectional curvature", K, 1.05*lowest-0.05/(size[k]*size[k]))
			}
		}
	}
}

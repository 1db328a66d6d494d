// SPDX-License-Identifier: Apache-2.0

package manifoldtest

import (
	"math"

	"github.com/kernelfold/kernelfold/manifolds"
)

// tangent: T is the orthogonal projection onto the tangent space.
func tangent(t *trial) {
	x, g, h := t.point(), t.gauss(), t.gauss()
	u, w := t.tangent(x, g), t.tangent(x, h)

	t.equal("T T g = T g", t.tangent(x, u), u, norms(g))
	t.equalNumbers("<T g, h> = <g, T h>", t.ambient(u, h), t.ambient(g, w), mul(norms(g), norms(h)))
	t.equal("T(2g - 3h) = 2 T g - 3 T h",
		t.tangent(x, combine(2, g, -3, h)), combine(2, u, -3, w), add(times(2, norms(g)), times(3, norms(h))))
	for _, s := range []float64{t.prec.tiny, t.prec.huge} {
		t.equal("T(s g) = s T g for tiny and huge s", t.tangent(x, scaled(s, g)), scaled(s, u), times(s, norms(g)))
	}

	g = t.offset(x, 1)
	u = t.tangent(x, g)
	if has[manifolds.Quotient](t.m) {
		t.order("P(x + tg) is R_x(t T g) + O(t^2) as a class", 2, []float64{4 * t.tol}, func(s float64) []float64 {
			return []float64{t.same(t.project(combine(1, x, s, g)), t.retract(x, scaled(s, u)))}
		})
		return
	}
	// T projects onto the tangent space of this manifold: at a point of the manifold, the
	// derivative of P is the orthogonal projection onto the tangent space.
	t.order("P(x + tg) = x + t T g + O(t^2)", 2, t.rounding(x), func(s float64) []float64 {
		return norms(minus(t.project(combine(1, x, s, g)), combine(1, x, s, u)))
	})
}

// metric: Inner is an inner product, and Gradient belongs to it.
func metric(t *trial) {
	x := t.point()
	g, u, v := t.gauss(), t.vector(x, 1), t.vector(x, 0.7)
	uu, vv, uv := t.inner(x, u, u), t.inner(x, v, v), t.inner(x, u, v)

	nu, nv := t.sizes(x, u), t.sizes(x, v)
	t.equalNumbers("<u, v> = <v, u>", t.inner(x, v, u), uv, mul(nu, nv))
	t.equalNumbers("<2u - 3v, v> = 2 <u, v> - 3 <v, v>",
		t.inner(x, combine(2, u, -3, v), v), add(times(2, uv), times(-3, vv)), mul(add(times(2, nu), times(3, nv)), nv))
	for k, n := range norms(u) {
		if n > 0 {
			t.atLeast("<u, u> / |u|^2 for u other than 0", uu[k]/(n*n), math.SmallestNonzeroFloat64)
		}
	}
	t.equalNumbers("<u, v>^2 <= <u, u> <v, v>, the excess",
		positive(add(mul(uv, uv), times(-1, mul(uu, vv)))), make([]float64, x.K), mul(mul(nu, nu), mul(nv, nv)))

	grad := t.gradient(x, g)
	ng := largest(norms(g), t.sizes(x, grad))
	size := largest(norms(g), norms(grad))
	for k, n := range norms(u) {
		if n == 0 { // no tangent space: what is left of g is rounding, in the unit of the metric
			size[k] = math.Inf(1)
		}
	}
	t.equal("grad f is tangent, T grad f = grad f", t.tangent(x, grad), grad, size)
	t.equalNumbers("<grad f, u>_x = <g, u>", t.inner(x, grad, u), dots(g, u), mul(ng, nu))
	t.equalNumbers("<grad f, v>_x = <g, v>", t.inner(x, grad, v), dots(g, v), mul(ng, nv))
}

// ambientInner: AmbientInner is an inner product. The oracles of P and T check that these belong to it.
func ambientInner(t *trial) {
	u, v := t.gauss(), t.gauss()
	nn := mul(norms(u), norms(v))
	uv := t.ambient(u, v)
	t.equalNumbers("ambient <u, v> = <v, u>", t.ambient(v, u), uv, nn)
	t.equalNumbers("ambient <2u - 3v, v> = 2 <u, v> - 3 <v, v>",
		t.ambient(combine(2, u, -3, v), v), add(times(2, uv), times(-3, t.ambient(v, v))), mul(add(times(2, norms(u)), times(3, norms(v))), norms(v)))
	for k, uu := range t.ambient(u, u) {
		t.atLeast("ambient <u, u> / |u|^2", uu/(norms(u)[k]*norms(u)[k]), math.SmallestNonzeroFloat64)
	}
}

func positive(x []float64) []float64 {
	y := make([]float64, len(x))
	for k := range x {
		y[k] = max(x[k], 0)
	}
	return y
}

// gradient: f(R_x(tv)) - f(x) - t <grad f, v>_x = O(t^2). It uses three random quadratic functions
// f at once, because the terms in t^2 and t^3 may cancel for one of them.
func gradient(t *trial) {
	x := t.point()
	v := t.vector(x, 1)
	var fs []quadratic
	var at, slope [][]float64
	noise := make([]float64, x.K)
	for range 3 {
		f := t.quadratic(lengths(x))
		fs = append(fs, f)
		at = append(at, f.values(x))
		slope = append(slope, t.inner(x, t.gradient(x, f.gradient(x)), v))
		noise = add(noise, times(4*t.tol, f.size(x)))
	}
	t.order("f(R_x(tv)) - f(x) - t <grad f, v>_x = O(t^2)", 2, noise, func(s float64) []float64 {
		y := t.retract(x, scaled(s, v))
		square := make([]float64, x.K)
		for i, f := range fs {
			e := add(f.values(y), times(-1, at[i]), times(-s, slope[i]))
			square = add(square, mul(e, e))
		}
		return roots(square)
	})
}

// quadratic is f(x) = <c, x> + (<d, x*x> + <b, x>^2) / 2, where x*x is taken element by element.
// There is one function for each point.
type quadratic struct{ b, c, d manifolds.Points }

// quadratic draws functions whose three terms are of similar size at points of the given norms.
func (t *trial) quadratic(size []float64) quadratic {
	b, c, d := t.gauss(), t.gauss(), t.gauss()
	return quadratic{resize(b, inverse(size)), c, scaledBy(inverse(size), d)}
}

func (f quadratic) values(x manifolds.Points) []float64 {
	bx := dots(f.b, x)
	return add(dots(f.c, x), times(0.5, dots(f.d, product(x, x))), times(0.5, mul(bx, bx)))
}

// gradient: c + d*x + b <b, x>.
func (f quadratic) gradient(x manifolds.Points) manifolds.Points {
	return plus(plus(f.c, product(f.d, x)), scaledBy(dots(f.b, x), f.b))
}

// size returns the size of the terms, which sets the rounding error of f.
func (f quadratic) size(x manifolds.Points) []float64 {
	n, bx := norms(x), dots(f.b, x)
	return add(mul(norms(f.c), n), mul(norms(f.d), mul(n, n)), mul(bx, bx))
}

// product returns x*y, element by element.
func product(x, y manifolds.Points) manifolds.Points {
	z := x.Like()
	for e := range x.Len() {
		put(z, e, value(x, e)*value(y, e))
	}
	return z
}

// scaledBy returns the points of x, where point k is multiplied by a[k].
func scaledBy(a []float64, x manifolds.Points) manifolds.Points {
	z, np := x.Like(), x.N*x.P
	for e := range x.Len() {
		put(z, e, a[e/np]*value(x, e))
	}
	return z
}

func inverse(x []float64) []float64 {
	y := make([]float64, len(x))
	for k := range x {
		y[k] = 1 / x[k]
	}
	return y
}

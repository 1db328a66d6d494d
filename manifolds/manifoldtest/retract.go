// SPDX-License-Identifier: Apache-2.0

package manifoldtest

import (
	"fmt"
)

// retract: R_x(v) is a point of the manifold, and equals x + v to first order.
func retract(t *trial) {
	x := t.point()
	t.equal("R_x(0) = x", t.retract(x, x.Like()), x, lengths(x))
	for _, f := range []float64{1e-3, 1, 10, 100} {
		t.member(fmt.Sprintf("R_x(v) for |v| = %g|x|", f), t.retract(x, t.vector(x, f)))
	}
	v := t.vector(x, 1)
	t.order("R_x(tv) = x + tv + O(t^2)", 2, t.rounding(x), func(s float64) []float64 {
		return norms(minus(t.retract(x, scaled(s, v)), combine(1, x, s, v)))
	})

	// A random walk: rounding errors may add up, but not grow exponentially.
	const walk = 32
	y := x
	for range walk {
		y = t.retract(y, t.vector(y, 0.1))
	}
	t.atMost(fmt.Sprintf("Membership after %d retractions", walk), t.m.Membership(y), walk*t.tol)
}

// transport: Transport maps the tangent space at x to that at y; it is linear, continuous, and the
// identity for y = x.
func transport(t *trial) {
	x := t.point()
	y := t.retract(x, t.vector(x, 0.5))
	u, w := t.vector(x, 1), t.vector(x, 0.7)
	uy, wy := t.transport(x, y, u), t.transport(x, y, w)

	t.equal("T_y of the transported u is itself", t.tangent(y, uy), uy, norms(u))
	t.equal("transporting 2u - 3w gives 2 of u - 3 of w",
		t.transport(x, y, combine(2, u, -3, w)), combine(2, uy, -3, wy), add(times(2, norms(u)), times(3, norms(w))))
	t.equal("transport from x to x is the identity", t.transport(x, x, u), u, norms(u))

	v := t.vector(x, 1)
	t.order("the transport of u to R_x(tv) is u + O(t)", 1, times(4*t.tol, norms(u)), func(s float64) []float64 {
		return norms(minus(t.transport(x, t.retract(x, scaled(s, v)), u), u))
	})
}

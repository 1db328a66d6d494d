// SPDX-License-Identifier: Apache-2.0

package manifoldtest

import (
	"fmt"
	"math"

	"github.com/kernelfold/kernelfold/manifolds"
)

// retract: R_x(v) is a point of the manifold, and equals x + v to first order.
func retract(t *trial) {
	x := t.point()
	t.equal("R_x(0) = x", t.retract(x, x.Like()), x, lengths(x))
	for _, f := range []float64{1e-3, 1, 10, 100} {
		t.moves(fmt.Sprintf("R_x(v) for |v| = %g|x|", f), x, t.direction(x, f), t.m.Retract)
	}
	v := t.vector(x, 1)
	t.order("R_x(tv) = x + tv + O(t^2)", 2, t.rounding(x), func(s float64) []float64 {
		return norms(minus(t.step(x, scaled(s, v)), combine(1, x, s, v)))
	})
	if drift := t.known().Drift; drift > 0 {
		t.drifts(x, drift)
		return
	}

	// A random walk: rounding errors may add up, but not grow exponentially.
	const walk = 32
	y := x
	for range walk {
		y = t.retract(y, t.vector(y, 0.1))
	}
	t.atMost(fmt.Sprintf("Membership after %d retractions", walk), t.m.Membership(y), walk*t.tol)
}

// moves asserts that steps lead to points. If the manifold is not bounded, they may have no answer, because they leave an open set or their end is too far
// away for the numbers of the precision.
func (t *trial) moves(property string, x, v manifolds.Points, move func(dst, x, v manifolds.Points) error) {
	for k := range x.K {
		y := filledLike(x.Slice(k, k+1), math.NaN())
		err := move(y, x.Slice(k, k+1), v.Slice(k, k+1))
		if !t.bounded() && refusal(err) {
			continue
		}
		t.done(property, err)
		if t.known().Drift > 0 {
			y = t.project(y)
		}
		t.member(property, y)
	}
}

// drifts asserts that a step leaves the manifold by no more than its drift, and many steps by no more than a few times as much.
func (t *trial) drifts(x manifolds.Points, drift float64) {
	for _, f := range []float64{1e-3, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 1, 10} {
		t.atMost(fmt.Sprintf("Membership of R_x(v) for |v| = %g|x|, without a projection", f), t.m.Membership(t.step(x, t.vector(x, f))), drift+t.tol)
	}
	worst := 0.0
	for range 64 {
		x = t.step(x, t.vector(x, 0.1))
		worst = max(worst, t.m.Membership(x))
	}
	t.atMost("Membership during 64 retractions", worst, 3*drift)
}

// inverseRetract: InverseRetract undoes Retract, for steps up to a good part of a point, and fails without NaN where it cannot.
func inverseRetract(t *trial) {
	if t.known().Drift > 0 {
		return // the inverse is that of the retraction which it approximates
	}
	x := t.point()
	size := lengths(x)
	t.equal("the inverse retraction of x is 0", t.inverse(x, x), x.Like(), size)
	for _, f := range []float64{1e-6, 1e-3, 0.1, 0.5} {
		of := fmt.Sprintf(" for |v| = %g|x|", f)
		v := t.vector(x, f)
		y := t.retract(x, v)
		w := t.inverse(x, y)
		t.equal("the inverse retraction of R_x(v) is v"+of, w, v, times(4, size))
		t.equal("the inverse retraction is tangent"+of, t.tangent(x, w), w, size)
		t.equalPoints("R_x of the inverse retraction of y is y"+of, t.retract(x, w), y, times(4, size))
	}
	m := t.m.(manifolds.Inverse)
	far := t.point()
	for k := range x.K {
		at, to := x.Slice(k, k+1), far.Slice(k, k+1)
		dst := at.Like()
		err := m.InverseRetract(dst, at, to)
		if t.pointError("InverseRetract of another point", 0, err) {
			t.equalPoints("R_x of the inverse retraction of another point", t.retract(at, dst), to, times(64, add(lengths(at), norms(dst))))
		}
	}
	nan := clone(x)
	put(nan, nan.Len()-1, math.NaN())
	if err := m.InverseRetract(t.dst(), x, nan); t.pointError("InverseRetract of NaN", x.K-1, err) {
		if _, flat := t.m.(manifolds.Euclidean); !flat {
			t.fail("InverseRetract of NaN", "an error", "none")
		}
	}
}

// transport: Transport maps the tangent space at x to that at y; it is linear, continuous, and the
// identity for y = x.
func transport(t *trial) {
	x := t.point()
	y := t.retract(x, t.vector(x, 0.5))
	u, w := t.vector(x, 1), t.vector(x, 0.7)
	uy, wy := t.transport(x, y, u), t.transport(x, y, w)

	nu, nw := largest(norms(u), norms(uy)), largest(norms(w), norms(wy))
	t.equal("T_y of the transported u is itself", t.tangent(y, uy), uy, nu)
	t.equal("transporting 2u - 3w gives 2 of u - 3 of w",
		t.transport(x, y, combine(2, u, -3, w)), combine(2, uy, -3, wy), add(times(2, nu), times(3, nw)))
	t.equal("transport from x to x is the identity", t.transport(x, x, u), u, norms(u))

	v := t.vector(x, 1)
	t.order("the transport of u to R_x(tv) is u + O(t)", 1, times(4*t.tol, norms(u)), func(s float64) []float64 {
		return norms(minus(t.transport(x, t.retract(x, scaled(s, v)), u), u))
	})
}

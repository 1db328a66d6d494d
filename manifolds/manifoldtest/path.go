// SPDX-License-Identifier: Apache-2.0

package manifoldtest

import (
	"fmt"
	"math"

	"github.com/kernelfold/kernelfold/manifolds"
)

// path: TransportAlong is linear, ends in the tangent space at y, and agrees with Transport for short
// steps.
func path(t *trial) {
	x := t.point()
	u, w := t.vector(x, 1), t.vector(x, 0.7)
	for _, f := range []float64{1e-3, 0.5, 2} {
		of := fmt.Sprintf(" for |v| = %g|x|", f)
		v := t.vector(x, f)
		y := t.retract(x, v)
		uy, wy := t.along(x, v, y, u), t.along(x, v, y, w)
		nu, nw := largest(norms(u), norms(uy)), largest(norms(w), norms(wy))
		t.equal("u transported along the step is tangent at y"+of, t.tangent(y, uy), uy, nu)
		t.equal("transporting 2u - 3w along gives 2 of u - 3 of w"+of,
			t.along(x, v, y, combine(2, u, -3, w)), combine(2, uy, -3, wy), add(times(2, nu), times(3, nw)))
	}
	t.equal("transport along v = 0 is the identity", t.along(x, x.Like(), x, u), u, norms(u))
	v := t.vector(x, 1)
	t.order("the transport of u along tv is that to R_x(tv) + O(t)", 1, times(4*t.tol, norms(u)), func(s float64) []float64 {
		y := t.retract(x, scaled(s, v))
		return norms(minus(t.along(x, scaled(s, v), y, u), t.transport(x, y, u)))
	})
}

// quotient: Same is 0 for equal classes, symmetric, and proportional to a small horizontal step.
func quotient(t *trial) {
	m := t.m.(manifolds.Quotient)
	x := t.point()
	t.atMost("Same(x, x)", t.same(x, x), t.tol)
	v := t.vector(x, 1)
	for k, n := range norms(v) {
		if n == 0 { // no tangent space
			continue
		}
		at, step := x.Slice(k, k+1), v.Slice(k, k+1)
		far := t.same(at, t.retract(at, scaled(1e-2, step)))
		near := t.same(at, t.retract(at, scaled(1e-3, step)))
		t.atLeast("Same(x, R_x(v)) for |v| = 1e-3 |x|", near, 1e-5)
		t.atMost("Same(x, R_x(v)) for |v| = 1e-3 |x|", near, 1e-1)
		t.atLeast("Same grows in proportion, of 1e-2 v over 1e-3 v", far/near, 7)
		t.atMost("Same grows in proportion, of 1e-2 v over 1e-3 v", far/near, 13)
		y := t.retract(at, step)
		t.atMost("Same(x, y) is Same(y, x), relative difference", math.Abs(t.same(at, y)-t.same(y, at)), 4*t.tol)
	}
	for _, w := range t.misfits() {
		if _, err := m.Same(x, w.Points); err == nil {
			t.fail("Same with "+w.what, "an error", "none")
		}
	}
}

// grouping: For returns a manifold of its own type, keeps a grouping that is given, and chooses one
// in place of Default.
func grouping(t *trial) {
	m := t.m.(manifolds.Grouper)
	for _, g := range []manifolds.Grouping{
		manifolds.Default, manifolds.PerSlice, manifolds.PerFilter, manifolds.PerInputChannel, manifolds.PerTap, manifolds.FilterBank, manifolds.PerWeight,
	} {
		call := fmt.Sprintf("For(%v)", g)
		of, chosen := m.For(g)
		if got, want := fmt.Sprintf("%T", of), fmt.Sprintf("%T", t.m); got != want {
			t.fail(call+" returns a manifold of the type it is called on", want, got)
			continue
		}
		switch {
		case g == manifolds.Default && chosen == manifolds.Default:
			t.fail(call+" chooses a grouping", "one of its own", fmt.Sprint(chosen))
		case g != manifolds.Default && chosen != g:
			t.fail(call+" keeps the grouping", fmt.Sprint(g), fmt.Sprint(chosen))
		}
		again, same := of.(manifolds.Grouper).For(chosen)
		if fmt.Sprintf("%#v", again) != fmt.Sprintf("%#v", of) || same != chosen {
			t.fail(call+" followed by For of what it chose changes nothing", fmt.Sprintf("%#v, %v", of, chosen), fmt.Sprintf("%#v, %v", again, same))
		}
	}
}

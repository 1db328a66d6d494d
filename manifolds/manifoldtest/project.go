// SPDX-License-Identifier: Apache-2.0

package manifoldtest

import (
	"errors"
	"fmt"
	"math"

	"github.com/kernelfold/kernelfold/manifolds"
)

// project: P(a) is the point of the manifold nearest to a.
func project(t *trial) {
	a := t.matrix()
	x := t.project(a)
	t.member("P(a)", x)
	t.equal("P(P(a)) = P(a)", t.project(x), x, lengths(x))

	a = t.near()
	x = t.project(a)
	t.member("P(a)", x)
	t.equal("P(P(a)) = P(a)", t.project(x), x, lengths(x))

	// A necessary condition for the nearest point: a - P(a) is normal at P(a).
	if off := minus(a, x); t.known().Convex {
		t.separates(x, off)
		a = scaled(10, a)
		x = t.project(a)
		t.separates(x, minus(a, x))
	} else {
		t.vanish("a - P(a) is normal at P(a), |T(a - P(a))|", norms(t.tangent(x, off)), lengths(x))
	}

	// Compare with other points of the manifold: none may be nearer.
	t.nearest(a, x, t.point())
	for _, f := range []float64{1e-2, 0.1, 1} {
		t.nearest(a, x, t.retract(x, t.vector(x, f)))
	}

	// Points of tiny and huge norm.
	for _, s := range []float64{t.prec.tiny, t.prec.huge} {
		t.far(fmt.Sprintf("P(%.0e a)", s), scaled(s, a))
	}
}

// separates asserts that no point y of a convex body is on the outer side of P(a): <a - P(a), y - P(a)> <= 0.
func (t *trial) separates(x, off manifolds.Points) {
	for range 4 {
		y := t.project(scaled(10, t.gauss()))
		beyond := t.ambient(off, minus(y, x))
		for k, size := range mul(norms(off), add(norms(x), norms(y))) {
			t.atMost("<a - P(a), y - P(a)> <= 0 for a point y of the body", beyond[k], 4*t.tol*size)
		}
	}
}

// nearest asserts |a - x| <= |a - y|.
func (t *trial) nearest(a, x, y manifolds.Points) {
	off, other, size := minus(a, x), minus(a, y), lengths(x)
	dx, dy := roots(t.ambient(off, off)), roots(t.ambient(other, other))
	for k := range dx {
		if !(dx[k] <= dy[k]+t.tol*size[k]) {
			t.fail("P(a) is the nearest point, |a - P(a)|",
				fmt.Sprintf("at most %.6g, the distance of another", dy[k]), fmt.Sprintf("%.6g at point %d", dx[k], k))
			return
		}
	}
}

// far projects points of tiny or huge norm. A Scalable manifold, whose points all have the same norm,
// must return a point. Other manifolds may return an error that is ErrDegenerate, but not a wrong
// result.
func (t *trial) far(call string, a manifolds.Points) {
	dst := t.dst()
	err := t.m.Project(dst, a)
	if _, scalable := t.m.(manifolds.Scalable); err != nil && !scalable && errors.Is(err, manifolds.ErrDegenerate) {
		return
	}
	t.done(call, err)
	t.member(call, dst)
}

// membership: Membership is 0 on the manifold, proportional to the distance from it, and NaN for a
// point that is not finite.
func membership(t *trial) {
	x := t.point()
	t.member("P(a)", x)

	// Move the last point off along a normal, by 1e-3 and 1e-2 of its norm; of a convex body, a point of the boundary outwards.
	g := t.gauss()
	n := minus(g, t.tangent(x, g))
	if t.known().Convex {
		x = t.project(scaled(100, g))
		n = x
	}
	last, np := x.K-1, x.N*x.P
	if norms(n)[last] > t.tol*norms(g)[last] { // otherwise there are no normal vectors
		n = resize(n, lengths(x))
		off := func(delta float64) float64 {
			y := clone(x)
			for e := last * np; e < y.Len(); e++ {
				put(y, e, value(x, e)+delta*value(n, e))
			}
			return t.m.Membership(y)
		}
		t.atLeast("Membership of a point off by 1e-3", off(1e-3), 1e-5)
		t.atMost("Membership of a point off by 1e-3", off(1e-3), 1e-1)
		t.atLeast("Membership grows in proportion, off by 1e-2 over off by 1e-3", off(1e-2)/off(1e-3), 7)
		t.atMost("Membership grows in proportion, off by 1e-2 over off by 1e-3", off(1e-2)/off(1e-3), 13)
	}

	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		for _, e := range []int{0, x.Len() / 2, x.Len() - 1} {
			y := clone(x)
			put(y, e, bad)
			if m := t.m.Membership(y); m == m {
				t.fail(fmt.Sprintf("Membership with %v among the elements", bad), "NaN", fmt.Sprintf("%v for element %d", m, e))
			}
		}
	}
}

// degenerate: where an operation has no answer it returns a *PointError that names the point; where
// it returns no error, the result is a point.
func degenerate(t *trial) {
	x := t.point()
	last, np := x.K-1, x.N*x.P

	// change returns a copy whose last point has the elements f(i, j).
	change := func(a manifolds.Points, f func(i, j int, a float64) float64) manifolds.Points {
		b := clone(a)
		for i := range b.N {
			for j := range b.P {
				b.Set(last, i, j, f(i, j, a.At(last, i, j)))
			}
		}
		return b
	}
	a, row, col := t.matrix(), t.gauss(), t.gauss()
	rank1 := func(i, j int, _ float64) float64 { return row.At(0, i, 0) * col.At(0, 0, j) }
	type input struct {
		name string
		a    manifolds.Points
	}
	inputs := []input{
		{"zero", change(a, func(i, j int, a float64) float64 { return 0 })},
		{"constant", change(a, func(i, j int, a float64) float64 { return 0.7 })},
		{"rank one", change(a, rank1)},
		{"zero row", change(a, func(i, j int, a float64) float64 { return a * float64(min(i, 1)) })},
		{"zero column", change(a, func(i, j int, a float64) float64 { return a * float64(min(j, 1)) })},
		{"denormal", change(a, func(i, j int, a float64) float64 { return math.SmallestNonzeroFloat64 })},
	}
	// Closer and closer to rank one, until the squares of the small singular values vanish beside 1.
	for _, e := range []float64{0.2, 0.3, 0.4, 0.5, 0.6, 0.7} {
		noise := math.Pow(t.prec.eps, e)
		inputs = append(inputs, input{
			fmt.Sprintf("nearly rank one (to %.0e)", noise),
			change(a, func(i, j int, a float64) float64 { return rank1(i, j, a) + noise*a }),
		})
	}
	for _, in := range inputs {
		t.answer("Project of a "+in.name+" matrix", last, t.m.Project, in.a)
	}

	// Retraction and exponential map for steps to zero and for huge steps.
	moves := []struct {
		name string
		move func(dst, x, v manifolds.Points) error
	}{{"Retract", t.m.Retract}}
	if m, ok := t.m.(manifolds.Exponential); ok {
		moves = append(moves, struct {
			name string
			move func(dst, x, v manifolds.Points) error
		}{"Exp", m.Exp})
	}
	v := t.vector(x, 0.3)
	largest := t.prec.huge
	for _, m := range moves {
		move := func(dst, v manifolds.Points) error { return m.move(dst, x, v) }
		t.answer(m.name+" of v = -x", last, move, change(v, func(i, j int, _ float64) float64 { return -x.At(last, i, j) }))
		t.answer(m.name+" of a huge step", last, move, change(v, func(i, j int, v float64) float64 { return largest * v }))
	}

	for _, bad := range []float64{math.NaN(), math.Inf(1)} {
		for _, e := range []int{0, np - 1} {
			spoil := func(i, j int, a float64) float64 {
				if i*x.P+j == e {
					return bad
				}
				return a
			}
			t.answer(fmt.Sprintf("Project with %v", bad), last, t.m.Project, change(a, spoil))
			for _, m := range moves {
				move := func(dst, v manifolds.Points) error { return m.move(dst, x, v) }
				t.answer(fmt.Sprintf("%s with %v in v", m.name, bad), last, move, change(v, spoil))
			}
		}
	}

	// The antipodal point, if it is on the manifold, lies on the cut locus.
	y := change(x, func(i, j int, x float64) float64 { return -x })
	if !(t.m.Membership(y) <= t.tol) {
		return
	}
	if m, ok := t.m.(manifolds.Logarithm); ok {
		v := t.dst()
		if t.pointError("Log at the opposite point", last, m.Log(v, x, y)) {
			t.finite("Log at the opposite point", v)
		}
		d := make([]float64, x.K)
		if t.pointError("Dist to the opposite point", last, m.Dist(d, x, y)) {
			for _, d := range d {
				t.atLeast("Dist to the opposite point", d, 0)
			}
		}
	}
	if m, ok := t.m.(manifolds.ParallelTransporter); ok {
		u := t.dst()
		if t.pointError("ParallelTransport to the opposite point", last, m.ParallelTransport(u, x, y, v)) {
			t.finite("ParallelTransport to the opposite point", u)
		}
	}
}

// answer asserts that op writes points of the manifold or returns a *PointError for the given point.
func (t *trial) answer(call string, point int, op func(dst, a manifolds.Points) error, a manifolds.Points) {
	dst := t.dst()
	if t.pointError(call, point, op(dst, a)) {
		t.atMost(call+" without an error is on the manifold, Membership", t.m.Membership(dst), t.tol+t.known().Drift)
	}
}

// pointError reports whether err is nil. If not, it asserts that err is a *PointError for the given
// point.
func (t *trial) pointError(call string, point int, err error) bool {
	if err == nil {
		return true
	}
	var pe *manifolds.PointError
	switch {
	case !errors.As(err, &pe):
		t.fail(call+": the error", "a *PointError", fmt.Sprintf("%T: %v", err, err))
	case !errors.Is(err, manifolds.ErrDegenerate):
		t.fail(call+": the error", "one that is ErrDegenerate", err.Error())
	case pe.Point != point:
		t.fail(call+": the error", fmt.Sprintf("one for point %d", point), err.Error())
	}
	return false
}

func (t *trial) finite(call string, x manifolds.Points) {
	for e := range x.Len() {
		if v := value(x, e); math.IsNaN(v) || math.IsInf(v, 0) {
			t.fail(call+" without an error", "finite numbers", fmt.Sprintf("%v at element %d", v, e))
			return
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package manifoldtest

import (
	"math"

	"github.com/kernelfold/kernelfold/manifolds"
)

// adjoint: ProjectAdjoint is the adjoint of the derivative of Project, at points
// near the manifold and at points a third and three times as large.
func adjoint(t *trial) {
	x, a, g, h := t.point(), t.near(), t.gauss(), t.gauss()
	// On a quotient the tangent projection is not the derivative of P, and in another inner product it is not its own adjoint.
	if !has[manifolds.Quotient](t.m) && !has[manifolds.Ambient](t.m) {
		t.equal("P'(x)* g = T g on the manifold", t.adjoint(x, x, g), t.tangent(x, g), times(4, norms(g)))
	}
	for _, s := range []float64{1. / 3, 1, 3} {
		v := scaled(s, a)
		if t.refuses(v) {
			continue
		}
		y := t.project(v)
		p, q := t.adjoint(v, y, g), t.adjoint(v, y, h)
		size := add(times(2, norms(g)), times(3, norms(h)))
		t.equal("P'(v)* (2g - 3h) = 2 P'(v)* g - 3 P'(v)* h",
			t.adjoint(v, y, combine(2, g, -3, h)), combine(2, p, -3, q), times(4/s, size))
		for _, c := range []float64{t.prec.tiny, t.prec.huge} {
			t.equal("P'(v)* (c g) = c P'(v)* g for tiny and huge c", t.adjoint(v, y, scaled(c, g)), scaled(c, p), times(4*c/s, norms(g)))
		}

		// In three directions at once, because the terms in t^2 may vanish for one of them.
		var us []manifolds.Points
		noise := make([]float64, v.K)
		for range 3 {
			us = append(us, t.offset(v, 1))
			noise = add(noise, times(4*t.tol, mul(lengths(y), norms(g))))
		}
		t.order("<P(v + tu) - P(v), g> - t <u, P'(v)* g> = O(t^2)", 2, noise, func(s float64) []float64 {
			square := make([]float64, v.K)
			for _, u := range us {
				e := add(dots(minus(t.project(combine(1, v, s, u)), y), g), times(-s, dots(u, p)))
				square = add(square, mul(e, e))
			}
			return roots(square)
		})
	}

	// Where Project has no answer, ProjectAdjoint must fail.
	last := x.K - 1
	for _, f := range []struct {
		name string
		at   func(i, j int) float64
	}{
		{"zero", func(i, j int) float64 { return 0 }},
		{"constant", func(i, j int) float64 { return 0.7 }},
		{"NaN", func(i, j int) float64 { return math.NaN() }},
	} {
		v := clone(a)
		for i := range v.N {
			for j := range v.P {
				v.Set(last, i, j, f.at(i, j))
			}
		}
		if t.m.Project(t.dst(), v) == nil {
			continue
		}
		call := "ProjectAdjoint of " + f.name
		err := t.m.(manifolds.Differentiable).ProjectAdjoint(t.dst(), v, x, g)
		if t.pointError(call, last, err) {
			t.fail(call, "an error, as that of Project", "none")
		}
	}
}

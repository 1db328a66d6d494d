// SPDX-License-Identifier: Apache-2.0

package manifoldtest

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/kernelfold/kernelfold/manifolds"
)

// descent: where Descends returns true, the method Descend makes the same step as the function
// manifolds.Descend, which uses the other methods.
func descent(t *trial) {
	m := t.m.(manifolds.Descender)
	const theta = 0.9
	for _, d := range []manifolds.Descent{
		{Slope: 1},
		{Keep: theta, Take: 0.7, Ahead: theta, Slope: 0.7},
		{Keep: theta, Take: 1, Ahead: theta * theta, Slope: 1 + theta},
		{Keep: theta, Take: 1, Ahead: theta, Slope: 1, Tangent: true},
		{Keep: theta, Take: 1, Ahead: theta * theta, Slope: 1 + theta, Tangent: true},
		{Keep: theta, Take: 1, Ahead: theta, Slope: 1, Tangent: true, Late: true},
		{Keep: theta, Take: 1, Ahead: theta * theta, Slope: 1 + theta, Tangent: true, Late: true},
	} {
		for _, geometric := range []bool{false, true} {
			for _, rate := range []float64{0, 1e-3, 0.5, 20} {
				d.Geometric, d.Rate = geometric, rate
				t.descend(m, d)
				if _, ok := m.(manifolds.Adaptable); ok {
					adaptive := d
					adaptive.Factors, adaptive.Longest = make([]float64, t.point().K), 2
					for k := range adaptive.Factors {
						adaptive.Factors[k] = float64(k%3) / 2
					}
					t.descend(m, adaptive)
				}
			}
		}
	}
}

// gradientSquares: the lengths of gradients are those that Gradient and Inner give, also where the
// gradient is almost normal to the manifold.
func gradientSquares(t *trial) {
	m, x := t.m.(manifolds.Adaptable), t.point()
	size := norms(x)
	for _, tangent := range []float64{1, 1e-2, 1e-4, 0} {
		g, v := resize(t.gauss(), size), t.gauss()
		t.done("Tangent", t.m.Tangent(v, x, g))
		t.done("Combine", g.Combine(1, g, tangent-1, v)) // shortens the tangent part of g
		want, got := make([]float64, x.K), make([]float64, x.K)
		t.done("Gradient", manifolds.Gradient(t.m, v, x, g))
		t.done("Inner", manifolds.Inner(t.m, want, x, v, v))
		t.done("GradientSquares", m.GradientSquares(got, x, g))
		for k := range got {
			long := size[k] * tangent
			t.atMost(fmt.Sprintf("GradientSquares gives |grad|^2, with %g of the tangent part: |difference|", tangent),
				math.Abs(got[k]-want[k]), t.tol*max(long*size[k], 100*long*long, t.tol*size[k]*size[k]))
			t.atLeast(fmt.Sprintf("GradientSquares gives |grad|^2, with %g of the tangent part", tangent), got[k], 0)
		}
	}
	if err := m.GradientSquares(make([]float64, x.K+1), x, x); err == nil {
		t.fail("GradientSquares with an output of another length", "an error", "none")
	}
}

// descend compares one step, if Descends returns true for it.
func (t *trial) descend(m manifolds.Descender, d manifolds.Descent) {
	x := t.point()
	size := norms(x)
	mu, g := t.vector(x, 0.3), resize(t.gauss(), times(0.5, size))
	if !d.Tangent || d.Late {
		mu = resize(t.gauss(), times(0.3, size))
	}
	if d.Keep == 0 {
		mu = manifolds.Points{}
	}
	b := manifolds.Bounds{Gradient: g.Norm()}
	if mu.K > 0 {
		b.Momentum = mu.Norm()
	}
	if !m.Descends(t.m, x, d, b) {
		return
	}
	of := fmt.Sprintf(" for %+v", d)
	y, nu, h := clone(x), mu, clone(g)
	if mu.K > 0 {
		nu = clone(mu)
	}
	want, err := manifolds.Descend(t.m, y, nu, h, d)
	t.done("manifolds.Descend"+of, err)
	before, beforeMu, beforeG := clone(x), mu, clone(g)
	if mu.K > 0 {
		beforeMu = clone(mu)
	}
	got, err := m.Descend(x, mu, g, d)
	t.done("Descend"+of, err)
	scale := make([]float64, x.K) // size of a point plus the longest step
	for k := range scale {
		scale[k] = size[k] + d.Rate*b.Direction(d)
	}
	t.equal("Descend makes the step of manifolds.Descend"+of, x, y, scale)
	if mu.K > 0 {
		t.equal("Descend leaves the momentum of manifolds.Descend"+of, mu, nu, times(b.After(d)*(1+d.Rate*b.Direction(d)/slices.Min(size)), ones(x.K)))
	}
	t.atMost("Descend clears the gradient, |g|", g.Norm(), 0)
	tol := 4 * t.tol * (1 + b.Direction(d)*b.Direction(d))
	t.atMost("Descend reports |v|^2, difference"+of, math.Abs(got.Direction-want.Direction), tol)
	t.atMost("Descend reports |Rate/g_t v|^2, difference"+of, math.Abs(got.Length-want.Length), tol*d.Rate*d.Rate)
	t.atMost("Descend reports the largest g_t, difference"+of, math.Abs(got.Factor-want.Factor), tol*want.Factor)

	if m, ok := m.(manifolds.Scattered); ok {
		t.scattered(m, before, beforeMu, beforeG, x, mu, d, of, scale)
	}
	t.offManifold(m, before, d)
}

// scattered makes the step of points that lie in reverse order in every other place of a layer, if DescendIn makes it, and compares it with y and nu, which
// Descend has made. Other places are NaN and must stay as they are.
func (t *trial) scattered(m manifolds.Scattered, x, mu, g, y, nu manifolds.Points, d manifolds.Descent, of string, scale []float64) {
	w, slopes := manifolds.Points{}, manifolds.Points{}
	for _, layer := range []*manifolds.Points{&w, &slopes} {
		var err error
		if x.Data64() != nil {
			*layer, err = manifolds.Points64(make([]float64, 2*x.Len()), 2*x.K, x.N, x.P)
		} else {
			*layer, err = manifolds.Points32(make([]float32, 2*x.Len()), 2*x.K, x.N, x.P)
		}
		t.done("Points", err)
		for k := range layer.K {
			for i := range layer.N {
				for j := range layer.P {
					layer.Set(k, i, j, math.NaN())
				}
			}
		}
	}
	l := manifolds.Layout{K: 2 * x.K, N: x.N, P: x.P, StrideK: x.N * x.P, StrideN: x.P, StrideP: 1}
	var order []int32
	for k := range x.K {
		order = append(order, int32(2*(x.K-k)-1))
	}
	l, err := l.Pick(order...)
	t.done("Pick", err)
	t.done("Scatter", l.Scatter(w, x))
	t.done("Scatter", l.Scatter(slopes, g))
	_, done, err := m.DescendIn(t.m, l, w, mu, slopes, d)
	if t.done("DescendIn"+of, err); !done {
		return
	}
	t.done("Gather", l.Gather(x, w))
	t.equal("DescendIn makes the step of Descend"+of, x, y, scale)
	if mu.K > 0 {
		t.equal("DescendIn leaves the momentum of Descend"+of, mu, nu, scale)
	}
	for k := 0; k < w.K; k += 2 {
		for i := range w.N {
			for j := range w.P {
				if v := w.At(k, i, j); v == v {
					t.fail("DescendIn changes only the points of the layout", "NaN elsewhere", fmt.Sprint(v))
					return
				}
			}
		}
	}
}

// offManifold sets one point to zero and makes the step. Unless zero is a point of the manifold, the
// retraction must bring the point back, or the step must return an error that names it.
func (t *trial) offManifold(m manifolds.Descender, x manifolds.Points, d manifolds.Descent) {
	at := x.K / 2
	lost := clone(x)
	for i := range x.N {
		for j := range x.P {
			lost.Set(at, i, j, 0)
		}
	}
	if !(t.m.Membership(lost.Slice(at, at+1)) > 0.1) { // zero is a point
		return
	}
	mu, g := manifolds.Points{}, resize(t.gauss(), times(0.5, norms(x)))
	if d.Keep != 0 {
		mu = t.vector(x, 0.3)
	}
	_, err := m.Descend(lost, mu, g, d)
	var p *manifolds.PointError
	switch {
	case err == nil:
		if e := t.m.Membership(lost); !(e < 1e-2) { // the retraction may be ill-conditioned
			t.fail("Descend brings a point that is 0 to the manifold, or returns an error", "a membership error below 0.01", fmt.Sprint(e))
		}
	case !errors.As(err, &p):
		t.fail("Descend with a point that is 0", "a *PointError", fmt.Sprint(err))
	case p.Point != at:
		t.fail("Descend names the point that is 0", fmt.Sprint(at), fmt.Sprint(p.Point))
	default:
		t.atMost("Descend leaves a point without a step where it is, |x|", lost.Slice(at, at+1).Norm(), 0)
		if mu.K > 0 {
			t.atMost("Descend takes the momentum off a point without a step, |m|", mu.Slice(at, at+1).Norm(), 0)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package manifoldtest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"

	"github.com/kernelfold/kernelfold/manifolds"
)

// dimension: Dim is the dimension of the tangent space. That is the rank of the matrix whose
// columns are T applied to the unit matrices; T is a projection, so the matrix equals its Gram
// matrix. Points of more than 64 elements are not tried, because they take too long.
func dimension(t *trial) {
	np, got := t.shape.N*t.shape.P, t.known().Dim
	if np > 64 || got < 0 {
		return
	}
	x := t.point()
	units := filled(t.prec, Shape{np, x.N, x.P}, 0)
	for i := range np {
		put(units, i*np+i, 1)
	}
	at := repeat(x, 0, np)
	projector := t.tangent(at, units)
	gram := make([][]float64, np)
	for i := range gram {
		gram[i] = make([]float64, np)
		for j := range gram[i] {
			for e := range np {
				gram[i][j] += value(projector, i*np+e) * value(projector, j*np+e)
			}
		}
	}
	if want := rank(gram, float64(np)*t.tol); got != want {
		t.fail("Dim", fmt.Sprintf("the rank of T, %d", want), fmt.Sprint(got))
	}
}

// known returns the properties that the manifold declares for the points of the trial.
func (t *trial) known() manifolds.Properties {
	return manifolds.PropertiesOf(t.m, t.shape.N, t.shape.P)
}

// rank counts the pivots above tol of a positive semidefinite matrix, by Cholesky
// factorisation with complete pivoting, in place.
func rank(a [][]float64, tol float64) int {
	for r := range a {
		p := r
		for i := r; i < len(a); i++ {
			if a[i][i] > a[p][p] {
				p = i
			}
		}
		if !(a[p][p] > tol) {
			return r
		}
		a[r], a[p] = a[p], a[r]
		for i := range a {
			a[i][r], a[i][p] = a[i][p], a[i][r]
		}
		for i := r + 1; i < len(a); i++ {
			f := a[i][r] / a[r][r]
			for j := r; j < len(a); j++ {
				a[i][j] -= f * a[r][j]
			}
		}
	}
	return len(a)
}

// scale: Scaled(s) is the manifold {s x}, with all operations scaled accordingly.
func scale(t *trial) {
	m := t.m.(manifolds.Scalable)
	n, p := t.shape.N, t.shape.P
	x := t.point()
	norm := make([]float64, x.K)
	for k := range norm {
		norm[k] = m.Norm(n, p)
	}
	t.equalNumbers("Norm is |x|", norms(x), norm, norm)

	for _, s := range []float64{0.03, 1, 2.5, 400} {
		of := fmt.Sprintf(", s = %g", s)
		sm := m.Scaled(s)
		st := &trial{m: sm, oracle: t.oracle, prec: t.prec, shape: t.shape, rng: t.rng, tol: t.tol}
		st.compare(t, x, s, of)
		t.failures = append(t.failures, st.failures...)

		if got, want := fmt.Sprintf("%T", sm), fmt.Sprintf("%T", t.m); reflect.TypeOf(sm) != reflect.TypeOf(t.m) {
			t.fail("Scaled(s) is of the type it is called on", want, got)
		}
		again, ok := sm.(manifolds.Scalable)
		if !ok {
			t.fail("Scaled(s)"+of, "a Scalable manifold", fmt.Sprintf("%T", sm))
			continue
		}
		t.nearly("the Norm of Scaled(s) is s Norm"+of, again.Norm(n, p), s*m.Norm(n, p))
		if twice, ok := again.Scaled(1 / s).(manifolds.Scalable); ok {
			t.nearly("the Norm of Scaled(s).Scaled(1/s) is Norm"+of, twice.Norm(n, p), m.Norm(n, p))
		}
		before, after := t.known(), st.known()
		t.nearly("the Curvature of Scaled(s) is Curvature/s^2"+of, after.Curvature, before.Curvature/(s*s))
		t.nearly("the LowestCurvature of Scaled(s) is LowestCurvature/s^2"+of, after.LowestCurvature, before.LowestCurvature/(s*s))
		t.nearly("the InjectivityRadius of Scaled(s) is s InjectivityRadius"+of, after.InjectivityRadius, s*before.InjectivityRadius)
		t.nearly("the Dim of Scaled(s) is Dim"+of, float64(after.Dim), float64(before.Dim))
		t.nearly("the Cost of Scaled(s) is Cost"+of, float64(after.Cost), float64(before.Cost))
	}
}

// compare compares the operations of the scaled manifold st.m at s x with those of t.m at x.
func (st *trial) compare(t *trial, x manifolds.Points, s float64, of string) {
	defer func() {
		if r := recover(); r != nil && r != (abandon{}) {
			panic(r)
		}
	}()
	a := t.near()
	v := t.vector(x, 0.5)
	g := t.gauss()
	y := t.retract(x, v)
	sx, sy, sv, size := scaled(s, x), scaled(s, y), scaled(s, v), times(s, lengths(x))
	st.member("s x, in Scaled(s)"+of+",", sx)
	st.equal("Project(s a), in Scaled(s), is s P(a)"+of, st.project(scaled(s, a)), scaled(s, t.project(a)), times(4, size))
	st.equal("Tangent(s x, g), in Scaled(s), is T_x g"+of, st.tangent(sx, g), t.tangent(x, g), norms(g))
	st.equal("Retract(s x, s v), in Scaled(s), is s R_x(v)"+of, st.retract(sx, sv), sy, size)
	st.equal("Transport(s x, s y, v), in Scaled(s), is that from x to y"+of, st.transport(sx, sy, v), t.transport(x, y, v), norms(v))
	if has[manifolds.Differentiable](t.m) && has[manifolds.Differentiable](st.m) {
		w := t.point()
		st.equal("ProjectAdjoint(s a, s y, g), in Scaled(s), is that of a and y"+of,
			st.adjoint(scaled(s, w), scaled(s, w), g), t.adjoint(w, w, g), norms(g))
	}
	if has[manifolds.Exponential](t.m) && has[manifolds.Exponential](st.m) {
		st.equal("Exp(s x, s v), in Scaled(s), is s Exp_x(v)"+of, st.exp(sx, sv), scaled(s, t.exp(x, v)), size)
	}
}

// nearly asserts that two numbers agree to a few roundings of float64.
func (t *trial) nearly(property string, got, want float64) {
	if !(math.Abs(got-want) <= 1e-14*math.Abs(want)) && got != want {
		t.fail(property, fmt.Sprint(want), fmt.Sprint(got))
	}
}

// random: Random draws points of the manifold, and the same ones for the same seed. On a Scalable
// manifold, which is compact, they must be uniform. For uniform points the mean of the divergence
// of every tangent vector field is 0 (divergence theorem). The test uses the fields T_x c and
// T_x(d*x + b <b, x>), the gradients of linear and quadratic functions, which test first and second
// moments on any manifold: on a unit sphere of dimension n the first says that E[x] = 0 and the
// second that E[x x^T] = I/(n+1).
func random(t *trial) {
	m := t.m.(manifolds.Sampler)
	draw := func(shape Shape, seed uint64) manifolds.Points {
		x := filled(t.prec, shape, math.NaN())
		t.done("Random", m.Random(x, rand.New(rand.NewPCG(seed, 1))))
		return x
	}
	x := draw(t.shape, 1)
	t.member("a random point", x)
	t.sameBits("Random of one seed twice", draw(t.shape, 1), x)

	np := t.shape.N * t.shape.P
	if np > 24 {
		return // larger shapes take too long
	}
	// The probability that a mean deviates from its expectation by more than 5 standard errors is one
	// in two million.
	const samples, errors = 1000, 5.0
	x = draw(Shape{samples, t.shape.N, t.shape.P}, 2)
	t.member("a random point", x)

	// Different points and different seeds give different results.
	if u := norms(t.tangent(x, repeat(t.gauss(), 0, samples))); u[0] > t.tol {
		first, size := x.Slice(0, 1), lengths(x)[0]
		other := draw(Shape{1, t.shape.N, t.shape.P}, 3)
		t.atLeast("points of one seed and of another, their distance", norms(minus(first, other))[0]/size, t.tol)
		t.atLeast("one point and the next, their distance", norms(minus(first, x.Slice(1, 2)))[0]/size, t.tol)
	}

	// Where -x is a point of the manifold for every x, x and -x are equally likely.
	if t.m.Membership(scaled(-1, x)) <= t.tol {
		for e := range np {
			coordinate := make([]float64, samples)
			for k := range coordinate {
				coordinate[k] = value(x, k*np+e)
			}
			t.atMost(fmt.Sprintf("the mean of an element over %d points, in standard errors", samples), standardErrors(coordinate), errors)
		}
		next := make([]float64, samples/2)
		for k := range next {
			for e := range np {
				next[k] += value(x, 2*k*np+e) * value(x, (2*k+1)*np+e)
			}
		}
		t.atMost(fmt.Sprintf("the mean product of neighbours over %d points, in standard errors", samples), standardErrors(next), errors)
	}

	if !t.prec.double || !has[manifolds.Scalable](t.m) {
		return
	}
	many := &trial{m: t.m, oracle: t.oracle, prec: t.prec, shape: Shape{samples, t.shape.N, t.shape.P}, rng: t.rng, tol: t.tol}
	defer func() { t.failures = append(t.failures, many.failures...) }()
	b, c, d := repeat(t.gauss(), 0, samples), repeat(t.gauss(), 0, samples), repeat(t.gauss(), 0, samples)
	fields := []struct {
		name string
		at   func(x manifolds.Points) manifolds.Points
	}{
		{"T_x c", func(x manifolds.Points) manifolds.Points { return c }},
		{"T_x(d*x)", func(x manifolds.Points) manifolds.Points { return product(d, x) }},
		{"T_x(b <b, x>)", func(x manifolds.Points) manifolds.Points { return scaledBy(dots(b, x), b) }},
	}
	// The divergence is the trace of the derivative, estimated by <u, D_u V> with u
	// the projection of a Gaussian matrix (Hutchinson, 1990).
	const h = 1e-4
	u := many.tangent(x, many.gauss())
	step := scaledBy(times(h, lengths(x)), u)
	forth, back := many.retract(x, step), many.retract(x, scaled(-1, step))
	for _, f := range fields {
		dv := minus(many.tangent(forth, f.at(forth)), many.tangent(back, f.at(back)))
		t.atMost(fmt.Sprintf("the mean divergence of %s over %d points, in standard errors", f.name, samples), standardErrors(dots(u, dv)), errors)
	}
}

// standardErrors returns the distance of the mean of the independent numbers x from 0, in standard
// errors.
func standardErrors(x []float64) float64 {
	n, mean, square := float64(len(x)), 0.0, 0.0
	for _, v := range x {
		mean += v / n
	}
	for _, v := range x {
		square += (v - mean) * (v - mean)
	}
	if mean == 0 {
		return 0
	}
	return math.Abs(mean) / math.Sqrt(square/(n*(n-1)))
}

// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
)

// A type that embeds another manifold inherits the methods of that manifold's optional
// interfaces, which belong to the other geometry. Constraint.Bind therefore checks the optional
// methods that a solver calls, for types of other packages and at one small point. manifoldtest
// checks much more.

// probe returns an error if Gradient, Inner or TransportAlong do not belong to the Tangent,
// Retract and Transport of m. An Ambient that is no Metric has the Gradient and Inner of the Frobenius product, to which its
// Tangent does not belong. The point is n x p, or smaller if m admits that. If a method of m
// fails at the point, probe returns nil: the failure will show in use.
func probe(m Manifold, n, p int) error {
	_, hasMetric := m.(Metric)
	if _, other := m.(Ambient); other {
		hasMetric = true
	}
	path, hasPath := m.(PathTransporter)
	if !hasMetric && !hasPath || ours(m) {
		return nil
	}
	const few = 6 // of the longer side
	a, b := min(n, few), min(p, few)
	if n < p {
		a = min(a, few-2)
	} else if p < n {
		b = min(b, few-2)
	}
	if m.Check(a, b) == nil {
		n, p = a, b
	}
	draw := func(seed uint64) Points {
		x := Points{K: 1, N: n, P: p, f64: make([]float64, n*p)}
		_ = gaussian(x, rand.New(rand.NewPCG(seed, 1))) // which fails for nil only
		return x
	}
	x, g, u, v := draw(1), draw(2), draw(3), draw(4)
	if m.Project(x, x) != nil || m.Tangent(u, x, u) != nil || m.Tangent(v, x, v) != nil || !(u.Norm() > 1e-6) || !(v.Norm() > 1e-6) {
		return nil // there is next to no tangent space
	}
	const tolerance = 1e-6 // far above rounding, far below the difference to another geometry
	if hasMetric {
		grad, again, inner := x.Like(), x.Like(), []float64{0}
		if Gradient(m, grad, x, g) != nil || m.Tangent(again, x, grad) != nil || Inner(m, inner, x, grad, u) != nil {
			return nil
		}
		if off := distance(again, grad); !(off <= tolerance*g.Norm()) {
			return foreign(m, "Gradient to return vectors that Tangent leaves as they are", off/g.Norm())
		}
		if off := math.Abs(inner[0] - product(g, u)); !(off <= tolerance*g.Norm()*u.Norm()) {
			return foreign(m, "Inner and Gradient to fulfil <grad, u>_x = <g, u> for tangent u", off/(g.Norm()*u.Norm()))
		}
	}
	if hasPath {
		// Both transports change u only by terms of the order of the length of the step.
		const step = 1e-3
		y, along, there := x.Like(), x.Like(), x.Like()
		if v.Combine(step*x.Norm()/v.Norm(), v, 0, v) != nil || m.Retract(y, x, v) != nil ||
			path.TransportAlong(along, x, v, y, u) != nil || m.Tangent(there, y, along) != nil {
			return nil
		}
		if off := distance(there, along); !(off <= tolerance*u.Norm()) {
			return foreign(m, "TransportAlong to end in the tangent space at y", off/u.Norm())
		}
		if m.Transport(there, x, y, u) != nil {
			return nil
		}
		if off := distance(there, along); !(off <= 0.1*u.Norm()) {
			return foreign(m, "TransportAlong to agree with Transport for short steps", off/u.Norm())
		}
	}
	return nil
}

// ours reports whether m is of a type of this package.
func ours(m Manifold) bool {
	t := reflect.TypeOf(m)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.PkgPath() == reflect.TypeOf(Sphere{}).PkgPath()
}

// foreign returns the error for a method of m that belongs to another geometry than its Tangent,
// Retract and Transport.
func foreign(m Manifold, want string, off float64) error {
	return fmt.Errorf("manifolds: %s: want %s, got a relative difference of %.2g: a type that embeds a manifold (%T) has its methods promoted, and needs its own",
		Name(m), want, off, m)
}

func distance(x, y Points) float64 {
	s := 0.0
	for e, v := range x.f64 {
		s += (v - y.f64[e]) * (v - y.f64[e])
	}
	return math.Sqrt(s)
}

func product(x, y Points) float64 {
	s := 0.0
	for e, v := range x.f64 {
		s += v * y.f64[e]
	}
	return s
}

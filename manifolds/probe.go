// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
)

// Methods of optional interfaces that a type has by embedding another manifold are those of the other geometry. Binding a constraint
// looks for those that a solver calls, at one small point, and only in types of other packages. manifoldtest checks much more.

// probe returns an error if Gradient, Inner or TransportAlong do not belong to the Tangent, Retract and Transport of m. The point is
// of n x p, or of fewer rows and columns if m admits them. A manifold that cannot be probed, because it fails where it should not, is
// left to whoever uses it.
func probe(m Manifold, n, p int) error {
	metric, hasMetric := m.(Metric)
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
		gaussian(x, rand.New(rand.NewPCG(seed, 1)))
		return x
	}
	x, g, u, v := draw(1), draw(2), draw(3), draw(4)
	if m.Project(x, x) != nil || m.Tangent(u, x, u) != nil || m.Tangent(v, x, v) != nil || !(u.Norm() > 1e-6) || !(v.Norm() > 1e-6) {
		return nil // there is next to no tangent space
	}
	const tolerance = 1e-6 // far above the rounding of float64, far below another geometry
	if hasMetric {
		grad, again, inner := x.Like(), x.Like(), []float64{0}
		if metric.Gradient(grad, x, g) != nil || m.Tangent(again, x, grad) != nil || metric.Inner(inner, x, grad, u) != nil {
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
		// Both transports leave u as it is but for terms in the length of the step.
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

// foreign is the error of a method that is of other geometry than those of Manifold.
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

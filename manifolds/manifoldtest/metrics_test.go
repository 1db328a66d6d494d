// SPDX-License-Identifier: Apache-2.0

package manifoldtest_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/manifolds/manifoldtest"
)

// Manifolds as a user writes them, whose metric is not that of the ambient space: a sphere in another unit of length, the positive numbers, which
// are an open set, and hyperbolic space.

// multiple is the unit sphere with the inner product c <u, v>.
//
//	gradient   T g / c
//	distance   sqrt(c) that of the sphere
//	curvature  1/c
type multiple struct{ c float64 }

var unit = manifolds.Sphere{Geodesic: true}

func (multiple) Check(n, p int) error                { return unit.Check(n, p) }
func (multiple) Project(dst, x points) error         { return unit.Project(dst, x) }
func (multiple) Tangent(dst, x, g points) error      { return unit.Tangent(dst, x, g) }
func (multiple) Retract(dst, x, v points) error      { return unit.Retract(dst, x, v) }
func (multiple) Transport(dst, x, y, u points) error { return unit.Transport(dst, x, y, u) }
func (multiple) Membership(x points) float64         { return unit.Membership(x) }
func (multiple) Exp(dst, x, v points) error          { return unit.Exp(dst, x, v) }
func (multiple) Log(dst, x, y points) error          { return unit.Log(dst, x, y) }
func (multiple) ParallelTransport(dst, x, y, u points) error {
	return unit.ParallelTransport(dst, x, y, u)
}

func (m multiple) Gradient(dst, x, g points) error {
	if err := unit.Tangent(dst, x, g); err != nil {
		return err
	}
	times(dst, 1/m.c)
	return nil
}

func (m multiple) Inner(out []float64, x, u, v points) error {
	err := manifolds.Inner(unit, out, x, u, v)
	for k := range out {
		if err == nil {
			out[k] *= m.c
		}
	}
	return err
}

func (m multiple) Dist(out []float64, x, y points) error {
	err := unit.Dist(out, x, y)
	for k := range out {
		if err == nil {
			out[k] *= math.Sqrt(m.c)
		}
	}
	return err
}

func (m multiple) Properties(n, p int) manifolds.Properties {
	known := unit.Properties(n, p)
	known.Curvature /= m.c
	known.InjectivityRadius *= math.Sqrt(m.c)
	return known
}

// Positive is the open set of matrices with positive elements, with the metric in which their logarithms are Euclidean.
//
//	inner product  sum_ij u_ij v_ij / x_ij^2
//	gradient       x^2 g
//	retraction     x exp(v/x), the exponential map
//	transport      u y/x, the parallel transport
//	distance       |log(y/x)|
//
// Project has an answer for positive matrices only. Membership is the largest -x_ij / |x|.
type Positive struct{}

func (Positive) Check(n, p int) error { return manifolds.Euclidean{}.Check(n, p) }

// into writes f to dst, element by element, and refuses what is not positive if f is a point.
func (Positive) into(op string, point bool, dst points, f func(k, i, j int) float64, args ...points) error {
	if err := manifolds.Agree(op, dst, args...); err != nil {
		return err
	}
	var refused error
	each(dst, func(k, i, j int) {
		dst.Set(k, i, j, f(k, i, j))
		if v := dst.At(k, i, j); refused == nil && point && !(v > 0 && v <= math.MaxFloat64) {
			refused = &manifolds.PointError{Manifold: "Positive", Op: op, Point: k, Reason: fmt.Sprintf("want a positive number, got %g", v)}
		}
	})
	return refused
}

func (m Positive) Project(dst, x points) error {
	return m.into("project", true, dst, x.At, x)
}

func (m Positive) Tangent(dst, x, g points) error { return m.into("tangent", false, dst, g.At, x, g) }

func (m Positive) Retract(dst, x, v points) error {
	return m.into("retract", true, dst, func(k, i, j int) float64 { return x.At(k, i, j) * math.Exp(v.At(k, i, j)/x.At(k, i, j)) }, x, v)
}

func (m Positive) Exp(dst, x, v points) error { return m.Retract(dst, x, v) }

func (m Positive) Transport(dst, x, y, u points) error {
	return m.into("transport", false, dst, func(k, i, j int) float64 { return u.At(k, i, j) * y.At(k, i, j) / x.At(k, i, j) }, x, y, u)
}

func (m Positive) ParallelTransport(dst, x, y, u points) error { return m.Transport(dst, x, y, u) }

func (Positive) Membership(x points) float64 {
	worst := 0.0
	for k := range x.K {
		if n := x.Slice(k, k+1).Norm(); n > 0 {
			each(x.Slice(k, k+1), func(_, i, j int) { worst = max(worst, -x.At(k, i, j)/n) })
		} else {
			worst = 1
		}
	}
	if n := x.Norm(); !(n <= math.MaxFloat64) {
		return math.NaN()
	}
	return worst
}

func (m Positive) Gradient(dst, x, g points) error {
	return m.into("gradient", false, dst, func(k, i, j int) float64 { return x.At(k, i, j) * x.At(k, i, j) * g.At(k, i, j) }, x, g)
}

// sums writes the sums of f over the elements of each point to out.
func (Positive) sums(op string, out []float64, f func(k, i, j int) float64, x points, others ...points) error {
	if err := manifolds.Agree(op, x, others...); err != nil {
		return err
	}
	if len(out) != x.K {
		return fmt.Errorf("Positive: %s: want %d numbers, got %d", op, x.K, len(out))
	}
	clear(out)
	each(x, func(k, i, j int) { out[k] += f(k, i, j) })
	return nil
}

func (m Positive) Inner(out []float64, x, u, v points) error {
	return m.sums("inner product", out, func(k, i, j int) float64 {
		return u.At(k, i, j) / x.At(k, i, j) * (v.At(k, i, j) / x.At(k, i, j))
	}, x, u, v)
}

func (m Positive) Log(dst, x, y points) error {
	return m.into("log", false, dst, func(k, i, j int) float64 {
		return x.At(k, i, j) * math.Log(y.At(k, i, j)/x.At(k, i, j))
	}, x, y)
}

func (m Positive) Dist(out []float64, x, y points) error {
	err := m.sums("distance", out, func(k, i, j int) float64 {
		d := math.Log(y.At(k, i, j) / x.At(k, i, j))
		return d * d
	}, x, y)
	for k := range out {
		if err == nil {
			out[k] = math.Sqrt(out[k])
		}
	}
	return err
}

func (Positive) Properties(n, p int) manifolds.Properties {
	return manifolds.Properties{Dim: n * p, InjectivityRadius: math.Inf(1)}
}

// Random draws logarithms from the standard normal distribution.
func (Positive) Random(dst points, rng *rand.Rand) error {
	edit(dst, func(_, _, _ int, _ float64) float64 { return math.Exp(rng.NormFloat64()) })
	return nil
}

// Lorentz is the sheet x_0 > 0 of the hyperboloid <x, x> = -1 with the Lorentz product <u, v> = sum u_i v_i - 2 u_0 v_0, where 0 is the first
// element: hyperbolic space as a subset of the ambient space, to which Project and Tangent are orthogonal in the Frobenius product. With
// J u = (-u_0, u_1, ...) and c = <y - x, y - x>,
//
//	tangent      g - J x (Jx . g) / |x|^2
//	gradient     J g + x (x . g)
//	retraction   x + v with the height of its other elements
//	exponential  cosh(|v|) x + sinh(|v|)/|v| v
//	distance     d = 2 arsinh(sqrt(c) / 2)
//	logarithm    d/sinh(d) (y - x - c/2 x)
//	transport    u + <y - x, u> / (2 + c/2) (x + y)
//
// Membership is |x_0 / sqrt(1 + sum x_i^2) - 1|.
type Lorentz struct{ silent bool } // whether nothing is known about it

func (Lorentz) Check(n, p int) error {
	if n < 1 || p < 1 || n*p < 2 {
		return fmt.Errorf("Lorentz: want at least two elements, got %dx%d", n, p)
	}
	return nil
}

// elements returns the elements of point k.
func elements(x points, k int) (v []float64) {
	for i := range x.N {
		for j := range x.P {
			v = append(v, x.At(k, i, j))
		}
	}
	return v
}

func dot(u, v []float64) (sum float64) {
	for i := range u {
		sum += u[i] * v[i]
	}
	return sum
}

func lorentz(u, v []float64) float64 { return dot(u[1:], v[1:]) - u[0]*v[0] }

func height(x []float64) float64 { return math.Hypot(1, math.Sqrt(dot(x[1:], x[1:]))) }

func sum(a float64, u []float64, b float64, v []float64) []float64 {
	w := make([]float64, len(u))
	for i := range u {
		w[i] = a*u[i] + b*v[i]
	}
	return w
}

// apply writes f of the arguments at each point to dst: points, with the height of their other elements, or vectors.
func (m Lorentz) apply(op string, point bool, dst points, f func(a [][]float64) []float64, args ...points) error {
	if err := m.Check(dst.N, dst.P); err != nil {
		return err
	}
	if err := manifolds.Agree(op, dst, args...); err != nil {
		return err
	}
	for k := range dst.K {
		var a [][]float64
		for _, x := range args {
			a = append(a, elements(x, k))
		}
		y := f(a)
		if point && y != nil {
			y[0] = height(y)
		}
		for e := range y {
			dst.Set(k, e/dst.P, e%dst.P, y[e])
		}
		if n := dst.Slice(k, k+1).Norm(); point && (y == nil || !(n <= math.MaxFloat64) || dst.Data32() != nil && !(n <= math.MaxFloat32)) {
			return &manifolds.PointError{Manifold: "Lorentz", Op: op, Point: k, Reason: "want a result that is unique and finite"}
		}
	}
	return nil
}

// Project finds the norm r of the elements other than the first, 2 r - |a| - a_0 r / sqrt(1 + r^2) = 0.
func (m Lorentz) Project(dst, x points) error {
	return m.apply("project", true, dst, func(a [][]float64) []float64 {
		n := math.Sqrt(dot(a[0][1:], a[0][1:]))
		if n == 0 && a[0][0] >= 2 || math.IsNaN(a[0][0]) || math.IsInf(a[0][0], 0) {
			return nil
		}
		slope := func(r float64) float64 { return 2*r - n - a[0][0]*r/math.Hypot(1, r) }
		low, high := 0.0, n+math.Abs(a[0][0])
		for range 2000 {
			if r := low + (high-low)/2; slope(r) < 0 {
				low = r
			} else if r == high {
				break
			} else {
				high = r
			}
		}
		y := make([]float64, len(a[0]))
		for i := 1; i < len(y) && n > 0; i++ {
			y[i] = a[0][i] / n * high
		}
		return y
	}, x)
}

func (m Lorentz) Tangent(dst, x, g points) error {
	return m.apply("tangent", false, dst, func(a [][]float64) []float64 {
		normal := sum(1, a[0], 0, a[0])
		normal[0] = -normal[0]
		return sum(1, a[1], -dot(normal, a[1])/dot(normal, normal), normal)
	}, x, g)
}

func (m Lorentz) Gradient(dst, x, g points) error {
	return m.apply("gradient", false, dst, func(a [][]float64) []float64 {
		along := dot(a[0], a[1])
		a[1][0] = -a[1][0]
		return sum(1, a[1], along, a[0])
	}, x, g)
}

func (m Lorentz) Retract(dst, x, v points) error {
	return m.apply("retract", true, dst, func(a [][]float64) []float64 { return sum(1, a[0], 1, a[1]) }, x, v)
}

func (m Lorentz) Exp(dst, x, v points) error {
	return m.apply("exp", true, dst, func(a [][]float64) []float64 {
		n := math.Sqrt(max(0, lorentz(a[1], a[1])))
		if n == 0 {
			return a[0]
		}
		return sum(math.Cosh(n), a[0], math.Sinh(n)/n, a[1])
	}, x, v)
}

// apart is c, to which rounding errors may not give another sign.
func apart(x, y []float64) float64 {
	d := sum(1, y, -1, x)
	return max(0, lorentz(d, d))
}

func (m Lorentz) Log(dst, x, y points) error {
	return m.apply("log", false, dst, func(a [][]float64) []float64 {
		c := apart(a[0], a[1])
		s := 1.0
		if d := 2 * math.Asinh(math.Sqrt(c)/2); d > 0 {
			s = d / math.Sinh(d)
		}
		return sum(s, sum(1, a[1], -1, a[0]), -s*c/2, a[0])
	}, x, y)
}

func (m Lorentz) ParallelTransport(dst, x, y, u points) error {
	return m.apply("parallel transport", false, dst, func(a [][]float64) []float64 {
		s := lorentz(sum(1, a[1], -1, a[0]), a[2]) / (2 + apart(a[0], a[1])/2)
		return sum(1, a[2], s, sum(1, a[0], 1, a[1]))
	}, x, y, u)
}

func (m Lorentz) Transport(dst, x, y, u points) error { return m.ParallelTransport(dst, x, y, u) }

// numbers writes f of the arguments at each point to out.
func (m Lorentz) numbers(op string, out []float64, f func(a [][]float64) float64, args ...points) error {
	if err := manifolds.Agree(op, args[0], args[1:]...); err != nil {
		return err
	}
	if err := m.Check(args[0].N, args[0].P); err != nil || len(out) != args[0].K {
		return fmt.Errorf("Lorentz: %s: want %d numbers, got %d: %w", op, args[0].K, len(out), err)
	}
	for k := range out {
		var a [][]float64
		for _, x := range args {
			a = append(a, elements(x, k))
		}
		out[k] = f(a)
	}
	return nil
}

func (m Lorentz) Inner(out []float64, x, u, v points) error {
	return m.numbers("inner product", out, func(a [][]float64) float64 { return lorentz(a[1], a[2]) }, x, u, v)
}

func (m Lorentz) Dist(out []float64, x, y points) error {
	return m.numbers("distance", out, func(a [][]float64) float64 { return 2 * math.Asinh(math.Sqrt(apart(a[0], a[1]))/2) }, x, y)
}

func (Lorentz) Membership(x points) (worst float64) {
	for k := range x.K {
		v := elements(x, k)
		if n := math.Sqrt(dot(v, v)); !(n <= math.MaxFloat64) {
			return math.NaN()
		}
		worst = max(worst, math.Abs(v[0]/height(v)-1))
	}
	return worst
}

func (m Lorentz) Properties(n, p int) manifolds.Properties {
	if m.silent {
		return manifolds.Properties{Dim: -1}
	}
	return manifolds.Properties{Dim: n*p - 1, Curvature: -1, LowestCurvature: -1, InjectivityRadius: math.Inf(1)}
}

func TestMetrics(t *testing.T) {
	for _, m := range []manifolds.Manifold{multiple{4}, multiple{1}, multiple{0.25}, multiple{1e8}, multiple{1e-8}, Positive{}, Lorentz{}, Lorentz{silent: true}} {
		t.Run(fmt.Sprintf("%T%v", m, m), func(t *testing.T) {
			for _, f := range manifoldtest.Failures(manifoldtest.Check(m)) {
				if _, slow := m.(Lorentz); !slow || f.Oracle != "allocations" { // which it makes for every point, to be short
					t.Error(f)
				}
			}
		})
	}
}

// What the kit forgives these manifolds, it does not forgive others.

// A distance in the unit of the ambient space.
type otherUnit struct{ multiple }

func (m otherUnit) Dist(out []float64, x, y points) error { return unit.Dist(out, x, y) }

// A gradient in that unit.
type undividedGradient struct{ multiple }

func (m undividedGradient) Gradient(dst, x, g points) error { return unit.Tangent(dst, x, g) }

// Geodesics beyond the cut locus count as shortest.
type farRadius struct{ multiple }

func (m farRadius) Properties(n, p int) manifolds.Properties {
	known := m.multiple.Properties(n, p)
	known.InjectivityRadius *= 1.5
	return known
}

// A transport that shrinks.
type shrinkingMultiple struct{ multiple }

func (m shrinkingMultiple) ParallelTransport(dst, x, y, u points) error {
	return sphere{}.Transport(dst, x, y, u)
}

// No inner product.
type null struct{ multiple }

func (m null) Inner(out []float64, x, u, v points) error {
	err := m.multiple.Inner(out, x, u, v)
	if err == nil {
		clear(out)
	}
	return err
}

type negative struct{ multiple }

func (m negative) Inner(out []float64, x, u, v points) error {
	return multiple{-m.c}.Inner(out, x, u, v)
}

// A step out of the open set, a step that goes nowhere, a projection to its boundary, points everywhere, and no way to make points.
type leaving struct{ Positive }

func (m leaving) Retract(dst, x, v points) error { return manifolds.Euclidean{}.Retract(dst, x, v) }

type stuck struct{ Positive }

func (m stuck) Retract(dst, x, v points) error {
	if v.Norm() > 0 {
		return &manifolds.PointError{Manifold: "stuck", Op: "retract", Reason: "want no step"}
	}
	return m.Positive.Retract(dst, x, v)
}

type clamping struct{ Positive }

func (m clamping) Project(dst, x points) error {
	return m.into("project", false, dst, func(k, i, j int) float64 { return max(x.At(k, i, j), 0) }, x)
}

type everywhere struct{ Positive }

func (m everywhere) Membership(x points) float64 { return manifolds.Euclidean{}.Membership(x) }

type outside struct{ Positive }

func (m outside) Random(dst points, rng *rand.Rand) error {
	return manifolds.Euclidean{}.Random(dst, rng)
}

type unsampled struct {
	manifolds.Manifold
	manifolds.Metric
}

// An exponential map that overflows, one that says so without naming the point, one that leaves the sheet, and one that stops on a sphere, where
// nothing is far away.
type overflowing struct{ Lorentz }

func (m overflowing) Exp(dst, x, v points) error {
	if err := m.Lorentz.Exp(dst, x, v); !errors.Is(err, manifolds.ErrDegenerate) {
		return err
	}
	edit(dst, func(_, _, _ int, _ float64) float64 { return math.Inf(1) })
	return nil
}

type mute struct{ Lorentz }

func (m mute) Exp(dst, x, v points) error {
	if err := m.Lorentz.Exp(dst, x, v); err != nil {
		return fmt.Errorf("overflow")
	}
	return nil
}

type straightened struct{ Lorentz }

func (m straightened) Exp(dst, x, v points) error { return m.Lorentz.Retract(dst, x, v) }

type timid struct{ sphere }

func (m timid) Exp(dst, x, v points) error {
	for k := range v.K {
		if v.Slice(k, k+1).Norm() > 5*math.Pi {
			return &manifolds.PointError{Manifold: "timid", Op: "exp", Point: k, Reason: "want a shorter step"}
		}
	}
	return m.sphere.Exp(dst, x, v)
}

// The distance by the inverse hyperbolic cosine, which loses half of the digits near 0.
type arcCosh struct{ Lorentz }

func (m arcCosh) Dist(out []float64, x, y points) error {
	return m.numbers("distance", out, func(a [][]float64) float64 { return math.Acosh(max(1, -lorentz(a[0], a[1]))) }, x, y)
}

// Bounds of the curvature that are none.
type gentle struct{ Lorentz }

func (m gentle) Properties(n, p int) manifolds.Properties {
	known := m.Lorentz.Properties(n, p)
	known.LowestCurvature = -0.5
	return known
}

type steep struct{ Lorentz }

func (m steep) Properties(n, p int) manifolds.Properties {
	known := m.Lorentz.Properties(n, p)
	known.Curvature, known.LowestCurvature = -2, -2
	return known
}

// A bound that stays where the manifold becomes larger.
type rigid struct{ manifolds.Stiefel }

func (m rigid) Scaled(s float64) manifolds.Manifold {
	return rigid{m.Stiefel.Scaled(s).(manifolds.Stiefel)}
}

func (m rigid) Properties(n, p int) manifolds.Properties {
	known := m.Stiefel.Properties(n, p)
	known.LowestCurvature = -0.5
	return known
}

// The transport of another metric.
type euclidean struct{ Positive }

func (m euclidean) ParallelTransport(dst, x, y, u points) error {
	return manifolds.Euclidean{}.Transport(dst, x, y, u)
}

func TestBrokenMetrics(t *testing.T) {
	four := multiple{4}
	for _, c := range []struct {
		m      manifolds.Manifold
		oracle string
	}{
		{otherUnit{four}, "logarithm"},
		{undividedGradient{four}, "metric"},
		{undividedGradient{four}, "gradient"},
		{farRadius{four}, "logarithm"},
		{shrinkingMultiple{four}, "parallel"},
		{null{four}, "metric"},
		{negative{four}, "metric"},
		{leaving{}, "retract"},
		{stuck{}, "retract"},
		{clamping{}, "metric"},
		{everywhere{}, "project"},
		{outside{}, "random"},
		{unsampled{Positive{}, Positive{}}, "project"},
		{euclidean{}, "parallel"},
		{overflowing{}, "exponential"},
		{mute{}, "exponential"},
		{straightened{}, "exponential"},
		{timid{}, "exponential"},
		{arcCosh{}, "logarithm"},
		{gentle{}, "curvature"},
		{rigid{}, "scale"},
		{steep{}, "curvature"},
	} {
		t.Run(fmt.Sprintf("%T/%s", c.m, c.oracle), func(t *testing.T) {
			var by []string
			for _, f := range manifoldtest.Failures(manifoldtest.Check(c.m, manifoldtest.Shape{K: 3, N: 4, P: 2})) {
				by = append(by, f.Oracle)
				if f.Oracle == c.oracle {
					t.Log(f)
				}
			}
			assert.Contains(t, by, c.oracle)
		})
	}
}

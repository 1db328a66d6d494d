// SPDX-License-Identifier: Apache-2.0

// Package hyperbolic is hyperbolic space as a manifold, for tests of what negative curvature and a metric that
// depends on the point require.
package hyperbolic

import (
	"fmt"
	"math"

	"github.com/kernelfold/kernelfold/manifolds"
)

// Space is the space of curvature -1 on all n x p matrices x, which stand for the points X = (x0, x) of the
// hyperboloid x0 = sqrt(1 + |x|^2) with the product <X, Y> = <x, y> - x0 y0. All matrices are points, and all
// are tangent. A tangent vector v stands for (<x, v>/x0, v).
//
//	inner product    <u, v> - <x, u><x, v> / (1 + |x|^2)
//	gradient         g + x <x, g>
//	retraction       x + v
//	exponential      cosh(|v|) x + sinh(|v|)/|v| v; an error where these numbers are not finite
//	distance         2 arsinh(|Y - X| / 2)
//	logarithm        d / sinh(d) (y - cosh(d) x)
//	transport        u + <Y - X, U> / (2 + |Y - X|^2/2) (x + y)
type Space struct{}

var _ interface {
	manifolds.Manifold
	manifolds.Metric
	manifolds.Exponential
	manifolds.Logarithm
	manifolds.ParallelTransporter
	manifolds.Described
} = Space{}

func (Space) String() string { return "Hyperbolic" }

func (Space) Check(int, int) error { return nil }

func (Space) Properties(n, p int) manifolds.Properties {
	return manifolds.Properties{Dim: n * p, Curvature: -1, LowestCurvature: -1, InjectivityRadius: math.Inf(1)}
}

func (Space) Project(dst, x manifolds.Points) error { return manifolds.Euclidean{}.Project(dst, x) }

func (Space) Tangent(dst, x, g manifolds.Points) error {
	return manifolds.Euclidean{}.Tangent(dst, x, g)
}

func (Space) Retract(dst, x, v manifolds.Points) error {
	return manifolds.Euclidean{}.Retract(dst, x, v)
}

func (m Space) Transport(dst, x, y, u manifolds.Points) error {
	return m.ParallelTransport(dst, x, y, u)
}

func (Space) Membership(x manifolds.Points) float64 { return manifolds.Euclidean{}.Membership(x) }

func (Space) Gradient(dst, x, g manifolds.Points) error {
	if err := manifolds.Agree("gradient", dst, x, g); err != nil {
		return err
	}
	for k := range x.K {
		write(dst, k, 1, g, dot(k, x, g), x)
	}
	return nil
}

// Inner splits u and v into a multiple of x and a rest, so that nothing cancels far from 0.
func (Space) Inner(out []float64, x, u, v manifolds.Points) error {
	if err := agree("inner", out, x, u, v); err != nil {
		return err
	}
	for k := range x.K {
		out[k] = inner(k, x, u, v)
	}
	return nil
}

func (m Space) Exp(dst, x, v manifolds.Points) error {
	if err := manifolds.Agree("exp", dst, x, v); err != nil {
		return err
	}
	for k := range x.K {
		n := math.Sqrt(inner(k, x, v, v))
		write(dst, k, math.Cosh(n), x, ratio(math.Sinh(n), n), v)
		if y := dst.Slice(k, k+1); math.IsNaN(m.Membership(y)) {
			return &manifolds.PointError{Manifold: m.String(), Op: "exp", Point: k, Reason: fmt.Sprintf("want a step to numbers that are finite, got one of length %g", n)}
		}
	}
	return nil
}

func (Space) Log(dst, x, y manifolds.Points) error {
	if err := manifolds.Agree("log", dst, x, y); err != nil {
		return err
	}
	for k := range x.K {
		// y - cosh(d) x = (y - x) - |Y - X|^2/2 x
		c := chord(k, x, y)
		d := 2 * math.Asinh(math.Sqrt(c)/2)
		s := ratio(d, math.Sinh(d))
		for i := range x.N {
			for j := range x.P {
				a, b := x.At(k, i, j), y.At(k, i, j)
				dst.Set(k, i, j, s*((b-a)-c/2*a))
			}
		}
	}
	return nil
}

func (Space) Dist(out []float64, x, y manifolds.Points) error {
	if err := agree("dist", out, x, y); err != nil {
		return err
	}
	for k := range x.K {
		out[k] = 2 * math.Asinh(math.Sqrt(chord(k, x, y))/2)
	}
	return nil
}

func (Space) ParallelTransport(dst, x, y, u manifolds.Points) error {
	if err := manifolds.Agree("parallel transport", dst, x, y, u); err != nil {
		return err
	}
	for k := range x.K {
		x0, y0 := height(k, x), height(k, y)
		product, rise := 0.0, 0.0
		for i := range x.N {
			for j := range x.P {
				a, b := x.At(k, i, j), y.At(k, i, j)
				product += (b - a) * u.At(k, i, j)
				rise += (b - a) * (b + a) / (x0 + y0)
			}
		}
		product -= rise * dot(k, x, u) / x0
		s := product / (2 + chord(k, x, y)/2)
		for i := range x.N {
			for j := range x.P {
				dst.Set(k, i, j, u.At(k, i, j)+s*(x.At(k, i, j)+y.At(k, i, j)))
			}
		}
	}
	return nil
}

// agree checks that the batches of a call agree, and that there is a number for each point.
func agree(op string, out []float64, x manifolds.Points, others ...manifolds.Points) error {
	if len(out) != x.K {
		return fmt.Errorf("hyperbolic: %s: want %d numbers, got %d", op, x.K, len(out))
	}
	return manifolds.Agree(op, x, others...)
}

func height(k int, x manifolds.Points) float64 { return math.Sqrt(1 + dot(k, x, x)) }

// inner is <u, v>_x = <u', v'> + a b |x|^2/(1 + |x|^2), where u = u' + a x and v = v' + b x.
func inner(k int, x, u, v manifolds.Points) float64 {
	xx := dot(k, x, x)
	a, b := 0.0, 0.0
	if xx > 0 {
		a, b = dot(k, x, u)/xx, dot(k, x, v)/xx
	}
	sum := a * b * xx / (1 + xx)
	for i := range x.N {
		for j := range x.P {
			sum += (u.At(k, i, j) - a*x.At(k, i, j)) * (v.At(k, i, j) - b*x.At(k, i, j))
		}
	}
	return sum
}

// chord is |Y - X|^2 = |y - x|^2 - (y0 - x0)^2. With s = x + y, S = X + Y and y - x = e + a s, e normal to s,
// y0 - x0 = a |s|^2 / s0 and s0^2 - |s|^2 = 4 + |Y - X|^2, which gives a form in which nothing cancels.
func chord(k int, x, y manifolds.Points) float64 {
	var ss, ds float64
	for i := range x.N {
		for j := range x.P {
			a, b := x.At(k, i, j), y.At(k, i, j)
			ss += (a + b) * (a + b)
			ds += (b - a) * (a + b)
		}
	}
	a := 0.0
	if ss > 0 {
		a = ds / ss
	}
	apart := 0.0
	for i := range x.N {
		for j := range x.P {
			u, v := x.At(k, i, j), y.At(k, i, j)
			e := v - u - a*(u+v)
			apart += e * e
		}
	}
	s0 := height(k, x) + height(k, y)
	q := a * a * ss / (s0 * s0)
	return (apart + 4*q) / (1 - q)
}

// ratio is a/b, or its limit 1 where both are 0.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 1
	}
	return a / b
}

func dot(k int, u, v manifolds.Points) (sum float64) {
	for i := range u.N {
		for j := range u.P {
			sum += u.At(k, i, j) * v.At(k, i, j)
		}
	}
	return sum
}

// write sets point k of dst to a u + b v.
func write(dst manifolds.Points, k int, a float64, u manifolds.Points, b float64, v manifolds.Points) {
	for i := range u.N {
		for j := range u.P {
			dst.Set(k, i, j, a*u.At(k, i, j)+b*v.At(k, i, j))
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package own

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/kernelfold/kernelfold/manifolds"
)

// Symmetric is the set {x : x = x^T, |x| = r} of symmetric n x n matrices of
// Frobenius norm r: kernels that treat an image and its transpose alike. With s(x) = (x + x^T)/2,
//
//	tangent space  {v : v = v^T, <x, v> = 0}
//	projection     r s(x) / |s(x)|
//	tangent        s(g) - x <x, g> / r^2
//	retraction     r (x + v) / |x + v|
//	transport      the tangent projection at y
//
// Membership is the larger of ||x|/r - 1| and |x - x^T| / (2r).
type Symmetric struct {
	Radius float64 // r; zero means 1
}

var _ manifolds.Manifold = Symmetric{}

func (m Symmetric) radius() float64 {
	if m.Radius == 0 {
		return 1
	}
	return m.Radius
}

// Check accepts square shapes.
func (m Symmetric) Check(n, p int) error {
	if n != p || n < 1 {
		return fmt.Errorf("own: Symmetric: want square points, got %dx%d", n, p)
	}
	return nil
}

// Project writes r s(x) / |s(x)|.
func (m Symmetric) Project(dst, x manifolds.Points) error {
	if err := m.admit("project", dst, x); err != nil {
		return err
	}
	if err := dst.CopyFrom(x); err != nil {
		return err
	}
	return m.settle("project", dst)
}

// Tangent writes s(g) - x <x, g> / r^2. Elements (i, j) and (j, i) are read
// before they are written, so dst may be x or g.
func (m Symmetric) Tangent(dst, x, g manifolds.Points) error {
	if err := m.admit("tangent", dst, x, g); err != nil {
		return err
	}
	for k := range x.K {
		c := 0.0
		for i := range x.N {
			for j := range x.N {
				c += x.At(k, i, j) * g.At(k, i, j)
			}
		}
		c /= m.radius() * m.radius()
		for i := range x.N {
			for j := range i + 1 {
				s := g.At(k, i, j)/2 + g.At(k, j, i)/2
				a, b := s-c*x.At(k, i, j), s-c*x.At(k, j, i)
				dst.Set(k, i, j, a)
				dst.Set(k, j, i, b)
			}
		}
	}
	return nil
}

// Retract writes r (x + v) / |x + v|.
func (m Symmetric) Retract(dst, x, v manifolds.Points) error {
	if err := m.admit("retract", dst, x, v); err != nil {
		return err
	}
	if err := dst.Combine(1, x, 1, v); err != nil {
		return err
	}
	return m.settle("retract", dst)
}

// Transport writes the tangent projection of u at y.
func (m Symmetric) Transport(dst, x, y, u manifolds.Points) error {
	if err := m.admit("transport", dst, x, y, u); err != nil {
		return err
	}
	return m.Tangent(dst, y, u)
}

// Membership returns the error of the worst point, NaN if one is not finite.
func (m Symmetric) Membership(x manifolds.Points) float64 {
	worst := 0.0
	for k := range x.K {
		norm, skew := 0.0, 0.0
		for i := range x.N {
			for j := range x.N {
				norm = math.Hypot(norm, x.At(k, i, j))
				skew = math.Hypot(skew, x.At(k, i, j)-x.At(k, j, i))
			}
		}
		if math.IsInf(norm, 0) {
			return math.NaN()
		}
		worst = max(worst, math.Abs(norm/m.radius()-1), skew/(2*m.radius())) // max keeps NaN
	}
	return worst
}

// settle makes every point symmetric, and then of norm r. A zero matrix has no
// direction: the error names the point.
func (m Symmetric) settle(op string, x manifolds.Points) error {
	for k := range x.K {
		norm := 0.0
		for i := range x.N {
			for j := range i + 1 {
				s := x.At(k, i, j)/2 + x.At(k, j, i)/2
				x.Set(k, i, j, s)
				x.Set(k, j, i, s)
				norm = math.Hypot(norm, s)
				if i != j {
					norm = math.Hypot(norm, s)
				}
			}
		}
		if !(norm > 0) || math.IsInf(norm, 0) {
			return &manifolds.PointError{Manifold: "Symmetric", Op: op, Point: k,
				Reason: fmt.Sprintf("want a symmetric part with a direction, got norm %g", norm)}
		}
		for i := range x.N {
			for j := range x.N {
				x.Set(k, i, j, x.At(k, i, j)/norm*m.radius())
			}
		}
	}
	return nil
}

// admit checks that the batches of a call agree, and that their points are square.
func (m Symmetric) admit(op string, x manifolds.Points, others ...manifolds.Points) error {
	if err := m.Check(x.N, x.P); err != nil {
		return err
	}
	return manifolds.Agree(op, x, others...)
}

// What follows is optional.

// String is the name in reports.
func (m Symmetric) String() string { return fmt.Sprintf("Symmetric(r=%.4g)", m.radius()) }

// For chooses PerSlice, a slice of 3x3 as a point, unless the program names a grouping.
func (m Symmetric) For(g manifolds.Grouping) (manifolds.Manifold, manifolds.Grouping) {
	if g == manifolds.Default {
		g = manifolds.PerSlice
	}
	return m, g
}

// Scaled, Norm and Sized let a constraint choose the radius, as the default scale
// UnitFilters does.
func (m Symmetric) Scaled(s float64) manifolds.Manifold { return Symmetric{s * m.radius()} }

// Norm returns r.
func (m Symmetric) Norm(n, p int) float64 { return m.radius() }

// Sized reports whether a radius was given.
func (m Symmetric) Sized() bool { return m.Radius != 0 }

// Properties returns the dimension n (n + 1) / 2 - 1 and the curvature 1/r^2 of a sphere.
func (m Symmetric) Properties(n, p int) manifolds.Properties {
	return manifolds.Properties{Dim: n*(n+1)/2 - 1, Curvature: 1 / (m.radius() * m.radius()), InjectivityRadius: math.Pi * m.radius()}
}

// Random fills dst with independent uniform points: symmetric parts of Gaussian
// matrices, of norm r.
func (m Symmetric) Random(dst manifolds.Points, rng *rand.Rand) error {
	for k := range dst.K {
		for i := range dst.N {
			for j := range dst.P {
				dst.Set(k, i, j, rng.NormFloat64())
			}
		}
	}
	return m.Project(dst, dst)
}

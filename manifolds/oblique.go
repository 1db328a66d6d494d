// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// Oblique is the set {x : every column of x has norm r} of n x p matrices, or the same for rows:
// a product of spheres. Ob(A, B) of Ozay and Okatani (arXiv 1610.07008) is the one of columns,
// ddiag(x^T x) = I.
//
//	tangent space  {v : <x_j, v_j> = 0 for every column j}
//	dimension      (n - 1) p
//	projection     r x_j / |x_j|
//	retraction     r (x_j + v_j) / |x_j + v_j|, second order, along the geodesic
//	curvature      at most 1/r^2
//
// Its default grouping is PerSlice, as in the paper. Membership is the largest ||x_j|/r - 1|.
type Oblique struct {
	// Radius is r. Zero means 1, or the radius that the Scale of a constraint chooses.
	Radius float64
	// Axis chooses columns or rows.
	Axis Axis
	// Geodesic makes Retract the exponential map and Transport parallel transport, instead of
	// normalisation and tangent projection.
	Geodesic bool
}

// For returns m with its axis chosen if it is Auto (Columns for PerSlice, else Rows), and
// PerSlice in place of Default.
func (m Oblique) For(g Grouping) (Manifold, Grouping) {
	g = g.or(PerSlice)
	if m.Axis == Auto {
		m.Axis = Rows
		if g == PerSlice {
			m.Axis = Columns
		}
	}
	return m, g
}

func (m Oblique) vectors() Axis {
	if m.Axis == Rows {
		return Rows
	}
	return Columns
}

func (m Oblique) count(n, p int) int {
	if m.Axis == Rows {
		return n
	}
	return p
}

func (m Oblique) axisLabel() string {
	if m.Axis == Rows {
		return "rows"
	}
	return ""
}

// Check accepts every positive shape.
func (m Oblique) Check(n, p int) error {
	if m.Axis > Rows {
		return fmt.Errorf("manifolds: Oblique: want the axis Auto, Columns or Rows, got %d", m.Axis)
	}
	if err := positive("Oblique", n, p); err != nil {
		return err
	}
	return checkRadius("Oblique", m.Radius)
}

// String returns the name and the fields that are not at their defaults.
func (m Oblique) String() string {
	return label("Oblique", m.Radius, m.axisLabel(), geodesicLabel(m.Geodesic))
}

func (m Oblique) s32() spheres[float32] {
	return spheres[float32]{"Oblique", size(m.Radius).value(), m.vectors(), false, m.Geodesic}
}
func (m Oblique) s64() spheres[float64] { return spheres[float64](m.s32()) }

// Project writes r x_j / |x_j|.
func (m Oblique) Project(dst, x Points) error {
	return lift2(m.Check(x.N, x.P), "project", dst, x, m.s32().project, m.s64().project)
}

// ProjectAdjoint writes r/|v_j| (g_j - y_j <y_j, g_j> / r^2).
func (m Oblique) ProjectAdjoint(dst, v, y, g Points) error {
	return lift4(m.Check(v.N, v.P), "adjoint", dst, v, y, g, m.s32().adjoint, m.s64().adjoint)
}

// Tangent writes g_j - x_j <x_j, g_j> / r^2.
func (m Oblique) Tangent(dst, x, g Points) error {
	return lift3(m.Check(x.N, x.P), "tangent", dst, x, g, m.s32().tangent, m.s64().tangent)
}

// Retract writes r (x_j + v_j) / |x_j + v_j|, or Exp if Geodesic.
func (m Oblique) Retract(dst, x, v Points) error {
	return lift3(m.Check(x.N, x.P), "retract", dst, x, v, m.s32().retract, m.s64().retract)
}

// Transport writes the tangent projection of u at y, or its parallel transport
// if Geodesic.
func (m Oblique) Transport(dst, x, y, u Points) error {
	return lift4(m.Check(x.N, x.P), "transport", dst, x, y, u, m.s32().transport, m.s64().transport)
}

// ParallelTransport writes u_j - 2 <u_j, s_j> / |s_j|^2 s_j with s = x + y, the parallel
// transport along the shortest geodesic from x to y. It fails for vectors that are antipodal
// within rounding, |s_j| <= 8 eps r.
func (m Oblique) ParallelTransport(dst, x, y, u Points) error {
	return lift4(m.Check(x.N, x.P), "parallel transport", dst, x, y, u, m.s32().parallel, m.s64().parallel)
}

// TransportAlong writes the tangent projection of u at y. If Geodesic, it writes the parallel
// transport of u along the geodesic with velocity v, of any length:
// u_j + <u_j, e_j> ((cos t - 1) e_j - sin t x_j/r) with e_j = v_j/|v_j| and t = |v_j|/r.
func (m Oblique) TransportAlong(dst, x, v, y, u Points) error {
	return lift5(m.Check(x.N, x.P), "transport along", dst, x, v, y, u, m.s32().transportAlong, m.s64().transportAlong)
}

// Exp writes cos(|v_j|/r) x_j + r sin(|v_j|/r) v_j/|v_j|.
func (m Oblique) Exp(dst, x, v Points) error {
	return lift3(m.Check(x.N, x.P), "exp", dst, x, v, m.s32().exp, m.s64().exp)
}

// Log writes, for each vector, the projection of y_j onto the tangent space at x_j, rescaled to
// length r theta_j, where theta_j is the angle between x_j and y_j by atan2. It fails at
// antipodal points.
func (m Oblique) Log(dst, x, y Points) error {
	return lift3(m.Check(x.N, x.P), "log", dst, x, y, m.s32().log, m.s64().log)
}

// InverseRetract writes r^2 y / <x, y> - x of each vector, or Log if Geodesic. It fails where <x, y> is not positive.
func (m Oblique) InverseRetract(dst, x, y Points) error {
	return lift3(m.Check(x.N, x.P), "inverse retraction", dst, x, y, m.s32().inverse, m.s64().inverse)
}

// Dist writes r (sum of theta_j^2)^(1/2), where theta_j is the angle between x_j and y_j by
// atan2.
func (m Oblique) Dist(out []float64, x, y Points) error {
	return liftOut(m.Check(x.N, x.P), "distance", out, x, x, y, m.s32().dist, m.s64().dist)
}

// Membership returns the largest ||x_j|/r - 1|.
func (m Oblique) Membership(x Points) float64 {
	return lift1(x, m.s32().membership, m.s64().membership)
}

// Random fills dst with independent uniform points.
func (m Oblique) Random(dst Points, rng *rand.Rand) error {
	return projected(m, dst, rng)
}

// Properties returns the dimension (n - 1) p, or n (p - 1) for rows; the curvature 1/r^2, which
// is that of planes within one sphere (planes across two spheres are flat); and the injectivity
// radius pi r.
func (m Oblique) Properties(n, p int) Properties {
	if m.Axis == Rows {
		return sphereProperties(n*(p-1), m.Radius)
	}
	return sphereProperties((n-1)*p, m.Radius)
}

// Sized reports whether a radius was given.
func (m Oblique) Sized() bool { return m.Radius != 0 }

// Norm returns r sqrt(p), or r sqrt(n) for rows.
func (m Oblique) Norm(n, p int) float64 {
	return size(m.Radius).value() * math.Sqrt(float64(m.count(n, p)))
}

// Scaled returns the manifold with s times the radius.
func (m Oblique) Scaled(s float64) Manifold {
	m.Radius = s * size(m.Radius).value()
	return m
}

// Descends returns false if Geodesic, for tangent momentum with a look ahead, where squares might
// overflow or vanish, and for the geometric factor on points of several vectors or where Sphere does.
func (s Oblique) Descends(m Manifold, x Points, d Descent, b Bounds) bool {
	of, ok := m.(Oblique)
	return ok && spheresDescend(of.s32(), x, d, b)
}

// Descend makes the step in two passes over each point.
func (m Oblique) Descend(x, mu, g Points, d Descent) (Progress, error) {
	return liftStep(m.Check(x.N, x.P), x, mu, g, d, m.s32().descend, m.s64().descend)
}

// DescendIn makes the step of the columns of 3 x 3 slices in float32, without Factors, where the processor has instructions for it.
func (s Oblique) DescendIn(m Manifold, l Layout, w, mu, g Points, d Descent) (p Progress, done bool, err error) {
	if _, ok := m.(Oblique); !ok {
		return p, false, nil
	}
	return descendIn(s.s32(), l, w, mu, g, d)
}

// GradientSquares writes |g - x <x, g>/r^2|^2, summed over the vectors of each point.
func (m Oblique) GradientSquares(out []float64, x, g Points) error {
	return liftOut(m.Check(x.N, x.P), "gradient squares", out, x, x, g, m.s32().gradientSquares, m.s64().gradientSquares)
}

var (
	_ Manifold            = Oblique{}
	_ Exponential         = Oblique{}
	_ Logarithm           = Oblique{}
	_ Inverse             = Oblique{}
	_ ParallelTransporter = Oblique{}
	_ PathTransporter     = Oblique{}
	_ Differentiable      = Oblique{}
	_ Described           = Oblique{}
	_ Scalable            = Oblique{}
	_ Sampler             = Oblique{}
	_ Grouper             = Oblique{}
	_ Adaptable           = Oblique{}
	_ Scattered           = Oblique{}
)

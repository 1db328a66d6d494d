// SPDX-License-Identifier: Apache-2.0

package manifolds

import "math/rand/v2"

// Sphere is the set {x : |x| = r} of n x p matrices of Frobenius norm r, with
// the metric of the ambient space.
//
//	tangent space  {v : <x, v> = 0}
//	dimension      n p - 1
//	projection     r x / |x|
//	retraction     r (x + v) / |x + v|, second order, along the geodesic
//	curvature      1/r^2
//
// Its default grouping is PerFilter: a point is one flattened filter. Membership is ||x|/r - 1|.
type Sphere struct {
	// Radius is r. Zero means 1, or the radius that the Scale of a constraint chooses.
	Radius float64
	// Geodesic makes Retract the exponential map and Transport parallel transport, instead of
	// normalisation and tangent projection.
	Geodesic bool
}

// Check accepts every positive shape.
func (m Sphere) Check(n, p int) error {
	if err := positive("Sphere", n, p); err != nil {
		return err
	}
	return checkRadius("Sphere", m.Radius)
}

// String returns the name and the fields that are not at their defaults.
func (m Sphere) String() string { return label("Sphere", m.Radius, geodesicLabel(m.Geodesic)) }

func (m Sphere) s32() spheres[float32] {
	return spheres[float32]{"Sphere", size(m.Radius).value(), whole, false, m.Geodesic}
}
func (m Sphere) s64() spheres[float64] { return spheres[float64](m.s32()) }

// Project writes r x / |x|.
func (m Sphere) Project(dst, x Points) error {
	return lift2(m.Check(x.N, x.P), "project", dst, x, m.s32().project, m.s64().project)
}

// ProjectAdjoint writes r/|v| (g - y <y, g> / r^2).
func (m Sphere) ProjectAdjoint(dst, v, y, g Points) error {
	return lift4(m.Check(v.N, v.P), "adjoint", dst, v, y, g, m.s32().adjoint, m.s64().adjoint)
}

// Tangent writes g - x <x, g> / r^2.
func (m Sphere) Tangent(dst, x, g Points) error {
	return lift3(m.Check(x.N, x.P), "tangent", dst, x, g, m.s32().tangent, m.s64().tangent)
}

// Retract writes r (x + v) / |x + v|, or Exp if Geodesic.
func (m Sphere) Retract(dst, x, v Points) error {
	return lift3(m.Check(x.N, x.P), "retract", dst, x, v, m.s32().retract, m.s64().retract)
}

// Transport writes the tangent projection of u at y, or its parallel transport
// if Geodesic.
func (m Sphere) Transport(dst, x, y, u Points) error {
	return lift4(m.Check(x.N, x.P), "transport", dst, x, y, u, m.s32().transport, m.s64().transport)
}

// ParallelTransport writes u - 2 <u, s> / |s|^2 s with s = x + y, the parallel transport along
// the shortest geodesic from x to y. It fails for points that are antipodal within rounding,
// |s| <= 8 eps r.
func (m Sphere) ParallelTransport(dst, x, y, u Points) error {
	return lift4(m.Check(x.N, x.P), "parallel transport", dst, x, y, u, m.s32().parallel, m.s64().parallel)
}

// TransportAlong writes the tangent projection of u at y. If Geodesic, it writes the parallel
// transport of u along the geodesic with velocity v, of any length:
// u + <u, e> ((cos t - 1) e - sin t x/r) with e = v/|v| and t = |v|/r.
func (m Sphere) TransportAlong(dst, x, v, y, u Points) error {
	return lift5(m.Check(x.N, x.P), "transport along", dst, x, v, y, u, m.s32().transportAlong, m.s64().transportAlong)
}

// Exp writes cos(|v|/r) x + r sin(|v|/r) v/|v|.
func (m Sphere) Exp(dst, x, v Points) error {
	return lift3(m.Check(x.N, x.P), "exp", dst, x, v, m.s32().exp, m.s64().exp)
}

// Log writes the projection of y onto the tangent space at x, rescaled to length r theta, where
// theta is the angle between x and y by atan2. It fails at antipodal points.
func (m Sphere) Log(dst, x, y Points) error {
	return lift3(m.Check(x.N, x.P), "log", dst, x, y, m.s32().log, m.s64().log)
}

// InverseRetract writes r^2 y / <x, y> - x, or Log if Geodesic. It fails where <x, y> is not positive.
func (m Sphere) InverseRetract(dst, x, y Points) error {
	return lift3(m.Check(x.N, x.P), "inverse retraction", dst, x, y, m.s32().inverse, m.s64().inverse)
}

// Dist writes r theta, where theta is the angle between x and y by atan2.
func (m Sphere) Dist(out []float64, x, y Points) error {
	return liftOut(m.Check(x.N, x.P), "distance", out, x, x, y, m.s32().dist, m.s64().dist)
}

// Membership returns the largest ||x|/r - 1|.
func (m Sphere) Membership(x Points) float64 {
	return lift1(x, m.s32().membership, m.s64().membership)
}

// Random fills dst with independent uniform points.
func (m Sphere) Random(dst Points, rng *rand.Rand) error {
	return projected(m, dst, rng)
}

// Properties returns the dimension n p - 1, the curvature 1/r^2 and the injectivity radius pi r.
func (m Sphere) Properties(n, p int) Properties {
	properties := sphereProperties(n*p-1, m.Radius)
	properties.Vectors = true
	return properties
}

// Sized reports whether a radius was given.
func (m Sphere) Sized() bool { return m.Radius != 0 }

// Norm returns r.
func (m Sphere) Norm(n, p int) float64 { return size(m.Radius).value() }

// Scaled returns the manifold with s times the radius.
func (m Sphere) Scaled(s float64) Manifold {
	m.Radius = s * size(m.Radius).value()
	return m
}

// Descends returns false if Geodesic, for tangent momentum with a look ahead, where squares might
// overflow or vanish, and for the geometric factor where it might be lost in rounding errors: with
// Factors, or with a gradient or momentum of more than 90/r in float32.
func (s Sphere) Descends(m Manifold, x Points, d Descent, b Bounds) bool {
	of, ok := m.(Sphere)
	return ok && spheresDescend(of.s32(), x, d, b)
}

// Descend makes the step in two passes over each point.
func (m Sphere) Descend(x, mu, g Points, d Descent) (Progress, error) {
	return liftStep(m.Check(x.N, x.P), x, mu, g, d, m.s32().descend, m.s64().descend)
}

// DescendIn makes the step of 3 x 3 slices in float32, without Factors, where the processor has instructions for it.
func (s Sphere) DescendIn(m Manifold, l Layout, w, mu, g Points, d Descent) (p Progress, done bool, err error) {
	if _, ok := m.(Sphere); !ok {
		return p, false, nil
	}
	return descendIn(s.s32(), l, w, mu, g, d)
}

// GradientSquares writes |g - x <x, g>/r^2|^2 of each point.
func (m Sphere) GradientSquares(out []float64, x, g Points) error {
	return liftOut(m.Check(x.N, x.P), "gradient squares", out, x, x, g, m.s32().gradientSquares, m.s64().gradientSquares)
}

var (
	_ Manifold            = Sphere{}
	_ Exponential         = Sphere{}
	_ Logarithm           = Sphere{}
	_ Inverse             = Sphere{}
	_ ParallelTransporter = Sphere{}
	_ PathTransporter     = Sphere{}
	_ Differentiable      = Sphere{}
	_ Described           = Sphere{}
	_ Scalable            = Sphere{}
	_ Sampler             = Sphere{}
	_ Adaptable           = Sphere{}
	_ Scattered           = Sphere{}
)

// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
)

// Orthogonal is the set {x : x^T x = r^2 I} of square matrices, the orthogonal group O(n) for r = 1:
// rotations and reflections. In the formulas below r = 1 and A = x^T v is skew.
//
//	tangent space  {x A : A^T = -A}
//	dimension      n (n - 1) / 2
//	projection     the polar factor, x (x^T x)^(-1/2)
//	tangent        x skew(x^T g) = g - x sym(x^T g), also the gradient
//	retraction     of Stiefel; the determinant keeps its sign in every step
//	exponential    x exp(A)
//	logarithm      x log(x^T y), where no angle is pi; between a rotation and a reflection there is none
//	transport      y exp(-A/2) (x^T u) exp(A/2) along a geodesic, y = x exp(A)
//	curvature      at most 1/4; 1/8 for n = 3 and 0 for n = 2
//	injectivity    sqrt(2) pi, a rotation by pi in one plane
//
// Exponentials and logarithms are in closed form for n <= 3 (Rodrigues). The metric is that of the
// ambient space. Its default grouping is PerSlice, for square kernels. Membership is |x^T x / r^2 - I| in the
// Frobenius norm. It is Stiefel on square points, with the closed forms that exist only there.
//
// Edelman, Arias, Smith, The geometry of algorithms with orthogonality constraints, SIAM J. Matrix
// Anal. Appl. 20 (1998), section 2.2.2.
type Orthogonal struct {
	// Radius is r. Zero means 1, or the radius that the Scale of a constraint chooses.
	Radius float64
	// Retraction chooses how a step returns to the manifold. With Geodesic, transport along a
	// step is parallel transport.
	Retraction StiefelRetraction
}

// SpecialOrthogonal is the set {x : x^T x = r^2 I, det x > 0} of square matrices, the group of
// rotations SO(n) for r = 1. Everything is as on Orthogonal, except
//
//	projection     U diag(1, ..., 1, det(U W^T)) W^T for x = U S W^T (Kabsch 1976, Umeyama 1991)
//	membership     the larger of |x^T x / r^2 - I| and, where det x < 0, 2
type SpecialOrthogonal struct {
	// Radius is r. Zero means 1, or the radius that the Scale of a constraint chooses.
	Radius float64
	// Retraction chooses how a step returns to the manifold. With Geodesic, transport along a
	// step is parallel transport.
	Retraction StiefelRetraction
}

func (m Orthogonal) group() rotations {
	return rotations{"Orthogonal", m.Radius, m.Retraction}
}
func (m SpecialOrthogonal) group() rotations {
	return rotations{"SpecialOrthogonal", m.Radius, m.Retraction}
}

// String returns the name and the fields that are not at their defaults.
func (m Orthogonal) String() string { return m.group().String() }

// String returns the name and the fields that are not at their defaults.
func (m SpecialOrthogonal) String() string { return m.group().String() }

// For returns m, and PerSlice in place of Default.
func (m Orthogonal) For(g Grouping) (Manifold, Grouping) { return m, g.or(PerSlice) }

// For returns m, and PerSlice in place of Default.
func (m SpecialOrthogonal) For(g Grouping) (Manifold, Grouping) { return m, g.or(PerSlice) }

// Check accepts square shapes.
func (m Orthogonal) Check(n, p int) error { return m.group().check(n, p) }

// Check accepts square shapes.
func (m SpecialOrthogonal) Check(n, p int) error { return m.group().check(n, p) }

// Properties returns the dimension n (n - 1) / 2, the curvature bound and the injectivity radius for
// the radius r, and the cost n.
func (m Orthogonal) Properties(n, p int) Properties { return m.group().properties(n) }

// Properties returns the properties of Orthogonal.
func (m SpecialOrthogonal) Properties(n, p int) Properties { return m.group().properties(n) }

// Sized reports whether a radius was given.
func (m Orthogonal) Sized() bool { return m.Radius != 0 }

// Sized reports whether a radius was given.
func (m SpecialOrthogonal) Sized() bool { return m.Radius != 0 }

// Norm returns r sqrt(n).
func (m Orthogonal) Norm(n, p int) float64 { return Stiefel{Radius: m.Radius}.Norm(n, p) }

// Norm returns r sqrt(n).
func (m SpecialOrthogonal) Norm(n, p int) float64 { return Stiefel{Radius: m.Radius}.Norm(n, p) }

// Scaled returns the manifold with s times the radius.
func (m Orthogonal) Scaled(s float64) Manifold {
	m.Radius = s * size(m.Radius).value()
	return m
}

// Scaled returns the manifold with s times the radius.
func (m SpecialOrthogonal) Scaled(s float64) Manifold {
	m.Radius = s * size(m.Radius).value()
	return m
}

// Project writes r times the polar factor of x, as Stiefel does.
func (m Orthogonal) Project(dst, x Points) error {
	return lift2(m.Check(x.N, x.P), "project", dst, x, m.group().s32().project, m.group().s64().project)
}

// Project writes r times the rotation nearest to x. It fails where that is not unique: where x has a
// rank below n - 1, or a negative determinant and two smallest singular values that are equal.
func (m SpecialOrthogonal) Project(dst, x Points) error {
	return lift2(m.Check(x.N, x.P), "project", dst, x, m.group().s32().projectProper, m.group().s64().projectProper)
}

// ProjectAdjoint writes the adjoint of the derivative of the polar factor, as Stiefel does.
func (m Orthogonal) ProjectAdjoint(dst, v, y, g Points) error {
	return lift4(m.Check(v.N, v.P), "adjoint", dst, v, y, g, m.group().s32().adjoint, m.group().s64().adjoint)
}

// ProjectAdjoint writes, for v = U S W^T with det(U W^T) = 1, where the smallest singular value may be
// negative, and M = U^T g W, r U K W^T with K_ij = (M_ij - M_ji) / (s_i + s_j).
func (m SpecialOrthogonal) ProjectAdjoint(dst, v, y, g Points) error {
	return lift4(m.Check(v.N, v.P), "adjoint", dst, v, y, g, m.group().s32().adjointProper, m.group().s64().adjointProper)
}

// Tangent writes g - x sym(x^T g) / r^2.
func (m Orthogonal) Tangent(dst, x, g Points) error { return m.group().tangent(dst, x, g) }

// Tangent writes g - x sym(x^T g) / r^2.
func (m SpecialOrthogonal) Tangent(dst, x, g Points) error { return m.group().tangent(dst, x, g) }

// Retract writes the retraction of x + v that m.Retraction names. The limits are those of Stiefel.
func (m Orthogonal) Retract(dst, x, v Points) error { return m.group().retract(dst, x, v) }

// Retract writes the retraction of x + v that m.Retraction names. The limits are those of Stiefel.
func (m SpecialOrthogonal) Retract(dst, x, v Points) error { return m.group().retract(dst, x, v) }

// Transport writes the tangent projection of u at y.
func (m Orthogonal) Transport(dst, x, y, u Points) error { return m.group().transport(dst, x, y, u) }

// Transport writes the tangent projection of u at y.
func (m SpecialOrthogonal) Transport(dst, x, y, u Points) error {
	return m.group().transport(dst, x, y, u)
}

// TransportAlong writes the tangent projection of u at y, or with the retraction Geodesic the
// parallel transport y exp(-A/2) (x^T u) exp(A/2), A = x^T v.
func (m Orthogonal) TransportAlong(dst, x, v, y, u Points) error {
	return m.group().along(dst, x, v, y, u)
}

// TransportAlong writes the tangent projection of u at y, or with the retraction Geodesic the
// parallel transport y exp(-A/2) (x^T u) exp(A/2), A = x^T v.
func (m SpecialOrthogonal) TransportAlong(dst, x, v, y, u Points) error {
	return m.group().along(dst, x, v, y, u)
}

// Exp writes x exp(x^T v), computed in float64. It fails for steps longer than 128 |x|.
func (m Orthogonal) Exp(dst, x, v Points) error { return m.group().exp(dst, x, v) }

// Exp writes x exp(x^T v), computed in float64. It fails for steps longer than 128 |x|.
func (m SpecialOrthogonal) Exp(dst, x, v Points) error { return m.group().exp(dst, x, v) }

// Log writes x log(x^T y), computed in float64. It fails where x^T y rotates by pi, and where one
// point is a rotation and the other a reflection.
func (m Orthogonal) Log(dst, x, y Points) error { return m.group().log(dst, x, y) }

// Log writes x log(x^T y), computed in float64. It fails where x^T y rotates by pi.
func (m SpecialOrthogonal) Log(dst, x, y Points) error { return m.group().log(dst, x, y) }

// InverseRetract writes the inverse retraction of Stiefel, or Log with Geodesic.
func (m Orthogonal) InverseRetract(dst, x, y Points) error { return m.group().inverse(dst, x, y) }

// InverseRetract writes the inverse retraction of Stiefel, or Log with Geodesic.
func (m SpecialOrthogonal) InverseRetract(dst, x, y Points) error {
	return m.group().inverse(dst, x, y)
}

// Dist writes r |log(x^T y)|. It fails where one point is a rotation and the other a reflection.
func (m Orthogonal) Dist(out []float64, x, y Points) error { return m.group().dist(out, x, y) }

// Dist writes r |log(x^T y)|.
func (m SpecialOrthogonal) Dist(out []float64, x, y Points) error { return m.group().dist(out, x, y) }

// ParallelTransport writes y exp(-A/2) (x^T u) exp(A/2) with A = log(x^T y). It fails where Log does.
func (m Orthogonal) ParallelTransport(dst, x, y, u Points) error {
	return m.group().parallel(dst, x, y, u)
}

// ParallelTransport writes y exp(-A/2) (x^T u) exp(A/2) with A = log(x^T y). It fails where Log does.
func (m SpecialOrthogonal) ParallelTransport(dst, x, y, u Points) error {
	return m.group().parallel(dst, x, y, u)
}

// Membership returns the largest |x^T x / r^2 - I| in the Frobenius norm.
func (m Orthogonal) Membership(x Points) float64 {
	return lift1(x, m.group().s32().membership, m.group().s64().membership)
}

// Membership returns the largest |x^T x / r^2 - I| in the Frobenius norm, and at least 2 if the
// determinant of a point is negative.
func (m SpecialOrthogonal) Membership(x Points) float64 {
	return lift1(x, m.group().s32().membershipProper, m.group().s64().membershipProper)
}

// Random fills dst with independent points of the uniform (Haar) distribution, the polar factors of
// Gaussian matrices.
func (m Orthogonal) Random(dst Points, rng *rand.Rand) error {
	return projected(m, dst, rng)
}

// Random fills dst with independent points of the uniform (Haar) distribution, the projections of
// Gaussian matrices.
func (m SpecialOrthogonal) Random(dst Points, rng *rand.Rand) error {
	return projected(m, dst, rng)
}

// Descends returns true where Stiefel.Descends does in the Euclidean metric.
func (s Orthogonal) Descends(m Manifold, x Points, d Descent, b Bounds) bool {
	of, ok := m.(Orthogonal)
	return ok && of.group().descends(x, d, b)
}

// Descends returns true where Stiefel.Descends does in the Euclidean metric, unless factors may make a step of r or
// more: they can multiply the rounding errors of a gradient, and a step that is not tangent might lead to a
// reflection.
func (s SpecialOrthogonal) Descends(m Manifold, x Points, d Descent, b Bounds) bool {
	of, ok := m.(SpecialOrthogonal)
	return ok && of.group().descends(x, d, b) && (d.Factors == nil || d.Rate*d.Longest < size(of.Radius).value())
}

// Descend makes the step as Stiefel.Descend does.
func (m Orthogonal) Descend(x, mu, g Points, d Descent) (Progress, error) {
	return m.group().descend(x, mu, g, d)
}

// Descend makes the step as Stiefel.Descend does. A point that other code has moved far off stays
// where it is, because its step might end at a reflection.
func (m SpecialOrthogonal) Descend(x, mu, g Points, d Descent) (Progress, error) {
	total, from := Progress{Factor: 1}, 0
	if err := admitStep(m.Check(x.N, x.P), x, mu, g, d); err != nil {
		return total, err
	}
	var failed error
	part := func(a Points, from, to int) Points {
		if a.K == 0 {
			return a
		}
		return a.Slice(from, to)
	}
	move := func(to int) {
		if from < to {
			some := d
			if d.Factors != nil {
				some.Factors = d.Factors[from:to]
			}
			p, err := m.group().descend(part(x, from, to), part(mu, from, to), part(g, from, to), some)
			var at *PointError
			if errors.As(err, &at) {
				at.Point += from
			}
			if total = total.Plus(p); failed == nil {
				failed = err
			}
		}
		from = to + 1
	}
	for i := range x.K {
		size := x.Slice(i, i+1).Norm() / m.Norm(x.N, x.P)
		if math.Abs(size-1) < 0.5 {
			continue
		}
		move(i)
		if failed == nil {
			failed = &PointError{"SpecialOrthogonal", "step", i, fmt.Sprintf("want a rotation, got a matrix with %.3g times the norm of one", size)}
		}
		for _, a := range []Points{g, mu} {
			if a.K > 0 {
				a = a.Slice(i, i+1)
				clear(a.f32)
				clear(a.f64)
			}
		}
	}
	move(x.K)
	return total, failed
}

// GradientSquares writes |x skew(x^T g) / r^2|^2 of each point.
func (m Orthogonal) GradientSquares(out []float64, x, g Points) error {
	return m.group().gradientSquares(m.Check(x.N, x.P), out, x, g)
}

// GradientSquares writes |x skew(x^T g) / r^2|^2 of each point.
func (m SpecialOrthogonal) GradientSquares(out []float64, x, g Points) error {
	return m.group().gradientSquares(m.Check(x.N, x.P), out, x, g)
}

var (
	_ Manifold            = Orthogonal{}
	_ Exponential         = Orthogonal{}
	_ Logarithm           = Orthogonal{}
	_ Inverse             = Orthogonal{}
	_ ParallelTransporter = Orthogonal{}
	_ PathTransporter     = Orthogonal{}
	_ Differentiable      = Orthogonal{}
	_ Described           = Orthogonal{}
	_ Scalable            = Orthogonal{}
	_ Sampler             = Orthogonal{}
	_ Grouper             = Orthogonal{}
	_ Adaptable           = Orthogonal{}
	_ Manifold            = SpecialOrthogonal{}
	_ Exponential         = SpecialOrthogonal{}
	_ Logarithm           = SpecialOrthogonal{}
	_ Inverse             = SpecialOrthogonal{}
	_ ParallelTransporter = SpecialOrthogonal{}
	_ PathTransporter     = SpecialOrthogonal{}
	_ Differentiable      = SpecialOrthogonal{}
	_ Described           = SpecialOrthogonal{}
	_ Scalable            = SpecialOrthogonal{}
	_ Sampler             = SpecialOrthogonal{}
	_ Grouper             = SpecialOrthogonal{}
	_ Adaptable           = SpecialOrthogonal{}
)

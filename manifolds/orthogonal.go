// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/kernelfold/kernelfold/internal/frames"
	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
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

// rotations implements both groups.
type rotations struct {
	name       string
	radius     float64
	retraction StiefelRetraction
}

func (m Orthogonal) group() rotations {
	return rotations{"Orthogonal", m.Radius, m.Retraction}
}
func (m SpecialOrthogonal) group() rotations {
	return rotations{"SpecialOrthogonal", m.Radius, m.Retraction}
}

func (m rotations) s32() stiefel[float32] {
	return stiefel[float32]{m.radius, EuclideanMetric, m.retraction, rotationFrames, m.name}
}
func (m rotations) s64() stiefel[float64] { return stiefel[float64](m.s32()) }

func (m rotations) String() string {
	retraction := ""
	if m.retraction != CholeskyQR {
		retraction = m.retraction.String()
	}
	return label(m.name, m.radius, retraction)
}

func (m rotations) check(n, p int) error {
	if err := positive(m.name, n, p); err != nil {
		return err
	}
	if n != p {
		return shapeError(m.name, "square points", n, p)
	}
	if m.retraction > Cayley {
		return fmt.Errorf("manifolds: %s: want a known retraction, got %d", m.name, m.retraction)
	}
	return checkRadius(m.name, m.radius)
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

func (m rotations) properties(n int) Properties {
	r := size(m.radius).value()
	return Properties{
		Dim:               n * (n - 1) / 2,
		Curvature:         rotationCurvature(n) / (r * r),
		InjectivityRadius: math.Sqrt2 * math.Pi * r,
		Cost:              n,
	}
}

// rotationCurvature is the largest sectional curvature for r = 1: |[X, Y]|^2 / 4 for orthonormal skew
// X and Y.
func rotationCurvature(n int) float64 {
	switch {
	case n <= 2:
		return 0
	case n == 3:
		return 1. / 8
	}
	return 1. / 4
}

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

func (m rotations) tangent(dst, x, g Points) error {
	return lift3(m.check(x.N, x.P), "tangent", dst, x, g, m.s32().tangent, m.s64().tangent)
}

// Tangent writes g - x sym(x^T g) / r^2.
func (m Orthogonal) Tangent(dst, x, g Points) error { return m.group().tangent(dst, x, g) }

// Tangent writes g - x sym(x^T g) / r^2.
func (m SpecialOrthogonal) Tangent(dst, x, g Points) error { return m.group().tangent(dst, x, g) }

func (m rotations) retract(dst, x, v Points) error {
	if m.retraction == Geodesic {
		return m.exp(dst, x, v)
	}
	return lift3(m.check(x.N, x.P), "retract", dst, x, v, m.s32().retractRotation, m.s64().retractRotation)
}

// Retract writes the retraction of x + v that m.Retraction names. The limits are those of Stiefel.
func (m Orthogonal) Retract(dst, x, v Points) error { return m.group().retract(dst, x, v) }

// Retract writes the retraction of x + v that m.Retraction names. The limits are those of Stiefel.
func (m SpecialOrthogonal) Retract(dst, x, v Points) error { return m.group().retract(dst, x, v) }

func (m rotations) transport(dst, x, y, u Points) error {
	if err := Agree("transport", x, y, u); err != nil {
		return err
	}
	return m.tangent(dst, y, u)
}

// Transport writes the tangent projection of u at y.
func (m Orthogonal) Transport(dst, x, y, u Points) error { return m.group().transport(dst, x, y, u) }

// Transport writes the tangent projection of u at y.
func (m SpecialOrthogonal) Transport(dst, x, y, u Points) error {
	return m.group().transport(dst, x, y, u)
}

func (m rotations) along(dst, x, v, y, u Points) error {
	if m.retraction != Geodesic {
		if err := Agree("transport along", x, v); err != nil {
			return err
		}
		return m.transport(dst, x, y, u)
	}
	return lift5(m.check(x.N, x.P), "transport along", dst, x, v, y, u, m.s32().rotationAlong, m.s64().rotationAlong)
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

func (m rotations) exp(dst, x, v Points) error {
	return lift3(m.check(x.N, x.P), "exp", dst, x, v, m.s32().rotationExp, m.s64().rotationExp)
}

// Exp writes x exp(x^T v), computed in float64. It fails for steps longer than 128 |x|.
func (m Orthogonal) Exp(dst, x, v Points) error { return m.group().exp(dst, x, v) }

// Exp writes x exp(x^T v), computed in float64. It fails for steps longer than 128 |x|.
func (m SpecialOrthogonal) Exp(dst, x, v Points) error { return m.group().exp(dst, x, v) }

func (m rotations) log(dst, x, y Points) error {
	return lift3(m.check(x.N, x.P), "log", dst, x, y, m.s32().rotationLog, m.s64().rotationLog)
}

// Log writes x log(x^T y), computed in float64. It fails where x^T y rotates by pi, and where one
// point is a rotation and the other a reflection.
func (m Orthogonal) Log(dst, x, y Points) error { return m.group().log(dst, x, y) }

// Log writes x log(x^T y), computed in float64. It fails where x^T y rotates by pi.
func (m SpecialOrthogonal) Log(dst, x, y Points) error { return m.group().log(dst, x, y) }

func (m rotations) inverse(dst, x, y Points) error {
	return lift3(m.check(x.N, x.P), "inverse retraction", dst, x, y, m.s32().inverse, m.s64().inverse)
}

// InverseRetract writes the inverse retraction of Stiefel, or Log with Geodesic.
func (m Orthogonal) InverseRetract(dst, x, y Points) error { return m.group().inverse(dst, x, y) }

// InverseRetract writes the inverse retraction of Stiefel, or Log with Geodesic.
func (m SpecialOrthogonal) InverseRetract(dst, x, y Points) error {
	return m.group().inverse(dst, x, y)
}

func (m rotations) dist(out []float64, x, y Points) error {
	return liftOut(m.check(x.N, x.P), "distance", out, x, x, y, m.s32().rotationDist, m.s64().rotationDist)
}

// Dist writes r |log(x^T y)|. It fails where one point is a rotation and the other a reflection.
func (m Orthogonal) Dist(out []float64, x, y Points) error { return m.group().dist(out, x, y) }

// Dist writes r |log(x^T y)|.
func (m SpecialOrthogonal) Dist(out []float64, x, y Points) error { return m.group().dist(out, x, y) }

func (m rotations) parallel(dst, x, y, u Points) error {
	return lift4(m.check(x.N, x.P), "parallel transport", dst, x, y, u, m.s32().rotationParallel, m.s64().rotationParallel)
}

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

// descends reports whether Descend of Stiefel makes the step.
func (m rotations) descends(x Points, d Descent, b Bounds) bool {
	return (m.retraction == CholeskyQR || m.retraction == Polar) && framesDescend(m.radius, x, d, b)
}

func (m rotations) descend(x, mu, g Points, d Descent) (Progress, error) {
	return liftStep(m.check(x.N, x.P), x, mu, g, d, m.s32().step, m.s64().step)
}

func (m rotations) gradientSquares(shape error, out []float64, x, g Points) error {
	return liftOut(shape, "gradient squares", out, x, x, g, m.s32().gradientSquares, m.s64().gradientSquares)
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

// projectProper: the nearest rotation. Where the determinant is positive it is the polar factor.
func (m stiefel[T]) projectProper(dst, x block[T]) error {
	if err := m.holds("project"); err != nil {
		return err
	}
	a := scratch.Get[float64](x.n * x.n)
	defer scratch.Put(a)
	for i := range x.k {
		from, to := gemm.Of(x.at(i), x.n, x.n), gemm.Of(dst.at(i), x.n, x.n)
		frames.Widen(a, from, 1)
		if !frames.Reflects(a, x.n) && frames.Polar(to, from, m.r(), vec.Eps[T]()) == nil {
			continue
		}
		if err := frames.Rotation(to, from, m.r()); err != nil {
			return &PointError{m.name, "project", i, err.Error()}
		}
	}
	return nil
}

// retractRotation is retract, and fails where the normal part that rounding errors give a step changes the sign of
// the determinant.
func (m stiefel[T]) retractRotation(dst, x, v block[T]) error {
	sign := func(b block[T], i int) float64 {
		a := scratch.Get[float64](b.n * b.n)
		defer scratch.Put(a)
		frames.Widen(a, gemm.Of(b.at(i), b.n, b.n), 1)
		if frames.Reflects(a, b.n) {
			return -1
		}
		return 1
	}
	before := scratch.Get[float64](x.k) // 0 for a step that is too short to change the sign
	defer scratch.Put(before)
	for i := range before {
		before[i] = 0
		if length := vec.Norm(v.at(i)) / m.r(); !(length < 1) { // shorter, x + t v is regular for all t from 0 to 1
			before[i] = sign(x, i)
		}
	}
	if err := m.retract(dst, x, v); err != nil {
		return err
	}
	for i := range x.k {
		if before[i] != 0 && before[i] != sign(dst, i) {
			return &PointError{m.name, "retract", i, "want a step with which the determinant keeps its sign, got one lost in rounding errors"}
		}
	}
	return nil
}

func (m stiefel[T]) adjointProper(dst, v, _, g block[T]) error {
	for i := range v.k {
		known := allFinite(g.at(i))
		err := frames.RotationAdjoint(v.tall(dst.at(i)), v.tall(v.at(i)), v.tall(g.at(i)), m.r())
		if err == nil && known && !allFinite(dst.at(i)) {
			err = errRange[T]("gradient")
		}
		if err != nil {
			return &PointError{m.name, "adjoint", i, err.Error()}
		}
	}
	return nil
}

func (m stiefel[T]) membershipProper(x block[T]) float64 {
	e := m.membership(x)
	if !(e < 2) {
		return e
	}
	a := scratch.Get[float64](x.n * x.n)
	defer scratch.Put(a)
	for i := range x.k {
		frames.Widen(a, gemm.Of(x.at(i), x.n, x.n), 1)
		if frames.Reflects(a, x.n) {
			return 2
		}
	}
	return e
}

// generator sets d.u to x^T v, which is skew but for rounding, with x and v the points i.
func (d desk[T]) generator(x, v block[T], i int) error {
	if err := cmp.Or(d.read(d.x, x, i), d.read(d.v, v, i)); err != nil {
		return err
	}
	if err := admitGeodesic(vec.Norm(d.v), d.q); err != nil {
		return err
	}
	gemm.Mul(d.square(d.u), 1, d.square(d.x).T(), d.square(d.v), 0)
	frames.Skew(d.u, d.q)
	return nil
}

func (d desk[T]) square(a []float64) gemm.Mat[float64] { return gemm.Of(a, d.q, d.q) }

func (m stiefel[T]) rotationExp(dst, x, v block[T]) error {
	return m.each("exp", x, func(d desk[T], i int) error {
		if err := d.generator(x, v, i); err != nil {
			return err
		}
		frames.RotationExp(d.t, d.u, d.q)
		gemm.Mul(d.square(d.y), 1, d.square(d.x), d.square(d.t), 0)
		if err := d.tidy(d.t, d.y); err != nil {
			return err
		}
		return d.write(dst, i, d.t)
	})
}

// difference sets d.y to x^T y for the points i.
func (d desk[T]) difference(x, y block[T], i int) error {
	if err := cmp.Or(d.read(d.x, x, i), d.read(d.v, y, i)); err != nil {
		return err
	}
	gemm.Mul(d.square(d.y), 1, d.square(d.x).T(), d.square(d.v), 0)
	return nil
}

func (m stiefel[T]) rotationLog(dst, x, y block[T]) error {
	return m.each("log", x, func(d desk[T], i int) error {
		if err := d.difference(x, y, i); err != nil {
			return err
		}
		if err := frames.RotationLog(d.u, d.y, d.q, vec.Eps[T]()); err != nil {
			return err
		}
		gemm.Mul(d.square(d.v), 1, d.square(d.x), d.square(d.u), 0)
		return d.write(dst, i, d.v)
	})
}

func (m stiefel[T]) rotationDist(out []float64, x, _, y block[T]) error {
	return m.each("distance", x, func(d desk[T], i int) error {
		if err := d.difference(x, y, i); err != nil {
			return err
		}
		angle, err := frames.RotationAngle(d.y, d.q)
		out[i] = m.r() * angle
		return err
	})
}

func (m stiefel[T]) rotationAlong(dst, x, v, y, u block[T]) error {
	return m.each("transport along", x, func(d desk[T], i int) error {
		if err := d.generator(x, v, i); err != nil {
			return err
		}
		return d.turn(dst, y, u, i)
	})
}

func (m stiefel[T]) rotationParallel(dst, x, y, u block[T]) error {
	return m.each("parallel transport", x, func(d desk[T], i int) error {
		if err := d.difference(x, y, i); err != nil {
			return err
		}
		if err := frames.RotationLog(d.u, d.y, d.q, vec.Eps[T]()); err != nil {
			return err
		}
		return d.turn(dst, y, u, i)
	})
}

// turn sets point i of dst to y exp(-A/2) (x^T u) exp(A/2), with A = d.u and x = d.x.
func (d desk[T]) turn(dst, y, u block[T], i int) error {
	vec.Scale(d.u, 0.5, d.u)
	frames.RotationExp(d.t, d.u, d.q)
	half, a, b := d.square(d.t), d.square(d.v), d.square(d.u)
	if err := d.read(d.y, u, i); err != nil {
		return err
	}
	gemm.Mul(a, 1, d.square(d.x).T(), d.square(d.y), 0)
	frames.Skew(d.v, d.q)
	gemm.Mul(b, 1, half.T(), a, 0)
	gemm.Mul(a, 1, b, half, 0)
	frames.Skew(d.v, d.q)
	if err := d.read(d.y, y, i); err != nil {
		return err
	}
	gemm.Mul(b, 1, d.square(d.y), a, 0)
	return d.write(dst, i, d.u)
}

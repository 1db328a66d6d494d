// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"cmp"
	"math"
	"math/rand/v2"

	"github.com/kernelfold/kernelfold/internal/frames"
	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Grassmann is the set of the p-dimensional subspaces of R^n, n >= p. A subspace is represented by
// any n x p matrix x with x^T x = r^2 I whose columns span it: x and x q are the same point for every
// orthogonal q. Where n < p, the rows of a point span the subspace. In the formulas below n >= p, r =
// 1 and v = U S W^T is the singular value decomposition of a tangent vector.
//
//	tangent space  {v : x^T v = 0}, the horizontal vectors
//	dimension      p (n - p)
//	projection     the polar factor, x (x^T x)^(-1/2)
//	tangent        g - x x^T g, also the gradient; 4 n p^2 operations
//	retraction     (x + v) (I + v^T v)^(-1/2), second order; 4 n p^2 operations
//	exponential    x W cos(S) W^T + U sin(S) W^T
//	distance       the root of the sum of the squared angles between the subspaces
//	curvature      at most 2, or 1 if p or n - p is 1
//	injectivity    pi/2
//
// Use it for a cost that depends on the subspace only, f(x q) = f(x). For any other cost use Stiefel: steps on
// Grassmann do not rotate the basis within its subspace.
//
// Its default grouping is FilterBank: the subspace that the filters of a layer span. Membership is |x^T x /
// r^2 - I| in the Frobenius norm, as on Stiefel. On single vectors it is Sphere up to sign, with the same
// steps. With PerFilter a point is the subspace that the slices of one filter span.
//
// Edelman, Arias, Smith, The geometry of algorithms with orthogonality constraints, SIAM J. Matrix
// Anal. Appl. 20 (1998); Bendokat, Zimmermann, Absil, A Grassmann manifold handbook: basic geometry
// and computational aspects, Adv. Comput. Math. 50 (2024).
type Grassmann struct {
	// Radius is r. Zero means 1, or the radius that the Scale of a constraint chooses.
	Radius float64
	// Geodesic makes Retract the exponential map, and transport along a step parallel transport.
	Geodesic bool
}

// String returns the name and the fields that are not at their defaults.
func (m Grassmann) String() string { return label("Grassmann", m.Radius, geodesicLabel(m.Geodesic)) }

// For returns m, and FilterBank in place of Default.
func (m Grassmann) For(g Grouping) (Manifold, Grouping) { return m, g.or(FilterBank) }

// Check accepts every positive shape. Square points have dimension 0.
func (m Grassmann) Check(n, p int) error {
	if err := positive("Grassmann", n, p); err != nil {
		return err
	}
	return checkRadius("Grassmann", m.Radius)
}

// Properties returns, with q the smaller and d the larger of n and p, the dimension q (d - q); the
// curvature 2/r^2, or 1/r^2 if q or d - q is 1, or 0 if they are equal; the injectivity radius
// pi r / 2; and the cost q.
func (m Grassmann) Properties(n, p int) Properties {
	q, d, r := min(n, p), max(n, p), size(m.Radius).value()
	return Properties{
		Dim:               q * (d - q),
		Curvature:         subspaceCurvature(n, p) / (r * r),
		InjectivityRadius: math.Pi / 2 * r,
		Cost:              q,
	}
}

// subspaceCurvature is the largest sectional curvature for r = 1.
func subspaceCurvature(n, p int) float64 {
	q, d := min(n, p), max(n, p)
	return float64(min(q, d-q, 2))
}

// Sized reports whether a radius was given.
func (m Grassmann) Sized() bool { return m.Radius != 0 }

// Norm returns r sqrt(q), where q is the smaller of n and p.
func (m Grassmann) Norm(n, p int) float64 { return Stiefel{Radius: m.Radius}.Norm(n, p) }

// Scaled returns the manifold with s times the radius.
func (m Grassmann) Scaled(s float64) Manifold {
	m.Radius = s * size(m.Radius).value()
	return m
}

func (m Grassmann) s32() stiefel[float32] {
	return stiefel[float32]{m.Radius, EuclideanMetric, Polar, subspaceFrames, "Grassmann"}
}
func (m Grassmann) s64() stiefel[float64] { return stiefel[float64](m.s32()) }

// Project writes r times the polar factor of x, as Stiefel does.
func (m Grassmann) Project(dst, x Points) error {
	return lift2(m.Check(x.N, x.P), "project", dst, x, m.s32().project, m.s64().project)
}

// ProjectAdjoint writes the adjoint of the derivative of the polar factor, as Stiefel does.
func (m Grassmann) ProjectAdjoint(dst, v, y, g Points) error {
	return lift4(m.Check(v.N, v.P), "adjoint", dst, v, y, g, m.s32().adjoint, m.s64().adjoint)
}

// Tangent writes g - x x^T g / r^2.
func (m Grassmann) Tangent(dst, x, g Points) error {
	return lift3(m.Check(x.N, x.P), "tangent", dst, x, g, m.s32().tangent, m.s64().tangent)
}

// Retract writes the polar factor of x + v, or Exp if Geodesic. Both follow a horizontal curve, so vectors need no
// rotation along the step. It returns a *PointError for the steps for which Stiefel does.
func (m Grassmann) Retract(dst, x, v Points) error {
	if m.Geodesic {
		return m.Exp(dst, x, v)
	}
	return lift3(m.Check(x.N, x.P), "retract", dst, x, v, m.s32().retract, m.s64().retract)
}

// Transport writes the tangent projection of u at y.
func (m Grassmann) Transport(dst, x, y, u Points) error {
	if err := Agree("transport", x, y, u); err != nil {
		return err
	}
	return m.Tangent(dst, y, u)
}

// TransportAlong writes the tangent projection of u at y. If Geodesic, it writes the parallel
// transport of u along the geodesic with velocity v, of any length:
// u + (U (cos(S) - I) - x W sin(S)) U^T u.
func (m Grassmann) TransportAlong(dst, x, v, y, u Points) error {
	if !m.Geodesic {
		if err := Agree("transport along", x, v); err != nil {
			return err
		}
		return m.Transport(dst, x, y, u)
	}
	return lift5(m.Check(x.N, x.P), "transport along", dst, x, v, y, u, m.s32().subspaceAlong, m.s64().subspaceAlong)
}

// Exp writes x W cos(S) W^T + U sin(S) W^T, computed in float64. It fails for steps longer than
// 128 |x|.
func (m Grassmann) Exp(dst, x, v Points) error {
	return lift3(m.Check(x.N, x.P), "exp", dst, x, v, m.s32().subspaceExp, m.s64().subspaceExp)
}

// Log writes U theta W^T with the angles theta between the subspaces, computed in float64 (Bendokat,
// Zimmermann, Absil 2024, algorithm 5.3). Exp leads to the subspace of y, but in general not to the
// matrix y. It fails where one of the angles is pi/2.
func (m Grassmann) Log(dst, x, y Points) error {
	return lift3(m.Check(x.N, x.P), "log", dst, x, y, m.s32().subspaceLog, m.s64().subspaceLog)
}

// InverseRetract writes r^2 y (x^T y)^-1 - x, or Log if Geodesic, computed in float64. It fails where a direction
// of one subspace is orthogonal to the other, and where the vector is longer than the steps that Retract makes.
func (m Grassmann) InverseRetract(dst, x, y Points) error {
	if m.Geodesic {
		return m.Log(dst, x, y)
	}
	return lift3(m.Check(x.N, x.P), "inverse retraction", dst, x, y, m.s32().inverse, m.s64().inverse)
}

// Dist writes r times the root of the sum of the squared angles between the subspaces.
func (m Grassmann) Dist(out []float64, x, y Points) error {
	return liftOut(m.Check(x.N, x.P), "distance", out, x, x, y, m.s32().subspaceDist, m.s64().subspaceDist)
}

// ParallelTransport writes the parallel transport of u along the shortest geodesic from x to y, as a
// horizontal vector at the matrix y. It fails where Log does.
func (m Grassmann) ParallelTransport(dst, x, y, u Points) error {
	return lift4(m.Check(x.N, x.P), "parallel transport", dst, x, y, u, m.s32().subspaceParallel, m.s64().subspaceParallel)
}

// Same returns the largest root mean square, over the directions of a subspace, of the sines of the
// angles between the subspaces of x and y: |y - x x^T y / r^2| / (r sqrt(q)).
func (m Grassmann) Same(x, y Points) (float64, error) {
	if err := admit(m.Check(x.N, x.P), "same", x, y); err != nil {
		return 0, err
	}
	if x.f64 != nil {
		return m.s64().subspaceSame(x.b64(), y.b64())
	}
	return m.s32().subspaceSame(x.b32(), y.b32())
}

// Membership returns the largest |x^T x / r^2 - I| in the Frobenius norm.
func (m Grassmann) Membership(x Points) float64 {
	return lift1(x, m.s32().membership, m.s64().membership)
}

// Random fills dst with independent uniform subspaces, the polar factors of Gaussian matrices.
func (m Grassmann) Random(dst Points, rng *rand.Rand) error {
	return projected(m, dst, rng)
}

// Descends returns true for the polar retraction, where Stiefel.Descends does.
func (s Grassmann) Descends(m Manifold, x Points, d Descent, b Bounds) bool {
	of, ok := m.(Grassmann)
	return ok && !of.Geodesic && framesDescend(of.Radius, x, d, b)
}

// Descend makes the step as Stiefel.Descend does.
func (m Grassmann) Descend(x, mu, g Points, d Descent) (Progress, error) {
	return liftStep(m.Check(x.N, x.P), x, mu, g, d, m.s32().step, m.s64().step)
}

// GradientSquares writes |g - x x^T g / r^2|^2 of each point.
func (m Grassmann) GradientSquares(out []float64, x, g Points) error {
	return liftOut(m.Check(x.N, x.P), "gradient squares", out, x, x, g, m.s32().gradientSquares, m.s64().gradientSquares)
}

var (
	_ Manifold            = Grassmann{}
	_ Quotient            = Grassmann{}
	_ Exponential         = Grassmann{}
	_ Logarithm           = Grassmann{}
	_ Inverse             = Grassmann{}
	_ ParallelTransporter = Grassmann{}
	_ PathTransporter     = Grassmann{}
	_ Differentiable      = Grassmann{}
	_ Described           = Grassmann{}
	_ Scalable            = Grassmann{}
	_ Sampler             = Grassmann{}
	_ Grouper             = Grassmann{}
	_ Adaptable           = Grassmann{}
)

func (m stiefel[T]) subspaceExp(dst, x, v block[T]) error {
	return m.each("exp", x, func(d desk[T], i int) error {
		if err := cmp.Or(d.read(d.x, x, i), d.read(d.v, v, i)); err != nil {
			return err
		}
		if err := admitGeodesic(vec.Norm(d.v), d.q); err != nil {
			return err
		}
		if err := frames.SubspaceExp(d.y, d.x, d.v, d.rows, d.q); err != nil {
			return err
		}
		if err := d.tidy(d.t, d.y); err != nil {
			return err
		}
		return d.write(dst, i, d.t)
	})
}

func (m stiefel[T]) subspaceAlong(dst, x, v, y, u block[T]) error {
	return m.each("transport along", x, func(d desk[T], i int) error {
		if err := cmp.Or(d.read(d.x, x, i), d.read(d.v, v, i), d.read(d.u, u, i)); err != nil {
			return err
		}
		if err := admitGeodesic(vec.Norm(d.v), d.q); err != nil {
			return err
		}
		if err := frames.SubspaceTransport(d.u, d.x, d.v, d.rows, d.q); err != nil {
			return err
		}
		return d.writeHorizontal(dst, i, y)
	})
}

// writeHorizontal sets point i of dst to u, and projects it at point i of y.
func (d desk[T]) writeHorizontal(dst block[T], i int, y block[T]) error {
	if err := d.read(d.y, y, i); err != nil {
		return err
	}
	one := block[float64]{1, d.rows, d.q, nil}
	unit := stiefel[float64]{kind: subspaceFrames}
	if err := unit.tangentProject(d.t[:d.q*d.q], one, d.y, d.u); err != nil {
		return err
	}
	return d.write(dst, i, d.u)
}

func (m stiefel[T]) subspaceLog(dst, x, y block[T]) error {
	return m.each("log", x, func(d desk[T], i int) error {
		if err := d.log(x, y, i); err != nil {
			return err
		}
		return d.write(dst, i, d.v)
	})
}

// log sets v to the logarithm at point i of x, and t to the matrix at which Exp arrives.
func (d desk[T]) log(x, y block[T], i int) error {
	if err := cmp.Or(d.read(d.x, x, i), d.read(d.y, y, i)); err != nil {
		return err
	}
	return frames.SubspaceLog(d.v, d.t, d.x, d.y, d.rows, d.q, vec.Eps[T]())
}

func (m stiefel[T]) subspaceDist(out []float64, x, _, y block[T]) error {
	return m.each("distance", x, func(d desk[T], i int) error {
		if err := cmp.Or(d.read(d.x, x, i), d.read(d.y, y, i)); err != nil {
			return err
		}
		angle, err := frames.SubspaceDist(d.x, d.y, d.rows, d.q)
		out[i] = m.r() * angle
		return err
	})
}

func (m stiefel[T]) subspaceParallel(dst, x, y, u block[T]) error {
	return m.each("parallel transport", x, func(d desk[T], i int) error {
		if err := d.log(x, y, i); err != nil {
			return err
		}
		if err := d.read(d.u, u, i); err != nil {
			return err
		}
		if err := frames.SubspaceTransport(d.u, d.x, d.v, d.rows, d.q); err != nil {
			return err
		}
		// u is horizontal at t = y Q, and u t^T y is the same tangent vector at y.
		one := block[float64]{1, d.rows, d.q, nil}
		gemm.Mul(gemm.Of(d.x[:d.q*d.q], d.q, d.q), 1, one.tall(d.t).T(), one.tall(d.y), 0)
		gemm.Mul(one.tall(d.v), 1, one.tall(d.u), gemm.Of(d.x[:d.q*d.q], d.q, d.q), 0)
		copy(d.u, d.v)
		return d.writeHorizontal(dst, i, y)
	})
}

func (m stiefel[T]) subspaceSame(x, y block[T]) (worst float64, err error) {
	err = m.each("same", x, func(d desk[T], i int) error {
		if err := cmp.Or(d.read(d.x, x, i), d.read(d.u, y, i)); err != nil {
			return err
		}
		one := block[float64]{1, d.rows, d.q, nil}
		unit := stiefel[float64]{kind: subspaceFrames}
		if err := unit.tangentProject(d.t[:d.q*d.q], one, d.x, d.u); err != nil {
			return err
		}
		worst = max(worst, vec.Norm(d.u)/math.Sqrt(float64(d.q)))
		return nil
	})
	return worst, err
}

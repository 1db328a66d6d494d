// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/kernelfold/kernelfold/internal/frames"
	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Stiefel is the set {x : x^T x = r^2 I} of n x p matrices with n >= p, and {x : x x^T = r^2 I}
// where n < p. That is, if n >= p the columns, and otherwise the rows, are orthogonal and have
// norm r. With the grouping FilterBank, the filters of a layer are orthogonal if there are no
// more of them than weights in one filter. In the formulas below n >= p and r = 1.
//
//	tangent space  {v : x^T v + v^T x = 0}
//	dimension      n p - p (p + 1) / 2
//	projection     the polar factor, x (x^T x)^(-1/2)
//	tangent        g - x sym(x^T g)
//	gradient       g - x sym(x^T g) in the Euclidean metric, g - x g^T x in the canonical
//	curvature      at most 1 in the Euclidean metric, 5/4 in the canonical
//	               (Zimmermann, Stoye 2024)
//
// Its default grouping is FilterBank. Membership is |x^T x / r^2 - I| in the Frobenius norm.
//
// Edelman, Arias, Smith, The geometry of algorithms with orthogonality
// constraints, SIAM J. Matrix Anal. Appl. 20 (1998).
type Stiefel struct {
	// Radius is r. Zero means 1, or the radius that the Scale of a constraint chooses.
	Radius float64
	// Metric chooses the inner product of tangent vectors.
	Metric StiefelMetric
	// Retraction chooses how a step returns to the manifold.
	Retraction StiefelRetraction
}

// String returns the name and the fields that are not at their defaults.
func (m Stiefel) String() string {
	metric, retraction := "", ""
	if m.Metric == CanonicalMetric {
		metric = "canonical"
	}
	if m.Retraction != CholeskyQR {
		retraction = m.Retraction.String()
	}
	return label("Stiefel", m.Radius, metric, retraction)
}

// For returns m, and FilterBank in place of Default.
func (m Stiefel) For(g Grouping) (Manifold, Grouping) { return m, g.or(FilterBank) }

// Check accepts every positive shape.
func (m Stiefel) Check(n, p int) error { return m.check("Stiefel", n, p) }

// check is Check for a manifold of that name.
func (m Stiefel) check(name string, n, p int) error {
	if m.Metric > CanonicalMetric || m.Retraction > Landing {
		return fmt.Errorf("manifolds: %s: want a known metric and retraction, got %d and %d", name, m.Metric, m.Retraction)
	}
	if err := positive(name, n, p); err != nil {
		return err
	}
	return checkRadius(name, m.Radius)
}

// Properties returns, with q the smaller of n and p, the dimension n p - q (q + 1) / 2; the
// curvature bound of the metric divided by r^2; the lower bound -1/2 divided by r^2 in the Euclidean metric, and 0 in the canonical one and
// where points are vectors or square; the injectivity radius, pi r in the Euclidean
// metric (Zimmermann, Stoye 2024) and the lower bound pi r / (5/4)^(1/2) in the canonical one
// (Rentmeesters 2013); and the cost q, because a product with a q x q matrix takes q
// multiplications per weight.
func (m Stiefel) Properties(n, p int) Properties {
	q, r := min(n, p), size(m.Radius).value()
	bound, lowest := 1.0, 0.0
	switch {
	case m.Metric == CanonicalMetric:
		bound = 1.25
	case q > 1 && n != p:
		lowest = -0.5
	}
	near, _ := m.Retraction.near()
	return Properties{
		Drift:             near.drift,
		Dim:               n*p - q*(q+1)/2,
		Curvature:         bound / (r * r),
		LowestCurvature:   lowest / (r * r),
		InjectivityRadius: math.Pi * r / math.Sqrt(bound),
		Cost:              q,
		IterativeLog:      true,
	}
}

// Sized reports whether a radius was given.
func (m Stiefel) Sized() bool { return m.Radius != 0 }

// Norm returns r sqrt(q), where q is the smaller of n and p.
func (m Stiefel) Norm(n, p int) float64 {
	return size(m.Radius).value() * math.Sqrt(float64(min(n, p)))
}

// Scaled returns the manifold with s times the radius.
func (m Stiefel) Scaled(s float64) Manifold {
	m.Radius = s * size(m.Radius).value()
	return m
}

// Project writes r times the polar factor of x, computed in float64 by Newton-Schulz iteration
// or, where x is close to a matrix of lower rank, by singular value decomposition. It fails
// where x does not have full rank in float64.
func (m Stiefel) Project(dst, x Points) error {
	return lift2(m.Check(x.N, x.P), "project", dst, x, m.s32().project, m.s64().project)
}

// ProjectAdjoint writes, for v = U S W^T and M = U^T g W,
//
//	r (U K W^T + (I - U U^T) g W S^-1 W^T), K_ij = (M_ij - M_ji) / (s_i + s_j),
//
// computed in float64. docs/geometry.md derives it.
func (m Stiefel) ProjectAdjoint(dst, v, y, g Points) error {
	return lift4(m.Check(v.N, v.P), "adjoint", dst, v, y, g, m.s32().adjoint, m.s64().adjoint)
}

// Membership returns the largest |x^T x / r^2 - I| in the Frobenius norm.
func (m Stiefel) Membership(x Points) float64 {
	return lift1(x, m.s32().membership, m.s64().membership)
}

// Random fills dst with independent points of the uniform (Haar)
// distribution, the polar factors of Gaussian matrices.
func (m Stiefel) Random(dst Points, rng *rand.Rand) error {
	return projected(m, dst, rng)
}

var (
	_ Manifold       = Stiefel{}
	_ Metric         = Stiefel{}
	_ Exponential    = Stiefel{}
	_ Logarithm      = Stiefel{}
	_ Inverse        = Stiefel{}
	_ Differentiable = Stiefel{}
	_ Described      = Stiefel{}
	_ Scalable       = Stiefel{}
	_ Sampler        = Stiefel{}
	_ Grouper        = Stiefel{}
)

// stiefel holds the operations on frames at one precision: those of Stiefel, and what other manifolds
// of frames share with it.
type stiefel[T vec.Float] struct {
	Radius     float64
	Metric     StiefelMetric
	Retraction StiefelRetraction
	kind       frameKind
	name       string // in errors
}

// frameKind says what frames represent.
type frameKind uint8

const (
	plainFrames    frameKind = iota // themselves: Stiefel
	subspaceFrames                  // their span, with tangent vectors x^T v = 0: Grassmann
	rotationFrames                  // square ones, themselves: Orthogonal and SpecialOrthogonal
)

func (m Stiefel) s32() stiefel[float32] {
	return stiefel[float32]{m.Radius, m.Metric, m.Retraction, plainFrames, "Stiefel"}
}
func (m Stiefel) s64() stiefel[float64] { return stiefel[float64](m.s32()) }

func (m stiefel[T]) r() float64 { return size(m.Radius).value() }

// project: the polar factor, in float64.
func (m stiefel[T]) project(dst, x block[T]) error {
	if err := m.holds("project"); err != nil {
		return err
	}
	if x.small() {
		return m.projectLanes(dst, x)
	}
	for i := range x.k {
		if err := m.projectPoint(dst.at(i), x.at(i), x); err != nil {
			return &PointError{m.name, "project", i, err.Error()}
		}
	}
	return nil
}

func (m stiefel[T]) projectPoint(dst, x []T, b block[T]) error {
	return frames.Polar(b.tall(dst), b.tall(x), m.r(), vec.Eps[T]())
}

// adjoint: the adjoint of the derivative of the polar factor.
func (m stiefel[T]) adjoint(dst, v, _, g block[T]) error {
	return m.adjoints(frames.PolarAdjoint[T], dst, v, g)
}

// adjoints: the adjoint f of the derivative of a projection, for each point.
func (m stiefel[T]) adjoints(f func(dst, v, g gemm.Mat[T], r float64) error, dst, v, g block[T]) error {
	for i := range v.k {
		known := allFinite(g.at(i))
		err := f(v.tall(dst.at(i)), v.tall(v.at(i)), v.tall(g.at(i)), m.r())
		if err == nil && known && !allFinite(dst.at(i)) {
			err = errRange[T]("gradient")
		}
		if err != nil {
			return &PointError{m.name, "adjoint", i, err.Error()}
		}
	}
	return nil
}

// membership: |x^T x / r^2 - I|. Where the products overflow or vanish in T they are computed in
// float64, and where they overflow there too, the result is the largest float64.
func (m stiefel[T]) membership(x block[T]) float64 {
	if m.inRange() {
		if e := m.defects(x); e <= math.MaxFloat64 {
			return e
		}
	}
	if !allFinite(x.data) {
		return math.NaN()
	}
	wide, exponent := m.widened()
	y, g, worst := scratch.Get[float64](x.n*x.p), scratch.Get[float64](x.q()*x.q()), 0.0
	defer scratch.Put(y)
	defer scratch.Put(g)
	for i := range x.k {
		ldexp(y, x.at(i), -exponent)
		one := block[float64]{1, x.n, x.p, y}
		if e := frames.Defect(g, one.tall(y), wide.r()); e <= math.MaxFloat64 {
			worst = max(worst, e)
		} else {
			return math.MaxFloat64
		}
	}
	return worst
}

// defects: the largest |x^T x / r^2 - I|, or NaN if any of them is not finite.
func (m stiefel[T]) defects(x block[T]) float64 {
	if x.small() {
		return m.defectsLanes(x)
	}
	g := scratch.Get[T](x.q() * x.q())
	defer scratch.Put(g)
	worst := 0.0
	for i := range x.k {
		e := frames.Defect(g, x.tall(x.at(i)), m.r())
		if !(e <= math.MaxFloat64) {
			return math.NaN()
		}
		worst = max(worst, e)
	}
	return worst
}

// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Stiefel is the set {x : x^T x = r^2 I} of n x p matrices with n >= p; where
// n < p it is {x : x x^T = r^2 I}. The vectors along the shorter side are
// orthogonal and have norm r, so on a filter bank with fewer filters than weights
// a filter, the filters are. Below, x is tall and r = 1.
//
//	tangent space  {v : x^T v + v^T x = 0}
//	dimension      n p - p (p + 1) / 2
//	projection     the polar factor, x (x^T x)^(-1/2)
//	tangent        g - x sym(x^T g)
//	gradient       g - x sym(x^T g) in the Euclidean metric, g - x g^T x in the canonical
//	curvature      at most 1 in the Euclidean metric, 5/4 in the canonical
//	               (Zimmermann, Stoye 2024)
//
// Its grouping is FilterBank. Membership is |x^T x / r^2 - I| in the Frobenius
// norm.
//
// Edelman, Arias, Smith, The geometry of algorithms with orthogonality
// constraints, SIAM J. Matrix Anal. Appl. 20 (1998).
type Stiefel struct {
	// Radius is r; zero stands for 1, or for what the constraint's Scale says.
	Radius float64
	// Metric chooses the inner product of tangent vectors.
	Metric StiefelMetric
	// Retraction chooses how a step returns to the manifold.
	Retraction StiefelRetraction
}

// StiefelMetric is an inner product on the tangent spaces of Stiefel.
type StiefelMetric uint8

// The metrics of Stiefel.
const (
	// EuclideanMetric is <u, v> = tr(u^T v).
	EuclideanMetric StiefelMetric = iota
	// CanonicalMetric is <u, v> = tr(u^T (I - x x^T / (2 r^2)) v).
	CanonicalMetric
)

// StiefelRetraction is a way back to Stiefel from x + v.
type StiefelRetraction uint8

// The retractions of Stiefel.
const (
	// CholeskyQR is the Q of x + v = Q R, R with positive diagonal, through the
	// Cholesky factor of the Gram matrix: n p^2 multiply-adds, twice that
	// where |v|^2 > 1, and Householder QR beyond what the precision can carry.
	CholeskyQR StiefelRetraction = iota
	// QR is the same Q by Householder reflections in float64, with the sign fix.
	QR
	// Polar is (x + v) (I + v^T v)^(-1/2), of second order: in as many terms of
	// the series as |v^T v| asks for, after Newton-Schulz iterations where that is
	// larger, and in float64 as Project does from 1 on.
	Polar
	// Geodesic is the exponential map of the metric.
	Geodesic
)

var retractionNames = [...]string{"Cholesky-QR", "QR", "polar", "geodesic"}

// String names the retraction.
func (r StiefelRetraction) String() string {
	if int(r) < len(retractionNames) {
		return retractionNames[r]
	}
	return fmt.Sprintf("StiefelRetraction(%d)", uint8(r))
}

// String names the manifold and what differs from its zero value.
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

// For chooses FilterBank where no grouping is named.
func (m Stiefel) For(g Grouping) (Manifold, Grouping) { return m, g.or(FilterBank) }

// Check accepts every positive shape.
func (m Stiefel) Check(n, p int) error {
	if m.Metric > CanonicalMetric || m.Retraction > Geodesic {
		return fmt.Errorf("manifolds: Stiefel: want a known metric and retraction, got %d and %d", m.Metric, m.Retraction)
	}
	if err := positive("Stiefel", n, p); err != nil {
		return err
	}
	return checkRadius("Stiefel", m.Radius)
}

// Properties returns, with q the shorter side, the dimension n p - q (q + 1) / 2, the curvature bound of the metric over r^2, and
// the injectivity radius: pi r in the Euclidean metric (Zimmermann, Stoye 2024), and in the canonical metric the lower bound
// pi r / (5/4)^(1/2) (Rentmeesters 2013). Each row or column of a product of frames costs q multiplications for each weight.
func (m Stiefel) Properties(n, p int) Properties {
	q, r := min(n, p), size(m.Radius).value()
	bound := 1.0
	if m.Metric == CanonicalMetric {
		bound = 1.25
	}
	return Properties{
		Dim:               n*p - q*(q+1)/2,
		Curvature:         bound / (r * r),
		InjectivityRadius: math.Pi * r / math.Sqrt(bound),
		Cost:              q,
	}
}

// Sized reports whether a radius was given.
func (m Stiefel) Sized() bool { return m.Radius != 0 }

// Norm returns r sqrt(q) with q the shorter side.
func (m Stiefel) Norm(n, p int) float64 {
	return size(m.Radius).value() * math.Sqrt(float64(min(n, p)))
}

// Scaled returns the manifold with s times the radius.
func (m Stiefel) Scaled(s float64) Manifold {
	m.Radius = s * size(m.Radius).value()
	return m
}

// Project writes r times the polar factor of x: by Newton-Schulz iteration, or the
// singular value decomposition where x is too near to a matrix of lower rank for that. It
// fails where x has not full rank in float64, whose precision it computes in.
func (m Stiefel) Project(dst, x Points) error {
	return lift2(m.Check(x.N, x.P), "project", dst, x, stiefel[float32](m).project, stiefel[float64](m).project)
}

// ProjectAdjoint writes, for v = U S W^T and M = U^T g W,
//
//	r (U K W^T + (I - U U^T) g W S^-1 W^T), K_ij = (M_ij - M_ji) / (s_i + s_j),
//
// computed in float64. docs/geometry.md derives it.
func (m Stiefel) ProjectAdjoint(dst, v, y, g Points) error {
	return lift4(m.Check(v.N, v.P), "adjoint", dst, v, y, g, stiefel[float32](m).adjoint, stiefel[float64](m).adjoint)
}

// Tangent writes g - x sym(x^T g) / r^2.
func (m Stiefel) Tangent(dst, x, g Points) error {
	return lift3(m.Check(x.N, x.P), "tangent", dst, x, g, stiefel[float32](m).tangent, stiefel[float64](m).tangent)
}

// Gradient writes g - x sym(x^T g) / r^2 in the Euclidean metric and
// g - x g^T x / r^2 in the canonical one.
func (m Stiefel) Gradient(dst, x, g Points) error {
	if m.Metric == EuclideanMetric {
		return m.Tangent(dst, x, g)
	}
	return lift3(m.Check(x.N, x.P), "gradient", dst, x, g, stiefel[float32](m).gradient, stiefel[float64](m).gradient)
}

// Inner writes tr(u^T v), less tr((x^T u)^T (x^T v)) / (2 r^2) in the canonical
// metric.
func (m Stiefel) Inner(out []float64, x, u, v Points) error {
	if m.Metric == EuclideanMetric {
		return frobenius(out, x, u, v)
	}
	return liftOut(m.Check(x.N, x.P), "inner product", out, x, u, v, stiefel[float32](m).inner, stiefel[float64](m).inner)
}

// Retract writes the point that Retraction reaches from x by v.
func (m Stiefel) Retract(dst, x, v Points) error {
	return lift3(m.Check(x.N, x.P), "retract", dst, x, v, stiefel[float32](m).retract, stiefel[float64](m).retract)
}

// Transport writes the tangent projection of u at y.
func (m Stiefel) Transport(dst, x, y, u Points) error {
	if err := Agree("transport", x, y, u); err != nil {
		return err
	}
	return m.Tangent(dst, y, u)
}

// Exp writes the exponential map of the metric. With A = x^T v and r = 1 it is
//
//	[x v] exp([A, -v^T v; I, A]) [I; 0] exp(-A)   in the Euclidean metric,
//	[x w] exp([A/2, -w^T w; I, A/2]) [I; 0]       in the canonical, w = v - x A/2
//
// (Edelman, Arias, Smith 1998, eq. 2.42; the second in the form without a QR
// factorisation derived in docs/geometry.md).
func (m Stiefel) Exp(dst, x, v Points) error {
	return lift3(m.Check(x.N, x.P), "exp", dst, x, v, stiefel[float32](m).exp, stiefel[float64](m).exp)
}

// Membership returns the largest |x^T x / r^2 - I| in the Frobenius norm.
func (m Stiefel) Membership(x Points) float64 {
	return lift1(x, stiefel[float32](m).membership, stiefel[float64](m).membership)
}

// Random fills dst with independent points of the uniform (Haar)
// distribution, the polar factors of Gaussian matrices.
func (m Stiefel) Random(dst Points, rng *rand.Rand) error {
	gaussian(dst, rng)
	return m.Project(dst, dst)
}

var (
	_ Manifold       = Stiefel{}
	_ Metric         = Stiefel{}
	_ Exponential    = Stiefel{}
	_ Differentiable = Stiefel{}
	_ Described      = Stiefel{}
	_ Scalable       = Stiefel{}
	_ Sampler        = Stiefel{}
	_ Grouper        = Stiefel{}
)

// stiefel is Stiefel at one precision.
type stiefel[T vec.Float] Stiefel

func (m stiefel[T]) r() float64 { return size(m.Radius).value() }

// tall views point i, or any matrix of its shape, as n x p with n >= p.
func (b block[T]) tall(data []T) gemm.Mat[T] {
	x := gemm.Of(data, b.n, b.p)
	if b.n < b.p {
		return x.T()
	}
	return x
}

// tangent: g - x sym(x^T g) / r^2.
func (m stiefel[T]) tangent(dst, x, g block[T]) error {
	if x.small() {
		return m.tangents(dst, x, g, false)
	}
	return m.subtract(dst, x, g, m.lean)
}

// gradient: g - x g^T x / r^2.
func (m stiefel[T]) gradient(dst, x, g block[T]) error {
	if x.small() {
		return m.tangents(dst, x, g, true)
	}
	return m.subtract(dst, x, g, m.turn)
}

// subtract copies g, which f turns into what dst is to be.
func (m stiefel[T]) subtract(dst, x, g block[T], f func(s []T, b block[T], x, v []T)) error {
	s := scratch.Get[T](min(x.n, x.p) * min(x.n, x.p))
	defer scratch.Put(s)
	aliased := &dst.data[0] == &x.data[0]
	var v []T
	if aliased {
		v = scratch.Get[T](x.n * x.p)
		defer scratch.Put(v)
	}
	for i := range x.k {
		if !aliased {
			v = dst.at(i)
		}
		if &v[0] != &g.at(i)[0] {
			copy(v, g.at(i))
		}
		f(s, x, x.at(i), v)
		if aliased {
			copy(dst.at(i), v)
		}
	}
	return nil
}

// lean: v <- v - x sym(x^T v) / r^2, with work space s.
func (m stiefel[T]) lean(s []T, b block[T], x, v []T) {
	q := min(b.n, b.p)
	gemm.Mul(gemm.Of(s, q, q), 1/(m.r()*m.r()), b.tall(x).T(), b.tall(v), 0)
	symmetrize(s, q)
	gemm.Mul(b.tall(v), -1, b.tall(x), gemm.Of(s, q, q), 1)
}

// turn: v <- v - x v^T x / r^2 = v - x (x^T v)^T / r^2, with work space s.
func (m stiefel[T]) turn(s []T, b block[T], x, v []T) {
	q := min(b.n, b.p)
	gemm.Mul(gemm.Of(s, q, q).T(), 1/(m.r()*m.r()), b.tall(x).T(), b.tall(v), 0)
	gemm.Mul(b.tall(v), -1, b.tall(x), gemm.Of(s, q, q), 1)
}

// symmetrize: s <- (s + s^T) / 2, in tiles that stay in the cache.
func symmetrize[T vec.Float](s []T, q int) {
	const tile = 32
	for i0 := 0; i0 < q; i0 += tile {
		for j0 := 0; j0 <= i0; j0 += tile {
			for i := i0; i < min(i0+tile, q); i++ {
				for j := j0; j < min(j0+tile, i); j++ {
					v := (s[i*q+j] + s[j*q+i]) / 2
					s[i*q+j], s[j*q+i] = v, v
				}
			}
		}
	}
}

// inner: tr(u^T v) - tr((x^T u)^T (x^T v)) / (2 r^2).
func (m stiefel[T]) inner(out []float64, x, u, v block[T]) error {
	if x.small() {
		return m.inners(out, x, u, v)
	}
	q := min(x.n, x.p)
	a, b := scratch.Get[T](q*q), scratch.Get[T](q*q)
	for i := range x.k {
		xt := x.tall(x.at(i)).T()
		gemm.Mul(gemm.Of(a, q, q), 1, xt, x.tall(u.at(i)), 0)
		gemm.Mul(gemm.Of(b, q, q), 1, xt, x.tall(v.at(i)), 0)
		out[i] = vec.Dot(u.at(i), v.at(i)) - vec.Dot(a, b)/(2*m.r()*m.r())
	}
	scratch.Put(a)
	scratch.Put(b)
	return nil
}

// membership: |x^T x / r^2 - I|.
func (m stiefel[T]) membership(x block[T]) float64 {
	if x.small() {
		return m.memberships(x)
	}
	q := min(x.n, x.p)
	g := scratch.Get[T](q * q)
	worst := 0.0
	for i := range x.k {
		e := m.defect(g, x.tall(x.at(i)), q)
		if !(e <= math.MaxFloat64) {
			worst = math.NaN()
			break
		}
		worst = max(worst, e)
	}
	scratch.Put(g)
	return worst
}

// defect sets g to x^T x / r^2 - I and returns its Frobenius norm.
func (m stiefel[T]) defect(g []T, x gemm.Mat[T], q int) float64 {
	gemm.Gram(gemm.Of(g, q, q), 1/(m.r()*m.r()), x)
	for i := range q {
		g[i*q+i]--
	}
	return vec.Norm(g)
}

// retract computes y = x + v and hands it to the retraction.
func (m stiefel[T]) retract(dst, x, v block[T]) error {
	if m.Retraction == Geodesic {
		return m.exp(dst, x, v)
	}
	if x.small() && m.Retraction != QR {
		return m.retractions(dst, x, v)
	}
	y := scratch.Get[T](x.n * x.p)
	defer scratch.Put(y)
	for i := range x.k {
		vec.Combine(y, 1, x.at(i), 1, v.at(i))
		if reason := m.back(dst.at(i), y, x); reason != "" {
			return &PointError{"Stiefel", "retract", i, reason}
		}
	}
	return nil
}

// back sets dst to what the retraction makes of y = x + v, or says why it cannot. y is
// overwritten.
func (m stiefel[T]) back(dst, y []T, b block[T]) string {
	switch m.Retraction {
	case QR:
		return householder(dst, y, b, m.r())
	case Polar:
		return m.newtonSchulz(dst, y, b)
	}
	return m.choleskyQR(dst, y, b)
}

// project: the polar factor.
func (m stiefel[T]) project(dst, x block[T]) error {
	if x.small() {
		return m.polarFactors(dst, x)
	}
	for i := range x.k {
		if reason := polar(dst.at(i), x.at(i), x, m.r()); reason != "" {
			return &PointError{"Stiefel", "project", i, reason}
		}
	}
	return nil
}

// adjoint: that of the derivative of the polar factor.
func (m stiefel[T]) adjoint(dst, v, _, g block[T]) error {
	for i := range v.k {
		if reason := polarAdjoint(dst.at(i), v.at(i), g.at(i), v, m.r()); reason != "" {
			return &PointError{"Stiefel", "adjoint", i, reason}
		}
	}
	return nil
}

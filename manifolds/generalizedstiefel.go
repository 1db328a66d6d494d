// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"

	"github.com/kernelfold/kernelfold/internal/frames"
	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/scratch"
)

// GeneralizedStiefel is the set {x : x^T B x = r^2 I} of n x p matrices with n >= p, for a symmetric positive definite B, n x n,
// and {x : x B x^T = r^2 I} with B p x p where n < p. With the grouping FilterBank and B the covariance of the patches of a layer's
// input, the outputs of the filters are uncorrelated. NewGeneralizedStiefel makes one.
//
// With B = L L^T the map z = L^T x is an isometry to Stiefel, from the metric <u, v> = tr(u^T B v), and every operation is that of
// Stiefel in these coordinates, computed in float64. For r = 1:
//
//	tangent space  {v : x^T B v + v^T B x = 0}
//	dimension      n p - p (p + 1) / 2
//	projection     L^-T times the polar factor of L^T x, the nearest point in the norm of B
//	tangent        g - x sym(x^T B g), the orthogonal projection in the inner product of B
//	gradient       B^-1 g - x sym(x^T g) in the Euclidean metric of z, B^-1 g - x g^T x in the canonical
//	retraction     (x + v) R^-1, R^T R = (x + v)^T B (x + v), by CholeskyQR
//
// The curvature, injectivity radius, exponential map and logarithm are those of Stiefel. Its default grouping is FilterBank. Membership is
// |x^T B x / r^2 - I| in the Frobenius norm. Points have no common Frobenius norm, so the only scale is Unit.
//
// Sato, Aihara, Cholesky QR-based retraction on the generalized Stiefel manifold, Comput. Optim. Appl. 72 (2019).
type GeneralizedStiefel struct {
	// Radius is r. Zero means 1.
	Radius float64
	// Metric and Retraction are those of Stiefel, of z.
	Metric     StiefelMetric
	Retraction StiefelRetraction
	// Axis says whether the columns (x^T B x) or the rows (x B x^T) of a point are orthogonal. With Auto it is the one that fits the
	// shape and, for square points, Columns, or Rows with the grouping FilterBank.
	Axis Axis

	b       *factored
	filters bool // rows are filters
}

// factored is B, n x n, as L L^T.
type factored struct {
	n        int
	diagonal bool
	l        []float64 // L, or its diagonal
	inverse  []float64 // L^-T, or the inverse of the diagonal
	id       uint32    // a hash of B
}

// NewGeneralizedStiefel returns the manifold of B, given by its n diagonal elements or by its n x n elements in row-major order. It
// returns an error if B is not finite, not symmetric to 1e-6 of its largest element or not positive definite. B is copied, and
// symmetrised.
func NewGeneralizedStiefel(n int, b []float64) (GeneralizedStiefel, error) {
	fail := func(format string, args ...any) (GeneralizedStiefel, error) {
		return GeneralizedStiefel{}, fmt.Errorf("manifolds: GeneralizedStiefel: "+format, args...)
	}
	if n < 1 || len(b) != n && len(b) != n*n {
		return fail("want B of order n >= 1, as n elements of its diagonal or n*n in all, got n = %d and %d elements", n, len(b))
	}
	h := fnv.New32a()
	largest := 0.0
	for i, v := range b {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fail("want a finite B, got %v at element %d", v, i)
		}
		largest = max(largest, math.Abs(v))
		fmt.Fprintf(h, "%x,", math.Float64bits(v))
	}
	f := &factored{n: n, diagonal: len(b) == n, l: make([]float64, len(b)), inverse: make([]float64, len(b)), id: h.Sum32()}
	if f.diagonal {
		for i, v := range b {
			if !(v > 0) || !frames.Invertible(math.Sqrt(v)) {
				return fail("want a positive definite B, got %v on its diagonal, at %d", v, i)
			}
			f.l[i], f.inverse[i] = math.Sqrt(v), 1/math.Sqrt(v)
		}
		return GeneralizedStiefel{b: f}, nil
	}
	for i := range n {
		for j := range n {
			if d := math.Abs(b[i*n+j] - b[j*n+i]); d > 1e-6*largest {
				return fail("want a symmetric B, got %v at (%d, %d) and %v at (%d, %d)", b[i*n+j], i, j, b[j*n+i], j, i)
			}
			f.l[i*n+j] = b[i*n+j]/2 + b[j*n+i]/2
		}
	}
	if !gemm.CholeskyInverse(f.inverse, f.l, n) || !allFinite(f.inverse) {
		return fail("want a positive definite B of order %d, got one without a Cholesky factor", n)
	}
	frames.ClearUpper(f.l, n)
	return GeneralizedStiefel{b: f}, nil
}

const generalizedStiefel = "GeneralizedStiefel"

// String returns the name, the order of B with a hash of it, and the fields that are not at their defaults.
func (m GeneralizedStiefel) String() string {
	if m.b == nil {
		return generalizedStiefel
	}
	s := m.stiefel()
	metric, retraction, axis := "", "", ""
	if s.Metric == CanonicalMetric {
		metric = "canonical"
	}
	if s.Retraction != CholeskyQR {
		retraction = s.Retraction.String()
	}
	if m.Axis == Rows {
		axis = "rows"
	}
	return label(fmt.Sprintf("GeneralizedStiefel %08x", m.b.id), m.Radius, fmt.Sprintf("order %d", m.b.n), axis, metric, retraction)
}

// For returns m, and FilterBank in place of Default. With FilterBank and the axis Auto, the rows of square points are
// orthonormal, because they are the filters.
func (m GeneralizedStiefel) For(g Grouping) (Manifold, Grouping) {
	g = g.or(FilterBank)
	m.filters = g == FilterBank
	return m, g
}

// rows reports whether the rows of n x p points are orthogonal.
func (m GeneralizedStiefel) rows(n, p int) bool {
	if m.Axis == Auto {
		return n < p || n == p && m.filters
	}
	return m.Axis == Rows
}

func (m GeneralizedStiefel) stiefel() Stiefel {
	return Stiefel{Radius: m.Radius, Metric: m.Metric, Retraction: m.Retraction}
}

// Check accepts shapes whose longer side is the order of B and along the axis.
func (m GeneralizedStiefel) Check(n, p int) error {
	if m.b == nil {
		return fmt.Errorf("manifolds: %s: want a B, by NewGeneralizedStiefel, got none", generalizedStiefel)
	}
	if m.Axis > Rows {
		return fmt.Errorf("manifolds: %s: want the axis Auto, Columns or Rows, got %d", generalizedStiefel, m.Axis)
	}
	if err := m.stiefel().check(generalizedStiefel, n, p); err != nil {
		return err
	}
	long, short := n, p
	if m.rows(n, p) {
		long, short = p, n
	}
	if long != m.b.n || short > long {
		return shapeError(generalizedStiefel, fmt.Sprintf("points whose longer side is %d, the order of B", m.b.n), n, p)
	}
	return nil
}

// Properties returns the properties of Stiefel, with the cost of the products with L added.
func (m GeneralizedStiefel) Properties(n, p int) Properties {
	known := m.stiefel().Properties(n, p)
	if m.b != nil && !m.b.diagonal {
		known.Cost += 2 * m.b.n
	}
	return known
}

// coordinates is a change of variables.
type coordinates uint8

const (
	plain      coordinates = iota // as they are
	toFrames                      // z = L^T x
	fromFrames                    // x = L^-T z
	dual                          // L^-1 g, the gradient with respect to z
	dualBack                      // L g, the gradient with respect to x
)

// change sets dst to x in other coordinates. dst may be x.
func (m GeneralizedStiefel) change(dst []float64, to coordinates, x []float64, k, n, p int) {
	if to == plain {
		copy(dst, x)
		return
	}
	rows, b := m.rows(n, p), m.b
	factor, transposed := b.l, to == toFrames
	if to == fromFrames || to == dual {
		factor, transposed = b.inverse, to == dual // the inverse is that of L^T
	}
	if b.diagonal {
		for e, v := range x {
			i := e % p
			if !rows {
				i = e / p % n
			}
			dst[e] = factor[i] * v
		}
		return
	}
	a := gemm.Of(factor, b.n, b.n)
	if transposed {
		a = a.T()
	}
	work := scratch.Get[float64](n * p)
	defer scratch.Put(work)
	for i := range k {
		copy(work, x[i*n*p:(i+1)*n*p])
		from, into := gemm.Of(work, n, p), gemm.Of(dst[i*n*p:(i+1)*n*p], n, p)
		if rows {
			from, into = from.T(), into.T()
		}
		gemm.Mul(into, 1, a, from, 0)
	}
}

// argument is a batch and its coordinates.
type argument struct {
	Points
	to coordinates
}

// through converts the arguments to the coordinates of Stiefel, in float64, and calls f, which overwrites the
// first of them with its result. The result is converted by back and written to dst. It fails where the result is not finite, because
// with a large or small B the coordinates or the result may overflow.
func (m GeneralizedStiefel) through(op string, dst Points, back coordinates, f func(z []Points) error, args ...argument) error {
	var points [4]Points
	for i, a := range args {
		points[i] = a.Points
	}
	if err := admit(m.Check(args[0].N, args[0].P), op, dst, points[:len(args)]...); err != nil {
		return err
	}
	z, whole := m.lifted(args)
	defer scratch.Put(whole)
	if err := f(z); err != nil {
		return generalized(err)
	}
	m.change(z[0].f64, back, z[0].f64, dst.K, dst.N, dst.P)
	rounded(dst, z[0])
	for k := range dst.K {
		if !(dst.Slice(k, k+1).Norm() <= math.MaxFloat64) {
			return &PointError{generalizedStiefel, op, k, overflow}
		}
	}
	return nil
}

// generalized names the manifold in an error of Stiefel.
func generalized(err error) error {
	if of := (*PointError)(nil); errors.As(err, &of) {
		of.Manifold = generalizedStiefel
	}
	return err
}

// lifted returns the arguments in the coordinates of Stiefel, in float64, and the workspace that holds them.
func (m GeneralizedStiefel) lifted(args []argument) (z []Points, whole []float64) {
	l := args[0].Len()
	whole = scratch.Get[float64](len(args) * l)
	z = make([]Points, len(args))
	for i, a := range args {
		part := whole[i*l : (i+1)*l : (i+1)*l]
		if a.f64 != nil {
			copy(part, a.f64)
		} else {
			for e, v := range a.f32 {
				part[e] = float64(v)
			}
		}
		m.change(part, a.to, part, a.K, a.N, a.P)
		z[i] = Points{K: a.K, N: a.N, P: a.P, f64: part}
	}
	return z, whole
}

// measured is through for an operation that writes one number a point.
func (m GeneralizedStiefel) measured(op string, out []float64, f func(z []Points) error, args ...argument) error {
	var points [3]Points
	for i, a := range args {
		points[i] = a.Points
	}
	if err := admit(m.Check(args[0].N, args[0].P), op, points[0], points[1:len(args)]...); err != nil {
		return err
	}
	if err := perPoint(op, out, args[0].Points); err != nil {
		return err
	}
	z, whole := m.lifted(args)
	defer scratch.Put(whole)
	if err := f(z); err != nil {
		return generalized(err)
	}
	for k, v := range out {
		if !(math.Abs(v) <= math.MaxFloat64) {
			return &PointError{generalizedStiefel, op, k, overflow}
		}
	}
	return nil
}

// Project writes L^-T times r times the polar factor of L^T x. It fails where x does not have full rank in float64.
func (m GeneralizedStiefel) Project(dst, x Points) error {
	return m.through("project", dst, fromFrames, func(z []Points) error { return m.stiefel().Project(z[0], z[0]) },
		argument{x, toFrames})
}

// ProjectAdjoint writes L times the adjoint of the derivative of the polar factor, applied to L^-1 g.
func (m GeneralizedStiefel) ProjectAdjoint(dst, v, y, g Points) error {
	return m.through("adjoint", dst, dualBack, func(z []Points) error { return m.stiefel().ProjectAdjoint(z[0], z[0], z[1], z[2]) },
		argument{v, toFrames}, argument{y, toFrames}, argument{g, dual})
}

// Tangent writes g - x sym(x^T B g) / r^2.
func (m GeneralizedStiefel) Tangent(dst, x, g Points) error {
	return m.through("tangent", dst, fromFrames, func(z []Points) error { return m.stiefel().Tangent(z[0], z[0], z[1]) },
		argument{x, toFrames}, argument{g, toFrames})
}

// Gradient writes B^-1 g - x sym(x^T g) / r^2, or B^-1 g - x g^T x / r^2 in the canonical metric.
func (m GeneralizedStiefel) Gradient(dst, x, g Points) error {
	return m.through("gradient", dst, fromFrames, func(z []Points) error { return m.stiefel().Gradient(z[0], z[0], z[1]) },
		argument{x, toFrames}, argument{g, dual})
}

// Retract writes the retraction of Stiefel, of L^T (x + v).
func (m GeneralizedStiefel) Retract(dst, x, v Points) error {
	return m.through("retract", dst, fromFrames, func(z []Points) error { return m.stiefel().Retract(z[0], z[0], z[1]) },
		argument{x, toFrames}, argument{v, toFrames})
}

// InverseRetract writes the inverse of the retraction, as Stiefel does.
func (m GeneralizedStiefel) InverseRetract(dst, x, y Points) error {
	return m.through("inverse retraction", dst, fromFrames, func(z []Points) error { return m.stiefel().InverseRetract(z[0], z[0], z[1]) },
		argument{x, toFrames}, argument{y, toFrames})
}

// Transport writes the tangent projection of u at y.
func (m GeneralizedStiefel) Transport(dst, x, y, u Points) error {
	if err := Agree("transport", x, y, u); err != nil {
		return err
	}
	return m.Tangent(dst, y, u)
}

// Exp writes the exponential map of the metric.
func (m GeneralizedStiefel) Exp(dst, x, v Points) error {
	return m.through("exp", dst, fromFrames, func(z []Points) error { return m.stiefel().Exp(z[0], z[0], z[1]) },
		argument{x, toFrames}, argument{v, toFrames})
}

// Log writes the logarithm of the metric, as Stiefel does.
func (m GeneralizedStiefel) Log(dst, x, y Points) error {
	return m.through("log", dst, fromFrames, func(z []Points) error { return m.stiefel().Log(z[0], z[0], z[1]) },
		argument{x, toFrames}, argument{y, toFrames})
}

// Inner writes tr(u^T B v), less tr((x^T B u)^T (x^T B v)) / (2 r^2) in the canonical metric.
func (m GeneralizedStiefel) Inner(out []float64, x, u, v Points) error {
	return m.measured("inner product", out, func(z []Points) error { return m.stiefel().Inner(out, z[0], z[1], z[2]) },
		argument{x, toFrames}, argument{u, toFrames}, argument{v, toFrames})
}

// AmbientInner writes tr(u^T B v).
func (m GeneralizedStiefel) AmbientInner(out []float64, u, v Points) error {
	return m.measured("inner product", out, func(z []Points) error { return frobenius(out, z[0], z[0], z[1]) },
		argument{u, toFrames}, argument{v, toFrames})
}

// Dist writes |Log_x(y)|, as Stiefel does.
func (m GeneralizedStiefel) Dist(out []float64, x, y Points) error {
	return m.measured("distance", out, func(z []Points) error { return m.stiefel().Dist(out, z[0], z[1]) },
		argument{x, toFrames}, argument{y, toFrames})
}

// Membership returns the largest |x^T B x / r^2 - I| in the Frobenius norm, and NaN for a shape that Check does not accept.
func (m GeneralizedStiefel) Membership(x Points) float64 {
	if m.Check(x.N, x.P) != nil {
		return math.NaN()
	}
	z, whole := m.lifted([]argument{{x, toFrames}})
	defer scratch.Put(whole)
	return m.stiefel().Membership(z[0])
}

// Random fills dst with independent points L^-T z, with z of the uniform distribution on Stiefel.
func (m GeneralizedStiefel) Random(dst Points, rng *rand.Rand) error {
	if err := m.Check(dst.N, dst.P); err != nil {
		return err
	}
	if err := gaussian(dst, rng); err != nil {
		return err
	}
	return m.through("random", dst, fromFrames, func(z []Points) error { return m.stiefel().Project(z[0], z[0]) }, argument{dst, plain})
}

var (
	_ Manifold       = GeneralizedStiefel{}
	_ Metric         = GeneralizedStiefel{}
	_ Ambient        = GeneralizedStiefel{}
	_ Exponential    = GeneralizedStiefel{}
	_ Logarithm      = GeneralizedStiefel{}
	_ Inverse        = GeneralizedStiefel{}
	_ Differentiable = GeneralizedStiefel{}
	_ Described      = GeneralizedStiefel{}
	_ Sampler        = GeneralizedStiefel{}
	_ Grouper        = GeneralizedStiefel{}
)

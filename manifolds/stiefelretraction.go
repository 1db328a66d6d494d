// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"cmp"
	"fmt"
	"math"

	"github.com/kernelfold/kernelfold/internal/frames"
	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// StiefelRetraction is a retraction of Stiefel: a map from x + v to the manifold.
type StiefelRetraction uint8

// The retractions of Stiefel.
const (
	// CholeskyQR is the Q of x + v = Q R, where R has a positive diagonal. It uses the Cholesky
	// factor of the Gram matrix and takes n p^2 multiply-adds, or twice as many where |v| > r.
	// Long steps are computed in float64.
	CholeskyQR StiefelRetraction = iota
	// QR is the same Q, computed by Householder reflections in float64, with the signs of Q
	// chosen so that R has a positive diagonal.
	QR
	// Polar is (x + v) (I + v^T v)^(-1/2), a retraction of second order. It is computed by a
	// series where |v^T v| / r^2 is small, by Newton-Schulz iteration where it is at most 1, and
	// in float64, as Project does, for longer steps.
	Polar
	// Geodesic is the exponential map of the metric.
	Geodesic
	// Cayley is (I - W/2)^-1 (I + W/2) x with W = w x^T - x w^T / r^2 and w = v - x x^T v / (2 r^2),
	// a retraction of second order in the canonical metric. It is computed exactly, in float64,
	// through a system of 2p equations.
	Cayley
	// OneStep is y (3 I - y^T y) / 2 with y = x + v: one Newton-Schulz step towards Polar (POGO,
	// ICML 2026, with lambda = 1/2). It leaves a membership error of at most 3/4 |v|^4 / r^4.
	// For steps longer than 0.6 r it is Polar.
	OneStep
	// IterativeCayley is x + W (2x + v) / 2 with the W of Cayley: one step of the fixed-point
	// iteration of Li, Li, Todorovic (ICLR 2020). It leaves a membership error of at most
	// |v|^4 / (4 r^4). For steps longer than 0.6 r it is Cayley.
	IterativeCayley
	// Landing is v + x (3 I - x^T x) / 2: the step of Ablin and Peyre (AISTATS 2022), whose attraction to the manifold
	// is computed at x and not at x + v, with the strength lambda = 1 / (2 eta). It leaves a membership error of about
	// |v|^2 / r^2. For steps longer than r/3 it is Polar.
	Landing
)

var retractionNames = [...]string{"Cholesky-QR", "QR", "polar", "geodesic", "Cayley", "one-step", "iterative Cayley", "landing"}

// String names the retraction.
func (r StiefelRetraction) String() string {
	if int(r) < len(retractionNames) {
		return retractionNames[r]
	}
	return fmt.Sprintf("StiefelRetraction(%d)", uint8(r))
}

// Retract writes the retraction of x + v that m.Retraction names.
//
// Let eps be the distance from 1 to the next number of the precision. The error of the result is
// a few eps r sqrt(n) for steps up to a few r. For longer steps x + v is summed in float64, and
// the error is a few r sqrt(n) (eps + 2^-52 |v| / r). Retract returns a *PointError for a step
// longer than 2^20 r in float32 or 2^40 r in float64, in which the digits of x would be lost, and
// with Geodesic and Cayley for one longer than 128 |x|.
func (m Stiefel) Retract(dst, x, v Points) error {
	return lift3(m.Check(x.N, x.P), "retract", dst, x, v, m.s32().retract, m.s64().retract)
}

// maxStep returns the length, in radii, of the longest step that can be retracted. In float32 it
// is 1/(8 eps): the rounding error of a longer v alone is as large as x. In float64, the same
// precision as that of the sum x + v, it leaves an error of 2^-12.
func maxStep[T vec.Float]() float64 {
	if vec.Double[T]() {
		return 0x1p40
	}
	return 0x1p20
}

// admitLength returns an error if a step is longer than maxStep or not finite.
func admitLength[T vec.Float](radii float64) error {
	if !(radii <= maxStep[T]()) {
		return fmt.Errorf("want a step of at most %.3g radii, got %.3g", maxStep[T](), radii)
	}
	return nil
}

// retract: the retraction of x + v.
func (m stiefel[T]) retract(dst, x, v block[T]) error {
	if m.Retraction == Geodesic {
		return m.exp(dst, x, v)
	}
	if m.Retraction == Cayley {
		return m.cayley(dst, x, v)
	}
	if n, ok := m.Retraction.near(); ok {
		return m.retractNear(dst, x, v, n)
	}
	if err := m.holds("retract"); err != nil {
		return err
	}
	if x.small() && m.Retraction != QR && m.inRange() {
		return m.retractLanes(dst, x, v)
	}
	if x.k == 0 {
		return nil
	}
	y, z := scratch.Get[T](x.n*x.p), scratch.Get[T](x.n*x.p)
	defer scratch.Put(y)
	defer scratch.Put(z)
	aliased := &dst.data[0] == &x.data[0] || &dst.data[0] == &v.data[0]
	for i := range x.k {
		to := dst.at(i)
		if aliased {
			to = z
		}
		if err := m.retractPoint(to, x.at(i), v.at(i), y, x); err != nil {
			return &PointError{m.name, "retract", i, err.Error()}
		}
		if aliased {
			copy(dst.at(i), z)
		}
	}
	return nil
}

// cayley: [x w] (I - N/2)^-1 (I + N/2) [I; 0], N = [A/2 -w^T w; I A/2], A = x^T v and w = v - x A/2.
func (m stiefel[T]) cayley(dst, x, v block[T]) error {
	return m.each("retract", x, func(d desk[T], i int) error {
		if err := cmp.Or(d.read(d.x, x, i), d.read(d.v, v, i)); err != nil {
			return err
		}
		if err := admitGeodesic(vec.Norm(d.v), d.q); err != nil {
			return err
		}
		q := d.q
		whole := scratch.Get[float64](8 * q * q)
		defer scratch.Put(whole)
		a, g, n, f := whole[:q*q], whole[q*q:2*q*q], whole[2*q*q:6*q*q], whole[6*q*q:]
		tall := func(b []float64) gemm.Mat[float64] { return gemm.Of(b, d.rows, q) }
		gemm.Mul(d.square(a), 1, tall(d.x).T(), tall(d.v), 0)
		frames.Skew(a, q)             // but for rounding it is
		if m.kind == rotationFrames { // w = x A/2
			gemm.Mul(tall(d.v), 0.5, tall(d.x), d.square(a), 0)
		} else {
			gemm.Mul(tall(d.v), -0.5, tall(d.x), d.square(a), 1)
		}
		gemm.Gram(d.square(g), 1, tall(d.v))
		frames.Generator(n, 0.5, a, g, q)
		if err := frames.CayleyColumns(f, n, q); err != nil {
			return err
		}
		gemm.Mul(tall(d.y), 1, tall(d.x), d.square(f[:q*q]), 0)
		gemm.Mul(tall(d.y), 1, tall(d.v), d.square(f[q*q:]), 1)
		if err := d.tidy(d.t, d.y); err != nil {
			return err
		}
		return d.write(dst, i, d.t)
	})
}

// retractPoint sets dst to the retraction of x + v. dst must be neither x nor v. y is a
// workspace.
func (m stiefel[T]) retractPoint(dst, x, v, y []T, b block[T]) error {
	if m.Retraction != QR && m.inRange() {
		vec.Combine(y, 1, x, 1, v)
		if m.retractShort(dst, y, b) {
			return nil
		}
	}
	if err := admitLength[T](vec.Norm(v) / m.r()); err != nil {
		return err
	}
	sum := scratch.Get[float64](len(x))
	defer scratch.Put(sum)
	for i, a := range x {
		sum[i] = (float64(a) + float64(v[i])) / m.r()
	}
	return m.retractLong(dst, sum, b)
}

// retractInPlace sets dst to the retraction of y = x + v. dst must not be y, and y is
// overwritten. Because y is rounded to T, a long step loses digits that retractPoint keeps.
func (m stiefel[T]) retractInPlace(dst, y []T, b block[T]) error {
	if m.Retraction != QR && m.inRange() && m.retractShort(dst, y, b) {
		return nil
	}
	if err := admitLength[T](vec.Norm(y) / m.r()); err != nil {
		return err
	}
	sum := scratch.Get[float64](len(y))
	defer scratch.Put(sum)
	for i, a := range y {
		sum[i] = float64(a) / m.r()
	}
	return m.retractLong(dst, sum, b)
}

// retractShort sets dst to the retraction of y = x + v, computed in T, if v is no longer than a
// few radii per column. For a longer v, the rounding error of y, eps |y|, is large against x, and
// retractShort returns false. dst is then undefined, and y is unchanged or has been replaced by a
// matrix with the same retraction.
func (m stiefel[T]) retractShort(dst, y []T, b block[T]) bool {
	if m.Retraction == Polar {
		// No singular value of y is below r, and if the defect is at most 1, none is above
		// sqrt(2) r.
		return frames.NewtonSchulz(b.tall(dst), b.tall(y), m.r(), 1, 10)
	}
	limit := 16 * float64(b.q()) // |v|^2 / r^2
	if vec.Double[T]() {
		limit = math.Inf(1) // there is no higher precision: go on while there is a Cholesky factor
	}
	return frames.CholeskyQR(b.tall(dst), b.tall(y), m.r(), limit)
}

// retractLong sets dst to r times the retraction of sum = (x + v) / r, computed in float64. sum
// is overwritten.
func (m stiefel[T]) retractLong(dst []T, sum []float64, b block[T]) error {
	y := scratch.Get[float64](len(sum))
	defer scratch.Put(y)
	one := block[float64]{1, b.n, b.p, nil}
	from, to := one.tall(sum), one.tall(y)
	var err error
	switch {
	case m.Retraction == Polar:
		err = frames.Polar(to, from, 1, vec.Eps[T]())
	case m.Retraction == CholeskyQR && frames.CholeskyQR(to, from, 1, math.Inf(1)):
	default:
		err = frames.Householder(to, from, 1)
	}
	if err != nil {
		return err
	}
	for i, a := range y {
		dst[i] = T(m.r() * a)
	}
	return nil
}

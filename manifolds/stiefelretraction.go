// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"fmt"
	"math"

	"github.com/kernelfold/kernelfold/internal/frames"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// StiefelRetraction is a way back to Stiefel from x + v.
type StiefelRetraction uint8

// The retractions of Stiefel.
const (
	// CholeskyQR is the Q of x + v = Q R, R with positive diagonal, through the
	// Cholesky factor of the Gram matrix: n p^2 multiply-adds, twice that
	// where |v| > r, and in float64 for long steps.
	CholeskyQR StiefelRetraction = iota
	// QR is the same Q by Householder reflections in float64, with the sign fix.
	QR
	// Polar is (x + v) (I + v^T v)^(-1/2), of second order: in as many terms of
	// the series as |v^T v| / r^2 asks for, after Newton-Schulz iterations where that is
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

// Retract writes the point that Retraction reaches from x by v.
//
// With eps the distance from 1 to the next number of the precision, the error of the point is a few eps r sqrt(n) for
// steps up to a few r, and a few r sqrt(n) (eps + 2^-52 |v| / r) for longer ones, since x + v is then summed
// up in float64. A step longer than 2^20 r in float32, or 2^40 r in float64, leads to a *PointError, and one longer
// than 128 |x| with Geodesic: x is then lost in the rounding of v.
func (m Stiefel) Retract(dst, x, v Points) error {
	return lift3(m.Check(x.N, x.P), "retract", dst, x, v, stiefel[float32](m).retract, stiefel[float64](m).retract)
}

// longest returns the length, in radii, of the longest step that is retracted. It is 1/8 of 1/eps in float32: the
// rounding of a longer v alone is as large as x. In float64, where x + v is summed up in the same precision, it leaves
// an error of 2^-12.
func longest[T vec.Float]() float64 {
	if vec.Eps[T]() < 0x1p-30 {
		return 0x1p40
	}
	return 0x1p20
}

// admitLength refuses steps of more radii than longest, and those that are not finite.
func admitLength[T vec.Float](radii float64) error {
	if !(radii <= longest[T]()) {
		return fmt.Errorf("want a step of at most %.3g radii, got %.3g", longest[T](), radii)
	}
	return nil
}

// retract goes from x to x + v and from there to the manifold.
func (m stiefel[T]) retract(dst, x, v block[T]) error {
	if m.Retraction == Geodesic {
		return m.exp(dst, x, v)
	}
	if err := m.holds("retract"); err != nil {
		return err
	}
	if x.small() && m.Retraction != QR && m.inRange() {
		return m.retractLanes(dst, x, v)
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
			return &PointError{"Stiefel", "retract", i, err.Error()}
		}
		if aliased {
			copy(dst.at(i), z)
		}
	}
	return nil
}

// retractPoint sets dst, which must be neither x nor v, to what the retraction makes of x + v. y is work space.
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

// retractInPlace sets dst, which must not be y, to what the retraction makes of y = x + v. y is overwritten. As y is
// rounded to T, a long step loses digits that retractPoint keeps.
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

// retractShort sets dst to what the retraction makes of y = x + v, in T, if v is no longer than a few radii for each
// column. Otherwise it reports false: the rounding of y, eps |y|, is then large against x. dst is then lost, and y is
// as it was or has the same Q, or polar factor.
func (m stiefel[T]) retractShort(dst, y []T, b block[T]) bool {
	if m.Retraction == Polar {
		// No singular value of y is below r, and none above sqrt 2 r where the defect is at most 1.
		return frames.NewtonSchulz(b.tall(dst), b.tall(y), m.r(), 1, 10)
	}
	limit := 16 * float64(b.q()) // |v|^2 / r^2
	if vec.Eps[T]() < 0x1p-30 {
		limit = math.Inf(1) // there is no higher precision: as far as Cholesky factors go
	}
	return frames.CholeskyQR(b.tall(dst), b.tall(y), m.r(), limit)
}

// retractLong sets dst to what the retraction makes of sum, (x + v) / r, in float64. sum is overwritten.
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

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

// rotations implements Orthogonal and SpecialOrthogonal.
type rotations struct {
	name       string
	radius     float64
	retraction StiefelRetraction
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

func (m rotations) tangent(dst, x, g Points) error {
	return lift3(m.check(x.N, x.P), "tangent", dst, x, g, m.s32().tangent, m.s64().tangent)
}

func (m rotations) retract(dst, x, v Points) error {
	if m.retraction == Geodesic {
		return m.exp(dst, x, v)
	}
	return lift3(m.check(x.N, x.P), "retract", dst, x, v, m.s32().retractRotation, m.s64().retractRotation)
}

func (m rotations) transport(dst, x, y, u Points) error {
	if err := Agree("transport", x, y, u); err != nil {
		return err
	}
	return m.tangent(dst, y, u)
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

func (m rotations) exp(dst, x, v Points) error {
	return lift3(m.check(x.N, x.P), "exp", dst, x, v, m.s32().rotationExp, m.s64().rotationExp)
}

func (m rotations) log(dst, x, y Points) error {
	return lift3(m.check(x.N, x.P), "log", dst, x, y, m.s32().rotationLog, m.s64().rotationLog)
}

func (m rotations) inverse(dst, x, y Points) error {
	return lift3(m.check(x.N, x.P), "inverse retraction", dst, x, y, m.s32().inverse, m.s64().inverse)
}

func (m rotations) dist(out []float64, x, y Points) error {
	return liftOut(m.check(x.N, x.P), "distance", out, x, x, y, m.s32().rotationDist, m.s64().rotationDist)
}

func (m rotations) parallel(dst, x, y, u Points) error {
	return lift4(m.check(x.N, x.P), "parallel transport", dst, x, y, u, m.s32().rotationParallel, m.s64().rotationParallel)
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
	return m.adjoints(frames.RotationAdjoint[T], dst, v, g)
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

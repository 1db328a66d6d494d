// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"cmp"
	"math"

	"github.com/kernelfold/kernelfold/internal/frames"
	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// InverseRetract writes the inverse of the retraction that m.Retraction names, computed in float64. With r = 1 and M = x^T y it is
//
//	y R - x, R upper triangular, M R + R^T M^T = 2 I     for CholeskyQR and QR,
//	y S - x, S symmetric, M S + S M^T = 2 I              for Polar,
//	2 y (I + M)^-1 + 2 x (I + M^T)^-1 - 2 x              for Cayley (Zhu, Sato 2020),
//
// and Log for Geodesic. OneStep and Landing use the inverse of Polar, and IterativeCayley that of Cayley, which they approximate.
// It fails where R has no positive diagonal, S is not positive definite, I + M is singular, Log fails, or the vector is longer than
// the steps that Retract makes.
func (m Stiefel) InverseRetract(dst, x, y Points) error {
	return lift3(m.Check(x.N, x.P), "inverse retraction", dst, x, y, m.s32().inverse, m.s64().inverse)
}

// Log writes the Riemannian logarithm of the metric, computed in float64: the canonical one by the algorithm of Zimmermann
// (SIAM J. Matrix Anal. Appl. 38, 2017), the Euclidean one by shooting. It fails where the iteration does not converge, which
// happens for points about as far apart as the injectivity radius, and where one square point is a rotation and the other a
// reflection.
func (m Stiefel) Log(dst, x, y Points) error {
	return lift3(m.Check(x.N, x.P), "log", dst, x, y, m.s32().log, m.s64().log)
}

// Dist writes |Log_x(y)| in the metric, and fails where Log does.
func (m Stiefel) Dist(out []float64, x, y Points) error {
	return liftOut(m.Check(x.N, x.P), "distance", out, x, x, y, m.s32().dist, m.s64().dist)
}

// inverse: the inverse of the retraction.
func (m stiefel[T]) inverse(dst, x, y block[T]) error {
	const op = "inverse retraction"
	switch {
	case m.kind == rotationFrames && m.Retraction == Geodesic:
		return m.rotationLog(dst, x, y)
	case m.kind == subspaceFrames:
		return m.invert(op, dst, x, y, frames.InverseHorizontal)
	case m.Retraction == Geodesic:
		return m.invert(op, dst, x, y, m.logarithm)
	case m.Retraction == Polar || m.Retraction == OneStep || m.Retraction == Landing:
		return m.invert(op, dst, x, y, frames.InversePolar)
	case m.Retraction == Cayley || m.Retraction == IterativeCayley:
		return m.invert(op, dst, x, y, func(v, x, y []float64, n, q int) error {
			return cmp.Or(frames.InverseCayley(v, x, y, n, q), admitGeodesic(vec.Norm(v), q))
		})
	}
	return m.invert(op, dst, x, y, frames.InverseQR)
}

// log: the logarithm of the metric.
func (m stiefel[T]) log(dst, x, y block[T]) error {
	return m.invert("log", dst, x, y, m.logarithm)
}

// dist: the length |v| of the logarithm v. In the canonical metric |v|^2 is smaller by |x^T v|^2 / 2.
func (m stiefel[T]) dist(out []float64, x, _, y block[T]) error {
	return m.each("distance", x, func(d desk[T], i int) error {
		if err := d.invert(x, y, i, m.logarithm); err != nil {
			return err
		}
		square := vec.Dot(d.v, d.v)
		if m.Metric == CanonicalMetric {
			a := d.t[:d.q*d.q]
			gemm.Mul(d.square(a), 1, gemm.Of(d.x, d.rows, d.q).T(), gemm.Of(d.v, d.rows, d.q), 0)
			square -= vec.Dot(a, a) / 2
		}
		out[i] = m.r() * math.Sqrt(square)
		return nil
	})
}

// logarithm sets v to the logarithm of the metric between frames in float64.
func (m stiefel[T]) logarithm(v, x, y []float64, n, q int) error {
	c := 2.0
	if m.Metric == CanonicalMetric {
		c = 1
	}
	return cmp.Or(frames.Log(v, x, y, c, n, q), admitGeodesic(vec.Norm(v), q))
}

// invert writes the vector that f finds for every pair of points.
func (m stiefel[T]) invert(op string, dst, x, y block[T], f func(v, x, y []float64, n, q int) error) error {
	return m.each(op, x, func(d desk[T], i int) error {
		if err := d.invert(x, y, i, f); err != nil {
			return err
		}
		return d.write(dst, i, d.v)
	})
}

// invert sets d.v to the vector that f finds for the points i, and d.x to that of x. The rounding errors of
// the points are removed first: a frame that was rounded to float32 is far from the manifold in float64.
func (d desk[T]) invert(x, y block[T], i int, f func(v, x, y []float64, n, q int) error) error {
	for _, p := range []struct {
		dst []float64
		of  block[T]
	}{{d.x, x}, {d.y, y}} {
		if err := d.read(d.t, p.of, i); err != nil {
			return err
		}
		if err := frames.Polar(gemm.Of(p.dst, d.rows, d.q), gemm.Of(d.t, d.rows, d.q), 1, 0x1p-52); err != nil {
			return err
		}
	}
	if err := cmp.Or(f(d.v, d.x, d.y, d.rows, d.q), admitLength[T](vec.Norm(d.v))); err != nil {
		return err
	}
	one, unit := block[float64]{1, d.rows, d.q, nil}, stiefel[float64]{kind: d.kind}
	return unit.tangentProject(d.t[:d.q*d.q], one, d.x, d.v) // rounding only
}

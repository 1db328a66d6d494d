// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"math"

	"github.com/kernelfold/kernelfold/internal/frames"
	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Exp writes the exponential map of the metric. With A = x^T v and r = 1 it is
//
//	[x v] exp([A, -v^T v; I, A]) [I; 0] exp(-A)   in the Euclidean metric,
//	[x w] exp([A/2, -w^T w; I, A/2]) [I; 0]       in the canonical, w = v - x A/2
//
// (Edelman, Arias, Smith 1998, eq. 2.42; docs/geometry.md derives the second form, which needs
// no QR factorisation). It fails for steps longer than 128 |x|.
func (m Stiefel) Exp(dst, x, v Points) error {
	return lift3(m.Check(x.N, x.P), "exp", dst, x, v, m.s32().exp, m.s64().exp)
}

// exp: the exponential map of each point.
func (m stiefel[T]) exp(dst, x, v block[T]) error {
	if err := m.holds("exp"); err != nil {
		return err
	}
	for i := range x.k {
		if err := m.expPoint(dst.at(i), x.at(i), v.at(i), x); err != nil {
			return &PointError{m.name, "exp", i, err.Error()}
		}
	}
	return nil
}

// expPoint writes the exponential map of one point. Steps longer than 4 radii per column are
// computed in float64 and by exponentials of skew matrices: the rotation angles are as large as
// the step, and so are their rounding errors, relative to eps.
func (m stiefel[T]) expPoint(dst, x, v []T, b block[T]) error {
	length := vec.Norm(v) / m.r()
	if err := admitGeodesic(length, b.q()); err != nil {
		return err
	}
	if length > 4*math.Sqrt(float64(b.q())) {
		return m.expLong(dst, x, v, b)
	}
	if m.inRange() {
		return m.expNative(dst, x, v, b)
	}
	wide, exponent := m.widened()
	one := block[float64]{1, b.n, b.p, nil}
	xs, vs := scratch.Get[float64](len(x)), scratch.Get[float64](len(v))
	defer scratch.Put(xs)
	defer scratch.Put(vs)
	ldexp(xs, x, -exponent)
	ldexp(vs, v, -exponent)
	if err := wide.expNative(xs, xs, vs, one); err != nil {
		return err
	}
	ldexp(dst, xs, exponent)
	return nil
}

// expLong writes the exponential map by exponentials of skew matrices, and projects the result.
func (m stiefel[T]) expLong(dst, x, v []T, b block[T]) error {
	n, q := max(b.n, b.p), b.q()
	whole := scratch.Get[float64](3 * n * q)
	defer scratch.Put(whole)
	xs, vs, y := whole[:n*q], whole[n*q:2*n*q], whole[2*n*q:]
	frames.Widen(xs, b.tall(x), 1)
	frames.Widen(vs, b.tall(v), 1)
	for e := range xs {
		xs[e], vs[e] = xs[e]/m.r(), vs[e]/m.r()
	}
	c := 2.0
	if m.Metric == CanonicalMetric {
		c = 1
	}
	frames.Geodesic(y, xs, vs, c, n, q)
	if err := frames.Polar(gemm.Of(xs, n, q), gemm.Of(y, n, q), m.r(), vec.Eps[T]()); err != nil {
		return err
	}
	frames.Narrow(b.tall(dst), xs, 1)
	return nil
}

// expNative: [x w] exp(N) [I; 0], in the Euclidean metric times exp(-A), and then Newton-Schulz
// iteration to remove rounding errors.
func (m stiefel[T]) expNative(dst, x, v []T, b block[T]) error {
	q, s := b.q(), 1/(m.r()*m.r())
	a, g := scratch.Get[T](q*q), scratch.Get[T](q*q)
	w, y := scratch.Get[T](len(x)), scratch.Get[T](len(x))
	whole := scratch.Get[float64](10 * q * q)
	defer scratch.Put(a)
	defer scratch.Put(g)
	defer scratch.Put(w)
	defer scratch.Put(y)
	defer scratch.Put(whole)
	generator, columns, f, e := whole[:4*q*q], whole[4*q*q:6*q*q], whole[6*q*q:8*q*q], whole[8*q*q:9*q*q]
	minus := whole[9*q*q:]

	copy(w, v)
	gemm.Mul(gemm.Of(a, q, q), s, b.tall(x).T(), b.tall(w), 0) // A = x^T v
	frames.Skew(a, q)                                          // A is skew up to rounding
	half := 1.0
	if m.Metric == CanonicalMetric {
		half = 0.5
		gemm.Mul(b.tall(w), -0.5, b.tall(x), gemm.Of(a, q, q), 1) // w = v - x A/2
	}
	gemm.Gram(gemm.Of(g, q, q), s, b.tall(w))
	frames.Generator(generator, half, a, g, q)
	frames.ExpColumns(columns, generator, q)
	if m.Metric == EuclideanMetric {
		for i, c := range a {
			minus[i] = -float64(c)
		}
		gemm.Exp(e, minus, q)
		gemm.Mul(gemm.Of(f, 2*q, q), 1, gemm.Of(columns, 2*q, q), gemm.Of(e, q, q), 0)
		columns = f
	}
	for i := range a {
		a[i], g[i] = T(columns[i]), T(columns[q*q+i])
	}
	gemm.Mul(b.tall(y), 1, b.tall(x), gemm.Of(a, q, q), 0)
	gemm.Mul(b.tall(y), 1, b.tall(w), gemm.Of(g, q, q), 1)
	if frames.NewtonSchulz(b.tall(dst), b.tall(y), m.r(), 1, 10) {
		return nil
	}
	return frames.Polar(b.tall(dst), b.tall(y), m.r(), vec.Eps[T]())
}

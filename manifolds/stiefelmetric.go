// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"math"

	"github.com/kernelfold/kernelfold/internal/frames"
	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// StiefelMetric is an inner product on the tangent spaces of Stiefel.
type StiefelMetric uint8

// The metrics of Stiefel.
const (
	// EuclideanMetric is <u, v> = tr(u^T v).
	EuclideanMetric StiefelMetric = iota
	// CanonicalMetric is <u, v> = tr(u^T (I - x x^T / (2 r^2)) v).
	CanonicalMetric
)

// Tangent writes g - x sym(x^T g) / r^2.
func (m Stiefel) Tangent(dst, x, g Points) error {
	return lift3(m.Check(x.N, x.P), "tangent", dst, x, g, m.s32().tangent, m.s64().tangent)
}

// Gradient writes g - x sym(x^T g) / r^2 in the Euclidean metric and
// g - x g^T x / r^2 in the canonical one.
func (m Stiefel) Gradient(dst, x, g Points) error {
	if m.Metric == EuclideanMetric {
		return m.Tangent(dst, x, g)
	}
	return lift3(m.Check(x.N, x.P), "gradient", dst, x, g, m.s32().gradient, m.s64().gradient)
}

// Inner writes tr(u^T v) in the Euclidean metric and
// tr(u^T v) - tr((x^T u)^T (x^T v)) / (2 r^2) in the canonical one.
func (m Stiefel) Inner(out []float64, x, u, v Points) error {
	if m.Metric == EuclideanMetric {
		return frobenius(out, x, u, v)
	}
	return liftOut(m.Check(x.N, x.P), "inner product", out, x, u, v, m.s32().inner, m.s64().inner)
}

// Transport writes the tangent projection of u at y.
func (m Stiefel) Transport(dst, x, y, u Points) error {
	if err := Agree("transport", x, y, u); err != nil {
		return err
	}
	return m.Tangent(dst, y, u)
}

// normal says which part x s of a vector g is subtracted from it.
type normal uint8

const (
	symmetric normal = iota // s = sym(x^T g) / r^2, for the tangent projection
	canonical               // s = g^T x / r^2, for the gradient in the canonical metric
	vertical                // s = x^T g / r^2, for the horizontal projection
)

// normal returns the part that the tangent projection subtracts.
func (m stiefel[T]) normal() normal {
	if m.kind == subspaceFrames {
		return vertical
	}
	return symmetric
}

// tangent: g - x sym(x^T g) / r^2, or g - x x^T g / r^2.
func (m stiefel[T]) tangent(dst, x, g block[T]) error {
	return m.tangents("tangent", dst, x, g, m.normal())
}

// gradient: g - x g^T x / r^2.
func (m stiefel[T]) gradient(dst, x, g block[T]) error {
	return m.tangents("gradient", dst, x, g, canonical)
}

// tangents subtracts the given part.
func (m stiefel[T]) tangents(op string, dst, x, g block[T], part normal) error {
	if x.small() {
		return m.tangentsLanes(op, dst, x, g, part)
	}
	if x.k == 0 {
		return nil
	}
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
		if err := m.subtractNormal(s, x, x.at(i), v, part); err != nil {
			return &PointError{m.name, op, i, err.Error()}
		}
		if aliased {
			copy(dst.at(i), v)
		}
	}
	return nil
}

// tangentProject replaces v by its tangent projection. s is a workspace. It fails if the result does not
// fit T.
func (m stiefel[T]) tangentProject(s []T, b block[T], x, v []T) error {
	return m.subtractNormal(s, b, x, v, m.normal())
}

// subtractNormal subtracts the given part from v.
func (m stiefel[T]) subtractNormal(s []T, b block[T], x, v []T, part normal) error {
	if m.inRange() {
		m.multiplier(s, b, x, v, part)
		if m.moderate(s) {
			vec.Scale(s, -1, s) // a product without a factor need not copy x
			gemm.Mul(b.tall(v), 1, b.tall(x), gemm.Of(s, b.q(), b.q()), 1)
			return nil
		}
	}
	return m.subtractNormalWide(b, x, v, part)
}

// multiplier sets s to the matrix for which x s is the given part of v.
func (m stiefel[T]) multiplier(s []T, b block[T], x, v []T, part normal) {
	to := gemm.Of(s, b.q(), b.q())
	if part == canonical {
		to = to.T()
	}
	gemm.Mul(to, 1/(m.r()*m.r()), b.tall(x).T(), b.tall(v), 0)
	if part == symmetric {
		frames.Symmetrize(s, b.q())
	}
}

// subtractNormalWide is subtractNormal in float64, on x and v divided by powers of two.
func (m stiefel[T]) subtractNormalWide(b block[T], x, v []T, part normal) error {
	wide, ex := m.widened()
	ev := exponentOf(v)
	one := block[float64]{1, b.n, b.p, nil}
	xs, vs, s := scratch.Get[float64](len(x)), scratch.Get[float64](len(v)), scratch.Get[float64](b.q()*b.q())
	defer scratch.Put(xs)
	defer scratch.Put(vs)
	defer scratch.Put(s)
	ldexp(xs, x, -ex)
	ldexp(vs, v, -ev)
	known := allFinite(xs) && allFinite(vs)
	wide.multiplier(s, one, xs, vs, part)
	gemm.Mul(one.tall(vs), -1, one.tall(xs), gemm.Of(s, b.q(), b.q()), 1)
	ldexp(v, vs, ev)
	if known && !allFinite(v) {
		return errRange[T]("tangent vector")
	}
	return nil
}

// inner: tr(u^T v) - tr((x^T u)^T (x^T v)) / (2 r^2).
func (m stiefel[T]) inner(out []float64, x, u, v block[T]) error {
	if !m.inRange() {
		return m.innerWide(out, x, u, v)
	}
	if x.small() {
		m.innerLanes(out, x, u, v)
	} else {
		a, b := scratch.Get[T](x.q()*x.q()), scratch.Get[T](x.q()*x.q())
		for i := range x.k {
			out[i] = m.innerPoint(x, x.at(i), u.at(i), v.at(i), a, b)
		}
		scratch.Put(a)
		scratch.Put(b)
	}
	if !allFinite(out) {
		return m.innerWide(out, x, u, v)
	}
	return nil
}

func (m stiefel[T]) innerPoint(block block[T], x, u, v, a, b []T) float64 {
	xt, q := block.tall(x).T(), block.q()
	gemm.Mul(gemm.Of(a, q, q), 1, xt, block.tall(u), 0)
	gemm.Mul(gemm.Of(b, q, q), 1, xt, block.tall(v), 0)
	return vec.Dot(u, v) - vec.Dot(a, b)/(2*m.r()*m.r())
}

// innerWide is inner in float64, on x, u and v divided by powers of two.
func (m stiefel[T]) innerWide(out []float64, x, u, v block[T]) error {
	wide, ex := m.widened()
	one := block[float64]{1, x.n, x.p, nil}
	whole := scratch.Get[float64](3*x.n*x.p + 2*x.q()*x.q())
	defer scratch.Put(whole)
	take := scratch.Parts(whole)
	xs, us, vs, a, b := take(x.n*x.p), take(x.n*x.p), take(x.n*x.p), take(x.q()*x.q()), take(x.q()*x.q())
	for i := range x.k {
		eu, ev := exponentOf(u.at(i)), exponentOf(v.at(i))
		ldexp(xs, x.at(i), -ex)
		ldexp(us, u.at(i), -eu)
		ldexp(vs, v.at(i), -ev)
		known := allFinite(xs) && allFinite(us) && allFinite(vs)
		out[i] = math.Ldexp(wide.innerPoint(one, xs, us, vs, a, b), eu+ev)
		if known && !allFinite(out[i:i+1]) {
			return &PointError{m.name, "inner product", i, errRange[float64]("inner product").Error()}
		}
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"errors"

	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// The retractions OneStep, IterativeCayley and Landing compute only a few terms of a step and leave a small membership error. OneStep
// and Landing also reduce that of the point they start from, so that it does not add up. With IterativeCayley it adds up slowly.
// Solvers project beyond the bound of their option Tolerance.

// near is the longest step, in radii, that a retraction makes in a few terms, the retraction of longer steps, and a bound of the
// membership error after a step from the manifold.
type near struct {
	longest float64
	beyond  StiefelRetraction
	drift   float64
}

// near returns ok if the retraction is one of those.
func (r StiefelRetraction) near() (n near, ok bool) {
	switch r {
	case OneStep: // with an eigenvalue e of v^T v, the square of a singular value is 1 - 3/4 e^2 + e^3/4
		return near{0.6, Polar, 0.1}, true
	case IterativeCayley: // x^T W^4 x / 4
		return near{0.6, Cayley, 0.033}, true
	case Landing: // v^T v
		return near{1. / 3, Polar, 1. / 9}, true
	}
	return near{}, false
}

// retractNear: the retraction of each point in a few terms, or that of longer steps.
func (m stiefel[T]) retractNear(dst, x, v block[T], n near) error {
	if err := m.holds("retract"); err != nil {
		return err
	}
	whole := scratch.Get[T](2*x.n*x.p + 2*x.q()*x.q())
	defer scratch.Put(whole)
	far := m
	far.Retraction = n.beyond
	one := func(b block[T], i int) block[T] { return block[T]{1, b.n, b.p, b.at(i)} }
	for i := range x.k {
		if length := vec.Norm(v.at(i)) / m.r(); m.inRange() && length <= n.longest {
			m.retractTerms(dst.at(i), x.at(i), v.at(i), x, whole)
		} else if err := far.retract(one(dst, i), one(x, i), one(v, i)); err != nil {
			if of := (*PointError)(nil); errors.As(err, &of) {
				of.Point = i
			}
			return err
		}
	}
	return nil
}

// retractTerms sets dst to the terms that the retraction computes. whole is a workspace.
func (m stiefel[T]) retractTerms(dst, x, v []T, b block[T], whole []T) {
	l, q := b.n*b.p, b.q()
	y, z, g, h := whole[:l], whole[l:2*l], whole[2*l:2*l+q*q], whole[2*l+q*q:2*l+2*q*q]
	s := 1 / (m.r() * m.r())
	square := func(a []T) gemm.Mat[T] { return gemm.Of(a, q, q) }
	switch m.Retraction {
	case OneStep: // y (3 I - y^T y) / 2 with y = x + v
		vec.Combine(y, 1, x, 1, v)
		gemm.Gram(square(g), s, b.tall(y))
		copy(z, y)
		gemm.Mul(b.tall(z), -0.5, b.tall(y), square(g), 1.5)
	case Landing: // v + x (3 I - x^T x) / 2
		gemm.Gram(square(g), s, b.tall(x))
		vec.Combine(z, 1.5, x, 1, v)
		gemm.Mul(b.tall(z), -0.5, b.tall(x), square(g), 1)
	case IterativeCayley: // x + W (x + (x + v)) / 2 with W = w x^T - x w^T and w = v - x x^T v / 2
		gemm.Mul(square(g), s, b.tall(x).T(), b.tall(v), 0)
		copy(y, v)
		gemm.Mul(b.tall(y), -0.5, b.tall(x), square(g), 1)
		mid := z // x + v/2
		vec.Combine(mid, 1, x, 0.5, v)
		gemm.Mul(square(g), s, b.tall(x).T(), b.tall(mid), 0)
		gemm.Mul(square(h), s, b.tall(y).T(), b.tall(mid), 0)
		copy(z, x)
		gemm.Mul(b.tall(z), 1, b.tall(y), square(g), 1)
		gemm.Mul(b.tall(z), -1, b.tall(x), square(h), 1)
	}
	copy(dst, z)
}

// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/frames"
	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
	"github.com/kernelfold/kernelfold/manifolds"
)

// Orthogonalize returns the kernel whose filter bank W is the filter bank V of v with its singular
// values moved towards r, by Newton-Schulz iteration:
//
//	X_0 = V / |V V^T|_F^(1/2)
//	X_k+1 = 3/2 X_k - 1/2 X_k X_k^T X_k
//	W = r X_iterations
//
// (Huang et al., Controllable orthogonalization in training DNNs, CVPR 2020, section 3.1 and, for
// X_0, section 3.2). v has shape (out, in, height, width), or (in, out) for a fully connected
// layer. V has one row of in*height*width weights for each filter. If V has more rows than columns,
// the columns are orthogonalised instead of the rows. r is the radius of manifolds.Stiefel at the
// given scale. The zero value of scale is manifolds.UnitFilters; manifolds.Initial is an error.
// With many iterations W converges to Normalize(v, manifolds.Stiefel{}, scale), without a singular
// value decomposition.
//
// The singular values of X_0 lie in (0, 1]. A small one grows by a factor of 3/2 per iteration, and
// near 1 the convergence is quadratic. With few iterations, small singular values of V stay small, so
// the number of iterations chooses how orthogonal W is (the paper takes 5 and more). The paper
// iterates B, where X = B V. This function iterates X, because rounding errors in B grow with the
// condition number of V V^T after it has converged.
//
// The gradient is exact, through all iterations. Orthogonalize returns an error if iterations is
// below 1. A filter bank of norm 0 is an error of Orthogonalize if v already has a value, and
// otherwise of the run. A rank-deficient V is no error; the rank of W is then at most that of V.
//
// To centre the filters first, as in the paper, pass WeightStandardization(v, eps) as v.
func Orthogonalize(v *gorgonia.Node, iterations int, scale manifolds.Scale, opts ...KernelOption) (*gorgonia.Node, error) {
	const name = "nodes.Orthogonalize"
	shapes, b, err := admitKernel(name, opts, []int{0}, v)
	if err != nil {
		return nil, err
	}
	if iterations < 1 {
		return nil, fmt.Errorf("%s: want at least 1 iteration, got %d", name, iterations)
	}
	if scale == manifolds.Initial {
		return nil, fmt.Errorf("%s: want a scale that is a number, got %v", name, scale)
	}
	piece, err := manifolds.Single(manifolds.On(manifolds.Stiefel{}, manifolds.FilterBank, scale).Bind([]int{b.d, b.f, 1, 1}, 0))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	r := piece.Manifold.(manifolds.Stiefel).Radius
	if r == 0 {
		r = 1
	}
	s := signature{name: name, in: shapes, out: shapes[0]}
	f32, f64 := turn(b, true, newtonSchulz[float32]{b, iterations, r}, newtonSchulz[float64]{b, iterations, r})
	if err := computeEarly(s, f32, f64, v); err != nil {
		return nil, err
	}
	return apply(s, f32, f64, v)
}

// newtonSchulz is Orthogonalize at one precision.
type newtonSchulz[T vec.Float] struct {
	bank       bank
	iterations int
	radius     float64
}

// wide views the data of a kernel as its filter bank, or as the transpose if the bank has more rows
// than columns.
func wide[T vec.Float](b bank, data []T) gemm.Mat[T] {
	m := matrixOf(b, data)
	if m.R > m.C {
		return m.T()
	}
	return m
}

// start sets x to X_0 and returns the number by which v was divided.
func (s newtonSchulz[T]) start(x, v []T) (float64, error) {
	copy(x, v)
	return frames.StartNewtonSchulz(wide(s.bank, x).T())
}

// step sets y to 3/2 x - 1/2 x x^T x. g is a workspace of q*q elements.
func (s newtonSchulz[T]) step(y, x, g []T) {
	frames.StepNewtonSchulz(wide(s.bank, y).T(), wide(s.bank, x).T(), g)
}

func (s newtonSchulz[T]) Forward(out []T, in [][]T) error {
	q := min(s.bank.d, s.bank.f)
	x, g := scratch.Get[T](len(out)), scratch.Get[T](q*q)
	defer scratch.Put(x)
	defer scratch.Put(g)
	if _, err := s.start(x, in[0]); err != nil {
		return err
	}
	for range s.iterations {
		s.step(out, x, g)
		copy(x, out)
	}
	vec.Scale(out, s.radius, out)
	return nil
}

// Backward repeats the iterations, keeps their results, and goes back through them. With c the
// number by which V was divided and Y the gradient with respect to X = X_0, the gradient with
// respect to V is (Y - <Y, X> X X^T X) / c.
func (s newtonSchulz[T]) Backward(dst []T, _ int, in [][]T, _, grad []T) error {
	q, n := min(s.bank.d, s.bank.f), len(dst)
	xs := scratch.Get[T](n * s.iterations)
	g, a, y := scratch.Get[T](q*q), scratch.Get[T](q*q), scratch.Get[T](n)
	for _, b := range [][]T{xs, g, a, y} {
		defer scratch.Put(b)
	}
	at := func(k int) []T { return xs[k*n : (k+1)*n] }
	c, err := s.start(at(0), in[0])
	if err != nil {
		return err
	}
	for k := 1; k < s.iterations; k++ {
		s.step(at(k), at(k-1), g)
	}
	vec.Scale(dst, s.radius, grad)
	for k := s.iterations - 1; k >= 0; k-- {
		frames.AdjointNewtonSchulz(wide(s.bank, dst).T(), wide(s.bank, at(k)).T(), wide(s.bank, y).T(), g, a)
	}
	x, square := wide(s.bank, at(0)), gemm.Of(g, q, q)
	gemm.Gram(square, 1, x.T())
	along := vec.Dot(dst, at(0))
	vec.Scale(dst, 1/c, dst)
	gemm.Mul(wide(s.bank, dst), -along/c, square, x, 1)
	return nil
}

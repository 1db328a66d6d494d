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

// Orthogonalize returns the kernel whose filter bank W is that of v with its
// singular values moved towards r, by Newton-Schulz iteration:
//
//	X_0 = V / |V V^T|_F^(1/2)
//	X_k+1 = 3/2 X_k - 1/2 X_k X_k^T X_k
//	W = r X_iterations
//
// (Huang et al., Controllable orthogonalization in training DNNs, CVPR 2020,
// section 3.1 and, for the bound X_0, 3.2.) V has a row of in*height*width weights
// for each filter of v, which has the shape (out, in, height, width), or (in, out) for
// a fully connected layer; where it has more rows than columns the columns are
// orthogonalised. r is what scale, a scale of manifolds, gives the filter bank; its
// zero value is manifolds.UnitFilters, and Initial is not admitted. With many
// iterations W is Normalize(v, manifolds.Stiefel{}, scale), without a singular
// value decomposition.
//
// A singular value of X_0, which lies in (0, 1], grows by 3/2 in an iteration
// while it is small and approaches 1 quadratically. Few iterations leave the
// directions in which V is weak weak: how orthogonal W is can be chosen (the
// paper takes 5 and more). X is iterated, and not B in X = B V as there, since
// rounding in B grows with the condition of V V^T once it has converged.
//
// The gradient is exact through the iterations. iterations below 1 is an error. A
// bank of norm 0 is one, at once or when it runs; one without full rank is not,
// and W has no more rank than it.
//
// To centre the filters first, as the paper does, give it
// WeightStandardization(v, eps).
func Orthogonalize(v *gorgonia.Node, iterations int, scale manifolds.Scale) (*gorgonia.Node, error) {
	const name = "nodes.Orthogonalize"
	shapes, b, err := admitKernel(name, []int{0}, v)
	if err != nil {
		return nil, err
	}
	if iterations < 1 {
		return nil, fmt.Errorf("%s: want at least 1 iteration, got %d", name, iterations)
	}
	if scale == manifolds.Initial {
		return nil, fmt.Errorf("%s: want a scale that is a number, got %v", name, scale)
	}
	piece, err := manifolds.Single(manifolds.On(manifolds.Stiefel{}, manifolds.FilterBank, scale).Bind(shapes[0], 0))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	r := piece.Manifold.(manifolds.Stiefel).Radius
	if r == 0 {
		r = 1
	}
	s := signature{name: name, in: shapes, out: shapes[0]}
	f32, f64 := newtonSchulz[float32]{b, iterations, r}, newtonSchulz[float64]{b, iterations, r}
	if err := try(s, f32, f64, v); err != nil {
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

// wide views the data of a kernel as its bank, or as the transpose of that, with
// no more rows than columns.
func wide[T vec.Float](b bank, data []T) gemm.Mat[T] {
	m := matrixOf(b, data)
	if m.R > m.C {
		return m.T()
	}
	return m
}

// start sets x to X_0 and returns by what v was divided.
func (s newtonSchulz[T]) start(x, v []T) (float64, error) {
	copy(x, v)
	return frames.StartNewtonSchulz(wide(s.bank, x).T())
}

// step sets y to 3/2 x - 1/2 x x^T x. g holds q*q values.
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

// Backward takes the steps again, keeps them, and goes back through them. With Y the gradient in X = X_0 and c what V
// was divided by, that in V is (Y - <Y, X> X X^T X) / c.
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

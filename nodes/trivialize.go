// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"math"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/frames"
	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// ExpTrivialization returns the kernel whose filter bank is the end point of the geodesic of the
// canonical metric on the Stiefel manifold that starts at base with velocity v,
//
//	W = exp(Omega) x,   Omega = w x^T - x w^T,   w = t - 1/2 x x^T t,
//
// where x is the filter bank of base, transposed if it has more columns than rows, and t is the
// projection of v onto the tangent space at x (Lezcano-Casado, Trivializations for gradient-based
// optimization on manifolds, NeurIPS 2019; Edelman, Arias, Smith 1998, eq. 2.42, for the metric).
// Every v gives a point of the manifold, v = 0 gives base, and for a small tangent v, W is base + v
// to first order. v and base have the same shape, (out, in, height, width), or (in, out) for a
// fully connected layer.
//
// base must be a point, x^T x = r^2 I for some r; Orthonormal draws such points. There is no
// gradient with respect to base, so do not pass it to the solver. For the dynamic trivialisation of
// the paper, which restarts from the current W, copy W to base and set v to 0 between steps. If the
// filter bank is n x q with n >= q, or its transpose is, the cost is of the order of n q^2 + 64 q^3
// multiply-adds, in float64.
//
// A base with |x^T x / r^2 - I| above 1e-4, and a v that is not finite or longer than 10^4 r, are
// errors of the run, or of ExpTrivialization if both inputs already have values; other ranks, and two shapes, are errors of
// ExpTrivialization. W is as close to orthonormal as base is.
func ExpTrivialization(v, base *gorgonia.Node) (*gorgonia.Node, error) {
	return trivialise("nodes.ExpTrivialization", false, v, base)
}

// CayleyTrivialization is ExpTrivialization with the Cayley transform in place of
// the exponential,
//
//	W = (I - Omega/2)^-1 (I + Omega/2) x
//
// (Helfrich, Willmott, Ye, Orthogonal recurrent neural networks with scaled Cayley
// transform, ICML 2018; Li, Fuxin, Todorovic, ICLR 2020, for Stiefel). It agrees with the exponential
// to second order in v and costs less. It reaches all points except those opposite to x in some
// direction. Shapes and errors are those of ExpTrivialization.
func CayleyTrivialization(v, base *gorgonia.Node) (*gorgonia.Node, error) {
	return trivialise("nodes.CayleyTrivialization", true, v, base)
}

func trivialise(name string, cayley bool, v, base *gorgonia.Node) (*gorgonia.Node, error) {
	shapes, b, err := admitKernel(name, nil, []int{0, 0}, v, base)
	if err != nil {
		return nil, err
	}
	if !shapes[1].Eq(shapes[0]) || shapes[1].Dims() != shapes[0].Dims() {
		return nil, fmt.Errorf("%s: input 1, %s: want the shape of %s, %v, got %v", name, base.Name(), v.Name(), shapes[0], shapes[1])
	}
	s := signature{name: name, in: shapes, out: shapes[0], constant: 1 << 1}
	f32, f64 := trivialization[float32]{b, cayley}, trivialization[float64]{b, cayley}
	if err := computeEarly(s, f32, f64, v, base); err != nil {
		return nil, err
	}
	return apply(s, f32, f64, v, base)
}

// trivialization computes either map, at one precision. It works in float64, on x and v divided by r.
// With N the generator of package frames,
//
//	W = K F,   K = [x w],   F = phi(N) [I; 0], 2q x q.
type trivialization[T vec.Float] struct {
	bank   bank
	cayley bool
}

// workspace holds the matrices that both Forward and Backward need.
type workspace struct {
	n, q      int
	r         float64
	x, w      []float64 // n x q
	generator []float64 // N, 2q x 2q
}

func (f workspace) tall(data []float64) gemm.Mat[float64]   { return gemm.Of(data, f.n, f.q) }
func (f workspace) square(data []float64) gemm.Mat[float64] { return gemm.Of(data, f.q, f.q) }

func (f workspace) free() {
	scratch.Put(f.x)
	scratch.Put(f.w)
	scratch.Put(f.generator)
}

// tall views a kernel as its filter bank, or as the transpose if the bank has fewer rows than
// columns.
func (t trivialization[T]) tall(data []T) gemm.Mat[T] { return wide(t.bank, data).T() }

func (t trivialization[T]) move(v, base []T) (workspace, error) {
	n, q := max(t.bank.d, t.bank.f), min(t.bank.d, t.bank.f)
	r := vec.Norm(base) / math.Sqrt(float64(q))
	if !frames.Invertible(r) {
		return workspace{}, fmt.Errorf("want a base of positive finite norm, got %g", vec.Norm(base))
	}
	f := workspace{n, q, r, scratch.Get[float64](n * q), scratch.Get[float64](n * q), scratch.Get[float64](4 * q * q)}
	a, g := scratch.Get[float64](q*q), scratch.Get[float64](q*q)
	defer scratch.Put(a)
	defer scratch.Put(g)
	frames.Widen(f.x, t.tall(base), 1/r)
	if e := frames.Defect(g, f.tall(f.x), 1); !(e <= 1e-4) {
		f.free()
		return workspace{}, fmt.Errorf("want an orthonormal base, |x^T x / r^2 - I| at most 1e-4, got %.2g", e)
	}
	frames.Widen(f.w, t.tall(v), 1/r)
	if s := vec.Norm(f.w); !(s <= 1e4) {
		f.free()
		return workspace{}, fmt.Errorf("want a v of norm at most 10^4 r, got %.3g r", s)
	}
	f.horizontal(f.w, a)
	gemm.Mul(f.square(a), 1, f.tall(f.x).T(), f.tall(f.w), 0)
	gemm.Gram(f.square(g), 1, f.tall(f.w))
	frames.Generator(f.generator, 1, a, g, q)
	return f, nil
}

// horizontal replaces v by w = v - x (3/4 x^T v + 1/4 v^T x). This map is its own adjoint. y is a
// workspace of q*q elements.
func (f workspace) horizontal(v, y []float64) {
	gemm.Mul(f.square(y), 1, f.tall(f.x).T(), f.tall(v), 0)
	for i := range f.q {
		for j := range i + 1 {
			a, b := y[i*f.q+j], y[j*f.q+i]
			y[i*f.q+j], y[j*f.q+i] = 0.75*a+0.25*b, 0.75*b+0.25*a
		}
	}
	gemm.Mul(f.tall(v), -1, f.tall(f.x), f.square(y), 1)
}

// columns returns F, a row-major 2q x q matrix.
func (t trivialization[T]) columns(f workspace) ([]float64, error) {
	c := make([]float64, 2*f.q*f.q)
	if !t.cayley {
		frames.ExpColumns(c, f.generator, f.q)
		return c, nil
	}
	return c, frames.CayleyColumns(c, f.generator, f.q)
}

func (t trivialization[T]) Forward(out []T, in [][]T) error {
	f, err := t.move(in[0], in[1])
	if err != nil {
		return err
	}
	defer f.free()
	c, err := t.columns(f)
	if err != nil {
		return err
	}
	y := scratch.Get[float64](f.n * f.q)
	defer scratch.Put(y)
	k := f.q * f.q
	gemm.Mul(f.tall(y), 1, f.tall(f.x), f.square(c[:k]), 0)
	gemm.Mul(f.tall(y), 1, f.tall(f.w), f.square(c[k:]), 1)
	frames.Narrow(t.tall(out), y, f.r)
	return nil
}

// Backward: let G be the gradient with respect to W. The gradient with respect to F is K^T G. The
// adjoint of frames.ExpColumns or frames.CayleyColumns gives the gradient with respect to N, called
// N here. The gradient with respect to w is the sum of G F_2^T, because W = K F, and
//
//	x (N_11 + N_22) - w (N_12 + N_12^T).
func (t trivialization[T]) Backward(dst []T, _ int, in [][]T, _, grad []T) error {
	f, err := t.move(in[0], in[1])
	if err != nil {
		return err
	}
	defer f.free()
	c, err := t.columns(f)
	if err != nil {
		return err
	}
	p, q, k := 2*f.q, f.q, f.q*f.q
	g, wb, y := scratch.Get[float64](f.n*q), scratch.Get[float64](f.n*q), scratch.Get[float64](k)
	for _, b := range [][]float64{g, wb, y} {
		defer scratch.Put(b)
	}
	frames.Widen(g, t.tall(grad), 1) // r from W and 1/r from v cancel
	gemm.Mul(f.tall(wb), 1, f.tall(g), f.square(c[k:]).T(), 0)

	cb := make([]float64, p*q) // gradient with respect to F
	gemm.Mul(f.square(cb[:k]), 1, f.tall(f.x).T(), f.tall(g), 0)
	gemm.Mul(f.square(cb[k:]), 1, f.tall(f.w).T(), f.tall(g), 0)
	nb := make([]float64, p*p) // gradient with respect to N
	if !t.cayley {
		frames.ExpColumnsAdjoint(nb, f.generator, cb, q)
	} else if err := frames.CayleyColumnsAdjoint(nb, f.generator, c, cb, q); err != nil {
		return err
	}
	for i := range q {
		for j := range q {
			y[i*q+j] = nb[i*p+j] + nb[(q+i)*p+q+j]
		}
	}
	gemm.Mul(f.tall(wb), 1, f.tall(f.x), f.square(y), 1)
	for i := range q {
		for j := range q {
			y[i*q+j] = nb[i*p+q+j] + nb[j*p+q+i]
		}
	}
	gemm.Mul(f.tall(wb), -1, f.tall(f.w), f.square(y), 1)
	f.horizontal(wb, y)
	frames.Narrow(t.tall(dst), wb, 1)
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"
	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// ExpTrivialization returns the kernel whose filter bank is the point of the
// Stiefel manifold that the geodesic of the canonical metric from base with
// velocity v reaches,
//
//	W = exp(Omega) x,   Omega = w x^T - x w^T,   w = t - 1/2 x x^T t,
//
// where x is the filter bank of base, transposed if it has more columns than rows,
// and t the projection of v to the tangent space at x (Lezcano-Casado, Trivializations
// for gradient-based optimization on manifolds, NeurIPS 2019; Edelman, Arias,
// Smith 1998, eq. 2.42, for the metric). Every v gives a point, 0 gives base, and W
// is base + v to first order in a tangent v. v and base have the same shape,
// (out, in, height, width), or (in, out) for a fully connected layer.
//
// base is a point, x^T x = r^2 I with some r, as Orthonormal draws them; it is not
// differentiated, and not for the solver. To start afresh from where W is (the
// dynamic trivialisation of the paper), copy W to base and set v to 0, between
// steps. With n the longer side of the bank and q the shorter the cost is of the order
// of n q^2 + 64 q^3 multiply-adds, in float64.
//
// A base with |x^T x / r^2 - I| above 1e-4, and a v that is not finite or is longer than
// 10^4 r, are errors when the node runs, and at once if both have values by then.
// W is as orthonormal as base is.
func ExpTrivialization(v, base *gorgonia.Node) (*gorgonia.Node, error) {
	return trivialise("nodes.ExpTrivialization", false, v, base)
}

// CayleyTrivialization is ExpTrivialization with the Cayley transform in place of
// the exponential,
//
//	W = (I - Omega/2)^-1 (I + Omega/2) x
//
// (Helfrich, Willmott, Ye, Orthogonal recurrent neural networks with scaled Cayley
// transform, ICML 2018; Li, Fuxin, Todorovic, ICLR 2020, for Stiefel). It agrees
// with it to second order in v, costs less, and reaches all points but those opposite
// to x in some direction.
func CayleyTrivialization(v, base *gorgonia.Node) (*gorgonia.Node, error) {
	return trivialise("nodes.CayleyTrivialization", true, v, base)
}

func trivialise(name string, cayley bool, v, base *gorgonia.Node) (*gorgonia.Node, error) {
	shapes, b, err := admitKernel(name, []int{0, 0}, v, base)
	if err != nil {
		return nil, err
	}
	if !shapes[1].Eq(shapes[0]) || shapes[1].Dims() != shapes[0].Dims() {
		return nil, fmt.Errorf("%s: input 1, %s: want the shape of %s, %v, got %v", name, base.Name(), v.Name(), shapes[0], shapes[1])
	}
	s := signature{name: name, in: shapes, out: shapes[0], constant: 1 << 1}
	f32, f64 := trivialization[float32]{b, cayley}, trivialization[float64]{b, cayley}
	if err := try(s, f32, f64, v, base); err != nil {
		return nil, err
	}
	return apply(s, f32, f64, v, base)
}

// trivialization is both maps at one precision. It computes in float64, on x and
// v divided by r.
//
// Omega maps the span of K = [x w] to itself: Omega K = K N with
//
//	N = [x^T w, -w^T w; I, x^T w],
//
// so that phi(Omega) x = K F with F = phi(N) [I; 0], of size 2q x q.
type trivialization[T vec.Float] struct {
	bank   bank
	cayley bool
}

// frame is what both directions need.
type frame struct {
	n, q int
	r    float64
	x, w []float64 // n x q
	gram []float64 // N, 2q x 2q
}

func (f frame) tall(data []float64) gemm.Mat[float64]   { return gemm.Of(data, f.n, f.q) }
func (f frame) square(data []float64) gemm.Mat[float64] { return gemm.Of(data, f.q, f.q) }

func (f frame) free() {
	scratch.Put(f.x)
	scratch.Put(f.w)
	scratch.Put(f.gram)
}

// widen copies the transpose of the wide view of a kernel, which is tall, to dst.
func (t trivialization[T]) widen(dst []float64, data []T, factor float64) {
	m := wide(t.bank, data).T()
	for i := range m.R {
		for j := range m.C {
			dst[i*m.C+j] = factor * float64(m.At(i, j))
		}
	}
}

func (t trivialization[T]) narrow(data []T, src []float64, factor float64) {
	m := wide(t.bank, data).T()
	for i := range m.R {
		for j := range m.C {
			m.Data[i*m.RS+j*m.CS] = T(factor * src[i*m.C+j])
		}
	}
}

func (t trivialization[T]) frame(v, base []T) (frame, error) {
	n, q := max(t.bank.d, t.bank.f), min(t.bank.d, t.bank.f)
	r := vec.Norm(base) / math.Sqrt(float64(q))
	if !usable(r) {
		return frame{}, fmt.Errorf("want a base of positive finite norm, got %g", vec.Norm(base))
	}
	f := frame{n, q, r, scratch.Get[float64](n * q), scratch.Get[float64](n * q), scratch.Get[float64](4 * q * q)}
	y := scratch.Get[float64](q * q)
	defer scratch.Put(y)
	t.widen(f.x, base, 1/r)
	gemm.Gram(f.square(y), 1, f.tall(f.x))
	for i := range q {
		y[i*q+i]--
	}
	if e := vec.Norm(y); !(e <= 1e-4) {
		f.free()
		return frame{}, fmt.Errorf("want an orthonormal base, |x^T x / r^2 - I| at most 1e-4, got %.2g", e)
	}
	t.widen(f.w, v, 1/r)
	if s := vec.Norm(f.w); !(s <= 1e4) {
		f.free()
		return frame{}, fmt.Errorf("want a v of norm at most 10^4 r, got %.3g r", s)
	}
	f.horizontal(f.w, y)

	at := gemm.Of(f.gram, 2*q, 2*q)
	gemm.Mul(at.Sub(0, 0, q, q), 1, f.tall(f.x).T(), f.tall(f.w), 0)
	gemm.Mul(at.Sub(0, q, q, q), -1, f.tall(f.w).T(), f.tall(f.w), 0)
	for i := range q {
		for j := range q {
			f.gram[(q+i)*2*q+q+j] = f.gram[i*2*q+j]
			f.gram[(q+i)*2*q+j] = 0
		}
		f.gram[(q+i)*2*q+i] = 1
	}
	return f, nil
}

// horizontal maps v to w: v - x (3/4 x^T v + 1/4 v^T x), in place. It is its own
// adjoint. y holds q*q values.
func (f frame) horizontal(v, y []float64) {
	gemm.Mul(f.square(y), 1, f.tall(f.x).T(), f.tall(v), 0)
	for i := range f.q {
		for j := range i + 1 {
			a, b := y[i*f.q+j], y[j*f.q+i]
			y[i*f.q+j], y[j*f.q+i] = 0.75*a+0.25*b, 0.75*b+0.25*a
		}
	}
	gemm.Mul(f.tall(v), -1, f.tall(f.x), f.square(y), 1)
}

// exponential returns the p x p matrix exp(a).
func exponential(a []float64, p int) []float64 {
	e := make([]float64, p*p)
	gemm.Exp(e, append([]float64(nil), a...), make([]float64, 2*p*p), p)
	return e
}

// cayleyFactor returns the factorisation of I - N/2. Its eigenvalues have real part
// 1, those of N being those of Omega and 0.
func (f frame) cayleyFactor() (lu mat.LU) {
	s := mat.NewDense(2*f.q, 2*f.q, nil)
	for i := range 2 * f.q {
		for j := range 2 * f.q {
			s.Set(i, j, -f.gram[i*2*f.q+j]/2)
		}
		s.Set(i, i, 1+s.At(i, i))
	}
	lu.Factorize(s)
	return lu
}

// factor returns F, 2q x q row-major.
func (t trivialization[T]) factor(f frame) ([]float64, error) {
	p, q := 2*f.q, f.q
	out := make([]float64, p*q)
	if !t.cayley {
		e := exponential(f.gram, p)
		for i := range p {
			copy(out[i*q:(i+1)*q], e[i*p:])
		}
		return out, nil
	}
	right := mat.NewDense(p, q, nil) // (I + N/2) [I; 0]
	for i := range p {
		for j := range q {
			right.Set(i, j, f.gram[i*p+j]/2)
		}
	}
	for j := range q {
		right.Set(j, j, 1+right.At(j, j))
	}
	lu := f.cayleyFactor()
	if err := lu.SolveTo(mat.NewDense(p, q, out), false, right); err != nil {
		return nil, fmt.Errorf("want a v whose Cayley transform can be computed: %w", err)
	}
	return out, nil
}

func (t trivialization[T]) Forward(out []T, in [][]T) error {
	f, err := t.frame(in[0], in[1])
	if err != nil {
		return err
	}
	defer f.free()
	c, err := t.factor(f)
	if err != nil {
		return err
	}
	y := scratch.Get[float64](f.n * f.q)
	defer scratch.Put(y)
	k := f.q * f.q
	gemm.Mul(f.tall(y), 1, f.tall(f.x), f.square(c[:k]), 0)
	gemm.Mul(f.tall(y), 1, f.tall(f.w), f.square(c[k:]), 1)
	t.narrow(out, y, f.r)
	return nil
}

// Backward: with G the gradient in W, those in F are K^T G, in w directly G F_2^T,
// and in N
//
//	exp: the derivative of exp at N^T in the direction [K^T G, 0]
//	Cayley: 1/2 (I - N/2)^-T K^T G ([I; 0] + F)^T,
//
// from which that in w is x (N_11 + N_22) - w (N_12 + N_12^T), N standing for its
// gradient.
func (t trivialization[T]) Backward(dst []T, _ int, in [][]T, _, grad []T) error {
	f, err := t.frame(in[0], in[1])
	if err != nil {
		return err
	}
	defer f.free()
	c, err := t.factor(f)
	if err != nil {
		return err
	}
	p, q, k := 2*f.q, f.q, f.q*f.q
	g, wb, y := scratch.Get[float64](f.n*q), scratch.Get[float64](f.n*q), scratch.Get[float64](k)
	for _, b := range [][]float64{g, wb, y} {
		defer scratch.Put(b)
	}
	t.widen(g, grad, 1) // r from W and 1/r from v cancel
	gemm.Mul(f.tall(wb), 1, f.tall(g), f.square(c[k:]).T(), 0)

	cb := make([]float64, p*q) // gradient in F
	gemm.Mul(f.square(cb[:k]), 1, f.tall(f.x).T(), f.tall(g), 0)
	gemm.Mul(f.square(cb[k:]), 1, f.tall(f.w).T(), f.tall(g), 0)
	nb := make([]float64, p*p) // gradient in N
	if t.cayley {
		solved := make([]float64, p*q)
		lu := f.cayleyFactor()
		if err := lu.SolveTo(mat.NewDense(p, q, solved), true, mat.NewDense(p, q, cb)); err != nil {
			return fmt.Errorf("want a v whose Cayley transform can be computed: %w", err)
		}
		for i := range q {
			c[i*q+i]++
		}
		gemm.Mul(gemm.Of(nb, p, p), 0.5, gemm.Of(solved, p, q), gemm.Of(c, p, q).T(), 0)
	} else { // the corner of exp [N^T, C; 0, N^T] (Mathias 1996)
		large := make([]float64, 4*p*p)
		for i := range p {
			for j := range p {
				large[i*2*p+j] = f.gram[j*p+i]
				large[(p+i)*2*p+p+j] = f.gram[j*p+i]
			}
			copy(large[i*2*p+p:i*2*p+p+q], cb[i*q:(i+1)*q])
		}
		e := exponential(large, 2*p)
		for i := range p {
			copy(nb[i*p:(i+1)*p], e[i*2*p+p:])
		}
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
	t.narrow(dst, wb, 1)
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// A frame x moves along Omega = w x^T - x w^T, r = 1, or along a geodesic, within the span of K =
// [x w]: Omega K = K N with the matrix of 2q x 2q
//
//	N = [x^T w, -w^T w; I, x^T w],
//
// so that phi(Omega) x = K F, F = phi(N) [I; 0] of 2q x q, for phi the exponential or the Cayley
// transform.

// Generator sets N, 2q x 2q, to [c A, -G; I, c A], where A and G are q x q.
func Generator[T vec.Float](n []float64, c float64, a, g []T, q int) {
	clear(n[2*q*q : 4*q*q])
	for i := range q {
		top, bottom := n[i*2*q:][:2*q], n[(q+i)*2*q:][:2*q]
		for j := range q {
			v := c * float64(a[i*q+j])
			top[j], top[q+j], bottom[q+j] = v, -float64(g[i*q+j]), v
		}
		bottom[i] = 1
	}
}

// Geodesic sets y to the point at time 1 of the geodesic from the frame x, x^T x = I, with tangent velocity v = x A + Q R, Q
// orthonormal and normal to x. All are row-major n x q. In the Euclidean metric, c = 2, and in the canonical, c = 1, it is
//
//	[x Q] exp([c A, -R^T; R, 0]) [I; 0] exp((1-c) A).
//
// Both exponentials are of skew matrices, so their error is eps |v| however far the geodesic goes. Generator, which
// needs no factorisation, leads to an error of eps |v|^2.
func Geodesic(y, x, v []float64, c float64, n, q int) {
	of := func(s []float64, r, c int) gemm.Mat[float64] { return gemm.Of(s, r, c) }
	w, whole := scratch.Get[float64](n*q), scratch.Get[float64](12*q*q)
	defer scratch.Put(w)
	defer scratch.Put(whole)
	a, r, m, f, e := whole[:q*q], whole[q*q:2*q*q], whole[2*q*q:6*q*q], whole[6*q*q:8*q*q], whole[8*q*q:9*q*q]

	gemm.Mul(of(a, q, q), 1, of(x, n, q).T(), of(v, n, q), 0)
	Skew(a, q) // it is skew up to rounding
	copy(w, v)
	gemm.Mul(of(w, n, q), -1, of(x, n, q), of(a, q, q), 1)
	thinQR(w, r, n, q)
	clear(m)
	for i := range q {
		for j := range q {
			m[i*2*q+j] = c * a[i*q+j]
			m[i*2*q+q+j] = -r[j*q+i]
			m[(q+i)*2*q+j] = r[i*q+j]
		}
	}
	ExpColumns(f, m, q)
	if c != 1 {
		for i := range a {
			a[i] *= 1 - c
		}
		gemm.Exp(e, a, q)
		g := m[:2*q*q]
		gemm.Mul(of(g, 2*q, q), 1, of(f, 2*q, q), of(e, q, q), 0)
		f = g
	}
	gemm.Mul(of(y, n, q), 1, of(x, n, q), of(f[:q*q], q, q), 0)
	gemm.Mul(of(y, n, q), 1, of(w, n, q), of(f[q*q:], q, q), 1)
}

// ExpColumns sets f, 2q x q, to exp(N) [I; 0].
func ExpColumns(f, n []float64, q int) {
	p := 2 * q
	e, a := scratch.Get[float64](p*p), scratch.Get[float64](p*p)
	copy(a, n[:p*p])
	gemm.Exp(e, a, p)
	for i := range p {
		copy(f[i*q:(i+1)*q], e[i*p:])
	}
	scratch.Put(a)
	scratch.Put(e)
}

// ExpColumnsAdjoint sets dn, p x p with p = 2q, to the gradient with respect to N of a function
// whose gradient with respect to exp(N) [I; 0] is df. This is the derivative of exp at N^T in the
// direction [df, 0], which is the upper right block of exp [N^T, [df, 0]; 0, N^T] (Mathias 1996).
func ExpColumnsAdjoint(dn, n, df []float64, q int) {
	p := 2 * q
	e, a := scratch.Get[float64](4*p*p), scratch.Get[float64](4*p*p)
	clear(a)
	for i := range p {
		for j := range p {
			a[i*2*p+j] = n[j*p+i]
			a[(p+i)*2*p+p+j] = n[j*p+i]
		}
		copy(a[i*2*p+p:i*2*p+p+q], df[i*q:(i+1)*q])
	}
	gemm.Exp(e, a, 2*p)
	for i := range p {
		copy(dn[i*p:(i+1)*p], e[i*2*p+p:])
	}
	scratch.Put(a)
	scratch.Put(e)
}

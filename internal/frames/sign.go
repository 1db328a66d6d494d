// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"math"

	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// The sign of a matrix x = U S W^T is U sign(S) W^T: its polar factor, if x has full rank. Matrices
// have at least as many rows as columns, may have any rank, and fill their Data.

// Sign replaces x by its sign, computed in float64 as Polar computes. Singular values below the
// rounding error of x at the precision eps, relative to the largest, count as 0. Sign fails where
// x is not finite.
func Sign[T vec.Float](x gemm.Mat[T], eps float64) error {
	n, q := x.R, x.C
	switch largest := vec.MaxAbs(x.Data); {
	case largest == 0:
		return nil
	case largest < 0x1p-1000: // its inverse may overflow
		for i, v := range x.Data {
			x.Data[i] = T(float64(v) * 0x1p1000)
		}
	}
	a, y := scratch.Get[float64](n*q), scratch.Get[float64](n*q)
	defer scratch.Put(a)
	defer scratch.Put(y)
	if _, err := normalize(a, x); err != nil {
		return err
	}
	least := rankTolerance(n) * eps / 0x1p-52
	// Each iteration multiplies a singular value by at most 1.5, so those below least do not reach 1.
	iterations := min(polarIterations, int(math.Log(0.7/least)/math.Log(1.5)))
	if tallPolar(y, a, n, q, vec.Eps[T](), iterations) || squarePolar(y, a, n, q, iterations) {
		Narrow(x, y, 1)
		return nil
	}
	d, err := decompose(x)
	if err != nil {
		return err
	}
	for j, s := range d.Values {
		if !(s > least*d.Values[0]) {
			clear(d.Wt[j*q : (j+1)*q])
		}
	}
	gemm.Mul(gemm.Of(y, n, q), 1, gemm.Of(d.U, n, q), gemm.Of(d.Wt, q, q), 0)
	d.Free()
	Narrow(x, y, 1)
	return nil
}

// QuinticSign returns an approximation of the sign of x: from x / |x|_F that many steps, at least one, of
//
//	x <- a x + b x x^T x + c x (x^T x)^2,  a, b, c = 3.4445, -4.7750, 2.0315.
//
// Five steps move singular values from 0.003 |x|_F up into about [0.7, 1.2], where the iteration keeps
// them; smaller ones grow by up to 3.4445 in each step, and 0 stays 0 (Jordan et al., 2024). The result is
// in x or in work, which has the layout of x, and the other is overwritten.
func QuinticSign[T vec.Float](x, work gemm.Mat[T], steps int) gemm.Mat[T] {
	const a, b, c = 3.4445, -4.7750, 2.0315
	norm := vec.Norm(x.Data)
	if norm == 0 {
		return x
	}
	if !(norm > 1e-12 && norm < 1e12) { // so that its square fits T
		largest := vec.MaxAbs(x.Data)
		for i, v := range x.Data {
			x.Data[i] = T(float64(v) / largest)
		}
		norm = vec.Norm(x.Data)
	}
	// With y = c^(1/4) x and M = y^T y + b / (2 c^(1/2)) I the factor of x is M^2 + (a - b^2 / (4 c)) I.
	root := math.Sqrt(math.Sqrt(c))
	scale := root / norm // by which y is still to be multiplied
	q, y, z, stride := x.C, x, work, x.C
	slim := gemm.SlimStride[T](q)
	if slim > 0 { // all products but the last read and write rows that need no packing
		stride = slim
		n := x.R*stride + gemm.Slack
		whole := scratch.Get[T](2 * n)
		defer scratch.Put(whole)
		y = gemm.Mat[T]{Data: whole[:n], R: x.R, C: q, RS: stride, CS: 1}
		z = gemm.Mat[T]{Data: whole[n:], R: x.R, C: q, RS: stride, CS: 1}
		gemm.CopySlim(y, scale, x)
		scale = 1
	}
	all := scratch.Get[T](4 * q * stride)
	defer scratch.Put(all)
	if stride > q {
		clear(all) // vec.Scale passes over what is between the rows
	}
	square := func(i int) gemm.Mat[T] {
		return gemm.Mat[T]{Data: all[i*q*stride : (i+1)*q*stride], R: q, C: q, RS: stride, CS: 1}
	}
	g, h, k, m := square(0), square(1), square(2), square(3)
	factor := func(of, from gemm.Mat[T]) { // overwrites from
		addDiagonal(from, b/(2*root*root))
		gemm.Gram(of, 1, from)
		addDiagonal(of, a-b*b/(4*c))
	}
	for steps > 0 {
		gemm.Gram(g, scale*scale, y)
		by := h
		if steps--; steps > 0 && x.R >= longSides*q { // a second step together with this one: its Gram matrix is h g h
			copy(m.Data, g.Data)
			factor(h, m)
			gemm.Mul(k, 1, g, h, 0)
			gemm.Mul(m, 1, k, h, 0)
			factor(k, m)
			gemm.Mul(g, 1, h, k, 0)
			by = g
			steps--
		} else {
			factor(h, g)
		}
		if steps == 0 {
			scale /= root
			if slim > 0 {
				z = x
			}
		}
		if scale != 1 {
			vec.Scale(by.Data, scale, by.Data)
		}
		gemm.Mul(z, 1, y, by, 0)
		y, z, scale = z, y, 1
	}
	return y
}

// longSides is the ratio of the sides of a matrix from which on two steps of QuinticSign are made together. With n rows
// and q columns that takes 3 n q^2 + 8 q^3 flops instead of 6 n q^2 + 2 q^3. More than two together would lose digits
// of small singular values: with each step, h g h multiplies the rounding errors of the squares by up to 3.4445^2.
const longSides = 4

// SpectralBound returns an upper bound of the largest singular value of x, at most q^(1/32) times as
// large: the root of the bound of the largest eigenvalue of the eighth power of x^T x.
func SpectralBound[T vec.Float](x gemm.Mat[T]) float64 {
	q := x.C
	whole := scratch.Get[T](2 * q * q)
	defer scratch.Put(whole)
	g, h := whole[:q*q], whole[q*q:]
	gemm.Gram(gemm.Of(g, q, q), 1, x)
	trace := 0.0
	for i := range q {
		trace += float64(g[i*q+i])
	}
	if !Invertible(trace) {
		return math.Sqrt(eigenvalueBound(g, q))
	}
	vec.Scale(g, 1/trace, g) // so that no power overflows, nor vanishes
	for range 3 {
		gemm.Gram(gemm.Of(h, q, q), 1, gemm.Of(g, q, q))
		g, h = h, g
	}
	return math.Sqrt(trace * math.Sqrt(math.Sqrt(math.Sqrt(eigenvalueBound(g, q)))))
}

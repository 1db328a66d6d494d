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
	d, err := Decompose(x)
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
	q := x.C
	all := scratch.Get[T](3 * q * q)
	defer scratch.Put(all)
	square := func(i int) gemm.Mat[T] { return gemm.Of(all[i*q*q:(i+1)*q*q], q, q) }
	g, h, k := square(0), square(1), square(2)
	// polynomial sets to = a I + b g + c g^2 for a symmetric g.
	polynomial := func(to gemm.Mat[T]) {
		gemm.Gram(to, c, g)
		vec.Combine(to.Data, b, g.Data, 1, to.Data)
		AddDiagonal(to.Data, q, a)
	}
	for steps > 0 {
		gemm.Gram(g, 1/(norm*norm), x)
		polynomial(h)
		by := h
		if steps--; steps > 0 && x.R >= longSides*q { // a second step together with this one: its Gram matrix is h g h
			gemm.Mul(k, 1, g, h, 0)
			gemm.Mul(g, 1, k, h, 0)
			polynomial(k)
			gemm.Mul(g, 1, h, k, 0)
			by = g
			steps--
		}
		gemm.Mul(work, 1/norm, x, by, 0)
		x, work, norm = work, x, 1
	}
	return x
}

// longSides is the ratio of the sides of a matrix from which on two steps of QuinticSign are made together. With n rows
// and q columns that takes 3 n q^2 + 8 q^3 flops instead of 6 n q^2 + 2 q^3. More than two together would lose digits
// of small singular values: with each step, h g h multiplies the rounding errors of the squares by up to 3.4445^2.
const longSides = 4

// SpectralBound returns an upper bound of the largest singular value of x, at most q^(1/32) times as
// large: a bound of the eigenvalues of x^T x and of its powers 2, 4 and 8.
func SpectralBound[T vec.Float](x gemm.Mat[T]) float64 {
	q := x.C
	g, h := scratch.Get[T](q*q), scratch.Get[T](q*q)
	defer scratch.Put(g)
	defer scratch.Put(h)
	gemm.Gram(gemm.Of(g, q, q), 1, x)
	bound := EigenvalueBound(g, q)
	for power := 2.0; power <= 8; power *= 2 {
		gemm.Gram(gemm.Of(h, q, q), 1, gemm.Of(g, q, q))
		g, h = h, g
		bound = min(bound, math.Pow(EigenvalueBound(g, q), 1/power))
	}
	return math.Sqrt(bound)
}

// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/lapack"

	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Clip sets dst to the matrix nearest to x whose singular values are at most s: x = U S W^T becomes U min(S, s) W^T. With the
// eigenvectors V of x^T x whose singular values exceed s it is x - x V (I - s S^-1) V^T, and x itself if there are none. It computes in
// float64, by singular value decomposition where x is so large that x^T x loses digits of s. It fails if x is not finite. dst
// and x must have the same layout, and dst may be x.
func Clip[T vec.Float](dst, x gemm.Mat[T], s float64) error {
	n, q := x.R, x.C
	whole := scratch.Get[float64](2*n*q + 3*q*q + 5*q)
	defer scratch.Put(whole)
	take := scratch.Parts(whole)
	a, y, g, v, c, values, work := take(n*q), take(n*q), take(q*q), take(q*q), take(q*q), take(q), take(4*q)
	Widen(a, x, 1)
	largest := vec.MaxAbs(a)
	if !(largest <= math.MaxFloat64) {
		return fmt.Errorf("want a finite matrix, got largest element %g", largest)
	}
	unchanged := func() {
		if &dst.Data[0] != &x.Data[0] {
			copy(dst.Data[:len(x.Data)], x.Data)
		}
	}
	if largest*math.Sqrt(float64(n))*math.Sqrt(float64(q)) <= s {
		unchanged()
		return nil
	}
	const most = 8 // the eigenvalues have errors of most^2 eps s^2
	if scale := largest / s; scale > most {
		return clipLong(dst, x, s)
	}
	vec.Scale(a, 1/s, a)
	square := gemm.Of(g, q, q)
	gemm.Gram(square, 1, gemm.Of(a, n, q))
	if eigenvalueBound(g, q) <= 1 {
		unchanged()
		return nil
	}
	if vec.Norm(g) > most*most {
		return clipLong(dst, x, s)
	}
	for i, v := range g {
		if math.Abs(v) < 1e-60 { // Dsteqr scales a block that is all tiny up, and then the other blocks too
			g[i] = 0
		}
	}
	if !lapack64.Dsyev(lapack.EVCompute, blas.Lower, q, g, q, values, work, len(work)) {
		return clipLong(dst, x, s)
	}
	over := 0
	for over < q && values[q-1-over] > 1 {
		over++
	}
	if over == 0 {
		unchanged()
		return nil
	}
	for i := range q {
		for j := range over {
			e := g[i*q+q-1-j]
			v[i*over+j] = e
			c[i*over+j] = e * (1 - 1/math.Sqrt(values[q-1-j]))
		}
	}
	along := gemm.Of(y[:n*over], n, over)
	gemm.Mul(along, 1, gemm.Of(a, n, q), gemm.Of(v[:q*over], q, over), 0)
	gemm.Mul(gemm.Of(a, n, q), -1, along, gemm.Of(c[:q*over], q, over).T(), 1)
	Narrow(dst, a, s)
	return nil
}

// clipLong is Clip by singular value decomposition.
func clipLong[T vec.Float](dst, x gemm.Mat[T], s float64) error {
	n, q := x.R, x.C
	d, err := decompose(x)
	if err != nil {
		return err
	}
	defer d.Free()
	y := scratch.Get[float64](n * q)
	defer scratch.Put(y)
	for j, v := range d.Values {
		f := min(d.Scale*v, s) / s
		for i := j; i < n*q; i += q {
			d.U[i] *= f
		}
	}
	gemm.Mul(gemm.Of(y, n, q), 1, gemm.Of(d.U, n, q), gemm.Of(d.Wt, q, q), 0)
	Narrow(dst, y, s)
	return nil
}

// SpectralNorm returns the largest singular value of x in float64. It is NaN if x is not finite.
func SpectralNorm[T vec.Float](x gemm.Mat[T]) float64 {
	d, err := decompose(x)
	if err != nil {
		return math.NaN()
	}
	defer d.Free()
	return d.Scale * d.Values[0]
}

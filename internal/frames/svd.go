// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/lapack"

	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// SVD is the thin singular value decomposition x = Scale U S W^T of a tall matrix, n x q, in float64. U is row-major n x q and
// the transpose of W row-major q x q.
type SVD struct {
	Scale  float64
	U, Wt  []float64
	Values []float64 // the diagonal of S, descending
}

// decompose returns the decomposition of x, which the caller must free. It fails if x is not finite.
func decompose[T vec.Float](x gemm.Mat[T]) (SVD, error) {
	n, q := x.R, x.C
	a := scratch.Get[float64](n * q)
	defer scratch.Put(a)
	Widen(a, x, 1)
	scale := vec.MaxAbs(a)
	switch {
	case !(scale <= math.MaxFloat64):
		return SVD{}, fmt.Errorf("want a finite matrix, got largest element %g", scale)
	case !Invertible(scale):
		scale = 1
	}
	for i, v := range a {
		a[i] = v / scale
	}
	lwork := 8*q + n + 2*q*q // enough for dgesvd to begin with a QR factorisation if x is tall
	work := scratch.Get[float64](lwork)
	defer scratch.Put(work)
	d := SVD{scale, scratch.Get[float64](n * q), scratch.Get[float64](q * q), scratch.Get[float64](q)}
	if !lapack64.Dgesvd(lapack.SVDStore, lapack.SVDStore, n, q, a, q, d.Values, d.U, q, d.Wt, q, work, lwork) {
		d.Free()
		return SVD{}, errors.New("want a matrix whose singular values can be computed")
	}
	return d, nil
}

// decomposeFull is decompose for a matrix that must have full rank.
func decomposeFull[T vec.Float](x gemm.Mat[T]) (SVD, error) {
	d, err := decompose(x)
	if err != nil {
		return SVD{}, err
	}
	if smallest, largest := d.Values[x.C-1], d.Values[0]; !(smallest > rankTolerance(x.R)*largest) {
		d.Free()
		return SVD{}, fmt.Errorf("want full rank, got singular values from %.3g to %.3g", d.Scale*smallest, d.Scale*largest)
	}
	return d, nil
}

// Free returns the memory of the decomposition.
func (d SVD) Free() {
	scratch.Put(d.U)
	scratch.Put(d.Wt)
	scratch.Put(d.Values)
}

// PolarAdjoint sets dst to P'(v)* g, where P'(v) is the derivative of r times the polar factor at
// v = U S W^T. With M = U^T g W it is
//
//	r (U K W^T + (I - U U^T) g W S^-1 W^T),   K_ij = (M_ij - M_ji) / (s_i + s_j),
//
// which is r (U (K - M S^-1) + g W S^-1) W^T. It computes in float64, and fails if v does not have
// full rank. dst may be g or v.
func PolarAdjoint[T vec.Float](dst, v, g gemm.Mat[T], r float64) error {
	d, err := decomposeFull(v)
	if err != nil {
		return err
	}
	polarAdjoint(d, dst, g, r)
	d.Free()
	return nil
}

func polarAdjoint[T vec.Float](d SVD, dst, g gemm.Mat[T], r float64) {
	n, q, s := g.R, g.C, d.Values
	a, gw := scratch.Get[float64](n*q), scratch.Get[float64](n*q)
	m, k := scratch.Get[float64](q*q), scratch.Get[float64](q*q)
	u, w := gemm.Of(d.U, n, q), gemm.Of(d.Wt, q, q).T()
	Widen(a, g, 1)
	gemm.Mul(gemm.Of(gw, n, q), 1, gemm.Of(a, n, q), w, 0)
	gemm.Mul(gemm.Of(m, q, q), 1, u.T(), gemm.Of(gw, n, q), 0)
	for i := range q {
		for j := range q {
			k[i*q+j] = (m[i*q+j] - m[j*q+i]) / (s[i] + s[j])
			if n > q {
				k[i*q+j] -= m[i*q+j] / s[j]
			}
		}
	}
	for i := range n {
		for j := range q {
			gw[i*q+j] /= s[j]
			if n == q { // I - U U^T is 0
				gw[i*q+j] = 0
			}
		}
	}
	gemm.Mul(gemm.Of(gw, n, q), 1, u, gemm.Of(k, q, q), 1)
	gemm.Mul(gemm.Of(a, n, q), r/d.Scale, gemm.Of(gw, n, q), w.T(), 0)
	Narrow(dst, a, 1)
	for _, x := range [][]float64{a, gw, m, k} {
		scratch.Put(x)
	}
}

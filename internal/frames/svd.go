// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"errors"
	"fmt"

	"gonum.org/v1/gonum/lapack"

	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// singular is the thin singular value decomposition of a tall x in float64: x / scale = U S W^T.
type singular struct {
	n, q   int
	scale  float64
	u, wt  []float64 // n x q, q x q
	values []float64 // descending
}

// decompose returns the decomposition of x, which the caller must free. It fails if x does not have
// full rank.
func decompose[T vec.Float](x gemm.Mat[T]) (singular, error) {
	n, q := x.R, x.C
	a := scratch.Get[float64](n * q)
	defer scratch.Put(a)
	scale, err := normalize(a, x)
	if err != nil {
		return singular{}, err
	}
	lwork := 8*q + n + 2*q*q // enough for dgesvd to begin with a QR factorisation if x is tall
	work := scratch.Get[float64](lwork)
	defer scratch.Put(work)
	d := singular{n, q, scale, scratch.Get[float64](n * q), scratch.Get[float64](q * q), scratch.Get[float64](q)}
	if !lapack64.Dgesvd(lapack.SVDStore, lapack.SVDStore, n, q, a, q, d.values, d.u, q, d.wt, q, work, lwork) {
		d.free()
		return singular{}, errors.New("want a matrix whose singular values can be computed")
	}
	if smallest, largest := d.values[q-1], d.values[0]; !(smallest > rankTolerance(n)*largest) {
		d.free()
		return singular{}, fmt.Errorf("want full rank, got singular values from %.3g to %.3g", scale*smallest, scale*largest)
	}
	return d, nil
}

func (d singular) free() {
	scratch.Put(d.u)
	scratch.Put(d.wt)
	scratch.Put(d.values)
}

// PolarAdjoint sets dst to P'(v)* g, where P'(v) is the derivative of r times the polar factor at
// v = U S W^T. With M = U^T g W it is
//
//	r (U K W^T + (I - U U^T) g W S^-1 W^T),   K_ij = (M_ij - M_ji) / (s_i + s_j),
//
// which is r (U (K - M S^-1) + g W S^-1) W^T. It computes in float64, and fails if v does not have
// full rank. dst may be g or v.
func PolarAdjoint[T vec.Float](dst, v, g gemm.Mat[T], r float64) error {
	d, err := decompose(v)
	if err != nil {
		return err
	}
	n, q, s := d.n, d.q, d.values
	a, gw := scratch.Get[float64](n*q), scratch.Get[float64](n*q)
	m, k := scratch.Get[float64](q*q), scratch.Get[float64](q*q)
	u, w := gemm.Of(d.u, n, q), gemm.Of(d.wt, q, q).T()
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
	gemm.Mul(gemm.Of(a, n, q), r/d.scale, gemm.Of(gw, n, q), w.T(), 0)
	Narrow(dst, a, 1)
	for _, x := range [][]float64{a, gw, m, k} {
		scratch.Put(x)
	}
	d.free()
	return nil
}

// SPDX-License-Identifier: Apache-2.0

// Package blas is gonum's BLAS with the general matrix products of internal/gemm,
// spread over the cores.
package blas

import (
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/gonum"

	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/par"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Implementation has the methods of gonum's implementation, which it panics like. In a
// product 0 times NaN or infinity is NaN, where gonum skips the zeros of A.
type Implementation struct{ gonum.Implementation }

// Sgemm sets C = alpha op(A) op(B) + beta C. With beta = 0, C is not read.
func (i Implementation) Sgemm(tA, tB blas.Transpose, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c []float32, ldc int) {
	if !product(tA, tB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc) {
		i.Implementation.Sgemm(tA, tB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
	}
}

// Dgemm sets C = alpha op(A) op(B) + beta C. With beta = 0, C is not read.
func (i Implementation) Dgemm(tA, tB blas.Transpose, m, n, k int, alpha float64, a []float64, lda int, b []float64, ldb int, beta float64, c []float64, ldc int) {
	if !product(tA, tB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc) {
		i.Implementation.Dgemm(tA, tB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
	}
}

// product computes a product. It leaves wrong arguments, and products in which nothing is multiplied, to gonum.
func product[T vec.Float](tA, tB blas.Transpose, m, n, k int, alpha T, a []T, lda int, b []T, ldb int, beta T, c []T, ldc int) bool {
	ma, okA := matrix(tA, a, m, k, lda)
	mb, okB := matrix(tB, b, k, n, ldb)
	mc, okC := matrix(blas.NoTrans, c, m, n, ldc)
	if !okA || !okB || !okC || alpha == 0 {
		return false
	}
	Mul(mc, float64(alpha), ma, mb, float64(beta))
	return true
}

// matrix returns op(data), r x c, and whether there is such a matrix.
func matrix[T vec.Float](op blas.Transpose, data []T, r, c, ld int) (gemm.Mat[T], bool) {
	rows, cols := r, c
	switch op {
	case blas.NoTrans:
	case blas.Trans, blas.ConjTrans:
		rows, cols = c, r
	default:
		return gemm.Mat[T]{}, false
	}
	if r < 1 || c < 1 || ld < cols || len(data) < (rows-1)*ld+cols {
		return gemm.Mat[T]{}, false
	}
	m := gemm.Mat[T]{Data: data, R: rows, C: cols, RS: ld, CS: 1}
	if op != blas.NoTrans {
		m = m.T()
	}
	return m, true
}

// Mul is gemm.Mul with the rows, or the columns, of C spread over the cores.
func Mul[T vec.Float](c gemm.Mat[T], alpha float64, a, b gemm.Mat[T], beta float64) {
	if c.C > c.R { // the transpose of the product
		c, a, b = c.T(), b.T(), a.T()
	}
	const worth = 1 << 18 // multiply-adds
	par.Ranges(c.R, 1+worth/max(1, c.C*a.C), func(from, to int) {
		gemm.Mul(c.Sub(from, 0, to-from, c.C), alpha, a.Sub(from, 0, to-from, a.C), b, beta)
	})
}

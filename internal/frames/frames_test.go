// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"

	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// sides are shapes of tall matrices.
var sides = [][2]int{{1, 1}, {5, 1}, {3, 3}, {8, 5}, {17, 17}, {40, 12}, {70, 33}}

// random returns a random n x q matrix, and as every other one a transposed view.
func random[T vec.Float](rng *rand.Rand, n, q int) gemm.Mat[T] {
	data := make([]T, n*q)
	for i := range data {
		data[i] = T(rng.NormFloat64())
	}
	if rng.IntN(2) == 0 {
		return gemm.Of(data, q, n).T()
	}
	return gemm.Of(data, n, q)
}

func like[T vec.Float](x gemm.Mat[T]) gemm.Mat[T] {
	x.Data = make([]T, len(x.Data))
	return x
}

func clone[T vec.Float](x gemm.Mat[T]) gemm.Mat[T] {
	x.Data = append([]T(nil), x.Data...)
	return x
}

func dense[T vec.Float](x gemm.Mat[T]) *mat.Dense {
	d := mat.NewDense(x.R, x.C, nil)
	d.Apply(func(i, j int, _ float64) float64 { return float64(x.At(i, j)) }, d)
	return d
}

// near asserts that the largest difference is at most tol.
func near[T vec.Float](t *testing.T, want mat.Matrix, got gemm.Mat[T], tol float64, what string) {
	t.Helper()
	var d mat.Dense
	d.Sub(want, dense(got))
	largest := math.Max(mat.Max(&d), -mat.Min(&d))
	require.LessOrEqual(t, largest, tol, what)
}

// conditioned returns U diag(s) V^T, s from 1 to 1/c in equal ratios, and U V^T.
func conditioned(rng *rand.Rand, n, q int, c float64) (x, polar *mat.Dense) {
	u, v := orthonormal(rng, n, q), orthonormal(rng, q, q)
	x, polar = new(mat.Dense), new(mat.Dense)
	polar.Mul(u, v.T())
	u.Apply(func(_, j int, a float64) float64 {
		if q == 1 {
			return a
		}
		return a * math.Pow(c, -float64(j)/float64(q-1))
	}, u)
	x.Mul(u, v.T())
	return x, polar
}

// orthonormal returns the Q of a random matrix, by gonum.
func orthonormal(rng *rand.Rand, n, q int) *mat.Dense {
	var f mat.QR
	f.Factorize(dense(random[float64](rng, n, q)))
	var all mat.Dense
	f.QTo(&all)
	return mat.DenseCopyOf(all.Slice(0, n, 0, q))
}

func of[T vec.Float](x *mat.Dense) gemm.Mat[T] {
	r, c := x.Dims()
	y := gemm.Of(make([]T, r*c), r, c)
	for i := range r {
		for j := range c {
			y.Data[i*c+j] = T(x.At(i, j))
		}
	}
	return y
}

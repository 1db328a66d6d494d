// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"gonum.org/v1/gonum/mat"

	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/vec"
)

func TestDefect(t *testing.T) {
	testDefect[float32](t)
	testDefect[float64](t)
}

func testDefect[T vec.Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, s := range sides {
		x, r := random[T](rng, s[0], s[1]), 1.5
		e, q := make([]T, s[1]*s[1]), s[1]
		norm := Defect(e, x, r)
		var want mat.Dense
		want.Mul(dense(x).T(), dense(x))
		want.Scale(1/(r*r), &want)
		for i := range q {
			want.Set(i, i, want.At(i, i)-1)
		}
		tol := 10 * float64(s[0]) * vec.Eps[T]()
		near(t, &want, gemm.Of(e, q, q), tol, "defect")
		assert.InEpsilon(t, 1+mat.Norm(&want, 2), 1+norm, tol)
	}
}

func TestSymmetricAndSkewParts(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 1))
	for _, q := range []int{1, 2, 7, 31, 32, 33, 70} {
		a := gemm.Of(random[float64](rng, q, q).Data, q, q)
		s, k, l := clone(a), clone(a), clone(a)
		Symmetrize(s.Data, q)
		Skew(k.Data, q)
		ClearUpper(l.Data, q)
		for i := range q {
			for j := range q {
				assert.Equal(t, (a.At(i, j)+a.At(j, i))/2, s.At(i, j))
				assert.Equal(t, (a.At(i, j)-a.At(j, i))/2, k.At(i, j))
				if j > i {
					assert.Zero(t, l.At(i, j))
				} else {
					assert.Equal(t, a.At(i, j), l.At(i, j))
				}
			}
		}
	}
}

// The bound is at least the eigenvalue and at most sqrt(q) times as large, even if the eigenvector is
// nearly orthogonal to the start of a power iteration.
func TestEigenvalueBound(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	for range 300 {
		q := 1 + rng.IntN(40)
		x := dense(random[float64](rng, q+rng.IntN(20), q))
		if rng.IntN(2) == 0 { // nearly orthogonal, with one long column
			x, _ = conditioned(rng, q, q, 1)
			j := rng.IntN(q)
			for i := range q {
				x.Set(i, j, 1.8*x.At(i, j))
			}
		}
		var g mat.Dense
		g.Mul(x.T(), x)
		var svd mat.SVD
		assert.True(t, svd.Factorize(x, mat.SVDNone))
		bound, largest := eigenvalueBound(of[float64](&g).Data, q), math.Pow(svd.Values(nil)[0], 2)
		assert.GreaterOrEqual(t, bound, largest*(1-100*0x1p-52))
		assert.LessOrEqual(t, bound, largest*math.Sqrt(float64(q))*(1+100*0x1p-52))
	}
}

func TestInvertible(t *testing.T) {
	for _, x := range []float64{1, 1e-300, 1e300, math.MaxFloat64} {
		assert.True(t, Invertible(x), x)
	}
	for _, x := range []float64{0, -1, 1e-310, math.Inf(1), math.NaN()} {
		assert.False(t, Invertible(x), x)
	}
}

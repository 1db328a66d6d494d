// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"
)

// Eigenvalues are those of gonum's EigenSym, and of matrices whose eigenvalues are known.
func TestEigenvalues(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 2, 3, 5, 8, 31, 64, 130} {
		for _, rank := range []int{n, (n + 1) / 2} {
			for _, scale := range []float64{1, 1e-290, 1e290} {
				x := make([]float64, n*rank)
				for i := range x {
					x[i] = rng.NormFloat64()
				}
				var gram mat.Dense
				gram.Mul(mat.NewDense(n, rank, x), mat.NewDense(n, rank, x).T())
				a := slices.Clone(gram.RawMatrix().Data)
				var eigen mat.EigenSym
				require.True(t, eigen.Factorize(mat.NewSymDense(n, slices.Clone(a)), false))
				want := eigen.Values(nil)
				for i := range a {
					a[i] *= scale
				}
				got, ok := Eigenvalues(a, n)
				require.True(t, ok)
				for i := range got {
					got[i] /= scale
				}
				assert.InDeltaSlice(t, want, got, float64(n)*0x1p-50*want[n-1], "n %d, rank %d", n, rank)
			}
		}
		// The second difference has the eigenvalues 2 - 2 cos(pi k/(n+1)); here with its rows in another order.
		order := rng.Perm(n)
		a := make([]float64, n*n)
		for i := range n {
			a[order[i]*n+order[i]] = 2
			if i > 0 {
				a[order[i]*n+order[i-1]], a[order[i-1]*n+order[i]] = -1, -1
			}
		}
		got, ok := Eigenvalues(a, n)
		require.True(t, ok)
		for k := range got {
			assert.InDelta(t, 2-2*math.Cos(math.Pi*float64(k+1)/float64(n+1)), got[k], 1e-14*float64(n))
		}
	}
	diagonal, ok := Eigenvalues([]float64{3, 0, 0, 0, -1, 0, 0, 0, 2}, 3)
	assert.True(t, ok)
	assert.Equal(t, []float64{-1, 2, 3}, diagonal)
	blocks, ok := Eigenvalues([]float64{1, 0, 0, 0, 2e-200, 1e-200, 0, 1e-200, 2e-200}, 3) // LAPACK of gonum panics
	assert.True(t, ok)
	assert.Equal(t, []float64{0, 0, 1}, blocks)
	const tiny = 1e-310
	subnormal, ok := Eigenvalues([]float64{1, 0, 0, 0, 0, tiny, tiny, tiny, 0, tiny, tiny, tiny, 0, tiny, tiny, tiny}, 4)
	assert.True(t, ok)
	assert.Equal(t, []float64{0, 0, 0, 1}, subnormal)
	zero, ok := Eigenvalues(make([]float64, 4), 2)
	assert.True(t, ok)
	assert.Equal(t, []float64{0, 0}, zero)
	none, ok := Eigenvalues(nil, 0)
	assert.True(t, ok)
	assert.Empty(t, none)
	_, ok = Eigenvalues([]float64{1, math.NaN(), math.NaN(), 1}, 2)
	assert.False(t, ok)
}

func BenchmarkEigenvalues(b *testing.B) {
	const n = 512
	x := make([]float64, n*n)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		for j := range i + 1 {
			x[i*n+j] = rng.NormFloat64()
			x[j*n+i] = x[i*n+j]
		}
	}
	a := make([]float64, n*n)
	b.Run("frames", func(b *testing.B) {
		for b.Loop() {
			copy(a, x)
			Eigenvalues(a, n)
		}
	})
	b.Run("gonum", func(b *testing.B) {
		for b.Loop() {
			copy(a, x)
			var eigen mat.EigenSym
			eigen.Factorize(mat.NewSymDense(n, a), false)
		}
	})
}

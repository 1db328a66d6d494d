// SPDX-License-Identifier: Apache-2.0

package manifolds_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"

	"github.com/kernelfold/kernelfold/manifolds"
)

// Gradient descent finds the principal subspace, the span of the top p eigenvectors of a covariance
// matrix, from every start: -tr(x^T A x)/2 has no other local minimum.
func TestGrassmannPCA(t *testing.T) {
	const n, p = 9, 3
	rng := rand.New(rand.NewPCG(6, 1))
	samples := mat.NewDense(50, n, nil)
	for i := range 50 {
		for j := range n {
			samples.Set(i, j, rng.NormFloat64()/float64(1+j))
		}
	}
	var gram mat.SymDense
	gram.SymOuterK(1./50, samples.T())
	var eigen mat.EigenSym
	require.True(t, eigen.Factorize(&gram, true))
	var vectors mat.Dense
	eigen.VectorsTo(&vectors)
	top := points64(t, make([]float64, n*p), 1, n, p)
	for i := range n {
		for j := range p {
			top.Set(0, i, j, vectors.At(i, n-1-j))
		}
	}
	for start := range 20 {
		m := manifolds.Grassmann{Geodesic: start%2 == 1}
		x, g := top.Like(), top.Like()
		require.NoError(t, m.Random(x, rng))
		for range 1500 {
			var ax mat.Dense
			ax.Mul(&gram, mat.NewDense(n, p, x.Data64()))
			for e, v := range ax.RawMatrix().Data {
				g.Data64()[e] = -v
			}
			_, err := manifolds.Descend(m, x, manifolds.Points{}, g, manifolds.Descent{Slope: 1, Rate: 1})
			require.NoError(t, err)
		}
		off, err := m.Same(top, x)
		require.NoError(t, err)
		assert.Less(t, off, 1e-13, "start %d", start)
	}
}

// All operations depend on the subspaces only, not on the bases that represent them.
func TestGrassmannInvariance(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 1))
	m := manifolds.Grassmann{Geodesic: true}
	x, y, u := points64(t, make([]float64, 8*3), 1, 8, 3), points64(t, make([]float64, 8*3), 1, 8, 3), points64(t, make([]float64, 8*3), 1, 8, 3)
	q, s := points64(t, make([]float64, 9), 1, 3, 3), points64(t, make([]float64, 9), 1, 3, 3)
	require.NoError(t, m.Random(x, rng))
	require.NoError(t, m.Random(y, rng))
	require.NoError(t, m.Random(u, rng))
	require.NoError(t, manifolds.Stiefel{}.Random(q, rng))
	require.NoError(t, manifolds.Stiefel{}.Random(s, rng))
	require.NoError(t, m.Tangent(u, x, u))
	times := func(a, b manifolds.Points) manifolds.Points {
		c := a.Like()
		mat.NewDense(8, 3, c.Data64()).Mul(mat.NewDense(8, 3, a.Data64()), mat.NewDense(3, 3, b.Data64()))
		return c
	}
	equal := func(want, got manifolds.Points, what string) {
		assert.InDeltaSlice(t, want.Data64(), got.Data64(), 1e-13, what)
	}
	v, w := x.Like(), x.Like()
	require.NoError(t, m.Log(v, x, y))
	require.NoError(t, m.Log(w, times(x, q), times(y, s)))
	equal(times(v, q), w, "log at x q of y s is log at x of y, times q")
	require.NoError(t, m.ParallelTransport(v, x, y, u))
	require.NoError(t, m.ParallelTransport(w, times(x, q), times(y, s), times(u, q)))
	equal(times(v, s), w, "parallel transport")
	for _, m := range []manifolds.Grassmann{{}, {Geodesic: true}} {
		require.NoError(t, m.Retract(v, x, u))
		require.NoError(t, m.Retract(w, times(x, q), times(u, q)))
		equal(times(v, q), w, "retraction")
	}
	a, b := []float64{0}, []float64{0}
	require.NoError(t, m.Dist(a, x, y))
	require.NoError(t, m.Dist(b, times(x, q), times(y, s)))
	assert.InDelta(t, a[0], b[0], 1e-14)
}

// Subspaces at a right angle have more than one shortest geodesic.
func TestGrassmannRightAngle(t *testing.T) {
	x := points64(t, []float64{1, 0, 0, 1, 0, 0, 0, 0}, 1, 4, 2)
	y := points64(t, []float64{1, 0, 0, 0, 0, 1, 0, 0}, 1, 4, 2)
	m := manifolds.Grassmann{}
	require.ErrorIs(t, m.Log(x.Like(), x, y), manifolds.ErrDegenerate)
	require.ErrorContains(t, m.Log(x.Like(), x, y), "Grassmann: log: point 0: want spans without a right angle, got the cosine 0")
	require.ErrorIs(t, m.ParallelTransport(x.Like(), x, y, x.Like()), manifolds.ErrDegenerate)
	d := []float64{0}
	require.NoError(t, m.Dist(d, x, y))
	assert.InDelta(t, 1.5707963267948966, d[0], 1e-15)
}

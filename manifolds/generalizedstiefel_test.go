// SPDX-License-Identifier: Apache-2.0

package manifolds_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/manifolds/manifoldtest"
)

// definite returns a symmetric positive definite matrix of order n, and the diagonal of one.
func definite(n int) (full, diagonal []float64) {
	rng := rand.New(rand.NewPCG(5, uint64(n)))
	a := make([]float64, n*n)
	for i := range a {
		a[i] = rng.NormFloat64() / math.Sqrt(float64(n))
	}
	full = make([]float64, n*n)
	for i := range n {
		diagonal = append(diagonal, 0.7+0.6*rng.Float64())
		full[i*n+i] = 0.8
		for j := range n {
			for k := range n {
				full[i*n+j] += 0.15 * a[i*n+k] * a[j*n+k]
			}
		}
	}
	for i := range n { // symmetric to the bit
		for j := range i {
			full[i*n+j] = full[j*n+i]
		}
	}
	return full, diagonal
}

func TestGeneralizedStiefelConformance(t *testing.T) {
	full, diagonal := definite(8)
	for name, b := range map[string][]float64{"dense": full, "diagonal": diagonal} {
		t.Run(name, func(t *testing.T) {
			m, err := manifolds.NewGeneralizedStiefel(8, b)
			require.NoError(t, err)
			shapes := []manifoldtest.Shape{{K: 3, N: 8, P: 3}, {K: 2, N: 3, P: 8}, {K: 1, N: 8, P: 8}, {K: 2, N: 8, P: 1}}
			manifoldtest.Run(t, m, shapes...)
			m.Metric, m.Retraction, m.Radius = manifolds.CanonicalMetric, manifolds.Polar, 3
			manifoldtest.Run(t, m, shapes...)
			m.Axis, m.Retraction = manifolds.Rows, manifolds.Geodesic
			manifoldtest.Run(t, m, manifoldtest.Shape{K: 2, N: 8, P: 8}, manifoldtest.Shape{K: 2, N: 3, P: 8})
		})
	}
}

// With B = I it is Stiefel.
func TestGeneralizedStiefelOfIdentity(t *testing.T) {
	m, err := manifolds.NewGeneralizedStiefel(5, []float64{1, 1, 1, 1, 1})
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(1, 5))
	x, v := points64(t, make([]float64, 30), 2, 5, 3), points64(t, make([]float64, 30), 2, 5, 3)
	require.NoError(t, m.Random(x, rng))
	for i := range v.Data64() {
		v.Data64()[i] = rng.NormFloat64()
	}
	require.NoError(t, m.Tangent(v, x, v))
	got, want := x.Like(), x.Like()
	require.NoError(t, m.Retract(got, x, v))
	require.NoError(t, manifolds.Stiefel{}.Retract(want, x, v))
	assert.Equal(t, want, got)
}

func TestGeneralizedStiefelErrors(t *testing.T) {
	for _, c := range []struct {
		n    int
		b    []float64
		want string
	}{
		{0, nil, "want B of order n >= 1, as n elements of its diagonal or n*n in all, got n = 0 and 0 elements"},
		{2, []float64{1, 2, 3}, "got n = 2 and 3 elements"},
		{2, []float64{1, math.NaN()}, "want a finite B, got NaN at element 1"},
		{2, []float64{1, 0}, "want a positive definite B, got 0 on its diagonal, at 1"},
		{2, []float64{1, 0.5, 0.4, 1}, "want a symmetric B, got 0.5 at (0, 1) and 0.4 at (1, 0)"},
		{2, []float64{1, 2, 2, 1}, "want a positive definite B of order 2"},
	} {
		_, err := manifolds.NewGeneralizedStiefel(c.n, c.b)
		assert.ErrorContains(t, err, c.want)
	}
	assert.ErrorContains(t, manifolds.GeneralizedStiefel{}.Check(3, 2), "want a B, by NewGeneralizedStiefel, got none")
	m, err := manifolds.NewGeneralizedStiefel(4, []float64{1, 2, 3, 4})
	require.NoError(t, err)
	assert.ErrorContains(t, m.Check(5, 3), "want points whose longer side is 4, the order of B, got points of 5x3")
	m.Axis = manifolds.Columns
	assert.Error(t, m.Check(3, 4))
	assert.NoError(t, m.Check(4, 3))
	m.Axis = 7
	assert.ErrorContains(t, m.Check(4, 3), "want the axis Auto, Columns or Rows, got 7")
}

// The rows of a square filter bank are its filters.
func TestGeneralizedStiefelOfBanks(t *testing.T) {
	m, err := manifolds.NewGeneralizedStiefel(4, []float64{1, 2, 3, 4})
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(1, 6))
	for _, c := range []struct {
		g    manifolds.Grouping
		rows bool
	}{{manifolds.FilterBank, true}, {manifolds.PerSlice, false}} {
		shape := []int{4, 4, 1, 1}
		if c.g == manifolds.PerSlice {
			shape = []int{1, 1, 4, 4}
		}
		pieces, err := manifolds.On(m, c.g).Bind(shape, 1)
		require.NoError(t, err)
		x := points64(t, make([]float64, 16), 1, 4, 4)
		require.NoError(t, pieces[0].Manifold.(manifolds.Sampler).Random(x, rng))
		for i := range 4 {
			for j := range 4 {
				sum, want := 0.0, 0.0
				for k := range 4 {
					if c.rows {
						sum += x.At(0, i, k) * float64(k+1) * x.At(0, j, k)
					} else {
						sum += x.At(0, k, i) * float64(k+1) * x.At(0, k, j)
					}
				}
				if i == j {
					want = 1
				}
				assert.InDelta(t, want, sum, 1e-14)
			}
		}
	}
}

// What overflows is an error, in the name of the manifold.
func TestGeneralizedStiefelOverflows(t *testing.T) {
	of := func(b float64) manifolds.GeneralizedStiefel {
		m, err := manifolds.NewGeneralizedStiefel(3, []float64{b, b, b})
		require.NoError(t, err)
		return m
	}
	rng := rand.New(rand.NewPCG(1, 7))
	for _, bits := range []int{32, 64} {
		far := map[int]float64{32: 1, 64: 1e250}[bits] // gradients that a factor of 1e80 makes too large
		x, y, none := fresh(t, bits, 2, 3, 2), fresh(t, bits, 2, 3, 2), fresh(t, bits, 2, 3, 2)
		g := draw(fresh(t, bits, 2, 3, 2), rng, far, 0)
		unit := of(1)
		require.NoError(t, unit.Random(x, rng))
		errs := map[string]error{
			"a matrix without rank": unit.Project(y, none),
			"a gradient":            of(1e-80).Gradient(y, scaledBatch(t, x, map[int]float64{32: 0, 64: 1e40}[bits], bits == 32), g),
		}
		if bits == 32 {
			errs["a projection"] = of(1e-80).Project(y, x)
			errs["a random point"] = of(1e-80).Random(y, rng)
		} else {
			errs["coordinates of a vector"] = of(1e300).Tangent(y, scaledBatch(t, x, 1e-150, false), g)
			errs["an inner product"] = unit.AmbientInner(make([]float64, 2), g, g)
		}
		for what, err := range errs {
			var at *manifolds.PointError
			if assert.True(t, errors.As(err, &at), "%s, float%d: %v", what, bits, err) {
				assert.Equal(t, "GeneralizedStiefel", at.Manifold, what)
			}
		}
	}
	m := of(1)
	assert.ErrorContains(t, m.Check(0, 3), "GeneralizedStiefel: want positive sizes")
	m.Radius = -1
	assert.ErrorContains(t, m.Check(3, 2), "GeneralizedStiefel: want a positive finite radius")
}

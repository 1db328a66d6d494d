// SPDX-License-Identifier: Apache-2.0

package manifolds_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"

	"github.com/kernelfold/kernelfold/manifolds"
)

// determinants returns those of the points, in units of r^n.
func determinants(x manifolds.Points, r float64) []float64 {
	var d []float64
	for k := range x.K {
		m := mat.NewDense(x.N, x.N, nil)
		for i := range x.N {
			for j := range x.N {
				m.Set(i, j, x.At(k, i, j)/r)
			}
		}
		d = append(d, mat.Det(m))
	}
	return d
}

// Over ten thousand random steps, short and long, a point stays on the manifold and in its component.
func TestRotationsStayRotations(t *testing.T) {
	for _, r := range []manifolds.StiefelRetraction{manifolds.CholeskyQR, manifolds.QR, manifolds.Polar, manifolds.Geodesic, manifolds.Cayley} {
		for _, n := range []int{2, 3, 4} {
			rng := rand.New(rand.NewPCG(uint64(n), 1))
			x := points32(t, make([]float32, 4*n*n), 4, n, n)
			m := manifolds.SpecialOrthogonal{Retraction: r}
			require.NoError(t, m.Random(x, rng))
			g := x.Like()
			for step := range 10_000 {
				for e := range g.Data32() {
					g.Data32()[e] = float32(rng.NormFloat64() * []float64{0.1, 1, 10}[step%3])
				}
				require.NoError(t, m.Tangent(g, x, g))
				require.NoError(t, m.Retract(x, x, g))
			}
			assert.Less(t, m.Membership(x), 1e-5, "%v, %d", r, n)
			for _, d := range determinants(x, 1) {
				assert.InDelta(t, 1, d, 1e-5, "%v, %d", r, n)
			}
		}
	}
}

// Kabsch's problem: the rotation that takes one set of points in space to another, of which some are
// mirrored, so that the best orthogonal matrix is no rotation. Gradient descent finds it from every
// start, and the projection is the answer in closed form.
func TestKabsch(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 1))
	m := manifolds.SpecialOrthogonal{}
	moment := points64(t, []float64{2.5, 0.3, -0.1, 0.2, 1.7, 0.4, 0, -0.3, -0.6}, 1, 3, 3)
	require.Negative(t, determinants(moment, 1)[0])
	want := moment.Like()
	require.NoError(t, m.Project(want, moment))
	require.InDelta(t, 1, determinants(want, 1)[0], 1e-14)
	for start := range 20 {
		x, g := want.Like(), want.Like()
		require.NoError(t, m.Random(x, rng))
		for range 400 {
			for e, v := range moment.Data64() {
				g.Data64()[e] = -v // of |x a - b|^2 / 2
			}
			_, err := manifolds.Descend(m, x, manifolds.Points{}, g, manifolds.Descent{Slope: 1, Rate: 0.3})
			require.NoError(t, err)
		}
		assert.InDeltaSlice(t, want.Data64(), x.Data64(), 1e-13, "start %d", start)
	}
}

func TestOrthogonalErrors(t *testing.T) {
	assert.EqualError(t, manifolds.SpecialOrthogonal{}.Check(3, 4), "manifolds: SpecialOrthogonal: want square points, got points of 3x4")
	assert.ErrorContains(t, manifolds.Orthogonal{Retraction: 99}.Check(3, 3), "want a known retraction, got 99")
	_, err := manifolds.On(manifolds.SpecialOrthogonal{}, manifolds.FilterBank).Bind([]int{4, 3, 3, 3}, 1)
	assert.EqualError(t, err, "manifolds: SpecialOrthogonal: want square points, got points of 4x27 (shape [4 3 3 3], filter bank)")

	identity, flip, half := points64(t, []float64{1, 0, 0, 1}, 1, 2, 2), points64(t, []float64{1, 0, 0, -1}, 1, 2, 2), points64(t, []float64{-1, 0, 0, -1}, 1, 2, 2)
	v, d := identity.Like(), []float64{0}
	assert.Equal(t, 2.0, manifolds.SpecialOrthogonal{}.Membership(flip))
	assert.Zero(t, manifolds.Orthogonal{}.Membership(flip))
	assert.ErrorContains(t, manifolds.Orthogonal{}.Log(v, identity, flip), "want points in one component")
	assert.ErrorIs(t, manifolds.Orthogonal{}.Dist(d, identity, flip), manifolds.ErrDegenerate)
	assert.ErrorContains(t, manifolds.SpecialOrthogonal{}.Log(v, identity, half), "want rotations by less than pi - 1.8e-15, got an angle of pi - 0")
	require.NoError(t, manifolds.SpecialOrthogonal{}.Dist(d, identity, half))
	assert.InDelta(t, math.Sqrt2*math.Pi, d[0], 1e-14)
	assert.ErrorContains(t, manifolds.SpecialOrthogonal{}.Project(v, flip), "want a matrix with a single nearest rotation")
}

// Geodesics and Cayley transforms reach 128 |x|; a longer step is an error that names the limit.
func TestLongestGeodesics(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 1))
	for _, m := range []manifolds.Manifold{
		manifolds.Stiefel{Retraction: manifolds.Geodesic}, manifolds.Stiefel{Retraction: manifolds.Cayley},
		manifolds.Stiefel{Radius: 1e6, Metric: manifolds.CanonicalMetric, Retraction: manifolds.Geodesic},
		manifolds.Grassmann{Radius: 1e-6, Geodesic: true},
		manifolds.Orthogonal{Retraction: manifolds.Geodesic}, manifolds.SpecialOrthogonal{Radius: 3, Retraction: manifolds.Cayley},
	} {
		rows := 4
		if m.Check(rows, 3) != nil {
			rows = 3
		}
		for _, x := range []manifolds.Points{points64(t, make([]float64, 3*rows), 1, rows, 3), points32(t, make([]float32, 3*rows), 1, rows, 3)} {
			what := manifolds.Name(m) + " " + x.String()
			require.NoError(t, m.(manifolds.Sampler).Random(x, rng))
			v, y := x.Like(), x.Like()
			require.NoError(t, manifolds.Euclidean{}.Random(v, rng))
			require.NoError(t, m.Tangent(v, x, v))
			require.NoError(t, v.Combine(127*x.Norm()/v.Norm(), v, 0, v))
			require.NoError(t, m.Retract(y, x, v), what)
			assert.Less(t, m.Membership(y), 1e-5, what)
			require.NoError(t, v.Combine(129./127, v, 0, v))
			var at *manifolds.PointError
			require.ErrorAs(t, m.Retract(y, x, v), &at, what)
			assert.Equal(t, "want a step of at most 222 radii, got 223", at.Reason, what)
		}
	}
}

// A gradient along the point has no tangent part but rounding errors. A direction that is normalised, as Adam's, makes steps of any length of them: they end at a
// rotation, or in an error.
func TestRotationsOfRoundingErrors(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	m := manifolds.SpecialOrthogonal{}
	failed := 0
	for range 200 {
		x, err := manifolds.Points64(make([]float64, 9), 1, 3, 3)
		require.NoError(t, err)
		require.NoError(t, m.Random(x, rng))
		v := x.Like()
		require.NoError(t, v.Combine(1e10*rng.Float64(), x, 0, x))
		require.NoError(t, m.Tangent(v, x, v))
		if n := v.Norm(); n > 0 {
			require.NoError(t, v.Combine(100*rng.Float64()/n, v, 0, v))
		}
		y := x.Like()
		if err := m.Retract(y, x, v); err != nil {
			require.ErrorContains(t, err, "the determinant keeps its sign")
			failed++
			continue
		}
		assert.Less(t, m.Membership(y), 1e-13)
	}
	assert.Greater(t, failed, 0)
	assert.Less(t, failed, 150)
}

// SPDX-License-Identifier: Apache-2.0

package manifolds_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/manifolds"
)

// values returns the elements of a batch in float64.
func values(x manifolds.Points) []float64 {
	if x.Data64() != nil {
		return x.Data64()
	}
	y := make([]float64, x.Len())
	for i, v := range x.Data32() {
		y[i] = float64(v)
	}
	return y
}

// scaledBatch returns factor times x, in float32 or float64.
func scaledBatch(t *testing.T, x manifolds.Points, factor float64, single bool) manifolds.Points {
	y := make([]float64, x.Len())
	for i, v := range values(x) {
		y[i] = factor * v
	}
	z := points64(t, y, x.K, x.N, x.P)
	if single {
		return narrowed(t, z)
	}
	return z
}

// inUnits returns x / unit in float64.
func inUnits(t *testing.T, x manifolds.Points, unit float64) manifolds.Points {
	y := make([]float64, x.Len())
	for i, v := range values(x) {
		y[i] = v / unit
	}
	return points64(t, y, x.K, x.N, x.P)
}

func epsOf(single bool) float64 {
	if single {
		return 0x1p-23
	}
	return 0x1p-52
}

var rangeShapes = [][3]int{{19, 3, 3}, {3, 8, 5}, {18, 2, 7}, {2, 9, 9}, {1, 40, 12}, {2, 12, 40}}

// forRanges calls f for radii and sizes of vectors from 10^-30 to 10^30, with a random point and
// tangent vector in float64, at unit radius and of norm 1.
func forRanges(t *testing.T, f func(what string, single bool, r, size float64, x, v manifolds.Points)) {
	rng := rand.New(rand.NewPCG(21, 22))
	for _, s := range rangeShapes {
		x := points64(t, make([]float64, s[0]*s[1]*s[2]), s[0], s[1], s[2])
		v := x.Like()
		require.NoError(t, manifolds.Stiefel{}.Random(x, rng))
		require.NoError(t, manifolds.Euclidean{}.Random(v, rng))
		require.NoError(t, v.Combine(1/v.Norm(), v, 0, v))
		for _, r := range []float64{1e-30, 1e-16, 1e-6, 1e-4, 1, 1e4, 1e6, 1e16, 1e30} {
			for _, size := range []float64{1e-30, 1e-16, 1, 1e16, 1e30} {
				for _, single := range []bool{true, false} {
					f(fmt.Sprintf("%v, radius %g, vector of %g, eps %g", s, r, size, epsOf(single)), single, r, size, x, v)
				}
			}
		}
	}
}

// Operations that are linear in a vector agree, at all scales, with those in float64 on the same
// numbers at radius 1 and norm 1.
func TestStiefelTangentAtEveryScale(t *testing.T) {
	forRanges(t, func(what string, single bool, r, size float64, x, v manifolds.Points) {
		m, unit := manifolds.Stiefel{Radius: r, Metric: manifolds.CanonicalMetric}, manifolds.Stiefel{Metric: manifolds.CanonicalMetric}
		x, v = scaledBatch(t, x, r, single), scaledBatch(t, v, size, single)
		x1, v1 := inUnits(t, x, r), inUnits(t, v, size)
		y, want := v.Like(), v1.Like()
		tol := 10 * math.Sqrt(float64(max(x.N, x.P))) * epsOf(single)
		near := func(what string, got manifolds.Points) {
			t.Helper()
			require.LessOrEqual(t, largestDifference(want, inUnits(t, got, size)), tol, what)
		}
		require.NoError(t, m.Tangent(y, x, v))
		require.NoError(t, unit.Tangent(want, x1, v1))
		near("tangent, "+what, y)
		require.NoError(t, m.Transport(y, x, x, v))
		near("transport, "+what, y)
		require.NoError(t, manifolds.Stiefel{Radius: r}.Gradient(y, x, v))
		near("Euclidean gradient, "+what, y)
		z := scaledBatch(t, x, 1, single)
		require.NoError(t, m.Tangent(z, z, v)) // over the point
		near("in place of the point, "+what, z)
		z = scaledBatch(t, v, 1, single)
		require.NoError(t, m.Tangent(z, x, z)) // over the vector
		near("in place, "+what, z)

		tangent, tangent1 := y, inUnits(t, y, size)
		grad := v.Like()
		require.NoError(t, m.Gradient(grad, x, v))
		require.NoError(t, unit.Gradient(want, x1, v1))
		near("canonical gradient, "+what, grad)

		for _, c := range []manifolds.StiefelMetric{manifolds.EuclideanMetric, manifolds.CanonicalMetric} {
			m.Metric, unit.Metric = c, c
			got, expected := make([]float64, x.K), make([]float64, x.K)
			require.NoError(t, m.Inner(got, x, tangent, v))
			require.NoError(t, unit.Inner(expected, x1, tangent1, v1))
			for i := range got {
				require.InDelta(t, expected[i], got[i]/size/size, tol, what)
			}
			require.NoError(t, m.Gradient(grad, x, v))
			require.NoError(t, m.Inner(expected, x, grad, grad))
			require.NoError(t, m.GradientSquares(got, x, v))
			for i := range got {
				require.InDelta(t, expected[i]/size/size, got[i]/size/size, tol, "squares of gradients, metric %d, %s", c, what)
			}
		}
	})
}

// Operations that return points agree, at all radii, with those in float64 at radius 1.
func TestStiefelPointsAtEveryRadius(t *testing.T) {
	forRanges(t, func(what string, single bool, r, size float64, x, v manifolds.Points) {
		eps, root := epsOf(single), math.Sqrt(float64(x.N*x.P))
		// Any matrix of the size projects to a point of the radius.
		unit := manifolds.Stiefel{}
		m := manifolds.Stiefel{Radius: r}
		raw := scaledBatch(t, v, size, single)
		y, want := raw.Like(), x.Like()
		require.NoError(t, m.Project(y, raw), what)
		require.NoError(t, unit.Project(want, inUnits(t, raw, size)), what)
		// the condition number of random slices is a thousand now and then, and float32 is
		// projected in float64
		require.LessOrEqual(t, largestDifference(want, inUnits(t, y, r)), 4*eps+1e5*0x1p-52, what)
		require.LessOrEqual(t, m.Membership(y), 10*root*eps, what)

		adjoint, wantAdjoint := raw.Like(), want.Like()
		g := scaledBatch(t, x, 1, single)
		err := m.ProjectAdjoint(adjoint, raw, y, g)
		ratio := r / size
		if single && ratio > 1e40 { // beyond float32
			var pe *manifolds.PointError
			require.True(t, errors.As(err, &pe), "adjoint, %s: %v", what, err)
		} else {
			require.NoError(t, err, what)
			require.NoError(t, unit.ProjectAdjoint(wantAdjoint, inUnits(t, raw, size), want, inUnits(t, g, 1)), what)
			if ratio > 1e-30 || !single { // below, float32 has not all digits
				require.LessOrEqual(t, largestDifference(wantAdjoint, inUnits(t, adjoint, ratio)), 1e3*eps*(1+wantAdjoint.Norm())+1e-9, what)
			}
		}
		if size != 1 {
			return
		}
		x = scaledBatch(t, x, r, single)
		x1 := inUnits(t, x, r)
		// Membership of a point, of one that is 1 % off, and of other sizes.
		for _, factor := range []float64{1, 1.01, 0, 1e-10, 1e4} {
			z := scaledBatch(t, x, factor, single)
			require.InDelta(t, unit.Membership(inUnits(t, z, r)), m.Membership(z), 20*root*eps*(1+factor*factor), "%s, factor %g", what, factor)
		}
		for _, retraction := range []manifolds.StiefelRetraction{manifolds.CholeskyQR, manifolds.QR, manifolds.Polar, manifolds.Geodesic} {
			for _, metric := range []manifolds.StiefelMetric{manifolds.EuclideanMetric, manifolds.CanonicalMetric} {
				for _, step := range []float64{0, 1e-8, 0.01, 0.5, 3, 40} { // radii
					m := manifolds.Stiefel{Radius: r, Retraction: retraction, Metric: metric}
					unit := manifolds.Stiefel{Retraction: retraction, Metric: metric}
					u := scaledBatch(t, v, step*r, single)
					require.NoError(t, m.Tangent(u, x, u))
					y, want := x.Like(), x1.Like()
					require.NoError(t, m.Retract(y, x, u), what)
					require.NoError(t, unit.Retract(want, x1, inUnits(t, u, r)), what)
					what := fmt.Sprintf("%s, %v, metric %d, step %g", what, retraction, metric, step)
					require.LessOrEqual(t, largestDifference(want, inUnits(t, y, r)), 40*eps*(1+step/4), what)
					require.LessOrEqual(t, m.Membership(y), 10*root*eps, what)
					z := scaledBatch(t, x, 1, single)
					require.NoError(t, m.Retract(z, z, u), what)
					require.Zero(t, largestDifference(y, z), "over the point, %s", what)
					z = scaledBatch(t, u, 1, single)
					require.NoError(t, m.Retract(z, x, z), what)
					require.Zero(t, largestDifference(y, z), "over the vector, %s", what)
				}
			}
		}
	})
}

// The membership of a finite matrix is finite, whatever its size, and that of another is NaN.
func TestStiefelMembershipIsFinite(t *testing.T) {
	for _, s := range rangeShapes {
		for _, r := range []float64{1e-30, 1e-16, 1, 1e16, 1e30} {
			for _, size := range []float64{1e-30, 1e19, 1e30, math.MaxFloat32, 1e200, math.MaxFloat64} {
				for _, single := range []bool{true, false} {
					if single && size > math.MaxFloat32 {
						continue
					}
					m, x := manifolds.Stiefel{Radius: r}, points64(t, make([]float64, s[0]*s[1]*s[2]), s[0], s[1], s[2])
					for i := range x.K {
						for j := range min(x.N, x.P) {
							x.Set(i, j, j, size)
						}
					}
					if single {
						x = narrowed(t, x)
					}
					want := math.Sqrt(float64(min(x.N, x.P))) * math.Abs((size/r)*(size/r)-1)
					got := m.Membership(x)
					what := fmt.Sprintf("%v, radius %g, size %g, float32 %t", s, r, size, single)
					if math.IsInf(want, 0) {
						assert.Equal(t, math.MaxFloat64, got, what)
					} else {
						assert.InEpsilon(t, 1+want, 1+got, 10*epsOf(single), what)
					}
					for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
						x.Set(x.K-1, x.N-1, 0, bad)
						assert.True(t, math.IsNaN(m.Membership(x)), what)
					}
				}
			}
		}
	}
}

// Results that the precision cannot hold are errors that say so.
func TestStiefelOutOfRange(t *testing.T) {
	rng := rand.New(rand.NewPCG(23, 24))
	for _, s := range rangeShapes {
		x := points64(t, make([]float64, s[0]*s[1]*s[2]), s[0], s[1], s[2])
		require.NoError(t, manifolds.Stiefel{}.Random(x, rng))
		x32 := narrowed(t, x)
		for _, r := range []float64{1e-50, 1e39} {
			for _, retraction := range []manifolds.StiefelRetraction{manifolds.CholeskyQR, manifolds.QR, manifolds.Polar, manifolds.Geodesic} {
				m, y := manifolds.Stiefel{Radius: r, Retraction: retraction}, x32.Like()
				for _, err := range []error{m.Project(y, x32), m.Retract(y, x32, x32.Like()), m.Exp(y, x32, x32.Like())} {
					var pe *manifolds.PointError
					require.True(t, errors.As(err, &pe), "%v", err)
					assert.Contains(t, pe.Reason, "want a radius from 1.18e-38 to 3.4e+38")
				}
			}
		}
		// a vector along a matrix that is far from a point
		var pe *manifolds.PointError
		far := scaledBatch(t, x, 1e10, true)
		err := manifolds.Stiefel{}.Tangent(far.Like(), far, scaledBatch(t, x, 1e30, true))
		require.True(t, errors.As(err, &pe), "%v", err)
		assert.Equal(t, "tangent", pe.Op)
		assert.Contains(t, pe.Reason, "want a tangent vector of elements up to 3.4e+38")
		// Vectors up to the largest number have a tangent projection.
		v := scaledBatch(t, x, math.MaxFloat32/2, true)
		y := v.Like()
		require.NoError(t, manifolds.Stiefel{Radius: 3}.Tangent(y, scaledBatch(t, x, 3, true), v))
		assert.LessOrEqual(t, y.Norm()/v.Norm(), 10*0x1p-23*math.Sqrt(float64(x.Len())), "x is normal to the manifold")
	}
}

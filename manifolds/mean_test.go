// SPDX-License-Identifier: Apache-2.0

package manifolds_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/internal/hyperbolic"
	"github.com/kernelfold/kernelfold/manifolds"
)

// cluster returns batches of two 4 x 4 points within about the given distance of one.
func cluster(t *testing.T, m manifolds.Manifold, n int, distance float64) []manifolds.Points {
	t.Helper()
	rng := rand.New(rand.NewPCG(5, 6))
	batch := func() manifolds.Points {
		x, err := manifolds.Points64(make([]float64, 32), 2, 4, 4)
		require.NoError(t, err)
		for i := range x.Data64() {
			x.Data64()[i] = rng.NormFloat64()
		}
		return x
	}
	centre := batch()
	require.NoError(t, m.Project(centre, centre))
	all := make([]manifolds.Points, n)
	for i := range all {
		v := batch()
		require.NoError(t, m.Tangent(v, centre, v))
		require.NoError(t, v.Combine(distance*centre.Norm()/v.Norm(), v, 0, v))
		all[i] = centre.Like()
		require.NoError(t, m.Retract(all[i], centre, v))
		require.NoError(t, m.Project(all[i], all[i])) // some retractions drift
	}
	return all
}

// intrinsic are the manifolds with a logarithm and an exponential map.
func intrinsic() (all []manifolds.Manifold) {
	for _, m := range every() {
		_, looks := m.(manifolds.Logarithm)
		if _, moves := m.(manifolds.Exponential); looks && moves {
			all = append(all, m)
		}
	}
	return all
}

// At the Karcher mean the weighted logarithms add up to 0, and of two points it is the point of the geodesic that divides it by the weights.
func TestKarcherMean(t *testing.T) {
	for _, m := range intrinsic() {
		t.Run(fmt.Sprintf("%+v", m), func(t *testing.T) {
			x := cluster(t, m, 5, 0.3)
			w := []float64{1, 2, 0.5, 0, 3}
			y := x[0].Like()
			require.NoError(t, manifolds.KarcherMean(m, y, w, x...))
			assert.Less(t, m.Membership(y), 1e-13)
			sum, v := y.Like(), y.Like()
			for i := range x {
				require.NoError(t, m.(manifolds.Logarithm).Log(v, y, x[i]))
				require.NoError(t, sum.Combine(1, sum, w[i], v))
			}
			assert.Less(t, sum.Norm(), 1e-9*y.Norm())

			require.NoError(t, manifolds.KarcherMean(m, y, []float64{3, 1}, x[0], x[1]))
			require.NoError(t, m.(manifolds.Logarithm).Log(v, x[0], x[1]))
			require.NoError(t, v.Combine(0.25, v, 0, v))
			require.NoError(t, m.(manifolds.Exponential).Exp(sum, x[0], v))
			same(t, m, sum, y, 1e-9)

			single, err := manifolds.Points32(make([]float32, 32), 2, 4, 4)
			require.NoError(t, err)
			var singles []manifolds.Points
			for range 2 {
				b := single.Like()
				for i := range b.Data32() {
					b.Data32()[i] = float32(x[len(singles)].Data64()[i])
				}
				singles = append(singles, b)
			}
			require.NoError(t, manifolds.KarcherMean(m, singles[0], []float64{3, 1}, singles...)) // over an argument
			back := sum.Like()
			for i, v := range singles[0].Data32() {
				back.Data64()[i] = float64(v)
			}
			same(t, m, sum, back, 1e-6)
		})
	}
}

// undeclared is hyperbolic space without a word about its curvature.
type undeclared struct{ space }

type space = hyperbolic.Space

func (undeclared) Properties(n, p int) manifolds.Properties { return manifolds.Properties{Dim: n * p} }

// brief makes only steps that are no longer than 2.
type brief struct{ undeclared }

func (m brief) Exp(dst, x, v manifolds.Points) error {
	square := make([]float64, x.K)
	if err := m.Inner(square, x, v, v); err != nil {
		return err
	}
	for k := range square {
		if square[k] > 4 {
			return &manifolds.PointError{Manifold: "brief", Op: "exp", Point: k, Reason: "too long"}
		}
	}
	return m.undeclared.Exp(dst, x, v)
}

// The bound of the Hessian is a coth a with a = d sqrt(-k), and 1 where nothing is curved.
func TestDistortion(t *testing.T) {
	for _, c := range []struct{ k, d, want float64 }{
		{0, 3, 1}, {-1, 0, 1}, {-1, 1e-9, 1}, {-1, 1, 1.3130352854993312}, {-4, 0.5, 1.3130352854993312}, {-1, 30, 30}, {-0.25, 60, 30},
	} {
		assert.InDelta(t, c.want, manifolds.Distortion(c.k, c.d), 1e-14*c.want)
	}
}

// Where the curvature is negative the mean of points far apart is found, whether the curvature is known or not: on hyperbolic space, of two
// points, and of three at the corners of an equilateral triangle around each of several centres.
func TestKarcherMeanOfPointsFarApart(t *testing.T) {
	for _, m := range []manifolds.Manifold{space{}, undeclared{}, brief{}} {
		exp := func(x manifolds.Points, v ...float64) manifolds.Points {
			y, w := x.Like(), x.Like()
			copy(w.Data64(), v)
			require.NoError(t, space{}.Exp(y, x, w))
			return y
		}
		for _, d := range []float64{0.1, 1, 2.5, 5, 8, 15} {
			t.Run(fmt.Sprintf("%T/%g", m, d), func(t *testing.T) {
				zero := points64(t, make([]float64, 6), 3, 2, 1)
				x := make([]manifolds.Points, 3)
				for i := range x { // of the first and the last point of the batch; the second has all in one place
					c, s := d*math.Cos(2*math.Pi/3*float64(i)), d*math.Sin(2*math.Pi/3*float64(i))
					x[i] = exp(zero, c, s, 1, 2, c/2, -s/2)
				}
				y, v := zero.Like(), zero.Like()
				require.NoError(t, manifolds.KarcherMean(m, y, nil, x...))
				require.NoError(t, space{}.Log(v, exp(zero, 0, 0, 1, 2, 0, 0), y))
				assert.Less(t, v.Norm(), 1e-8*d)

				// Of two points it divides their geodesic by the weights.
				require.NoError(t, manifolds.KarcherMean(m, y, []float64{3, 1}, x[0], x[1]))
				require.NoError(t, space{}.Log(v, x[0], x[1]))
				want := v.Like()
				require.NoError(t, v.Combine(0.25, v, 0, v))
				require.NoError(t, space{}.Exp(want, x[0], v))
				off := make([]float64, 3)
				require.NoError(t, space{}.Dist(off, want, y))
				// At the end of a side the direction has the rounding of the points, which is e^d times as long halfway.
				assert.InDeltaSlice(t, []float64{0, 0, 0}, off, 1e-8+64*0x1p-52*math.Exp(d))
			})
		}
	}
}

// same requires that points are equal, or their classes.
func same(t *testing.T, m manifolds.Manifold, x, y manifolds.Points, tolerance float64) {
	t.Helper()
	if q, ok := m.(manifolds.Quotient); ok {
		d, err := q.Same(x, y)
		require.NoError(t, err)
		assert.Less(t, d, tolerance)
		return
	}
	d := x.Like()
	require.NoError(t, d.Combine(1, x, -1, y))
	assert.Less(t, d.Norm(), tolerance*x.Norm())
}

// Both means agree to third order in the distances where the metric is that of the ambient space: points half as far apart, an eighth of the
// difference.
func TestMeansAgree(t *testing.T) {
	for _, m := range intrinsic() {
		_, quotient := m.(manifolds.Quotient)
		_, metric := m.(manifolds.Metric)
		if s, ok := m.(manifolds.Stiefel); ok {
			metric = s.Metric != manifolds.EuclideanMetric
		}
		if _, flat := m.(manifolds.Euclidean); flat || quotient || metric {
			continue
		}
		t.Run(fmt.Sprintf("%+v", m), func(t *testing.T) {
			apart := func(distance float64) float64 {
				x := cluster(t, m, 5, distance)
				y, z := x[0].Like(), x[0].Like()
				require.NoError(t, manifolds.KarcherMean(m, y, nil, x...))
				require.NoError(t, manifolds.Mean(m, z, nil, x...))
				require.NoError(t, y.Combine(1, y, -1, z))
				return y.Norm()
			}
			assert.InDelta(t, 3, math.Log2(apart(0.1)/apart(0.05)), 0.3)
		})
	}
}

// The extrinsic mean is nearer to the points, in the sum of squares, than any point around it.
func TestMeanIsNearest(t *testing.T) {
	for _, m := range every() {
		if _, quotient := m.(manifolds.Quotient); quotient {
			continue
		}
		t.Run(fmt.Sprintf("%+v", m), func(t *testing.T) {
			x := cluster(t, m, 4, 0.4)
			w := []float64{1, 2, 0.5, 3}
			y, v, z := x[0].Like(), x[0].Like(), x[0].Like()
			require.NoError(t, manifolds.Mean(m, y, w, x...))
			assert.Less(t, m.Membership(y), 1e-13)
			cost := func(y manifolds.Points) (sum float64) {
				for i := range x {
					require.NoError(t, z.Combine(1, y, -1, x[i]))
					sum += w[i] * z.Norm() * z.Norm()
				}
				return sum
			}
			least := cost(y)
			rng := rand.New(rand.NewPCG(7, 8))
			for range 50 {
				other := y.Like()
				for i := range v.Data64() {
					v.Data64()[i] = 0.01 * rng.NormFloat64() * y.Norm()
				}
				require.NoError(t, v.Combine(1, y, 1, v))
				require.NoError(t, m.Project(other, v))
				assert.GreaterOrEqual(t, cost(other), least*(1-1e-12))
			}
		})
	}
}

func TestMeanErrors(t *testing.T) {
	m := manifolds.Sphere{}
	x, y := matrix(2, 1, 1, 0), matrix(2, 1, -1, 0)
	dst := matrix(2, 1, 7, 7)
	nan := matrix(2, 1, math.NaN(), 0)
	for _, mean := range []func(m manifolds.Manifold, dst manifolds.Points, w []float64, x ...manifolds.Points) error{manifolds.Mean, manifolds.KarcherMean} {
		for _, c := range []struct {
			w    []float64
			x    []manifolds.Points
			want string
		}{
			{nil, nil, "want at least one batch, got none"},
			{[]float64{1}, []manifolds.Points{x, y}, "want a weight for each of 2 batches, got 1"},
			{[]float64{1, -1}, []manifolds.Points{x, y}, "got -1 at 1"},
			{[]float64{1, math.NaN()}, []manifolds.Points{x, y}, "got NaN at 1"},
			{[]float64{0, 0}, []manifolds.Points{x, y}, "want a weight above 0"},
			{nil, []manifolds.Points{x, matrix(3, 1, 1, 0, 0)}, "want"},
			{nil, []manifolds.Points{x, y}, "point 0"},
			{nil, []manifolds.Points{x, nan}, "point 0"},
		} {
			assert.ErrorContains(t, mean(m, dst, c.w, c.x...), c.want)
			assert.Equal(t, []float64{7, 7}, dst.Data64())
		}
		require.NoError(t, mean(m, dst, []float64{0, math.MaxFloat64, math.MaxFloat64}, matrix(2, 1, math.NaN(), -0.8), x, matrix(2, 1, 0, 1)))
		assert.InDeltaSlice(t, []float64{math.Sqrt(0.5), math.Sqrt(0.5)}, dst.Data64(), 1e-14)
		dst = matrix(2, 1, 7, 7)
	}
	assert.ErrorContains(t, manifolds.KarcherMean(bareManifold{m}, dst, nil, x), "want a manifold with an exponential map and a logarithm")
	assert.NoError(t, manifolds.Mean(bareManifold{m}, dst, nil, x))
	assert.NoError(t, manifolds.KarcherMean(manifolds.Euclidean{}, dst, nil, x, y))
	assert.Equal(t, []float64{0, 0}, dst.Data64())
}

// bareManifold hides everything but the six methods.
type bareManifold struct{ manifolds.Manifold }

// The mean of three directions on the sphere: the nearest point to their sum, and the centre of mass of the arcs.
func ExampleKarcherMean() {
	x := []manifolds.Points{matrix(2, 1, 1, 0), matrix(2, 1, 1, 0), matrix(2, 1, 0, 1)}
	y := matrix(2, 1, 0, 0)
	angle := func(err error) {
		fmt.Printf("%.2f degrees %v\n", 180/math.Pi*math.Atan2(y.At(0, 1, 0), y.At(0, 0, 0)), err)
	}
	angle(manifolds.KarcherMean(manifolds.Sphere{}, y, nil, x...))
	angle(manifolds.Mean(manifolds.Sphere{}, y, nil, x...))
	// Output:
	// 30.00 degrees <nil>
	// 26.57 degrees <nil>
}

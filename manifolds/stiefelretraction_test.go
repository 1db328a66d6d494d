// SPDX-License-Identifier: Apache-2.0

package manifolds_test

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/manifolds"
)

// exactQ returns r times the Q of x + v = Q R, R with a positive diagonal, by Gram-Schmidt in 300
// bits: of the rows where there are more columns.
func exactQ(x, v manifolds.Points, k int, r float64) manifolds.Points {
	n, q, wide := max(x.N, x.P), min(x.N, x.P), x.N < x.P
	at := func(a manifolds.Points, i, j int) float64 {
		if wide {
			i, j = j, i
		}
		return a.At(k, i, j)
	}
	number := func() *big.Float { return new(big.Float).SetPrec(300) }
	dot := func(a, b []*big.Float) *big.Float {
		s := number()
		for i := range a {
			s.Add(s, number().Mul(a[i], b[i]))
		}
		return s
	}
	y, _ := manifolds.Points64(make([]float64, x.N*x.P), 1, x.N, x.P)
	columns := make([][]*big.Float, q)
	for j := range columns {
		c := make([]*big.Float, n)
		for i := range c {
			c[i] = number().Add(number().SetFloat64(at(x, i, j)), number().SetFloat64(at(v, i, j)))
		}
		for _, other := range columns[:j] {
			d := dot(other, c)
			for i := range c {
				c[i].Sub(c[i], number().Mul(d, other[i]))
			}
		}
		norm := number().Sqrt(dot(c, c))
		for i := range c {
			c[i].Quo(c[i], norm)
			f, _ := c[i].Float64()
			if wide {
				y.Set(0, j, i, r*f)
			} else {
				y.Set(0, i, j, r*f)
			}
		}
		columns[j] = c
	}
	return y
}

// longSteps calls f for steps of up to a million radii in float32 and 10^12 in float64.
func longSteps(t *testing.T, f func(what string, single bool, r, length float64, x, v manifolds.Points)) {
	rng := rand.New(rand.NewPCG(31, 32))
	for _, s := range [][3]int{{21, 3, 3}, {17, 5, 2}, {3, 2, 7}, {2, 8, 8}, {2, 9, 9}, {1, 11, 30}} {
		for _, r := range []float64{1e-30, 1, 5, 1e30} {
			x := points64(t, make([]float64, s[0]*s[1]*s[2]), s[0], s[1], s[2])
			require.NoError(t, manifolds.Stiefel{Radius: r}.Random(x, rng))
			for _, single := range []bool{true, false} {
				from, most := scaledBatch(t, x, 1, single), 1e12
				if single {
					most = 1e6
				}
				for length := 1.; length <= most*1.01; length *= 10 {
					v := x.Like()
					require.NoError(t, manifolds.Euclidean{}.Random(v, rng))
					require.NoError(t, manifolds.Stiefel{Radius: r}.Tangent(v, x, v))
					for k := range v.K {
						p := v.Slice(k, k+1)
						require.NoError(t, p.Combine(length*r/p.Norm(), p, 0, p))
					}
					f(fmt.Sprintf("%v, radius %g, step of %g, eps %g", s, r, length, epsOf(single)), single, r, length, from, scaledBatch(t, v, 1, single))
				}
			}
		}
	}
}

// The error of a long step is that of float64, times the length, or the rounding of the result.
func TestStiefelLongSteps(t *testing.T) {
	longSteps(t, func(what string, single bool, r, length float64, x, v manifolds.Points) {
		y, root := x.Like(), math.Sqrt(float64(x.N*x.P))
		for _, retraction := range []manifolds.StiefelRetraction{manifolds.CholeskyQR, manifolds.QR, manifolds.Polar} {
			m, what := manifolds.Stiefel{Radius: r, Retraction: retraction}, what+", "+retraction.String()
			require.NoError(t, m.Retract(y, x, v), what)
			require.LessOrEqual(t, m.Membership(y), 10*root*epsOf(single), what)
			short := 8.0 // so many times the rounding of x + v may count where it is done in the precision of x
			tol := 4 * root * (short*epsOf(single) + 0x1p-52*length)
			for k := range min(x.K, 3) {
				if retraction == manifolds.Polar {
					sum, one := points64(t, make([]float64, x.N*x.P), 1, x.N, x.P), manifolds.Stiefel{}
					for i := range x.N {
						for j := range x.P {
							sum.Set(0, i, j, (x.At(k, i, j)+v.At(k, i, j))/r)
						}
					}
					require.NoError(t, one.Project(sum, sum))
					require.LessOrEqual(t, largestDifference(sum, inUnits(t, y.Slice(k, k+1), r)), tol, what)
					continue
				}
				want := inUnits(t, exactQ(x, v, k, r), r)
				require.LessOrEqual(t, largestDifference(want, inUnits(t, y.Slice(k, k+1), r)), tol, what)
			}
		}
	})
}

// The polar factor y of s = x + v is the frame for which y^T s is symmetric and positive definite:
// a check that needs no other decomposition.
func TestStiefelLongPolarStepsAreNearest(t *testing.T) {
	longSteps(t, func(what string, single bool, r, length float64, x, v manifolds.Points) {
		m, y := manifolds.Stiefel{Radius: r, Retraction: manifolds.Polar}, x.Like()
		require.NoError(t, m.Retract(y, x, v), what)
		n, q := max(x.N, x.P), min(x.N, x.P)
		at := func(a manifolds.Points, i, j int) float64 {
			if x.N < x.P {
				i, j = j, i
			}
			return a.At(0, i, j) / r
		}
		product := func(i, j int) (s float64) {
			for e := range n {
				s += at(y, e, i) * (at(x, e, j) + at(v, e, j))
			}
			return s
		}
		for i := range q {
			assert.Positive(t, product(i, i)+100*epsOf(single)*length, what)
			for j := range i {
				assert.InDelta(t, product(i, j), product(j, i), 20*math.Sqrt(float64(n*q))*epsOf(single)*(1+length), what)
			}
		}
	})
}

// A step so long that the digits of the point would be lost is an error, never a wrong point.
func TestStiefelRefusesLongerSteps(t *testing.T) {
	rng := rand.New(rand.NewPCG(33, 34))
	for _, s := range [][3]int{{21, 3, 3}, {1, 2, 7}, {2, 9, 9}, {1, 12, 40}} {
		for _, r := range []float64{1e-30, 1, 1e15} {
			x := points64(t, make([]float64, s[0]*s[1]*s[2]), s[0], s[1], s[2])
			v := x.Like()
			require.NoError(t, manifolds.Stiefel{Radius: r}.Random(x, rng))
			require.NoError(t, manifolds.Euclidean{}.Random(v, rng))
			require.NoError(t, manifolds.Stiefel{Radius: r}.Tangent(v, x, v))
			last := v.Slice(v.K-1, v.K)
			for _, single := range []bool{true, false} {
				limit := 0x1p40
				if single {
					limit = 0x1p20
				}
				for _, factor := range []float64{1.01, 10, 1e10, 1e15, math.Inf(1)} {
					for k := range v.K {
						p := v.Slice(k, k+1)
						require.NoError(t, p.Combine(0.1*r/p.Norm(), p, 0, p))
					}
					size := 10 * factor * limit // times the 0.1 r of above
					if single {
						size = min(size, 1e38/r)
					}
					require.NoError(t, last.Combine(size, last, 0, last))
					for _, retraction := range []manifolds.StiefelRetraction{manifolds.CholeskyQR, manifolds.QR, manifolds.Polar, manifolds.Geodesic} {
						from := scaledBatch(t, x, 1, single)
						err := manifolds.Stiefel{Radius: r, Retraction: retraction}.Retract(from.Like(), from, scaledBatch(t, v, 1, single))
						what := fmt.Sprintf("%v, radius %g, %v, %g times %g", s, r, retraction, factor, limit)
						var pe *manifolds.PointError
						require.True(t, errors.As(err, &pe), "%s: %v", what, err)
						assert.Equal(t, x.K-1, pe.Point, what)
						assert.Contains(t, pe.Reason, "want a step of at most", what)
					}
				}
				require.NoError(t, manifolds.Euclidean{}.Random(v, rng))
				require.NoError(t, manifolds.Stiefel{Radius: r}.Tangent(v, x, v))
			}
		}
	}
}

// The membership error after a step grows with the fourth power of its length, and with the second for Landing.
func TestDriftOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 4))
	for _, c := range []struct {
		r    manifolds.StiefelRetraction
		want float64
	}{{manifolds.OneStep, 4}, {manifolds.IterativeCayley, 4}, {manifolds.Landing, 2}} {
		m := manifolds.Stiefel{Retraction: c.r, Radius: 3}
		for _, s := range [][2]int{{7, 3}, {3, 7}} {
			x, v := points64(t, make([]float64, 21), 1, s[0], s[1]), points64(t, make([]float64, 21), 1, s[0], s[1])
			require.NoError(t, m.Random(x, rng))
			for i := range v.Data64() {
				v.Data64()[i] = rng.NormFloat64()
			}
			require.NoError(t, m.Tangent(v, x, v))
			off := func(length float64) float64 {
				y := x.Like()
				require.NoError(t, v.Combine(length/v.Norm(), v, 0, v))
				require.NoError(t, m.Retract(y, x, v))
				return m.Membership(y)
			}
			assert.InDelta(t, c.want, math.Log10(off(0.9)/off(0.09)), 0.1, "%v of %dx%d", c.r, s[0], s[1])
			assert.LessOrEqual(t, off(1.75), m.Properties(s[0], s[1]).Drift)
			assert.LessOrEqual(t, off(1.9), m.Properties(s[0], s[1]).Drift)
		}
	}
}

// The inverse retraction is as long as the step, also where no geodesic is.
func TestInverseOfLongSteps(t *testing.T) {
	for _, m := range []interface {
		manifolds.Manifold
		manifolds.Inverse
	}{manifolds.Stiefel{}, manifolds.Stiefel{Retraction: manifolds.QR}, manifolds.Stiefel{Retraction: manifolds.Polar}, manifolds.Grassmann{}} {
		x, v := points64(t, []float64{1, 0}, 1, 2, 1), points64(t, []float64{0, 200}, 1, 2, 1)
		y := x.Like()
		require.NoError(t, m.Retract(y, x, v))
		require.NoError(t, m.InverseRetract(y, x, y), "%v", m)
		assert.InDeltaSlice(t, v.Data64(), y.Data64(), 1e-9, "%v", m)
	}
}

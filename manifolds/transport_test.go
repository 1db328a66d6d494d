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

// angles are those at which transport loses digits if it divides by r^2 + <x, y>, that of antipodal
// points, and longer ones.
var angles = []float64{
	1e-6, 1, math.Pi - 1e-1, math.Pi - 1e-2, math.Pi - 1e-3, math.Pi - 1e-4, math.Pi - 1e-5, math.Pi - 1e-6, math.Pi - 1e-7, math.Pi, 3, 10,
}

// around draws x, v and u tangent at x, each vector of v of length r times the angle, and y =
// Exp_x(v).
func around(t *testing.T, w world, rng *rand.Rand, x manifolds.Points, angle float64) (v, y, u manifolds.Points) {
	v, y, u = draw(x.Like(), rng, 1, 0), x.Like(), draw(x.Like(), rng, 1, 0)
	require.NoError(t, w.m.Random(x, rng))
	require.NoError(t, w.m.Tangent(u, x, u))
	require.NoError(t, w.m.Tangent(v, x, v))
	require.NoError(t, w.m.Project(v, v)) // each vector of length r
	require.NoError(t, v.Combine(angle, v, 0, v))
	require.NoError(t, w.m.Exp(y, x, v))
	return v, y, u
}

// isometric asserts that each vector of got has the length of that of u, within c eps.
func (w world) isometric(t *testing.T, what string, got, u manifolds.Points, c float64) {
	t.Helper()
	eps := 0x1p-52
	if u.Data32() != nil {
		eps = 0x1p-23
	}
	vu := w.vectors(u)
	for i, g := range w.vectors(got) {
		is, _ := g.norm().Float64()
		was, _ := vu[i].norm().Float64()
		assert.InDelta(t, was, is, c*eps*was, what)
	}
}

func TestParallelTransportNearAntipodes(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, bits := range []int{32, 64} {
		for _, r := range []float64{1e-30, 1, 1e30} {
			for _, w := range worlds(r, true) {
				for _, s := range [][3]int{{5, 3, 3}, {2, 6, 20}} {
					for _, angle := range angles {
						what := fmt.Sprintf("float%d, %v, %v, angle %g", bits, w.m, s, angle)
						x := fresh(t, bits, s[0], s[1], s[2])
						_, y, u := around(t, w, rng, x, angle)
						vx, vy, vu, want := w.vectors(x), w.vectors(y), w.vectors(u), w.vectors(u)
						shortest := math.Inf(1)
						for i := range want {
							z := vx[i].plus(num(1), vy[i])
							if z.norm().Sign() > 0 {
								want[i] = vu[i].plus(mul(num(-2), quo(vu[i].dot(z), z.dot(z))), z)
							}
							n, _ := quo(z.norm(), num(r)).Float64()
							shortest = min(shortest, n)
						}
						for name, transport := range map[string]func(dst, x, y, u manifolds.Points) error{
							"ParallelTransport": w.m.ParallelTransport, "Transport": w.m.Transport,
						} {
							got := x.Like()
							err := transport(got, x, y, u)
							var pe *manifolds.PointError
							if errors.As(err, &pe) {
								assert.Contains(t, err.Error(), "want points that are not antipodal")
								eps := 0x1p-52
								if bits == 32 {
									eps = 0x1p-23
								}
								assert.LessOrEqual(t, shortest, 8*eps, what)
								continue
							}
							w.near(t, name+", "+what, err, got, want, sizes(vu), 4)
							w.isometric(t, name+" is an isometry, "+what, got, u, 16)
						}
					}
				}
			}
		}
	}
}

// Transport along a geodesic depends on the geodesic and not on its ends: it goes on through the
// opposite point and around.
func TestTransportAlong(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	radii := []float64{1e-30, 1, 1e30}
	if testing.Short() { // minutes under the race detector
		radii = radii[:1]
	}
	for _, bits := range []int{32, 64} {
		for _, r := range radii {
			for _, w := range worlds(r, true) {
				for _, s := range [][3]int{{5, 3, 3}, {2, 6, 20}} {
					for _, angle := range angles {
						what := fmt.Sprintf("float%d, %v, %v, angle %g", bits, w.m, s, angle)
						x := fresh(t, bits, s[0], s[1], s[2])
						v, y, u := around(t, w, rng, x, angle)
						vx, vv, vu, want, velocity := w.vectors(x), w.vectors(v), w.vectors(u), w.vectors(u), w.vectors(u)
						for i := range want {
							n := w.centre(vv[i]).norm()
							e := w.centre(vv[i]).times(quo(num(1), n))
							sin, cos := sinCos(quo(n, num(r)))
							along := vu[i].dot(e)
							want[i] = vu[i].plus(mul(along, sub(cos, num(1))), e).plus(mul(num(-1), quo(mul(along, sin), num(r))), vx[i])
							velocity[i] = e.times(mul(n, cos)).plus(mul(num(-1), quo(mul(n, sin), num(r))), vx[i])
						}
						got, tangent := x.Like(), x.Like()
						err := manifolds.TransportAlong(w.m, got, x, v, y, u)
						w.near(t, what, err, got, want, sizes(vu), 4*(1+angle))
						w.isometric(t, "an isometry, "+what, got, u, 16)
						require.NoError(t, w.m.Tangent(tangent, y, got))
						w.near(t, "tangent, "+what, nil, tangent, w.vectors(got), sizes(vu), 8*(1+angle))
						require.NoError(t, w.m.TransportAlong(got, x, v, y, v))
						w.near(t, "the velocity stays the velocity, "+what, nil, got, velocity, sizes(vv), 4*(1+angle))

						for i := range 4 {
							args := [4]manifolds.Points{x.Like(), x.Like(), x.Like(), x.Like()}
							for j, a := range []manifolds.Points{x, v, y, u} {
								require.NoError(t, args[j].CopyFrom(a))
							}
							require.NoError(t, w.m.TransportAlong(got, x, v, y, u))
							require.NoError(t, w.m.TransportAlong(args[i], args[0], args[1], args[2], args[3]))
							assert.Equal(t, got, args[i], "dst = argument %d, %s", i+1, what)
						}
					}
				}
			}
		}
	}
}

// Without geodesics, and on a manifold that does not know its paths, it is Transport.
func TestTransportAlongFallsBack(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for _, m := range []manifolds.Manifold{
		manifolds.Sphere{}, manifolds.CentredSphere{Radius: 2}, manifolds.Oblique{}, manifolds.Euclidean{}, bare{manifolds.Sphere{Geodesic: true}},
	} {
		x, v, y, u := points64(t, make([]float64, 18), 2, 3, 3), points64(t, make([]float64, 18), 2, 3, 3), points64(t, make([]float64, 18), 2, 3, 3), points64(t, make([]float64, 18), 2, 3, 3)
		require.NoError(t, m.Project(x, draw(x, rng, 1, 0)))
		require.NoError(t, m.Tangent(v, x, draw(v, rng, 0.1, 0)))
		require.NoError(t, m.Tangent(u, x, draw(u, rng, 1, 0)))
		require.NoError(t, m.Retract(y, x, v))
		got, want := x.Like(), x.Like()
		require.NoError(t, manifolds.TransportAlong(m, got, x, v, y, u))
		require.NoError(t, m.Transport(want, x, y, u))
		assert.Equal(t, want, got, manifolds.Name(m))
		assert.Error(t, manifolds.TransportAlong(m, got, x, v.Slice(0, 1), y, u), manifolds.Name(m))
		assert.Error(t, manifolds.TransportAlong(m, got, x, v, y.Slice(0, 1), u), manifolds.Name(m))
		assert.Equal(t, want, got, "a refused call writes nothing")
	}
}

// ParallelTransport fails for antipodal points, also where only rounding decides which geodesic is
// the shortest.
func TestAntipodesAreRefused(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	const pairs = 3000
	for _, bits := range []int{32, 64} {
		for _, w := range append(worlds(0.7, true), worlds(1e30, true)...) {
			x := fresh(t, bits, pairs, 3, 4)
			y, u, one := x.Like(), x.Like(), fresh(t, bits, 1, 3, 4)
			require.NoError(t, w.m.Random(x, rng))
			require.NoError(t, w.m.Tangent(u, x, draw(u, rng, 1, 0)))
			require.NoError(t, y.Combine(-1, x, 0, x))
			for k := range pairs {
				var pe *manifolds.PointError
				err := w.m.ParallelTransport(one, x.Slice(k, k+1), y.Slice(k, k+1), u.Slice(k, k+1))
				require.ErrorAs(t, err, &pe, "pair %d", k)
			}
			// The projection of -1.1 x is -x but for rounding.
			require.NoError(t, y.Combine(-1.1, x, 0, x))
			require.NoError(t, w.m.Project(y, y))
			for k := range pairs {
				var pe *manifolds.PointError
				err := w.m.ParallelTransport(one, x.Slice(k, k+1), y.Slice(k, k+1), u.Slice(k, k+1))
				require.ErrorAs(t, err, &pe, "pair %d", k)
			}
		}
	}
}

// What is not finite, and a radius that the precision does not hold, is an error of every
// operation, and never NaN.
func TestSpheresRefuse(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	ops := func(m sphereLike) map[string]func(dst, x, y, u manifolds.Points) error {
		return map[string]func(dst, x, y, u manifolds.Points) error{
			"Project":           func(dst, x, y, u manifolds.Points) error { return m.Project(dst, u) },
			"ProjectAdjoint":    func(dst, x, y, u manifolds.Points) error { return m.ProjectAdjoint(dst, x, y, u) },
			"Tangent":           func(dst, x, y, u manifolds.Points) error { return m.Tangent(dst, x, u) },
			"Retract":           func(dst, x, y, u manifolds.Points) error { return m.Retract(dst, x, u) },
			"Transport":         m.Transport,
			"ParallelTransport": m.ParallelTransport,
			"TransportAlong":    func(dst, x, y, u manifolds.Points) error { return m.TransportAlong(dst, x, u, y, u) },
			"Exp":               func(dst, x, y, u manifolds.Points) error { return m.Exp(dst, x, u) },
			"Dist":              func(dst, x, y, u manifolds.Points) error { return m.Dist(make([]float64, x.K), x, u) },
		}
	}
	for _, bits := range []int{32, 64} {
		for _, geodesic := range []bool{false, true} {
			for _, w := range worlds(2, geodesic) {
				x := fresh(t, bits, 2, 3, 4)
				y, u, dst := x.Like(), x.Like(), x.Like()
				require.NoError(t, w.m.Random(x, rng))
				require.NoError(t, w.m.Random(y, rng))
				require.NoError(t, w.m.Tangent(u, x, draw(u, rng, 1, 0)))
				for name, op := range ops(w.m) {
					require.NoError(t, op(dst, x, y, u))
					for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
						spoilt := x.Like()
						require.NoError(t, spoilt.CopyFrom(u))
						spoilt.Set(1, 1, 2, bad)
						var pe *manifolds.PointError
						if assert.ErrorAs(t, op(dst, x, y, spoilt), &pe, "%v, %s with %g", w.m, name, bad) {
							assert.Equal(t, 1, pe.Point)
						}
					}
				}
			}
			radii := []float64{1e-200, 1e200}
			if bits == 32 {
				radii = []float64{1e-44, 1e39}
			}
			for _, r := range radii {
				for _, w := range worlds(r, geodesic) {
					x := draw(fresh(t, bits, 2, 3, 4), rng, 1, 0)
					for name, op := range ops(w.m) {
						var pe *manifolds.PointError
						err := op(x.Like(), x, x, x)
						assert.ErrorAs(t, err, &pe, "%v, %s", w.m, name)
						assert.ErrorContains(t, err, "want a radius that the precision holds for ")
					}
				}
			}
		}
	}
}

// A vector of equal elements has no direction once it is centred; one in which a single element
// differs by one rounding has.
func TestCentredDirections(t *testing.T) {
	for _, bits := range []int{32, 64} {
		for _, mean := range []float64{0, 0.7, 1e6, -1e30} {
			x := fresh(t, bits, 1, 5, 9)
			draw(x, rand.New(rand.NewPCG(1, 1)), 0, 0)
			for e := range 45 {
				x.Set(0, e/9, e%9, mean)
			}
			dst := x.Like()
			var pe *manifolds.PointError
			m := manifolds.CentredSphere{}
			assert.ErrorAs(t, m.Project(dst, x), &pe, "mean %g", mean)
			assert.ErrorAs(t, m.ProjectAdjoint(dst, x, x, x), &pe, "mean %g", mean)
			next := math.Nextafter(mean, 2*mean)
			if bits == 32 {
				next = float64(math.Nextafter32(float32(mean), 2*float32(mean)))
			}
			if mean == 0 {
				next = 1e-30
			}
			x.Set(0, 2, 3, next)
			require.NoError(t, m.Project(dst, x), "mean %g", mean)
			w := worlds(1, false)[1]
			want := w.unit(w.centre(w.vectors(x)[0]))
			w.near(t, fmt.Sprintf("mean %g", mean), nil, dst, []exact{want}, sizes([]exact{want}), 8)
		}
	}
}

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

	"github.com/kernelfold/kernelfold/internal/cpu"
	"github.com/kernelfold/kernelfold/manifolds"
)

// everyLevel runs f with the kernels of each level.
func everyLevel(t *testing.T, f func(t *testing.T)) {
	defer func(old cpu.Level) { cpu.Use = old }(cpu.Use)
	for _, l := range cpu.Levels() {
		cpu.Use = l
		t.Run(l.String(), f)
	}
}

// A step names the first point that other code has moved off the manifold, and takes the momentum of all such points, in whichever order the
// step visits their vectors.
func TestDescendOffTheManifold(t *testing.T) {
	const early, late = 3, 9
	d := manifolds.Descent{Keep: 0.9, Take: 1, Ahead: 0.9, Slope: 1, Rate: 0.1, Tangent: true}
	everyLevel(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(41, 42))
		for _, bits := range []int{32, 64} {
			for _, w := range worlds(1, false) {
				for _, side := range []int{3, 5} {
					for what, value := range map[string]float64{"zero": 0, "Inf": math.Inf(1), "constant": 1 / float64(side)} {
						if what == "constant" && !w.centred {
							continue
						}
						what := fmt.Sprintf("%s, %v, float%d, side %d", what, w.m, bits, side)
						x, mu, g := fresh(t, bits, 32, side, side), fresh(t, bits, 32, side, side), fresh(t, bits, 32, side, side)
						require.NoError(t, w.m.Random(x, rng))
						require.NoError(t, w.m.Tangent(mu, x, draw(mu, rng, 0.1, 0)))
						draw(g, rng, 0.1, 0)
						vectors := func(of func(k, i, j int)) { // the last of the early point, and the first of the late one
							for i := range side {
								for j := range side {
									if w.axis == manifolds.Auto || w.axis == manifolds.Rows && i == side-1 || w.axis == manifolds.Columns && j == side-1 {
										of(early, i, j)
									}
									if w.axis == manifolds.Auto || w.axis == manifolds.Rows && i == 0 || w.axis == manifolds.Columns && j == 0 {
										of(late, i, j)
									}
								}
							}
						}
						vectors(func(k, i, j int) { x.Set(k, i, j, map[int]float64{early: value, late: 0}[k]) })
						_, err := w.m.(manifolds.Descender).Descend(x, mu, g, d)
						var at *manifolds.PointError
						require.True(t, errors.As(err, &at), "%s: %v", what, err)
						require.Equal(t, early, at.Point, what)
						assert.Contains(t, at.Reason, "want a vector of norm 1, got ", what)
						vectors(func(k, i, j int) {
							require.Zero(t, mu.At(k, i, j), "momentum of point %d, %s", k, what)
							if k == late || !math.IsInf(value, 1) {
								require.InDelta(t, map[int]float64{early: value, late: 0}[k], x.At(k, i, j), 1e-7, what)
							}
						})
					}
				}
			}
		}
	})
}

// The geometric factor of a step in place is right, also where the gradient is mostly normal to the sphere, or constant on a centred one. The step is
// not made in place where that would be a rounding error.
func TestGeometricFactorOfNormalGradients(t *testing.T) {
	d := manifolds.Descent{Slope: 1, Rate: 0.1, Geometric: true}
	everyLevel(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(43, 44))
		for _, bits := range []int{32, 64} {
			for _, r := range []float64{0.25, 4} {
				for _, w := range worlds(r, false)[:2] {
					for _, side := range []int{3, 32} {
						for _, normal := range []float64{0, 1, 30, 80, 1e3, 1e5} {
							what := fmt.Sprintf("%v, float%d, side %d, normal part %g", w.m, bits, side, normal)
							x := fresh(t, bits, 1, side, side)
							v, n := x.Like(), x.Like()
							require.NoError(t, w.m.Random(x, rng))
							require.NoError(t, w.m.Tangent(v, x, draw(v, rng, 1, 0)))
							require.NoError(t, n.CopyFrom(x))
							if w.centred {
								for i := range side {
									for j := range side {
										n.Set(0, i, j, 1)
									}
								}
							}
							require.NoError(t, v.Combine(0.5/r/v.Norm(), v, normal/r/n.Norm(), n))
							m, b := w.m.(manifolds.Descender), manifolds.Bounds{Gradient: v.Norm()}
							require.Equal(t, bits == 64 || normal < 90, m.Descends(w.m, x, d, b), what)
							if m.Descends(w.m, x, d, b) {
								p, err := m.Descend(x, manifolds.Points{}, v, d)
								require.NoError(t, err)
								assert.InEpsilon(t, manifolds.GeometricFactor(0.5, 1), p.Factor, 0.01, what)
							}
						}
					}
				}
			}
		}
	})
}

// SPDX-License-Identifier: Apache-2.0

package manifolds_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/manifolds"
)

// TestNoAllocationAfterWarmUp runs what a step runs, on slices and on a filter
// bank, in both precisions.
func TestNoAllocationAfterWarmUp(t *testing.T) {
	for _, m := range []manifolds.Manifold{
		manifolds.Euclidean{}, manifolds.Sphere{}, manifolds.Sphere{Geodesic: true}, manifolds.CentredSphere{},
		manifolds.Oblique{}, manifolds.Oblique{Axis: manifolds.Rows, Geodesic: true},
		manifolds.Stiefel{}, manifolds.Stiefel{Metric: manifolds.CanonicalMetric}, manifolds.Stiefel{Retraction: manifolds.QR},
		manifolds.Stiefel{Retraction: manifolds.Polar}, manifolds.Stiefel{Retraction: manifolds.Geodesic},
		manifolds.Stiefel{Retraction: manifolds.Cayley}, manifolds.Grassmann{}, manifolds.Grassmann{Geodesic: true},
		manifolds.Orthogonal{}, manifolds.SpecialOrthogonal{}, manifolds.SpecialOrthogonal{Retraction: manifolds.Geodesic},
	} {
		for _, s := range [][3]int{{50, 3, 3}, {1, 64, 288}, {2, 16, 16}} {
			k, n, p := s[0], s[1], s[2]
			if m.Check(n, p) != nil {
				continue // square points only
			}
			f32, err := manifolds.Points32(make([]float32, k*n*p), k, n, p)
			require.NoError(t, err)
			f64, err := manifolds.Points64(make([]float64, k*n*p), k, n, p)
			require.NoError(t, err)
			for name, x := range map[string]manifolds.Points{"float32": f32, "float64": f64} {
				t.Run(fmt.Sprint(manifolds.Name(m), s, name), func(t *testing.T) {
					rng := rand.New(rand.NewPCG(1, 2))
					g, v, y, out := x.Like(), x.Like(), x.Like(), make([]float64, k)
					require.NoError(t, m.(manifolds.Sampler).Random(x, rng))
					require.NoError(t, manifolds.Euclidean{}.Random(g, rng))
					step := func() {
						for _, e := range []error{
							manifolds.Gradient(m, v, x, g), v.Combine(0.3/v.Norm(), v, 0, v), m.Tangent(v, x, v), manifolds.Inner(m, out, x, v, v),
							m.Retract(y, x, v), m.Transport(v, x, y, v)} {
							if e != nil {
								t.Error(e)
							}
						}
						m.Membership(y)
					}
					step()
					assert.Zero(t, testing.AllocsPerRun(5, step))

					if _, ok := m.(manifolds.SpecialOrthogonal); !ok {
						return
					}
					long := v.Like() // so long that the determinants are compared
					require.NoError(t, long.Combine(5*x.Norm(), v, 0, v))
					retract := func() {
						if err := m.Retract(y, x, long); err != nil {
							t.Error(err)
						}
					}
					retract()
					assert.Zero(t, testing.AllocsPerRun(5, retract), "a long step")
				})
			}
		}
	}
}

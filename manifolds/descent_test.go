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

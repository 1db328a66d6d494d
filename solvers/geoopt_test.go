// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// Runs of 100 steps are those of geoopt: testdata/geoopt.py. On geodesic spheres and on Stiefel with the canonical metric geoopt differs, because it transports along geodesics by tangent
// projection, and because its Cayley transform is no retraction.
func TestGeoopt(t *testing.T) {
	type options = []solvers.Option
	on := map[string]options{
		"Euclidean":       {},
		"Sphere":          {solvers.Param("w", manifolds.Sphere{}, manifolds.PerFilter, manifolds.Unit)},
		"geodesic Sphere": {solvers.Param("w", manifolds.Sphere{Geodesic: true}, manifolds.PerFilter, manifolds.Unit)},
		"Stiefel":         {solvers.Param("w", manifolds.Stiefel{}, manifolds.Unit)},
		"canonical Stiefel": {solvers.Param("w", manifolds.Stiefel{Metric: manifolds.CanonicalMetric, Retraction: manifolds.Cayley},
			manifolds.Unit)},
	}
	make := map[string]func(options) *solvers.Solver{
		"SGD":               func(o options) *solvers.Solver { return solvers.NewSGD(o...) },
		"SGD with momentum": func(o options) *solvers.Solver { return solvers.NewSGD(append(o, solvers.Momentum(0.9))...) },
		"SGD with dampening": func(o options) *solvers.Solver {
			return solvers.NewSGD(append(o, solvers.Momentum(0.9), solvers.Dampening(0.5))...)
		},
		"Nesterov": func(o options) *solvers.Solver {
			return solvers.NewSGD(append(o, solvers.Momentum(0.9), solvers.Nesterov())...)
		},
		"Adam":    func(o options) *solvers.Solver { return solvers.NewAdam(o...) },
		"AMSGrad": func(o options) *solvers.Solver { return solvers.NewAdam(append(o, solvers.AMSGrad())...) },
	}
	for _, of := range precisions {
		for _, c := range references(t, "geoopt.json") {
			t.Run(fmt.Sprint(of, c.Rule, c.Manifold), func(t *testing.T) {
				s := make[c.Rule](append(options{solvers.LearnRate(0.05)}, on[c.Manifold]...))
				p := newParam("w", of, c.Shape...)
				put(p.w, c.Start)
				for step := range 100 {
					slope(p, step)
					require.NoError(t, s.Step(valueGrads([]*param{p})))
					if step == 0 && c.Manifold != "canonical Stiefel" {
						assert.InDeltaSlice(t, c.First, get(p.w), 16*eps(of))
					}
				}
				off := 0.0
				for i, x := range get(p.w) {
					off = max(off, math.Abs(x-c.Last[i]))
				}
				switch {
				case c.Manifold == "canonical Stiefel" || c.Manifold == "geodesic Sphere" && c.Rule != "SGD":
					assert.Greater(t, off, 1e-5)
					if of == tensor.Float64 {
						t.Logf("largest difference after 100 steps: %.1e", off)
					}
				default:
					assert.LessOrEqual(t, off, 8*100*eps(of))
				}
			})
		}
	}
}

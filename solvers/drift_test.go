// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// Rounding must not add up: after 40,000 steps of float32 along random gradients
// the weights are as much on their manifold as after one, and tangent momentum as
// tangent. A million by
//
//	KERNELFOLD_LONG=1 go test -run NoDrift -timeout 30m ./solvers
func TestNoDrift(t *testing.T) {
	if testing.Short() {
		t.Skip("runs for minutes under the race detector")
	}
	t.Parallel()
	steps := 40_000
	if os.Getenv("KERNELFOLD_LONG") != "" {
		steps = 1_000_000
	}
	for _, at := range []place{
		{"sphere", manifolds.Sphere{}, nil},
		{"sphere, geodesic", manifolds.Sphere{Geodesic: true}, []manifolds.Option{manifolds.PerSlice}},
		{"centred sphere", manifolds.CentredSphere{}, nil},
		{"centred sphere, geodesic", manifolds.CentredSphere{Geodesic: true}, []manifolds.Option{manifolds.PerSlice}},
		{"oblique", manifolds.Oblique{}, nil},
		{"oblique, geodesic", manifolds.Oblique{Geodesic: true}, []manifolds.Option{manifolds.FilterBank}},
		{"Stiefel bank", manifolds.Stiefel{}, nil},
		{"Stiefel slices", manifolds.Stiefel{}, []manifolds.Option{manifolds.PerSlice}},
		{"Stiefel slices, polar", manifolds.Stiefel{Retraction: manifolds.Polar}, []manifolds.Option{manifolds.PerSlice}},
		{"Grassmann bank", manifolds.Grassmann{}, nil},
		{"rotations", manifolds.SpecialOrthogonal{}, nil},
		{"Stiefel bank, canonical", manifolds.Stiefel{Metric: manifolds.CanonicalMetric}, nil},
	} {
		for _, s := range []struct {
			name string
			own  []solvers.Option
		}{
			{"ambient", []solvers.Option{solvers.Momentum(0.9), solvers.AmbientMomentum()}},
			{"tangent", []solvers.Option{solvers.Momentum(0.9)}},
		} {
			t.Run(at.name+"/"+s.name, func(t *testing.T) {
				log := &tangency{every: 101}
				p := newParam("kernel", tensor.Float32, 2, 2, 3, 3)
				rng := source(4)
				gaussian(p.w, rng, 1)
				m := valueGrads([]*param{p})
				solver := solvers.NewSGD(append(s.own, solvers.LearnRate(0.05), solvers.Kernels(spy{at.manifold, log}, at.options...))...)
				g := p.g.Float32s()
				worst := 0.0
				for step := range steps {
					for i := range g {
						g[i] = rng.Float32() - 0.5
					}
					if err := solver.Step(m); err != nil {
						t.Fatal(err)
					}
					if step%50 == 0 || step == steps-1 {
						e := solver.Report().Parameters[0].Membership
						require.False(t, math.IsNaN(e))
						worst = max(worst, e)
					}
				}
				r := solver.Report().Parameters[0]
				t.Logf("membership error at most %.1e, normal part of the direction %.1e", worst, log.worst)
				// A few roundings of a norm, as after one step, and far from the
				// tolerance of 1e-5 at which the solver would project.
				assert.Less(t, worst, 16*eps(tensor.Float32))
				assert.Zero(t, r.Reprojections)
				assert.Less(t, log.worst, 128*eps(tensor.Float32))
				assert.Positive(t, log.worst)
				assert.Less(t, r.Direction, 100.0, "the momentum is bounded")
			})
		}
	}
}

// A retraction that leaves its manifold is projected beyond the tolerance, before the next step, and within it is left alone.
func TestDriftIsProjected(t *testing.T) {
	for _, r := range []manifolds.StiefelRetraction{manifolds.OneStep, manifolds.IterativeCayley, manifolds.Landing} {
		for _, of := range precisions {
			t.Run(r.String()+"/"+of.String(), func(t *testing.T) {
				run := func(rate, tolerance float64) (worst float64, projected int) {
					p := newParam("kernel", of, 4, 2, 3, 3)
					rng := source(4)
					gaussian(p.w, rng, 1)
					m := valueGrads([]*param{p})
					s := solvers.NewSGD(solvers.LearnRate(rate), solvers.Tolerance(tolerance), solvers.Kernels(manifolds.Stiefel{Retraction: r}))
					for range 200 {
						gaussian(p.g, rng, 1)
						require.NoError(t, s.Step(m))
						worst = max(worst, s.Report().Parameters[0].Membership)
					}
					return worst, s.Report().Parameters[0].Reprojections
				}
				drift := manifolds.PropertiesOf(manifolds.Stiefel{Retraction: r}, 4, 18).Drift
				worst, projected := run(0.05, 1e-4) // steps of about 0.4
				assert.Greater(t, worst, 1e-4)
				assert.LessOrEqual(t, worst, 1.5*drift)
				assert.Positive(t, projected)
				worst, projected = run(0.001, 1e-2)
				assert.Less(t, worst, 1e-3)
				assert.LessOrEqual(t, projected, 1, "the first weights")
			})
		}
	}
}

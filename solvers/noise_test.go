// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"fmt"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// With steps whose sum is infinite and whose squares have a finite sum, and
// gradients with independent noise, the paper's algorithm converges almost surely
// (theorem of Ozay, Okatani, after Bonnabel 2013). With t^-1 steps the squared
// distance falls like 1/t, so the distance by sqrt 10 with every decade; a constant rate
// stays at the noise. The sphere has every kind of step, the matrices those by default and of the paper; all of them with
//
//	KERNELFOLD_LONG=1 go test -run RobbinsMonro ./solvers
func TestRobbinsMonroConverges(t *testing.T) {
	if testing.Short() {
		t.Skip("runs for minutes under the race detector")
	}
	t.Parallel()
	// Seeds with a falling and a constant rate.
	const falling, constant = 12, 10
	decades := []int{100, 1000, 10000}
	vector := func(m manifolds.Manifold, f manifolds.Grouping) place {
		return place{"", m, []manifolds.Option{f, manifolds.Unit}}
	}
	for _, c := range []struct {
		name  string
		shape []int
		at    place
		n, p  int
		of    func(seed uint64) problem
	}{
		{"Rayleigh on the sphere", []int{1, 2, 1, 3}, vector(manifolds.Sphere{}, manifolds.PerFilter), 6, 1,
			func(seed uint64) problem { return rayleigh(source(seed), 6, 1) }},
		{"column-wise Rayleigh on oblique", []int{1, 1, 5, 2}, vector(manifolds.Oblique{}, manifolds.PerSlice), 5, 2,
			func(seed uint64) problem { return rayleigh(source(seed), 5, 2) }},
		{"Procrustes on Stiefel", []int{5, 2, 1, 1}, vector(manifolds.Stiefel{}, manifolds.FilterBank), 5, 2,
			func(seed uint64) problem { return procrustes(source(seed), 5, 2) }},
	} {
		for _, s := range []struct {
			name string
			rate float64
			own  []solvers.Option

			matrices bool // always, not only on the sphere
		}{
			{"plain", 0.2, nil, false},
			{"ambient momentum", 0.2, []solvers.Option{solvers.Momentum(0.5), solvers.Dampening(0.5), solvers.AmbientMomentum()}, false},
			{"tangent momentum", 0.2, []solvers.Option{solvers.Momentum(0.9), solvers.Dampening(0.9)}, true},
			// Noise makes the direction longer than 2, and the factor about 10.
			{"sampled geometric step", 2, []solvers.Option{solvers.SampledGeometricStep()}, true},
			{"geometric step", 2, []solvers.Option{solvers.GeometricStep()}, false},
		} {
			if c.p > 1 && !s.matrices && os.Getenv("KERNELFOLD_LONG") == "" {
				continue
			}
			t.Run(c.name+"/"+s.name, func(t *testing.T) {
				// quantiles returns the median and the 90 % quantile of the distance
				// after each decade of steps.
				quantiles := func(schedule solvers.Schedule, seeds int) (median, high []float64) {
					offs := make([][]float64, len(decades))
					for seed := range uint64(seeds) { // the same for both
						q := c.of(seed)
						rng := source(1000 + seed)
						p := newParam("kernel", tensor.Float64, c.shape...)
						gaussian(p.w, rng, 1)
						m := []*param{p}
						solver := solvers.NewSGD(append(s.own, solvers.LearnRate(s.rate), solvers.Anneal(schedule), c.at.kernels())...)
						require.NoError(t, solver.Init(valueGrads(m)))
						all := valueGrads(m)
						x, g := p.w.Float64s(), p.g.Float64s()
						decade := 0
						for step := 1; step <= decades[len(decades)-1]; step++ {
							q.slope(g, x)
							for i := range g {
								g[i] += rng.NormFloat64()
							}
							require.NoError(t, solver.Step(all))
							if step == decades[decade] {
								offs[decade] = append(offs[decade], q.off(x))
								decade++
							}
						}
					}
					for _, o := range offs {
						slices.Sort(o)
						median, high = append(median, o[seeds/2]), append(high, o[seeds*9/10])
					}
					return median, high
				}
				schedule := solvers.RobbinsMonro(20, 1)
				require.NoError(t, solvers.CheckRobbinsMonro(schedule))
				median, high := quantiles(schedule, falling)
				floor, _ := quantiles(solvers.Constant(), constant)
				format := func(v []float64) string { return fmt.Sprintf("%.4f", v) }
				t.Logf("after %v steps: median %s, 90 %% %s; at a constant rate %s", decades, format(median), format(high), format(floor))

				rate := math.Log10(median[2]/median[0]) / 2
				assert.InDelta(t, -0.5, rate, 0.2, "order of decay of the median")
				assert.Less(t, high[1], high[0])
				assert.Less(t, high[2], high[1]/1.5)
				assert.Less(t, high[2], 0.1)
				assert.InDelta(t, 1, floor[2]/floor[1], 0.5, "the floor is one")
				assert.Greater(t, floor[2], 5*median[2])
			})
		}
	}
}

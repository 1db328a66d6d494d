// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/hyperbolic"
	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// The geometric factor: what it does to the mean step, and to the scale.

// rareAndLong runs SGD on the circle of radius r. A sample is -9 cos(phi) in one of ten cases and -sin(phi) in the
// others, so that the mean cost is -0.9 (cos(phi) + sin(phi)), with the minimum at 45 degrees. It returns the angle
// after so many steps, in degrees, averaged over the last tenth.
func rareAndLong(t *testing.T, r float64, steps int, opts ...solvers.Option) (angle float64) {
	t.Helper()
	p := newParam("kernel", tensor.Float64, 1, 1, 1, 2)
	put(p.w, []float64{0.6 * r, 0.8 * r})
	m := valueGrads([]*param{p})
	// The cost at phi does not depend on r, and gradients go with 1/r: a rate of r^2 makes steps of one angle.
	s := solvers.NewSGD(append(opts, solvers.LearnRate(r*r/2), solvers.Anneal(solvers.RobbinsMonro(500, 0.9)), solvers.Param("kernel", manifolds.Sphere{Radius: r}, manifolds.PerFilter))...)
	x, g, rng := p.w.Float64s(), p.g.Float64s(), source(1)
	for step := range steps {
		if rng.Float64() < 0.1 {
			g[0] = -9 / r
		} else {
			g[1] = -1 / r
		}
		require.NoError(t, s.Step(m))
		if step >= steps-steps/10 {
			angle += math.Atan2(x[1], x[0]) * 180 / math.Pi / float64(steps/10)
		}
	}
	return angle
}

// A factor that is known before the sample leaves the minimum where it is; one that is a function of the sample
// moves it to where the frequent short gradients lead. Neither depends on the radius.
func TestFactorAndRareLongGradients(t *testing.T) {
	if testing.Short() {
		t.Skip("runs for long under the race detector, on one goroutine")
	}
	const steps = 40000
	plain := rareAndLong(t, 1, steps)
	past := rareAndLong(t, 1, steps, solvers.GeometricStep())
	same := rareAndLong(t, 1, steps, solvers.SampledGeometricStep())
	t.Logf("plain %.2f, geometric %.2f, sampled %.2f", plain, past, same)
	// At the end the angle scatters by about 6 degrees, and has some tens of independent values in the average.
	assert.InDelta(t, 45, plain, 3)
	assert.InDelta(t, 45, past, 3)
	assert.InDelta(t, 89, same, 1.5)
	for _, r := range []float64{0.25, 8} { // powers of 2 change no rounding
		assert.InDelta(t, past, rareAndLong(t, r, steps, solvers.GeometricStep()), 1e-9, "r = %g", r)
		assert.InDelta(t, same, rareAndLong(t, r, steps, solvers.SampledGeometricStep()), 1e-9, "r = %g", r)
	}
}

// Where the curvature is negative, no factor shortens the step: SGD goes to the point that is nearest to the target.
func TestGeometricStepOnHyperbolicSpace(t *testing.T) {
	for _, of := range precisions {
		for _, option := range []solvers.Option{solvers.GeometricStep(), solvers.SampledGeometricStep()} {
			for _, scope := range []solvers.Scope{solvers.EachPoint, solvers.EachGroup, solvers.EachLayer} {
				p := newParam("kernel", of, 2, 1, 1, 2)
				put(p.w, []float64{2, -1, 0.5, 3})
				target := []float64{-1, 1, 4, 0}
				s := solvers.NewSGD(solvers.LearnRate(0.05), option, solvers.FactorFor(scope), solvers.Param("kernel", hyperbolic.Space{}, manifolds.PerFilter))
				for range 1500 {
					g := get(p.w)
					for i := range g {
						g[i] -= target[i]
					}
					put(p.g, g)
					require.NoError(t, s.Step(valueGrads([]*param{p})))
					require.Equal(t, 1.0, s.Report().Parameters[0].GeometricFactor)
				}
				require.InDeltaSlice(t, target, get(p.w), 1e-4)
			}
		}
	}
}

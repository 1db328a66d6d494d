// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// What the part of a gradient along the point does to momentum. It does not change the problem.

// rayleighPlus minimises x' A x + c |x|^2 on the unit sphere, A = diag(0, 1/6, 2/6 ... 5/6), and returns x' A x at
// the end, which is 0 at the minimum. There the gradient is 2c x.
func rayleighPlus(t *testing.T, c float64, steps int, opts ...solvers.Option) (gap float64, r solvers.Report) {
	t.Helper()
	p := newParam("kernel", tensor.Float64, 1, 1, 2, 3)
	gaussian(p.w, source(3), 1)
	m := valueGrads([]*param{p})
	s := solvers.NewSGD(append(opts, solvers.Kernels(manifolds.Sphere{}))...)
	require.NoError(t, s.Init(m))
	x, g := p.w.Float64s(), p.g.Float64s()
	for range steps {
		for i, v := range x {
			g[i] = 2 * (float64(i)/6 + c) * v
		}
		require.NoError(t, s.Step(m))
	}
	for i, v := range x {
		gap += float64(i) / 6 * v * v
	}
	return gap, s.Report()
}

// The default momentum converges whatever c is. Ambient momentum does not above its bound, (1 - theta)^2/theta = 0.0111
// for the rate times 2c, and the report says so; AmbientDecay is such a c.
func TestOutwardGradients(t *testing.T) {
	if testing.Short() {
		t.Skip("runs for long under the race detector, on one goroutine")
	}
	const rate = 0.02
	momentum := []solvers.Option{solvers.LearnRate(rate), solvers.Momentum(0.9)}
	ambient := append(momentum[:2:2], solvers.AmbientMomentum())
	for _, s := range []float64{0, 0.010, 0.012, 0.1, 10} { // rate 2c
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			c := s / rate / 2
			for name, opts := range map[string][]solvers.Option{
				"default":  momentum,
				"named":    append(momentum[:2:2], solvers.TangentMomentum()),
				"Nesterov": append(momentum[:2:2], solvers.Nesterov()),
				"decay":    append(momentum[:2:2], solvers.AmbientDecay(2*c)),
			} {
				gap, r := rayleighPlus(t, c, 4000, opts...)
				assert.Less(t, gap, 1e-12, name)
				assert.Empty(t, r.Warnings, name)
				assert.Zero(t, r.Parameters[0].Outward, name)
			}
			// Near the bound it takes its time.
			for _, a := range []struct {
				name string
				c    float64
				opts []solvers.Option
			}{
				{"cost", c, ambient},
				{"decay", 0, append(ambient[:3:3], solvers.AmbientDecay(2*c))},
				{"half of each", c / 2, append(ambient[:3:3], solvers.AmbientDecay(c))},
				{"batch size", 10 * c, append(ambient[1:3:3], solvers.LearnRate(rate), solvers.BatchSize(10))},
			} {
				gap, r := rayleighPlus(t, a.c, 12000, a.opts...)
				if s <= 0.010 {
					if a.name != "batch size" { // its curvature is a tenth
						assert.Less(t, gap, 1e-12, a.name)
					}
					assert.Empty(t, r.Warnings, a.name)
					continue
				}
				assert.Greater(t, gap, 1e-3, a.name)
				require.Len(t, r.Warnings, 1, a.name)
				assert.Contains(t, r.Warnings[0], "kernel: ambient momentum does not converge", a.name)
				// s is that of this point, larger than 2c by twice the cost, which is at most 5/6.
				low := s / (0.1 * 0.1 / 0.9)
				assert.GreaterOrEqual(t, r.Parameters[0].Outward, low*(1-1e-12), a.name)
				assert.LessOrEqual(t, r.Parameters[0].Outward, low+2*rate/(0.1*0.1/0.9), a.name)
				assert.Contains(t, r.String(), "warning: kernel: ambient momentum", a.name)
			}
		})
	}
}

// The bounds of ambient momentum for the rate times s = <x, g>/r^2, on both sides, s > 0 and s < 0:
//
//	rate s   < (1 - theta)^2 / theta    0.0111 at theta = 0.9, 0.5 at 1/2
//	rate |s| < (1 - theta^2) / theta    0.211, 1.5
//
// The second is for a cost without curvature; one with the rate times its curvature at h asks for
// rate h + (1 + theta)/(1 - theta) rate |s| < 2 (1 + theta) as well.
func TestBoundsOfAmbientMomentum(t *testing.T) {
	if testing.Short() {
		t.Skip("runs for long under the race detector, on one goroutine")
	}
	for _, c := range []struct {
		theta, s  float64
		converges bool
	}{
		{0.9, 0.010, true}, {0.9, 0.012, false},
		{0.9, -0.18, true}, {0.9, -0.22, false},
		{0.5, 0.45, true}, {0.5, 0.55, false},
		{0.5, -0.9, true}, {0.5, -1.6, false},
	} {
		const rate = 0.02
		opts := []solvers.Option{solvers.LearnRate(rate), solvers.Momentum(c.theta)}
		gap, _ := rayleighPlus(t, c.s/rate/2, 20000, append(opts, solvers.AmbientMomentum())...)
		assert.Equal(t, c.converges, gap < 1e-12, "ambient, theta %g, rate s = %g: gap %g", c.theta, c.s, gap)
		gap, _ = rayleighPlus(t, c.s/rate/2, 20000, opts...)
		assert.Less(t, gap, 1e-12, "tangent, theta %g, rate s = %g", c.theta, c.s)
	}
}

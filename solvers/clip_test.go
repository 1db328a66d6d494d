// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// Gradients are divided by the batch size, then clamped by value, then scaled by
// their joint norm: any other order gives other numbers here.
func TestClippingOrder(t *testing.T) {
	const batch, value, norm = 4, 0.3, 2.0
	for _, of := range precisions {
		m := model(of, 1)
		start := weights(m)
		gradients(m, 1)
		want, total, free := slopes(m), 0.0, 0.0
		for _, g := range want {
			for i := range g {
				free += g[i] * g[i] / (batch * batch)
				g[i] = max(-value, min(value, g[i]/batch))
				total += g[i] * g[i]
			}
		}
		require.Greater(t, math.Sqrt(total), norm, "or the test tests nothing")
		require.Greater(t, math.Sqrt(free), 1.1*math.Sqrt(total), "likewise")
		s := solvers.NewSGD(solvers.LearnRate(1), solvers.ClipNorm(norm), solvers.ClipValue(value), solvers.BatchSize(batch))
		require.NoError(t, s.Step(valueGrads(m)))
		for _, p := range m {
			w := start[p.name]
			for i := range w {
				w[i] -= want[p.name][i] * norm / math.Sqrt(total)
			}
			near(t, w, get(p.w), 1, of, p.name)
		}
	}
}

// ClipNorm takes the Euclidean gradients of all parameters together, also of
// constrained ones, whose tangent part is shorter.
func TestClipNormIsJoint(t *testing.T) {
	for _, of := range precisions {
		m := two(of, 1) // gradients (3, 4, 0, 2) and (3, 4): norm sqrt 54
		scale := 1 / math.Sqrt(54)
		s := solvers.NewSGD(solvers.LearnRate(1), solvers.ClipNorm(1), solvers.Kernels(manifolds.Sphere{Radius: 1}))
		require.NoError(t, s.Step(valueGrads(m)))
		assert.InDeltaSlice(t, []float64{-3 * scale, -4 * scale}, get(m[1].w), 2*eps(of))
		x := 4 * scale
		assert.InDeltaSlice(t, []float64{1 / math.Hypot(1, x), -x / math.Hypot(1, x), 0, 1}, get(m[0].w), 4*eps(of))
	}
}

// Gradients below the limits are not touched.
func TestClippingLeavesSmallGradients(t *testing.T) {
	for _, of := range precisions {
		a, b := model(of, 1), model(of, 1)
		run(t, solvers.NewSGD(solvers.ClipNorm(1e3), solvers.ClipValue(1e3)), a, 1)
		run(t, solvers.NewSGD(), b, 1)
		for i, p := range b {
			near(t, get(p.w), get(a[i].w), 1, of, p.name)
		}
	}
}

// So are gradients whose norms overflow together.
func TestClippingNormsThatOverflow(t *testing.T) {
	a, b := newParam("a", tensor.Float64, 1), newParam("b", tensor.Float64, 1)
	for range 2 {
		put(a.g, []float64{1.5e308})
		put(b.g, []float64{-1.5e308})
		require.NoError(t, solvers.NewSGD(solvers.LearnRate(1), solvers.ClipNorm(1)).Step(valueGrads([]*param{a, b})))
	}
	assert.InDelta(t, -math.Sqrt2, get(a.w)[0], 1e-15)
	assert.InDelta(t, math.Sqrt2, get(b.w)[0], 1e-15)
}

// Gradients whose squares overflow are clipped like any others.
func TestClippingHugeGradients(t *testing.T) {
	for _, of := range precisions {
		huge := math.Sqrt(math.MaxFloat64)
		if eps(of) > 1e-10 {
			huge = math.MaxFloat32
		}
		p := newParam("p", of, 4)
		put(p.g, []float64{huge, -huge, huge, huge})
		require.NoError(t, solvers.NewSGD(solvers.LearnRate(1), solvers.ClipNorm(2)).Step(valueGrads([]*param{p})))
		assert.InDeltaSlice(t, []float64{-1, 1, -1, -1}, get(p.w), 4*eps(of))
	}
}

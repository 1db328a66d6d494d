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

// With gradients as before a batch norm, orthogonal to the weights and inversely as long, and otherwise random, the norm of the weights settles where the steps have the
// angle that the report foretells.
func TestEquilibrium(t *testing.T) {
	const lambda = 0.05
	for name, s := range map[string]*solvers.Solver{
		"SGD":      solvers.NewSGD(solvers.LearnRate(0.1), solvers.WeightDecay(lambda)),
		"momentum": solvers.NewSGD(solvers.LearnRate(0.1), solvers.Momentum(0.8), solvers.WeightDecay(lambda)),
		"Nesterov": solvers.NewSGD(solvers.LearnRate(0.1), solvers.Momentum(0.8), solvers.Nesterov(), solvers.WeightDecay(lambda)),
		"damped":   solvers.NewSGD(solvers.LearnRate(0.1), solvers.Momentum(0.8), solvers.Dampening(0.5), solvers.WeightDecay(lambda)),
		"AdamW":    solvers.NewAdamW(solvers.LearnRate(0.1), solvers.WeightDecay(lambda)),
		"RMSProp":  solvers.NewRMSProp(solvers.LearnRate(0.1), solvers.WeightDecay(lambda)),
	} {
		t.Run(name, func(t *testing.T) {
			p := newParam("w", tensor.Float64, 1, 8, 8, 8)
			rng := source(1)
			gaussian(p.w, rng, 0.1)
			mean, steps, after := 0.0, 3000, 2000
			for step := range steps {
				gaussian(p.g, rng, 1)
				w, g := get(p.w), get(p.g)
				sq := dot(w, w)
				g = plus(1/math.Sqrt(sq), g, -dot(w, g)/sq/math.Sqrt(sq), w)
				put(p.g, g)
				require.NoError(t, s.Step(valueGrads([]*param{p})))
				if step >= after {
					moved := plus(1, get(p.w), -1/(1-0.1*lambda), w) // without the decay, to first order
					mean += dot(moved, moved) / dot(w, w) / float64(steps-after)
				}
			}
			row := s.Report().Parameters[0]
			require.Positive(t, row.Equilibrium)
			assert.InEpsilon(t, row.Equilibrium, math.Sqrt(mean), 0.08)
			assert.Contains(t, s.Report().String(), "equilibrium ")
		})
	}
	m := model(tensor.Float64, 1)
	s := solvers.NewAdamW(solvers.Kernels(manifolds.Sphere{}))
	run(t, s, m, 1)
	for _, p := range s.Report().Parameters {
		assert.Zero(t, p.Equilibrium, "on a manifold, or no kernel")
	}
}

// The cosine is that of the Euclidean gradient and its tangent part: the length of one over that of the other in the Euclidean metric.
func TestReportCosine(t *testing.T) {
	for _, of := range precisions {
		for _, at := range beyond {
			m := model(of, 1)
			s := solvers.NewSGD(at.kernels())
			require.NoError(t, s.Init(valueGrads(m)))
			gradients(m, 3)
			var whole []float64
			for _, p := range m {
				whole = append(whole, math.Sqrt(dot(get(p.g), get(p.g))))
			}
			require.NoError(t, s.Step(valueGrads(m)))
			parts := map[string]int{}
			for _, p := range s.Report().Parameters {
				parts[p.Name]++
			}
			for i, p := range s.Report().Parameters {
				switch {
				case p.Grouping == "":
					assert.Equal(t, 1.0, p.Cosine, "%s, %s", at.name, p.Name)
				case at.name == "Stiefel canonical" || at.name == "generalised Stiefel per tap" || at.name == "spectral ball":
					assert.Zero(t, p.Cosine, "%s, %s", at.name, p.Name)
				case parts[p.Name] > 1:
					assert.True(t, p.Cosine > 0 && p.Cosine <= 1, "%s, %s: %g", at.name, p.Name, p.Cosine)
				default:
					assert.InDelta(t, p.Direction/whole[i], p.Cosine, 1e-5, "%s, %s", at.name, p.Name)
				}
			}
		}
	}
	for of, sizes := range map[tensor.Dtype][]float64{tensor.Float32: {1, 1e-30, 1e-40, 1e25}, tensor.Float64: {1, 1e-170, 1e-310, 1e150}} {
		for _, size := range sizes {
			p := newParam("w", of, 2, 1, 2, 2)
			put(p.w, []float64{1, 0, 0, 0, 0, 1, 0, 0})
			s := solvers.NewSGD(solvers.LearnRate(0), solvers.Param("w", manifolds.Sphere{}, manifolds.Unit))
			put(p.g, []float64{4 * size, 3 * size, 0, 0, 0, 0, 0, 0}) // of length 5 size, of which 3 size tangent
			require.NoError(t, s.Step(valueGrads([]*param{p})))
			tolerance := 4 * eps(of)
			if size == 1e-40 || size == 1e-310 { // a subnormal gradient is rounded
				tolerance = 1e-4
			}
			assert.InDelta(t, 0.6, s.Report().Parameters[0].Cosine, tolerance, "%v, %g", of, size)
		}
	}
}

// A layer that is measured in several blocks, the last of them smaller, is measured as a whole.
func TestReportOfManyBlocks(t *testing.T) {
	for _, of := range precisions {
		p := newParam("w", of, 70, 30, 3, 3) // blocks of 30, 30 and 10 filters
		rng := source(7)
		gaussian(p.w, rng, 1)
		gaussian(p.g, rng, 1)
		s := solvers.NewSGD(solvers.Kernels(manifolds.Sphere{}))
		require.NoError(t, s.Init(valueGrads([]*param{p})))
		w, g := get(p.w), get(p.g)
		var least, largest, whole float64
		for f := range 70 {
			x, h := w[f*270:(f+1)*270], g[f*270:(f+1)*270]
			along := dot(x, h) / dot(x, x)
			least, largest, whole = min(least, along), max(largest, along), whole+dot(h, h)
		}
		require.NoError(t, s.Step(valueGrads([]*param{p})))
		r := s.Report().Parameters[0]
		assert.InDelta(t, least, r.Outwardness[0], 64*eps(of))
		assert.InDelta(t, largest, r.Outwardness[1], 64*eps(of))
		assert.InDelta(t, r.Direction/math.Sqrt(whole), r.Cosine, 64*eps(of))
	}
}

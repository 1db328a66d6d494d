// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"math"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// wide is a model whose steps are worth several cores.
func wide(of tensor.Dtype) []*param {
	var m []*param
	rng := source(2)
	for i, shape := range [][]int{{256, 64, 3, 3}, {64, 256, 3, 3}, {512, 512}, {64, 64, 1, 1}, {1, 512}} {
		p := newParam(string(rune('a'+i)), of, shape...)
		gaussian(p.w, rng, 0.05)
		m = append(m, p)
	}
	return m
}

// The number of cores does not show, and of several errors the first parameter's comes,
// with nothing moved.
func TestCoresDoNotShow(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, of := range precisions {
		for _, c := range []struct {
			name string
			of   func() gorgonia.Solver
		}{
			{"sphere", func() gorgonia.Solver {
				return solvers.NewSGD(solvers.Momentum(0.9), solvers.AmbientMomentum(), solvers.Kernels(manifolds.Sphere{}))
			}},
			{"sphere, tangent momentum", func() gorgonia.Solver {
				return solvers.NewSGD(solvers.Momentum(0.9), solvers.Kernels(manifolds.Sphere{}))
			}},
			{"Stiefel", func() gorgonia.Solver {
				return solvers.NewSGD(solvers.Momentum(0.9), solvers.Kernels(manifolds.Stiefel{}, manifolds.PerSlice))
			}},
			{"Adam", func() gorgonia.Solver { return solvers.NewAdam(solvers.Kernels(manifolds.Oblique{})) }},
		} {
			t.Run(of.String()+"/"+c.name, func(t *testing.T) {
				var want map[string][]float64
				for _, cores := range []int{1, 4} {
					runtime.GOMAXPROCS(cores)
					m := wide(of)[:3]
					if c.name == "Stiefel" {
						m = m[:2]
					}
					s := c.of()
					for step := range uint64(3) {
						run(t, s, m, step)
					}
					if want == nil {
						want = weights(m)
					}
					same(t, want, weights(m), "cores ", cores)

					gradients(m, 9)
					bad := []float64{math.Inf(1)}
					put(m[1].g, append(bad, get(m[1].g)[1:]...))
					put(m[0].g, append(bad, get(m[0].g)[1:]...))
					slopesBefore := slopes(m)
					err := s.Step(valueGrads(m))
					require.ErrorIs(t, err, solvers.ErrNotFinite)
					require.ErrorContains(t, err, m[0].name)
					same(t, want, weights(m))
					same(t, slopesBefore, slopes(m))
				}
			})
		}
	}
}

// Gradients whose squares would overflow in the precision take the careful way, which
// ends in the step or in an error, but never in numbers that are not finite.
func TestHugeGradients(t *testing.T) {
	huge := map[tensor.Dtype]float64{tensor.Float32: 1e25, tensor.Float64: 1e200}
	for _, of := range precisions {
		for _, s := range native(1e-3) {
			t.Run(of.String()+"/"+s.name, func(t *testing.T) {
				m := model(of, 1)
				solver := s.of(solvers.Kernels(manifolds.Sphere{}))
				for step := range uint64(6) {
					gradients(m, step)
					if step == 2 || step == 4 {
						for _, p := range m {
							g := get(p.g)
							for i := range g {
								g[i] *= huge[of]
							}
							put(p.g, g)
						}
					}
					before := weights(m)
					if err := solver.Step(valueGrads(m)); err != nil {
						require.ErrorIs(t, err, solvers.ErrDiverged)
						same(t, before, weights(m))
					}
					for name, w := range weights(m) {
						for _, v := range w {
							require.False(t, math.IsNaN(v) || math.IsInf(v, 0), name)
						}
					}
				}
			})
		}
	}
}

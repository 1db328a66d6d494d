// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// How weights get onto their manifold and stay there.

// projected returns the weights of p on their manifold, by the manifold alone.
func projected(t *testing.T, at place, p *param) []float64 {
	t.Helper()
	var all manifolds.Points
	var err error
	values := p.w.Clone().(*tensor.Dense)
	size := values.Size()
	if p.w.Dtype() == tensor.Float64 {
		all, err = manifolds.Points64(values.Float64s(), size, 1, 1)
	} else {
		all, err = manifolds.Points32(values.Float32s(), size, 1, 1)
	}
	require.NoError(t, err)
	piece, err := manifolds.Single(manifolds.On(at.manifold, at.options...).Bind(p.w.Shape(), all.Norm()))
	require.NoError(t, err)
	m, l := piece.Manifold, piece.Layout
	x := all
	if p.w.Dtype() == tensor.Float64 {
		x, err = manifolds.Points64(make([]float64, size), l.K, l.N, l.P)
	} else {
		x, err = manifolds.Points32(make([]float32, size), l.K, l.N, l.P)
	}
	require.NoError(t, err)
	require.NoError(t, l.Gather(x, all))
	require.NoError(t, m.Project(x, x))
	require.NoError(t, l.Scatter(all, x))
	return get(values)
}

// Init projects before there is a gradient, and says so.
func TestInitProjects(t *testing.T) {
	for _, of := range precisions {
		for _, s := range everySolver(0.01) {
			for _, at := range places {
				t.Run(of.String()+"/"+s.name+"/"+at.name, func(t *testing.T) {
					m := model(of, 1)
					var without []gorgonia.ValueGrad
					for _, p := range m {
						without = append(without, &broken{param: p, err: errors.New("no gradient yet")})
					}
					before := weights(m)
					solver := s.of(at.kernels())
					require.NoError(t, solver.Init(without))
					for i, p := range solver.Report().Parameters {
						assert.Equal(t, p.Kernel, p.Projected)
						if p.Kernel {
							assert.Equal(t, projected(t, at, &param{p.Name, fromValues(m[i], before), nil}), get(m[i].w))
						} else {
							assert.Equal(t, before[p.Name], get(m[i].w))
						}
					}
					onManifold(t, solver.Report(), of)
					assert.Zero(t, solver.Report().Steps)

					// Again, it changes nothing.
					once := weights(m)
					require.NoError(t, solver.Init(without))
					same(t, once, weights(m))
				})
			}
		}
	}
}

func fromValues(p *param, values map[string][]float64) *tensor.Dense {
	w := p.w.Clone().(*tensor.Dense)
	put(w, values[p.name])
	return w
}

// A first step without Init projects all the same, and reports it.
func TestFirstStepProjects(t *testing.T) {
	for _, of := range precisions {
		for _, s := range everySolver(0.01) {
			for _, at := range places {
				t.Run(of.String()+"/"+s.name+"/"+at.name, func(t *testing.T) {
					m, twin := model(of, 1), model(of, 1)
					a, b := s.of(at.kernels()), s.of(at.kernels())
					require.NoError(t, a.Init(valueGrads(m)))
					for step := range uint64(2) {
						run(t, a, m, step)
						run(t, b, twin, step)
						same(t, weights(m), weights(twin))
					}
					assert.Equal(t, a.Report(), b.Report())
					for _, p := range b.Report().Parameters {
						assert.Equal(t, p.Kernel, p.Projected)
						assert.Zero(t, p.Reprojections)
					}

					// Weights that are on the manifold are left as they are.
					c := s.of(at.kernels())
					before := weights(m)
					require.NoError(t, c.Init(valueGrads(m)))
					same(t, before, weights(m))
					for _, p := range c.Report().Parameters {
						assert.False(t, p.Projected)
					}
				})
			}
		}
	}
}

// Drift beyond the tolerance is projected away before a step, and counted; less
// is left alone.
func TestReprojection(t *testing.T) {
	for _, of := range precisions {
		below := map[tensor.Dtype]float64{tensor.Float32: 1.5e-6, tensor.Float64: 1e-12}[of]
		for _, s := range everySolver(0.01) {
			for _, at := range places {
				t.Run(of.String()+"/"+s.name+"/"+at.name, func(t *testing.T) {
					for _, c := range []struct {
						drift float64
						opts  []solvers.Option
						want  int
					}{
						{1e-3, nil, 1},
						{below, nil, 0},
						{1e-3, []solvers.Option{solvers.Tolerance(0.1)}, 0},
						{below, []solvers.Option{solvers.Tolerance(0.7 * below)}, 1},
					} {
						p := newParam("kernel", of, 6, 4, 2, 3)
						gaussian(p.w, source(1), 1)
						m := []*param{p}
						solver := s.of(append(c.opts, at.kernels())...)
						run(t, solver, m, 1)
						w := get(p.w)
						for i := range w {
							w[i] *= 1 + c.drift
						}
						put(p.w, w)
						// On Stiefel the Gram matrix has twice the error, for each of 6 vectors.
						require.InDelta(t, c.drift, solver.Report().Parameters[0].Membership, 4.5*c.drift)
						run(t, solver, m, 2)
						assert.Equal(t, c.want, solver.Report().Parameters[0].Reprojections, "after a drift of %g", c.drift)
						run(t, solver, m, 3)
						assert.Equal(t, c.want, solver.Report().Parameters[0].Reprojections, "later")
						if c.want == 1 || c.drift > 1e-4 { // steps retract anyway
							onManifold(t, solver.Report(), of)
						}
					}
				})
			}
		}
	}
}

// Of several parameters one is measured at each step; the step itself brings the
// others back.
func TestDriftOfSeveralParameters(t *testing.T) {
	for _, of := range precisions {
		for _, s := range everySolver(0.01) {
			for _, at := range places {
				t.Run(of.String()+"/"+s.name+"/"+at.name, func(t *testing.T) {
					m := model(of, 1)
					solver := s.of(at.kernels())
					for step := range uint64(12) {
						run(t, solver, m, step)
						onManifold(t, solver.Report(), of)
						for _, i := range []int{0, 2} {
							w := get(m[i].w)
							for j := range w {
								w[j] *= 1.001
							}
							put(m[i].w, w)
						}
					}
					// Twelve steps, six parameters: each was measured twice.
					for _, p := range solver.Report().Parameters {
						if p.Kernel {
							assert.GreaterOrEqual(t, p.Reprojections, 1, p.Name)
						}
					}
				})
			}
		}
	}
}

// Init of weights that something else has written since the last step hides nothing from the next step.
func TestInitOfOverwrittenWeights(t *testing.T) {
	for _, of := range precisions {
		for _, s := range everySolver(0.05) {
			t.Run(of.String()+"/"+s.name, func(t *testing.T) {
				m, twin := model(of, 1), model(of, 1)
				solver, reference := s.of(solvers.Kernels(manifolds.Sphere{})), s.of(solvers.Kernels(manifolds.Sphere{}))
				for step := range uint64(3) {
					run(t, solver, m, step)
					run(t, reference, twin, step)
				}
				for _, i := range []int{0, 2} {
					gaussian(m[i].w, source(9), 1)
					put(twin[i].w, get(m[i].w))
				}
				require.NoError(t, solver.Init(valueGrads(m)))
				onManifold(t, solver.Report(), of)
				run(t, solver, m, 7)
				run(t, reference, twin, 7)
				same(t, weights(twin), weights(m))
				assert.Equal(t, reference.Report(), solver.Report())
			})
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// State belongs to a parameter, wherever it stands in the slice and whatever
// memory it has.

// subset picks the parameters of one step of a run in which some are left out
// now and then, in their own order.
func subset(m []*param, step uint64) []*param {
	var out []*param
	for i, p := range m {
		if step == 0 || (uint64(i)+step)%3 != 0 {
			out = append(out, p)
		}
	}
	return out
}

func shuffled(m []*param, seed uint64) []*param {
	out := append([]*param(nil), m...)
	source(seed).Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

func TestOrderAndLengthMayChange(t *testing.T) {
	makers := append(everySolver(0.01),
		maker{name: "SGD with everything", of: func(opts ...solvers.Option) stepper {
			return solvers.NewSGD(append(opts, solvers.Momentum(0.9), solvers.ClipValue(1.5), solvers.ClipNorm(2),
				solvers.AmbientDecay(0.01), solvers.Anneal(solvers.Cosine(10, 0.1)), solvers.GeometricStep())...)
		}},
		maker{name: "SGD with everything of the paper", of: func(opts ...solvers.Option) stepper {
			return solvers.NewSGD(append(opts, solvers.Momentum(0.9), solvers.AmbientMomentum(), solvers.ClipValue(1.5), solvers.ClipNorm(2),
				solvers.AmbientDecay(0.01), solvers.Anneal(solvers.Cosine(10, 0.1)), solvers.SampledGeometricStep())...)
		}})
	for _, of := range precisions {
		for _, s := range makers {
			for _, at := range everywhere {
				t.Run(of.String()+"/"+s.name+"/"+at.name, func(t *testing.T) {
					m, moved := model(of, 1), model(of, 1)
					a, b := s.of(at.kernels()), s.of(at.kernels())
					for step := range uint64(8) {
						gradients(m, step)
						gradients(moved, step)
						require.NoError(t, a.Step(valueGrads(subset(m, step))))
						// A wrapped solver is shown the parameters in the order of the first step.
						order := shuffled(subset(moved, step), step)
						if step == 0 && s.bare != nil {
							order = subset(moved, step)
						}
						require.NoError(t, b.Step(valueGrads(order)))
						same(t, weights(m), weights(moved), "at step ", step)
					}
				})
			}
		}
	}
}

// A parameter moves as it would alone, with a step count of its own, also when
// it joins late.
func TestParametersAreIndependent(t *testing.T) {
	for _, of := range precisions {
		for _, s := range native(0.01) {
			t.Run(of.String()+"/"+s.name, func(t *testing.T) {
				kernels := solvers.Where(func(name string, _ tensor.Shape) bool { return name == "conv1" || name == "conv2" || name == "linear" },
					manifolds.Stiefel{}, manifolds.FilterBank)
				whole := s.of(kernels)
				together := model(of, 1)
				join := func(step uint64) []*param { return together[:min(len(together), 3+int(step))] }
				for step := range uint64(6) {
					gradients(together, step)
					require.NoError(t, whole.Step(valueGrads(join(step))))
				}
				for i, p := range model(of, 1) {
					opts := []solvers.Option{}
					if p.name == "conv1" || p.name == "conv2" || p.name == "linear" {
						opts = append(opts, solvers.Param(p.name, manifolds.Stiefel{}, manifolds.FilterBank))
					}
					alone := s.of(opts...)
					for step := range uint64(6) {
						if i < len(join(step)) {
							run(t, alone, []*param{p}, step)
						}
					}
					same(t, map[string][]float64{p.name: get(p.w)}, map[string][]float64{p.name: get(together[i].w)})
				}
			})
		}
	}
}

// Stock solvers with state panic at a longer slice: the step fails, nothing has
// moved, and the known parameters go on.
func TestLateParametersUnderAStockSolver(t *testing.T) {
	for _, s := range wrapped(0.01) {
		t.Run(s.name, func(t *testing.T) {
			m := model(tensor.Float64, 1)
			solver := s.of(solvers.Kernels(manifolds.Sphere{}))
			run(t, solver, m[:4], 1)
			gradients(m, 2)
			before := weights(m)
			err := solver.Step(valueGrads(m))
			if s.memoryless {
				require.NoError(t, err)
				assert.Len(t, solver.Report().Parameters, 6)
				return
			}
			require.ErrorIs(t, err, solvers.ErrStock)
			same(t, before, weights(m))
			assert.Len(t, solver.Report().Parameters, 4)
			require.NoError(t, solver.Step(valueGrads(m[:4])))
			assert.NotEqual(t, before["conv1"], get(m[0].w))
			assert.Equal(t, before["linear"], get(m[4].w))
		})
	}
}

// node makes a *Node with a value and a gradient, as after a run.
func node(g *gorgonia.ExprGraph, p *param) *gorgonia.Node {
	return gorgonia.NewTensor(g, p.w.Dtype(), p.w.Dims(), gorgonia.WithName(p.name), gorgonia.WithShape(p.w.Shape()...),
		gorgonia.WithValue(p.w), gorgonia.WithGrad(p.g))
}

// Let gives a node another tensor. A copy of the same weights changes nothing,
// momentum goes on.
func TestLetKeepsState(t *testing.T) {
	for _, of := range precisions {
		for _, s := range everySolver(0.01) {
			for _, at := range everywhere {
				t.Run(of.String()+"/"+s.name+"/"+at.name, func(t *testing.T) {
					m, twin := model(of, 1), model(of, 1)
					a, b := s.of(at.kernels()), s.of(at.kernels())
					g := gorgonia.NewGraph()
					var nodes gorgonia.Nodes
					for _, p := range m {
						nodes = append(nodes, node(g, p))
					}
					for step := range uint64(6) {
						gradients(m, step)
						require.NoError(t, a.Step(gorgonia.NodesToValueGrads(nodes)))
						run(t, b, twin, step)
						for i, p := range m {
							p.w = p.w.Clone().(*tensor.Dense)
							require.NoError(t, gorgonia.Let(nodes[i], p.w))
						}
					}
					same(t, weights(twin), weights(m))
					names := map[string]bool{}
					for _, p := range a.Report().Parameters {
						assert.Zero(t, p.Reprojections)
						names[p.Name] = true
					}
					assert.Len(t, names, len(m))
				})
			}
		}
	}
}

// Weights that Let brings from elsewhere are projected, like those of the first
// step, and counted.
func TestLetProjects(t *testing.T) {
	for _, of := range precisions {
		for _, s := range everySolver(0.01) {
			for _, at := range everywhere {
				t.Run(of.String()+"/"+s.name+"/"+at.name, func(t *testing.T) {
					m := model(of, 1)
					solver := s.of(at.kernels())
					g := gorgonia.NewGraph()
					var nodes gorgonia.Nodes
					for _, p := range m {
						nodes = append(nodes, node(g, p))
					}
					for step := range uint64(3) {
						gradients(m, step)
						require.NoError(t, solver.Step(gorgonia.NodesToValueGrads(nodes)))
					}
					for _, i := range []int{0, 2} {
						m[i].w = m[i].w.Clone().(*tensor.Dense)
						gaussian(m[i].w, source(uint64(i)), 3)
						require.NoError(t, gorgonia.Let(nodes[i], m[i].w))
					}
					gradients(m, 7)
					require.NoError(t, solver.Step(gorgonia.NodesToValueGrads(nodes)))
					r := solver.Report()
					onManifold(t, r, of)
					for _, p := range r.Parameters {
						assert.Equal(t, p.Kernel, p.Reprojections == 1, p.Name)
					}
					runtime.KeepAlive(nodes) // the report is of weights that are still there
				})
			}
		}
	}
}

// A step that fails does not make them forgotten.
func TestLetProjectsAfterAFailedStep(t *testing.T) {
	for _, of := range precisions {
		for _, s := range everySolver(0.01) {
			m := model(of, 1)
			solver := s.of(solvers.Kernels(manifolds.Stiefel{}))
			for step := range uint64(3) {
				run(t, solver, m, step)
			}
			for _, i := range []int{0, 2} {
				m[i].w = m[i].w.Clone().(*tensor.Dense)
				gaussian(m[i].w, source(uint64(i)), 3)
			}
			gradients(m, 7)
			require.ErrorIs(t, solver.Step(instead("offset", with(0, nan))(m)), solvers.ErrNotFinite)
			run(t, solver, m, 7)
			for _, p := range solver.Report().Parameters {
				assert.Equal(t, p.Kernel, p.Reprojections == 1, "%s, %s", s.name, p.Name)
			}
		}
	}
}

// New memory is remembered until a step is made, also by the ascent of SAM, even if the few values that detect a change in place are as before.
func TestNewMemoryIsRemembered(t *testing.T) {
	for _, of := range precisions {
		for _, ascends := range []bool{false, true} {
			m := model(of, 1)
			sam := solvers.NewSAM(solvers.NewSGD(solvers.Momentum(0.9), solvers.Kernels(manifolds.Sphere{})), 0.01)
			var s stepper = sam
			if !ascends {
				s = sam.Solver
			}
			step := func(k uint64) {
				if ascends {
					gradients(m, k)
					require.NoError(t, sam.Ascend(valueGrads(m)))
				}
				run(t, s, m, k)
			}
			for k := range uint64(3) {
				step(k)
			}
			for _, i := range []int{0, 2} {
				m[i].w = m[i].w.Clone().(*tensor.Dense)
				w := get(m[i].w)
				w[1], w[9] = w[1]+3, w[9]+3
				put(m[i].w, w)
			}
			if !ascends {
				gradients(m, 7)
				require.ErrorIs(t, s.Step(instead("offset", with(0, nan))(m)), solvers.ErrNotFinite)
			}
			step(7)
			for _, p := range s.Report().Parameters {
				assert.Equal(t, p.Kernel, p.Reprojections == 1, "%v, %s", ascends, p.Name)
			}
		}
	}
}

// Two nodes exchange their tensors; each keeps its state, found by the node or
// by the memory.
func TestExchangedMemory(t *testing.T) {
	m := []*param{newParam("a", tensor.Float64, 3), newParam("b", tensor.Float64, 3)}
	s := solvers.NewSGD(solvers.LearnRate(1), solvers.Momentum(0.5))
	put(m[0].g, []float64{1, 1, 1})
	require.NoError(t, s.Step(valueGrads(m)))
	m[0].w, m[1].w = m[1].w, m[0].w
	require.NoError(t, s.Step(valueGrads(m)))
	assert.Equal(t, []float64{-0.5, -0.5, -0.5}, get(m[0].w))
	require.NoError(t, s.Step([]gorgonia.ValueGrad{pair{m[0].w, m[0].g}, pair{m[1].w, m[1].g}}))
	assert.Len(t, s.Report().Parameters, 2)
	assert.Equal(t, []float64{-0.75, -0.75, -0.75}, get(m[0].w))
	assert.Equal(t, []float64{-1, -1, -1}, get(m[1].w))
}

// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/mpi"
	"github.com/kernelfold/kernelfold/internal/mpi/mpitest"
	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// four is an ensemble of everything that the papers mix.
func four(s manifolds.Strategy, groups int, seed uint64) manifolds.Ensemble {
	return manifolds.Ensemble{Strategy: s, Groups: groups, Seed: seed,
		Parts: manifolds.Equal(manifolds.Sphere{}, manifolds.Stiefel{}, manifolds.Euclidean{})}
}

// With one part an ensemble moves as the plain manifold does, to the bit.
func TestEnsembleOfOneIsTheManifold(t *testing.T) {
	for _, of := range precisions {
		for _, s := range native(0.05) {
			for _, m := range []manifolds.Manifold{manifolds.Sphere{}, manifolds.Oblique{}, manifolds.Stiefel{}} {
				one := manifolds.Ensemble{Strategy: manifolds.PI, Parts: manifolds.Equal(m), Seed: 5}
				a, b := s.of(solvers.Kernels(one)), s.of(solvers.Kernels(m, manifolds.PerSlice))
				got, want := model(of, 1), model(of, 1)
				for step := range uint64(5) {
					run(t, a, got, step)
					run(t, b, want, step)
				}
				same(t, weights(want), weights(got), s.name, manifolds.Name(m))
				assert.Equal(t, b.Report(), a.Report(), "%s, %v", s.name, m)
			}
		}
	}
}

// Every slice moves as it would in a layer that is wholly on the manifold of its part.
func TestEnsembleMovesEachSliceOnItsManifold(t *testing.T) {
	for _, of := range precisions {
		for _, s := range native(0.05) {
			if s.layers {
				continue
			}
			for _, strategy := range []manifolds.Strategy{manifolds.PIO, manifolds.PI, manifolds.PO} {
				e := four(strategy, 0, 3)
				c := manifolds.On(e)
				c.Layer = "conv2"
				pieces, err := c.Bind([]int{6, 4, 2, 3}, 1)
				require.NoError(t, err)
				mixed := model(of, 1)
				solver := s.of(solvers.Kernels(e))
				for step := range uint64(4) {
					run(t, solver, mixed, step)
				}
				for i, piece := range pieces {
					whole := model(of, 1)
					alone := s.of(solvers.Kernels(e.Parts[i].Manifold, manifolds.PerSlice))
					if _, free := e.Parts[i].Manifold.(manifolds.Euclidean); free {
						if s.plans {
							continue // without a manifold all weights have one rate
						}
						alone = s.of(solvers.Kernels(manifolds.Euclidean{}))
					}
					for step := range uint64(4) {
						run(t, alone, whole, step)
					}
					got, want := get(mixed[2].w), get(whole[2].w)
					l := piece.Layout
					var a, b []float64
					for _, k := range l.Order {
						for j := range l.StrideK {
							a, b = append(a, got[int(k)*l.StrideK+j]), append(b, want[int(k)*l.StrideK+j])
						}
					}
					near(t, b, a, 4, of, fmt.Sprintf("%s, %v, %s", s.name, strategy, piece.Name))
				}
			}
		}
	}
}

// The same on a layer of several chunks, whose parts go through it side by side; and all of its gradient is cleared.
func TestEnsembleInChunks(t *testing.T) {
	const slice = 9
	shape := []int{60, 30, 3, 3}
	for _, of := range precisions {
		for _, rule := range []struct {
			name string
			make func(...solvers.Option) *solvers.Solver
			own  solvers.Option
		}{
			{"SGD", solvers.NewSGD, solvers.Momentum(0.9)},
			{"Adam", solvers.NewAdam, solvers.LearnRate(0.01)},
		} {
			after := func(name string, option solvers.Option) []float64 {
				p, solver := newParam("kernel", of, shape...), rule.make(rule.own, option)
				gaussian(p.w, source(1), 0.1)
				for step := range uint64(3) {
					gaussian(p.g, source(2+step), 0.01)
					require.NoError(t, solver.Step(valueGrads([]*param{p})))
					for i, v := range get(p.g) {
						require.Zero(t, v, "%s, %s: gradient of weight %d", rule.name, name, i)
					}
				}
				return get(p.w)
			}
			for _, groups := range []int{1, 3} { // with several, the points of a part go through the layer as often
				e := four(manifolds.PIO, groups, 3)
				c := manifolds.On(e)
				c.Layer = "kernel"
				pieces, err := c.Bind(shape, 1)
				require.NoError(t, err)
				got := after("ensemble", solvers.Kernels(e))
				for i, piece := range pieces {
					alone := solvers.Kernels(e.Parts[i].Manifold, manifolds.PerSlice)
					if _, free := e.Parts[i].Manifold.(manifolds.Euclidean); free {
						alone = solvers.Kernels(manifolds.Euclidean{})
					}
					whole := after(piece.Name, alone)
					var a, b []float64
					for _, k := range piece.Layout.Order {
						for j := range piece.Layout.StrideK {
							a, b = append(a, got[int(k)*piece.Layout.StrideK+j]), append(b, whole[int(k)*piece.Layout.StrideK+j])
						}
					}
					near(t, b, a, slice, of, fmt.Sprintf("%s, %d groups, %s", rule.name, groups, piece.Name))
				}
			}
		}
	}
}

// Muon moves the free part of an ensemble as one matrix, also where other rules would move it in chunks.
func TestEnsembleOfMuon(t *testing.T) {
	after := func(opts ...solvers.Option) []float64 {
		p, solver := newParam("kernel", tensor.Float32, 128, 64, 3, 3), solvers.NewMuon(append(opts, solvers.Kernels(four(manifolds.PIO, 1, 3)))...)
		gaussian(p.w, source(1), 0.1)
		for step := range uint64(2) {
			gaussian(p.g, source(2+step), 0.01)
			require.NoError(t, solver.Step(valueGrads([]*param{p})))
		}
		return get(p.w)
	}
	assert.Equal(t, after(solvers.ClipValue(1e30)), after()) // which makes the step in buffers
}

// With noise, every part stays on its manifold, and has a row in the report.
func TestEnsembleStaysOnItsManifolds(t *testing.T) {
	steps := uint64(1000)
	if testing.Short() {
		steps = 100
	}
	for _, of := range precisions {
		for _, s := range native(0.05) {
			solver, m := s.of(solvers.Kernels(four(manifolds.PIO, 2, 1))), model(of, 1)
			for step := range steps {
				run(t, solver, m, step)
			}
			r := solver.Report()
			onManifold(t, r, of)
			var parts []string
			for _, p := range r.Parameters {
				if p.Name == "conv1" {
					parts = append(parts, p.Part)
				}
			}
			assert.Equal(t, []string{"sphere", "stiefel", "euclidean"}, parts)
			assert.Contains(t, r.Full(), "conv2, stiefel")
		}
	}
}

// On a sum of problems, one for each slice, the parts solve theirs: the first eigenvector on a sphere, and the polar
// factor on Stiefel.
func TestEnsembleSolvesTheProblemsOfItsParts(t *testing.T) {
	e := manifolds.Ensemble{Parts: manifolds.Equal(manifolds.Sphere{}, manifolds.Stiefel{}), Seed: 2}
	shape := []int{3, 4, 4, 3}
	c := manifolds.On(e, manifolds.Unit)
	c.Layer = "kernel"
	pieces, err := c.Bind(shape, 1)
	require.NoError(t, err)
	rng := source(3)
	kernel := newParam("kernel", tensor.Float64, shape...)
	gaussian(kernel.w, rng, 1)
	problems := map[int]problem{}
	for _, k := range pieces[0].Layout.Order {
		problems[int(k)] = rayleigh(rng, 12, 1)
	}
	for _, k := range pieces[1].Layout.Order {
		problems[int(k)] = procrustes(rng, 4, 3)
	}
	require.Len(t, problems, 12)
	m := []*param{kernel}
	solver := solvers.NewSGD(solvers.LearnRate(0.2), solvers.Kernels(e, manifolds.Unit))
	require.NoError(t, solver.Init(valueGrads(m)))
	w, g := kernel.w.Float64s(), kernel.g.Float64s()
	for range 1000 {
		for k, q := range problems {
			q.slope(g[12*k:12*k+12], w[12*k:12*k+12])
		}
		require.NoError(t, solver.Step(valueGrads(m)))
	}
	for k, q := range problems {
		assert.Less(t, q.off(w[12*k:12*k+12]), 1e-10, "slice %d", k)
	}
}

// The factor of a group is that of a point of a product manifold: one step by hand.
func TestFactorForGroups(t *testing.T) {
	const rate = 0.1
	e := manifolds.Ensemble{Parts: []manifolds.Part{{Manifold: manifolds.Sphere{Radius: 1}, Share: 1}, {Manifold: manifolds.Sphere{Radius: 2}, Share: 1}, {Manifold: manifolds.Euclidean{}, Share: 1}},
		Groups: 2, Seed: 1}
	c := manifolds.On(e)
	c.Layer = "kernel"
	shape := []int{4, 3, 2, 2}
	pieces, err := c.Bind(shape, 1)
	require.NoError(t, err)
	for _, scope := range []solvers.Scope{solvers.EachPoint, solvers.EachGroup, solvers.EachLayer} {
		for _, sampled := range []bool{true, false} {
			kind := solvers.GeometricStep()
			if sampled {
				kind = solvers.SampledGeometricStep()
			}
			p := newParam("kernel", tensor.Float64, shape...)
			gaussian(p.w, source(1), 1)
			m := []*param{p}
			solver := solvers.NewSGD(solvers.LearnRate(rate), solvers.Kernels(e), kind, solvers.FactorFor(scope))
			require.NoError(t, solver.Init(valueGrads(m)))
			var past []float64 // mean squares of the slices, by the weights of the solver
			for step := range 3 {
				gaussian(p.g, source(uint64(7+step)), 3)
				x, g := get(p.w), get(p.g)
				require.NoError(t, solver.Step(valueGrads(m)))
				if past == nil {
					past = make([]float64, 12)
				}
				squares, radius := make([]float64, 12), make([]float64, 12)
				v := make([]float64, len(x))
				layer, curvature := 0.0, 0.0
				for i, piece := range pieces[:2] {
					for _, k := range piece.Layout.Order {
						at := 4 * int(k)
						radius[k] = float64(1 + i)
						along := dot(x[at:at+4], g[at:at+4]) / (radius[k] * radius[k])
						for j := at; j < at+4; j++ {
							v[j] = g[j] - along*x[j]
							squares[k] += v[j] * v[j]
						}
						curvature = 1 // the larger of 1 and 1/4
					}
				}
				of := func(k int32) float64 {
					if sampled {
						return squares[k]
					}
					if step == 0 {
						return 0
					}
					return past[k] / (1 - math.Pow(0.9, float64(step)))
				}
				for _, piece := range pieces[:2] {
					for _, k := range piece.Layout.Order {
						layer += of(k)
					}
				}
				for i, piece := range pieces[:2] {
					from := 0
					for _, n := range piece.Groups {
						group := piece.Layout.Order[from : from+n]
						from += n
						sum := 0.0
						for _, k := range group {
							sum += of(k)
						}
						for _, k := range group {
							r, bound := of(k), 1/(radius[k]*radius[k])
							switch scope {
							case solvers.EachGroup:
								r = sum
							case solvers.EachLayer:
								r, bound = layer, curvature
							}
							factor := manifolds.GeometricFactor(math.Sqrt(r), bound)
							at := 4 * int(k)
							y, long := make([]float64, 4), 0.0
							for j := range y {
								y[j] = x[at+j] - rate/factor*v[at+j]
								long += y[j] * y[j]
							}
							for j := range y {
								require.InDelta(t, radius[k]*y[j]/math.Sqrt(long), p.w.Float64s()[at+j], 1e-13, "scope %d, sampled %v, part %d, slice %d", scope, sampled, i, k)
							}
						}
					}
				}
				for k, sq := range squares {
					past[k] = 0.9*past[k] + 0.1*sq
				}
				for _, k := range pieces[2].Layout.Order { // free weights take no factor
					require.InDelta(t, x[k]-rate*g[k], p.w.Float64s()[k], 1e-14)
				}
			}
		}
	}
	refuses(t, func() stepper { return solvers.NewSGD(solvers.FactorFor(solvers.EachGroup)) }, model(tensor.Float32, 1), solvers.ErrOption, "want GeometricStep")
	refuses(t, func() stepper { return solvers.NewSGD(solvers.GeometricStep(), solvers.FactorFor(3)) }, model(tensor.Float32, 1), solvers.ErrOption, "want EachPoint")
}

// A run that is interrupted goes on to the bit, and a solver with another deal does not take its snapshot.
func TestEnsembleResumes(t *testing.T) {
	for _, of := range precisions {
		for _, s := range native(0.05) {
			make := func(e manifolds.Ensemble) *solvers.Solver { return s.of(solvers.Kernels(e)).(*solvers.Solver) }
			e := four(manifolds.PIO, 2, 1)
			solver, m := make(e), model(of, 1)
			for step := range uint64(3) {
				run(t, solver, m, step)
			}
			snap, err := solver.Snapshot()
			require.NoError(t, err)
			again, twin := make(e), copied(m, of)
			require.NoError(t, again.Restore(valueGrads(twin), snap))
			for step := range uint64(3) {
				run(t, solver, m, 10+step)
				run(t, again, twin, 10+step)
			}
			same(t, weights(m), weights(twin))

			other := []manifolds.Ensemble{four(manifolds.PIO, 2, 2), four(manifolds.PIO, 1, 1), four(manifolds.PI, 1, 1)}
			other = append(other, e)
			other[3].Parts = []manifolds.Part{{Manifold: manifolds.Sphere{}, Share: 1}, {Manifold: manifolds.Stiefel{}, Share: 1}, {Manifold: manifolds.Euclidean{}, Share: 0.99}}
			for _, o := range other {
				twin := copied(m, of)
				before := weights(twin)
				require.ErrorIs(t, make(o).Restore(valueGrads(twin), snap), solvers.ErrConstraint, "%v", o)
				same(t, before, weights(twin))
			}
			snap.Parameters[0].Deal = "0123456789abcdef"
			require.ErrorContains(t, make(e).Restore(valueGrads(copied(m, of)), snap), "want the deal 0123456789abcdef of the snapshot")
		}
	}
}

// A part that cannot move leaves all others, and the layers before it, as they were.
func TestEnsembleIsAllOrNothing(t *testing.T) {
	for _, of := range precisions {
		for _, s := range native(0.05) {
			m := model(of, 1)
			solver := s.of(solvers.Kernels(four(manifolds.PIO, 1, 1)))
			run(t, solver, m, 1)
			gradients(m, 2)
			g := get(m[2].g)
			g[len(g)-1] = math.NaN()
			put(m[2].g, g)
			w := weights(m)
			require.ErrorIs(t, solver.Step(valueGrads(m)), solvers.ErrNotFinite)
			same(t, w, weights(m))
		}
	}
	// 1 x 1 slices have no room on a sphere.
	refuses(t, func() stepper { return solvers.NewSGD(solvers.Kernels(four(manifolds.PIO, 1, 1))) },
		[]*param{newParam("conv", tensor.Float32, 4, 3, 1, 1)}, solvers.ErrConstraint, "dimension 0")
}

// Processes that share a step deal alike and end with the same weights.
func TestShareOfEnsembles(t *testing.T) {
	kernels := solvers.Kernels(four(manifolds.PIO, 1, 4))
	twin, reference := model(tensor.Float32, 1), solvers.NewSGD(solvers.Momentum(0.9), kernels)
	for step := range uint64(4) {
		run(t, reference, twin, step)
	}
	mpitest.Run(t, 3, func(t *testing.T, c mpi.Comm) {
		m, solver := model(tensor.Float32, 1), solvers.NewSGD(solvers.Momentum(0.9), kernels)
		for step := range uint64(4) {
			gradients(m, step)
			require.NoError(t, solver.StepShare(valueGrads(m), shareOf(c)))
		}
		same(t, weights(twin), weights(m))
		assert.Equal(t, reference.Report(), solver.Report())
	})
}

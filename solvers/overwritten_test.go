// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// Weights that something else writes in place, between steps.

// momentumOnSpheres are solvers whose steps on kernels are made in place.
func momentumOnSpheres() map[string]func() *solvers.Solver {
	of := func(opts ...solvers.Option) func() *solvers.Solver {
		return func() *solvers.Solver {
			return solvers.NewSGD(append(opts, solvers.LearnRate(0.05), solvers.Momentum(0.9))...)
		}
	}
	return map[string]func() *solvers.Solver{
		"sphere":           of(solvers.Kernels(manifolds.Sphere{})),
		"ambient, sphere":  of(solvers.AmbientMomentum(), solvers.Kernels(manifolds.Sphere{})),
		"slices":           of(solvers.Kernels(manifolds.Sphere{}, manifolds.PerSlice)),
		"centred sphere":   of(solvers.Kernels(manifolds.CentredSphere{})),
		"oblique":          of(solvers.Kernels(manifolds.Oblique{})),
		"oblique per tap":  of(solvers.Kernels(manifolds.Oblique{}, manifolds.PerTap)),
		"Grassmann bank":   of(solvers.Kernels(manifolds.Grassmann{})),
		"Stiefel bank":     of(solvers.Kernels(manifolds.Stiefel{})),
		"Stiefel slices":   of(solvers.Kernels(manifolds.Stiefel{}, manifolds.PerSlice)),
		"ambient, Stiefel": of(solvers.AmbientMomentum(), solvers.Kernels(manifolds.Stiefel{})),
	}
}

// One weight that is NaN, or a filter that is zero, where nothing looks before the step: the step is an error that names the
// parameter, all others have moved, and once the weights are mended everything goes on without a trace of it.
func TestOneWeightOverwritten(t *testing.T) {
	for _, of := range precisions {
		for name, make := range momentumOnSpheres() {
			for poke, at := range map[string]func(w []float64){
				"NaN": func(w []float64) { w[25] = math.NaN() },
				"Inf": func(w []float64) { w[25] = math.Inf(1) },
				"all NaN": func(w []float64) {
					for i := range w {
						w[i] = math.NaN()
					}
				},
				"all zero": func(w []float64) { clear(w) },
				"zero filter": func(w []float64) {
					for i := 24; i < 47; i++ { // filter 1, and the first value is that of a witness
						w[i] = 0
					}
					w[47] = 0
				},
			} {
				t.Run(of.String()+"/"+name+"/"+poke, func(t *testing.T) {
					m, twin := model(of, 1), model(of, 1)
					s, reference := make(), make()
					for step := range uint64(7) {
						run(t, s, m, step)
						run(t, reference, twin, step)
					}
					good := get(m[2].w)
					bad := append([]float64(nil), good...)
					at(bad)
					put(m[2].w, bad)
					gradients(m, 7)
					err := s.Step(valueGrads(m))
					require.Error(t, err)
					assert.Contains(t, err.Error(), `"conv2"`)
					run(t, reference, twin, 7)
					if errors.Is(err, solvers.ErrOverwritten) {
						for i, p := range m { // the others have moved
							if i != 2 {
								assert.Equal(t, get(twin[i].w), get(p.w), p.name)
							}
						}
						put(m[2].w, good)
					} else { // found before anything moved
						for i, p := range m {
							if i != 2 {
								assert.NotEqual(t, get(twin[i].w), get(p.w), p.name)
							}
						}
						put(m[2].w, good)
						run(t, s, m, 7)
					}
					for step := range uint64(5) {
						run(t, s, m, 8+step)
					}
					for _, p := range m {
						for i, v := range get(p.w) {
							require.False(t, math.IsNaN(v) || math.IsInf(v, 0), "%s, element %d: %v", p.name, i, v)
						}
					}
					onManifold(t, s.Report(), of)
					snap, err := s.Snapshot()
					require.NoError(t, err)
					for _, p := range snap.Parameters {
						for _, v := range p.Bounds {
							require.True(t, v >= 0 && v <= math.MaxFloat64, "%s: %v", p.Name, p.Bounds)
						}
						for _, b := range p.State {
							for _, v := range b.F64 {
								require.False(t, math.IsNaN(v))
							}
							for _, v := range b.F32 {
								require.False(t, v != v)
							}
						}
					}
				})
			}
		}
	}
}

// Where the weights of a step that has moved others are on their manifold, the error is nil: so the test above finds the
// overwritten ones while others move.
func TestOverwrittenIsFoundWhileOthersMove(t *testing.T) {
	m := model(tensor.Float32, 1)
	s := momentumOnSpheres()["sphere"]()
	for step := range uint64(7) {
		run(t, s, m, step)
	}
	before := weights(m)
	m[2].w.Float32s()[25] = float32(math.NaN())
	gradients(m, 8)
	err := s.Step(valueGrads(m))
	require.ErrorIs(t, err, solvers.ErrOverwritten)
	var named *solvers.ParameterError
	require.True(t, errors.As(err, &named))
	assert.Equal(t, "conv2", named.Name)
	assert.Contains(t, err.Error(), "all others have moved")
	for i, p := range m {
		if i != 2 {
			assert.NotEqual(t, before[p.name], get(p.w), p.name)
		}
	}
	assert.Equal(t, err, s.Report().Err)
}

// A whole tensor that is overwritten is noticed before anything moves: it is projected if it can be, and the step is all or
// nothing if not.
func TestTensorOverwritten(t *testing.T) {
	for _, of := range precisions {
		for name, make := range momentumOnSpheres() {
			t.Run(of.String()+"/"+name, func(t *testing.T) {
				m := model(of, 1)
				s := make()
				for step := range uint64(3) {
					run(t, s, m, step)
				}
				for what, kind := range map[float64]error{math.NaN(): solvers.ErrNotFinite, 0: solvers.ErrConstraint} {
					good := get(m[2].w)
					bad := append([]float64(nil), good...)
					for i := range bad {
						bad[i] = what
					}
					put(m[2].w, bad)
					gradients(m, 5)
					w, g := weights(m), slopes(m)
					require.ErrorIs(t, s.Step(valueGrads(m)), kind)
					same(t, w, weights(m))
					same(t, g, slopes(m))
					put(m[2].w, good)
				}
				gaussian(m[2].w, source(9), 3)
				run(t, s, m, 6)
				onManifold(t, s.Report(), of)
				assert.Equal(t, 1, s.Report().Parameters[2].Reprojections)
			})
		}
	}
}

// Weights that are scaled in place are on the manifold again after the next step, as if they had been projected before it.
func TestScaledInPlace(t *testing.T) {
	for _, of := range precisions {
		for name, make := range momentumOnSpheres() {
			t.Run(of.String()+"/"+name, func(t *testing.T) {
				m, twin := model(of, 1), model(of, 1)
				s, reference := make(), make()
				for step := range uint64(3) {
					run(t, s, m, step)
					run(t, reference, twin, step)
				}
				w := get(m[2].w)
				for i := range w {
					w[i] *= 2
				}
				put(m[2].w, w)
				run(t, s, m, 3)
				run(t, reference, twin, 3)
				onManifold(t, s.Report(), of)
				assert.Equal(t, 1, s.Report().Parameters[2].Reprojections)
				assert.Zero(t, reference.Report().Parameters[2].Reprojections)
				near(t, get(twin[2].w), get(m[2].w), 4, of, "conv2")
				same(t, map[string][]float64{"conv1": get(twin[0].w)}, map[string][]float64{"conv1": get(m[0].w)})
			})
		}
	}
}

// Nothing in the step of an unconstrained parameter shows that a weight is NaN. It is found when it is the turn of the parameter to be
// measured, once in as many steps as there are parameters, or at once where the step is made in buffers.
func TestUnconstrainedWeightOverwritten(t *testing.T) {
	for _, of := range precisions {
		for _, s := range native(0.01) {
			for i, bad := range []float64{nan, inf, nan, inf} {
				m := model(of, 1)
				options := []solvers.Option{solvers.Kernels(manifolds.Sphere{}), solvers.ClipValue(1e30)} // clipping asks for buffers
				solver := s.of(options[:1+i/2]...)
				run(t, solver, m, 0)
				w := get(m[4].w)
				w[2] = bad
				put(m[4].w, w)
				var err error
				for step := range uint64(len(m)) {
					gradients(m, step)
					before, g := weights(m), slopes(m)
					if err = solver.Step(valueGrads(m)); err != nil {
						same(t, before, weights(m))
						same(t, g, slopes(m))
						break
					}
				}
				require.ErrorIs(t, err, solvers.ErrNotFinite, s.name)
				assert.Contains(t, err.Error(), `"linear"`)
				assert.Contains(t, err.Error(), "element 2 of 30")
			}
		}
	}
}

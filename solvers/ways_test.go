// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// A step is made in one of three ways: in place, in buffers, or in float64 copies of float32. They agree.

// wayTaken counts the steps of a watched sphere.
type wayTaken struct{ inPlace, inBuffers, inFloat64 int }

// watched is a sphere that counts how it is moved.
type watched struct {
	manifolds.Sphere
	of    tensor.Dtype
	count *wayTaken
}

func (w watched) Scaled(s float64) manifolds.Manifold {
	return watched{w.Sphere.Scaled(s).(manifolds.Sphere), w.of, w.count}
}

func (w watched) Descends(_ manifolds.Manifold, x manifolds.Points, d manifolds.Descent, b manifolds.Bounds) bool {
	return w.Sphere.Descends(w.Sphere, x, d, b)
}

func (w watched) Descend(x, mu, g manifolds.Points, d manifolds.Descent) (manifolds.Progress, error) {
	w.count.inPlace++
	return w.Sphere.Descend(x, mu, g, d)
}

func (w watched) Retract(dst, x, v manifolds.Points) error {
	if w.of == tensor.Float32 && x.Data64() != nil {
		w.count.inFloat64++
	} else {
		w.count.inBuffers++
	}
	return w.Sphere.Retract(dst, x, v)
}

// Clipping at a limit that nothing reaches asks for buffers, and so does a gradient that another parameter has as
// well. Gradients of 2^52 and more ask for float64, and are undone by the learning rate, or by Adam, to the bit.
func TestWaysOfAStepAgree(t *testing.T) {
	const steps, large = 6, 1 << 52
	for _, of := range precisions {
		for _, s := range []struct {
			name string
			of   func(...solvers.Option) *solvers.Solver
			adam bool
			once bool // the direct way is in place
			own  []solvers.Option
			l2   float64 // AmbientDecay
		}{
			{"SGD", solvers.NewSGD, false, true, nil, 0},
			{"ambient momentum", solvers.NewSGD, false, true, []solvers.Option{solvers.Momentum(0.9), solvers.AmbientMomentum()}, 0},
			{"ambient Nesterov", solvers.NewSGD, false, true, []solvers.Option{solvers.Momentum(0.9), solvers.AmbientMomentum(), solvers.Nesterov(), solvers.Dampening(0.2)}, 0},
			{"momentum", solvers.NewSGD, false, true, []solvers.Option{solvers.Momentum(0.9)}, 0},
			{"Nesterov", solvers.NewSGD, false, false, []solvers.Option{solvers.Momentum(0.9), solvers.Nesterov()}, 0},
			{"Adam", solvers.NewAdam, true, true, nil, 0},
			{"AMSGrad", solvers.NewAdam, true, true, []solvers.Option{solvers.AMSGrad()}, 0},
			{"Adagrad", solvers.NewAdagrad, true, true, nil, 0},
			{"RMSProp", solvers.NewRMSProp, true, true, nil, 0},
			{"RMSProp momentum", solvers.NewRMSProp, true, false, []solvers.Option{solvers.Momentum(0.9)}, 0},
			{"momentum and decay", solvers.NewSGD, false, true, []solvers.Option{solvers.Momentum(0.9)}, 0.1},
			{"ambient momentum and decay", solvers.NewSGD, false, true, []solvers.Option{solvers.Momentum(0.9), solvers.AmbientMomentum()}, 0.1},
			{"Adam and decay", solvers.NewAdam, true, true, nil, 0.1},
		} {
			for _, at := range append(everywhere, place{"watched", nil, nil}) {
				t.Run(of.String()+"/"+s.name+"/"+at.name, func(t *testing.T) {
					const rate = 0.03125
					make := func(scale float64, count *wayTaken, more ...solvers.Option) (*solvers.Solver, []*param) {
						kernels := at.kernels
						if at.manifold == nil {
							kernels = func() solvers.Option { return solvers.Kernels(watched{manifolds.Sphere{}, of, count}) }
						}
						lr := rate / scale
						if s.adam {
							lr = rate
							more = append(more, solvers.Eps(1e-8*scale))
						}
						if s.l2 > 0 {
							more = append(more, solvers.AmbientDecay(s.l2*scale))
						}
						return s.of(append(append(more, s.own...), solvers.LearnRate(lr), kernels())...), model(of, 1)
					}
					var direct, buffers, wide, shared wayTaken
					a, want := make(1, &direct)
					b, inBuffers := make(1, &buffers, solvers.ClipValue(1e30))
					c, inFloat64 := make(large, &wide)
					d, twice := make(1, &shared)
					for i, p := range twice { // its gradient is another parameter's as well
						q := newParam("twin of "+p.name, of, p.w.Shape()...)
						put(q.w, get(p.w))
						q.g = p.g
						twice = append(twice, q)
						require.NotNil(t, twice[i])
					}
					for _, each := range []struct {
						s *solvers.Solver
						m []*param
					}{{a, want}, {b, inBuffers}, {c, inFloat64}, {d, twice}} {
						require.NoError(t, each.s.Init(valueGrads(each.m)))
					}
					direct, buffers, wide, shared = wayTaken{}, wayTaken{}, wayTaken{}, wayTaken{} // binding may try a manifold
					for step := range uint64(steps) {
						run(t, a, want, step)
						run(t, b, inBuffers, step)
						gradients(inFloat64, step)
						for _, p := range inFloat64 {
							g := get(p.g)
							for i := range g {
								g[i] *= large
							}
							put(p.g, g)
						}
						require.NoError(t, c.Step(valueGrads(inFloat64)))
						gradients(twice[:len(want)], step)
						require.NoError(t, d.Step(valueGrads(twice)))
					}
					for i, p := range want {
						// As far apart as two orders of the same sums: see follow.
						near(t, get(p.w), get(inBuffers[i].w), steps, of, "buffers, "+p.name)
						near(t, get(p.w), get(inFloat64[i].w), steps, of, "float64, "+p.name)
						near(t, get(p.w), get(twice[i].w), steps, of, "shared, "+p.name)
						if at.name != "ensemble" { // it deals layers of other names differently
							near(t, get(p.w), get(twice[len(want)+i].w), steps, of, "the other, "+p.name)
						}
					}
					if at.manifold != nil {
						return
					}
					kernels := 2 * steps
					if s.once {
						assert.Equal(t, wayTaken{inPlace: kernels}, direct)
					} else {
						assert.Equal(t, wayTaken{inBuffers: kernels}, direct)
					}
					assert.Equal(t, wayTaken{inBuffers: kernels}, buffers)
					assert.Equal(t, wayTaken{inBuffers: 2 * kernels}, shared)
					if of == tensor.Float32 {
						assert.Equal(t, wayTaken{inFloat64: kernels}, wide)
					} else {
						assert.Equal(t, direct, wide)
					}
				})
			}
		}
	}
}

// A step of thousands of radii is made in float64, where float32 would lose its direction. It ends where
// that of a float64 parameter ends, to the rounding of float32.
func TestLongStepsAreMadeInFloat64(t *testing.T) {
	for _, at := range everywhere {
		t.Run(at.name, func(t *testing.T) {
			narrow, wide := model(tensor.Float32, 1), model(tensor.Float64, 1)
			for i, p := range wide {
				put(p.w, get(narrow[i].w))
			}
			for _, m := range [][]*param{narrow, wide} {
				s := solvers.NewSGD(solvers.LearnRate(1e4), at.kernels())
				require.NoError(t, s.Init(valueGrads(m)))
				for _, p := range m { // the same on both: what float32 holds
					w := get(p.w)
					for i := range w {
						w[i] = float64(float32(w[i]))
					}
					put(p.w, w)
				}
				gradients(m, 1)
				for i := range m {
					if m[i].w.Dtype() == tensor.Float64 {
						g := get(m[i].g)
						for j := range g {
							g[j] = float64(float32(g[j]))
						}
						put(m[i].g, g)
					}
				}
				require.NoError(t, s.Step(valueGrads(m)))
			}
			for i, p := range wide {
				for j, want := range get(p.w) {
					require.InDelta(t, want, get(narrow[i].w)[j], 64*eps(tensor.Float32)*max(1, math.Abs(want)), "%s, element %d", p.name, j)
				}
			}
		})
	}
}

// A long step of float32 whose direction is known before its length, because the points of a layer share their factor, is made in float64 from the
// gradient as it came: Adam has made a Riemannian one of it.
func TestLongStepsOfLayers(t *testing.T) {
	for _, metric := range []manifolds.StiefelMetric{manifolds.EuclideanMetric, manifolds.CanonicalMetric} {
		var got [2][]float64
		for i, of := range []tensor.Dtype{tensor.Float32, tensor.Float64} {
			s := solvers.NewAdam(solvers.LearnRate(1e3), solvers.SampledGeometricStep(), solvers.FactorFor(solvers.EachLayer), solvers.Kernels(manifolds.Stiefel{Metric: metric}))
			p := newParam("w", of, 6, 4, 2, 3)
			gaussian(p.w, source(1), 1)
			require.NoError(t, s.Init([]gorgonia.ValueGrad{p}))
			gaussian(p.g, source(2), 1)
			require.NoError(t, s.Step([]gorgonia.ValueGrad{p}))
			got[i] = get(p.w)
		}
		assert.InDeltaSlice(t, got[1], got[0], 1e-6, "metric %d", metric)
	}
}

// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// Sizes, gradients and rates near the ends of the precision: a step is right or an error.

// Adam on Euclidean{} with any grouping has one second moment for each point.
func TestAdamOnGroupedEuclidean(t *testing.T) {
	const rate, beta1, beta2, small, steps = 0.03, 0.9, 0.95, 1e-6, 5
	for _, of := range precisions {
		for _, g := range []manifolds.Grouping{manifolds.Default, manifolds.PerSlice, manifolds.PerFilter, manifolds.PerInputChannel, manifolds.PerTap, manifolds.FilterBank, manifolds.PerWeight,
			manifolds.FilterBank.Groups(3), manifolds.FilterBank.Transposed(), manifolds.PerFilter.Transposed().Groups(3)} {
			for _, ams := range []bool{false, true} {
				t.Run(fmt.Sprint(of, g, ams), func(t *testing.T) {
					p := newParam("kernel", of, 3, 2, 2, 2)
					gaussian(p.w, source(1), 1)
					m := []*param{p}
					s := solvers.NewAdam(solvers.LearnRate(rate), solvers.Betas(beta1, beta2), solvers.Eps(small), solvers.AMSGrad(ams), solvers.Kernels(manifolds.Euclidean{}, g))
					layout, err := manifolds.On(manifolds.Euclidean{}, g).Grouping.Layout([]int{3, 2, 2, 2})
					require.NoError(t, err)
					point := make([]int, 24) // of each weight
					of64, err := manifolds.Points64(make([]float64, 24), 24, 1, 1)
					require.NoError(t, err)
					numbers, err := manifolds.Points64(make([]float64, 24), layout.K, layout.N, layout.P)
					require.NoError(t, err)
					for i := range numbers.Data64() {
						numbers.Data64()[i] = float64(i / (layout.N * layout.P))
					}
					require.NoError(t, layout.Scatter(of64, numbers))
					for i, k := range of64.Data64() {
						point[i] = int(k)
					}

					want := get(p.w)
					first, second, top := make([]float64, 24), make([]float64, layout.K), make([]float64, layout.K)
					for step := 1; step <= steps; step++ {
						gradients(m, uint64(step))
						slope := get(p.g)
						require.NoError(t, s.Step(valueGrads(m)))
						for k := range second {
							second[k] *= beta2
						}
						for i, v := range slope {
							first[i] = beta1*first[i] + (1-beta1)*v
							second[point[i]] += (1 - beta2) * v * v
						}
						for i := range want {
							u := second[point[i]]
							if ams {
								top[point[i]] = max(top[point[i]], u)
								u = top[point[i]]
							}
							want[i] -= rate * first[i] / (1 - math.Pow(beta1, float64(step))) / (math.Sqrt(u/(1-math.Pow(beta2, float64(step)))) + small)
						}
					}
					near(t, want, get(p.w), steps, of, "kernel")
				})
			}
		}
	}
}

// A gradient whose square overflows in the second moment is an error before it is state; the largest that does not is a step like
// any other.
func TestOverflowOfTheSecondMoment(t *testing.T) {
	for _, ams := range []bool{false, true} {
		for _, kernels := range [][]solvers.Option{nil, {solvers.Kernels(manifolds.Sphere{})}} {
			for _, g := range []float64{1e17, 1e20, 1e25, 1e38} {
				t.Run(fmt.Sprint(ams, len(kernels), g), func(t *testing.T) {
					make := func() *solvers.Solver { return solvers.NewAdam(append(kernels, solvers.AMSGrad(ams))...) }
					s, reference := make(), make()
					m, twin := model(tensor.Float32, 1), model(tensor.Float32, 1)
					run(t, s, m, 1)
					run(t, reference, twin, 1)
					for _, p := range m {
						gaussian(p.g, source(2), g/4)
					}
					w, slope := weights(m), slopes(m)
					err := s.Step(valueGrads(m))
					if err != nil {
						require.ErrorIs(t, err, solvers.ErrDiverged)
						assert.Contains(t, err.Error(), "second moment")
						same(t, w, weights(m))
						same(t, slope, slopes(m))
						run(t, s, m, 3)
						run(t, reference, twin, 3)
						same(t, weights(twin), weights(m))
					}
					assert.Equal(t, g >= 1e25, err != nil)
					before := weights(m)
					for step := range uint64(3) {
						for _, p := range m {
							gaussian(p.g, source(3+step), g/1e3)
						}
						if err := s.Step(valueGrads(m)); err != nil {
							require.ErrorIs(t, err, solvers.ErrDiverged)
							return
						}
					}
					for _, p := range m {
						assert.NotEqual(t, before[p.name], get(p.w), p.name)
					}
				})
			}
		}
	}
}

// A manifold of any size moves, by the angle that its size asks for, and reports what it did.
func TestTinyAndHugeManifolds(t *testing.T) {
	for _, of := range precisions {
		for _, r := range []float64{1e-16, 1e-8, 1, 1e8, 1e16} {
			for _, at := range []place{
				{"sphere", manifolds.Sphere{Radius: r}, []manifolds.Option{manifolds.PerFilter}},
				{"sphere, geodesic", manifolds.Sphere{Radius: r, Geodesic: true}, []manifolds.Option{manifolds.PerFilter}},
				{"Stiefel", manifolds.Stiefel{Radius: r}, nil},
				{"Grassmann", manifolds.Grassmann{Radius: r}, nil},
				{"rotations", manifolds.SpecialOrthogonal{Radius: r}, []manifolds.Option{manifolds.PerSlice}},
				{"Stiefel, polar", manifolds.Stiefel{Radius: r, Retraction: manifolds.Polar}, nil},
				{"oblique", manifolds.Oblique{Radius: r}, nil},
			} {
				for _, momentum := range []float64{0, 0.9} {
					t.Run(fmt.Sprintf("%v/%g/%s/%g", of, r, at.name, momentum), func(t *testing.T) {
						// A cost of x/r: its gradient is 1/r as long, and a rate of r^2 makes the same angle.
						make := func(r float64, m manifolds.Manifold) *solvers.Solver {
							return solvers.NewSGD(solvers.LearnRate(0.05*r*r), solvers.Momentum(momentum), place{"", m, at.options}.kernels())
						}
						unit := at.manifold.(manifolds.Scalable).Scaled(1 / r)
						s, reference := make(r, at.manifold), make(1, unit)
						p, q := newParam("kernel", of, 3, 2, 2, 2), newParam("kernel", tensor.Float64, 3, 2, 2, 2)
						gaussian(q.w, source(1), 1)
						put(p.w, plus(r, get(q.w), 0, get(q.w)))
						for step := range uint64(4) {
							gaussian(q.g, source(step), 1)
							put(p.g, plus(1/r, get(q.g), 0, get(q.g)))
							require.NoError(t, s.Step(valueGrads([]*param{p})))
							require.NoError(t, reference.Step(valueGrads([]*param{q})))
						}
						near(t, get(q.w), plus(1/r, get(p.w), 0, get(p.w)), 4, of, "kernel")
						row, want := s.Report().Parameters[0], reference.Report().Parameters[0]
						assert.InEpsilon(t, want.Direction/r, row.Direction, 256*eps(of))
						assert.InEpsilon(t, want.StepLength*r, row.StepLength, 256*eps(of))
						onManifold(t, s.Report(), of)
					})
				}
			}
		}
	}
}

// At a rate beyond all measure a step is an error, or every point has gone where its direction leads; without a gradient
// nothing moves.
func TestHugeRates(t *testing.T) {
	for _, of := range precisions {
		for _, s := range native(1) {
			for _, at := range everywhere {
				for _, rate := range []float64{1e12, 1e17, 3e19, 1e25, 1e30} {
					t.Run(fmt.Sprintf("%v/%s/%s/%g", of, s.name, at.name, rate), func(t *testing.T) {
						p := newParam("kernel", of, 6, 4, 2, 3)
						gaussian(p.w, source(1), 1)
						m := []*param{p}
						solver := s.of(at.kernels(), solvers.LearnRate(rate))
						require.NoError(t, solver.Init(valueGrads(m)))
						start := get(p.w)
						require.NoError(t, solver.Step(valueGrads(m))) // its gradient is zero
						for i, v := range get(p.w) {
							require.InDelta(t, start[i], v, 16*eps(of)*max(1, math.Abs(start[i])))
						}
						start = get(p.w)
						gaussian(p.g, source(2), 1)
						slope := get(p.g)
						if err := solver.Step(valueGrads(m)); err != nil {
							require.ErrorIs(t, err, solvers.ErrDiverged)
							assert.Equal(t, start, get(p.w))
							assert.Equal(t, slope, get(p.g))
							return
						}
						onManifold(t, solver.Report(), of)
						for f := range 6 { // every filter has moved
							v := plus(1, get(p.w)[24*f:24*f+24], -1, start[24*f:24*f+24])
							assert.Greater(t, math.Sqrt(dot(v, v)), 1e-2, "filter %d", f)
						}
					})
				}
			}
		}
	}
}

// A snapshot knows a manifold by its whole value, not by what reports print of it.
func TestSnapshotOfNearlyTheSameManifold(t *testing.T) {
	at := func(r float64) *solvers.Solver {
		return solvers.NewSGD(solvers.Momentum(0.9), solvers.Kernels(manifolds.Sphere{Radius: r}))
	}
	m := model(tensor.Float64, 1)
	s := at(2.00001)
	run(t, s, m, 1)
	snap, err := s.Snapshot()
	require.NoError(t, err)
	assert.Equal(t, manifolds.Name(manifolds.Sphere{Radius: 2.00001}), manifolds.Name(manifolds.Sphere{Radius: 2.00049}), "the names are equal")
	err = at(2.00049).Restore(valueGrads(copied(m, tensor.Float64)), snap)
	require.ErrorIs(t, err, solvers.ErrConstraint)
	for _, want := range []string{"2.00001", "2.00049"} {
		assert.Contains(t, err.Error(), want)
	}
	require.NoError(t, at(2.00001).Restore(valueGrads(copied(m, tensor.Float64)), snap))
	geodesic := solvers.NewSGD(solvers.Momentum(0.9), solvers.Kernels(manifolds.Sphere{Radius: 2.00001, Geodesic: true}))
	require.ErrorIs(t, geodesic.Restore(valueGrads(copied(m, tensor.Float64)), snap), solvers.ErrConstraint)
}

// Weights without a gradient stay where they are, however small Eps is.
func TestTinyEps(t *testing.T) {
	for _, of := range precisions {
		for _, eps := range []float64{1e-30, 1e-40, 1e-150, 5e-324} {
			for _, s := range []*solvers.Solver{
				solvers.NewAdam(solvers.Eps(eps)), solvers.NewAdam(solvers.Eps(eps), solvers.AMSGrad()), solvers.NewAdagrad(solvers.Eps(eps)),
				solvers.NewRMSProp(solvers.Eps(eps)), solvers.NewRMSProp(solvers.Eps(eps), solvers.Momentum(0.9)),
				solvers.NewAdam(solvers.Eps(eps), solvers.Param("w", manifolds.Sphere{}, manifolds.PerFilter)),
			} {
				p := newParam("w", of, 2, 2, 1, 2)
				put(p.w, []float64{0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5})
				for range 3 {
					put(p.g, []float64{1, 2, 0, 3, 0, 0, 0, 0})
					require.NoError(t, s.Step([]gorgonia.ValueGrad{p}), "%s, %v, %g", s, of, eps)
				}
				w := get(p.w)
				assert.InDelta(t, 0.5, w[4], 1e-6, "%s, %v, %g", s, of, eps)
				assert.NotEqual(t, 0.5, w[0])
			}
		}
	}
}

// A decay that makes weights overflow is an error of every rule, also where a step is made in place.
func TestHugeDecay(t *testing.T) {
	for _, s := range native(1e-3) {
		p := newParam("w", tensor.Float32, 3, 2)
		put(p.w, []float64{100, 0, 1, 2, 3, 4})
		put(p.g, []float64{1, 1, 1, 1, 1, 1})
		before := get(p.w)
		err := s.of(solvers.EuclideanDecay(1e40)).Step(valueGrads([]*param{p}))
		require.ErrorIs(t, err, solvers.ErrDiverged, s.name)
		assert.Equal(t, before, get(p.w), s.name)
	}
}

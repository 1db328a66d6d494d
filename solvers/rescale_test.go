// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/mpi"
	"github.com/kernelfold/kernelfold/internal/mpi/mpitest"
	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// to is a scale for all parts.
func to(s float64) func(*solvers.Part) (float64, error) {
	return func(*solvers.Part) (float64, error) { return s, nil }
}

// resizable are the places whose manifolds have a scale.
func resizable() (list []place) {
	for _, at := range everywhere {
		if at.name != "spectral ball" {
			list = append(list, at)
		}
	}
	return list
}

// Every point is as many times as large, on the larger manifold, and a snapshot has the scale: it goes on to the bit.
func TestRescale(t *testing.T) {
	for _, of := range precisions {
		for i, s := range everySolver(0.01) {
			for j, at := range resizable() {
				if testing.Short() && (i+j)%4 > 0 {
					continue
				}
				t.Run(of.String()+"/"+s.name+"/"+at.name, func(t *testing.T) {
					m := model(of, 1)
					solver := s.of(at.kernels())
					for step := range uint64(3) {
						run(t, solver, m, step)
					}
					before, free := weights(m), solver.Report()
					require.NoError(t, solver.(solvers.Rescaler).Rescale(valueGrads(m), to(3)))
					for _, p := range m {
						factor := 1.0
						if p.name == "conv1" || p.name == "conv2" {
							factor = 3
						}
						for k, v := range get(p.w) {
							// Points are projected where three times their error of rounding is more than the tolerance.
							require.InDelta(t, factor*before[p.name][k], v, 16*eps(of), "%s, %d", p.name, k)
						}
					}
					report := solver.Report()
					onManifold(t, report, of)
					for k, p := range report.Parameters {
						if p.Kernel {
							assert.Equal(t, 3.0, p.Scale)
							assert.NotEqual(t, free.Parameters[k].Manifold, p.Manifold)
						} else {
							assert.Equal(t, free.Parameters[k], p)
						}
					}
					assert.Contains(t, report.String(), "rescaled by 3")
					for step := range uint64(3) {
						run(t, solver, m, 10+step)
						onManifold(t, solver.Report(), of)
					}

					if native, ok := solver.(*solvers.Solver); ok {
						snap, err := native.Snapshot()
						require.NoError(t, err)
						text, err := json.Marshal(snap)
						require.NoError(t, err)
						var read solvers.Snapshot
						require.NoError(t, json.Unmarshal(text, &read))
						twin := copied(m, of)
						again := s.of(at.kernels()).(*solvers.Solver)
						require.NoError(t, again.Restore(valueGrads(twin), &read))
						for step := range uint64(3) {
							run(t, native, m, 20+step)
							run(t, again, twin, 20+step)
							same(t, weights(m), weights(twin))
						}
						for _, both := range []struct {
							s *solvers.Solver
							m []*param
						}{{native, m}, {again, twin}} {
							require.NoError(t, both.s.Rescale(valueGrads(both.m), to(1)))
							run(t, both.s, both.m, 30)
						}
						same(t, weights(m), weights(twin))
					}
				})
			}
		}
	}
}

// A solver whose manifold was rescaled moves as one that was made at that scale.
func TestRescaledIsBoundLarger(t *testing.T) {
	for _, of := range precisions {
		for _, at := range resizable() {
			if at.name == "ensemble" || at.name == "Stiefel per slice" { // scales of their own
				continue
			}
			t.Run(of.String()+"/"+at.name, func(t *testing.T) {
				options := func(s manifolds.Scale) solvers.Option {
					return solvers.Kernels(at.manifold, append(slices.Clone(at.options), manifolds.Option(s))...)
				}
				a, b := solvers.NewSGD(solvers.LearnRate(0.1), options(manifolds.Unit)), solvers.NewSGD(solvers.LearnRate(0.1), options(manifolds.Times(2)))
				m := model(of, 1)
				require.NoError(t, a.Init(valueGrads(m)))
				require.NoError(t, a.Rescale(valueGrads(m), to(2)))
				twin := copied(m, of)
				for step := range uint64(3) {
					run(t, a, m, step)
					run(t, b, twin, step)
					same(t, weights(m), weights(twin))
				}
			})
		}
	}
}

// What cannot be is an error, and nothing changes.
func TestRescaleRefuses(t *testing.T) {
	boom := errors.New("boom")
	for _, of := range precisions {
		for _, c := range []struct {
			name  string
			on    manifolds.Manifold
			scale func(*solvers.Part) (float64, error)
			kind  error
			want  string
		}{
			{"zero", manifolds.Sphere{}, to(0), solvers.ErrConstraint, "want a positive finite scale, got 0"},
			{"negative", manifolds.Sphere{}, to(-2), solvers.ErrConstraint, "want a positive finite scale, got -2"},
			{"NaN", manifolds.Stiefel{}, to(math.NaN()), solvers.ErrConstraint, "want a positive finite scale, got NaN"},
			{"infinite", manifolds.Stiefel{}, to(math.Inf(1)), solvers.ErrConstraint, "want a positive finite scale, got +Inf"},
			{"too large", manifolds.Sphere{}, to(math.MaxFloat64), nil, "scale 1.79"},
			{"too small", manifolds.Sphere{}, to(5e-324), nil, "scale"},
			{"no scale", manifolds.Ensemble{Parts: manifolds.Equal(manifolds.Sphere{}, manifolds.SpectralBall{})}, to(2), solvers.ErrConstraint, "want a manifold with a scale, or the scale 1, got SpectralBall"},
			{"no scale of the layer", manifolds.SpectralBall{Radius: 0.5}, to(2), solvers.ErrConstraint, "want a manifold with a scale, or the scale 1, got SpectralBall"},
			{"as told", manifolds.Oblique{}, func(*solvers.Part) (float64, error) { return 0, boom }, boom, "boom"},
			{"the second of two", manifolds.Sphere{}, func(p *solvers.Part) (float64, error) {
				if name, _ := p.Parameter(); name == "conv2" {
					return -1, nil
				}
				return 2, nil
			}, solvers.ErrConstraint, `"conv2"`},
		} {
			t.Run(of.String()+"/"+c.name, func(t *testing.T) {
				m, twin := model(of, 1), model(of, 1)
				a, b := solvers.NewSGD(solvers.Momentum(0.9), solvers.Kernels(c.on)), solvers.NewSGD(solvers.Momentum(0.9), solvers.Kernels(c.on))
				run(t, a, m, 1)
				run(t, b, twin, 1)
				err := a.Rescale(valueGrads(m), c.scale)
				require.ErrorContains(t, err, c.want)
				if c.kind != nil {
					require.ErrorIs(t, err, c.kind)
				}
				assert.Regexp(t, "^solvers: ", err.Error())
				same(t, weights(twin), weights(m))
				run(t, a, m, 2)
				run(t, b, twin, 2)
				same(t, weights(twin), weights(m))
				sameReport(t, b.Report(), a.Report())
			})
		}
	}
	m := model(tensor.Float32, 1)
	ball := solvers.NewSGD(solvers.Kernels(manifolds.SpectralBall{Radius: 0.5}))
	require.NoError(t, ball.Rescale(valueGrads(m), to(1)), "1 is no other scale")

	sphere := solvers.NewSGD(solvers.Kernels(manifolds.Sphere{}))
	sam := solvers.NewSAM(sphere, 0.1)
	gradients(m, 1)
	require.NoError(t, sam.Ascend(valueGrads(m)))
	require.ErrorIs(t, sam.Rescale(valueGrads(m), to(2)), solvers.ErrAscent)
	gradients(m, 2)
	require.NoError(t, sam.Step(valueGrads(m)))
	require.NoError(t, sam.Rescale(valueGrads(m), to(2)))
	require.ErrorIs(t, solvers.NewEMA(gorgonia.NewVanillaSolver(), 0.9).Rescale(valueGrads(m), to(2)), solvers.ErrStock)
}

// A snapshot with scales that no solver has is refused.
func TestRestoreRefusesScales(t *testing.T) {
	make := func() *solvers.Solver { return solvers.NewSGD(solvers.Kernels(manifolds.Sphere{})) }
	m := model(tensor.Float32, 1)
	s := make()
	require.NoError(t, s.Rescale(valueGrads(m), to(2)))
	for _, scales := range [][]float64{{}, {2, 2}, {0}, {-1}, {math.NaN()}, {math.Inf(1)}, {3}, nil} {
		snap, err := s.Snapshot()
		require.NoError(t, err)
		require.Equal(t, []float64{2}, snap.Parameters[0].Scales)
		snap.Parameters[0].Scales = scales
		var of *solvers.ParameterError
		require.ErrorAs(t, make().Restore(valueGrads(copied(m, tensor.Float32)), snap), &of, "%v", scales)
		assert.Equal(t, "conv1", of.Name)
	}
}

// Averages are scaled with the weights, and distances with the points.
func TestRescaleScalesWhatIsRemembered(t *testing.T) {
	for _, of := range precisions {
		for _, at := range resizable() {
			m, twin := model(of, 1), model(of, 1)
			make := func() *solvers.Average { return solvers.NewEMA(solvers.NewSGD(at.kernels()), 0.5) }
			a, b := make(), make()
			for step := range uint64(3) {
				run(t, a, m, step)
				run(t, b, twin, step)
			}
			require.NoError(t, a.Rescale(valueGrads(m), to(2)))
			require.NoError(t, a.Swap(valueGrads(m)))
			require.ErrorIs(t, a.Rescale(valueGrads(m), to(4)), solvers.ErrAverage)
			require.NoError(t, b.Swap(valueGrads(twin)))
			for i, p := range m {
				factor := 1.0
				if i%2 == 0 && i < 4 {
					factor = 2
				}
				want := get(twin[i].w)
				for k := range want {
					want[k] *= factor
				}
				assert.InDeltaSlice(t, want, get(p.w), 64*eps(of), "%s, %s", at.name, p.name)
			}
		}
		// Ten steps of one length, and then of twice that: a cost that does not depend on the scale.
		for _, scope := range []solvers.Scope{solvers.EachLayer, solvers.EachPoint, solvers.AllLayers} {
			m, twin := model(of, 1)[:1], model(of, 1)[:1]
			make := func() *solvers.Solver {
				return solvers.NewRDoG(solvers.DistanceFor(scope), solvers.Kernels(manifolds.Sphere{}))
			}
			a, b := make(), make()
			for step := range uint64(5) {
				run(t, a, m, step)
				run(t, b, twin, step)
			}
			require.NoError(t, a.Rescale(valueGrads(m), to(2)))
			run(t, a, m, 9)
			run(t, b, twin, 9)
			want := get(twin[0].w)
			for k := range want {
				want[k] *= 2
			}
			assert.InDeltaSlice(t, want, get(m[0].w), 256*eps(of))
		}
	}
}

// The mean of a part is that of the places of its weights.
func TestPartMean(t *testing.T) {
	m := model(tensor.Float32, 1)[2:3]
	values := make([]float64, m[0].w.Size())
	for i := range values {
		values[i] = float64(i / 6 % 4) // the input channel
	}
	ensemble := manifolds.Ensemble{Strategy: manifolds.PI, Parts: manifolds.Equal(manifolds.Sphere{}, manifolds.Stiefel{}), Seed: 3}
	s := solvers.NewSGD(solvers.Kernels(ensemble))
	var means []float64
	require.NoError(t, s.Rescale(valueGrads(m), func(p *solvers.Part) (float64, error) {
		_, err := p.Mean(values[1:])
		require.ErrorIs(t, err, solvers.ErrParameter)
		mean, err := p.Mean(values)
		means = append(means, mean)
		return p.Scale(), err
	}))
	require.Len(t, means, 2)
	c := manifolds.On(ensemble)
	c.Layer = "conv2"
	pieces, err := c.Bind([]int{6, 4, 2, 3}, 1)
	require.NoError(t, err)
	for i, piece := range pieces {
		sum := 0.0
		for _, k := range piece.Layout.Order {
			sum += float64(k % 4)
		}
		assert.InDelta(t, sum/float64(len(piece.Layout.Order)), means[i], 1e-12)
	}
	assert.InDelta(t, 3, means[0]+means[1], 1e-12)
}

// Rescale takes weights that something else has written, on processes that share the steps too: the next step is that of one process.
func TestRescaleOfOverwrittenWeightsShares(t *testing.T) {
	for _, of := range precisions {
		make := func() *solvers.Solver {
			return solvers.NewSGD(solvers.Momentum(0.9), solvers.Kernels(manifolds.Stiefel{}))
		}
		change := func(s *solvers.Solver, m []*param) {
			for _, p := range m {
				gaussian(p.w, source(9), 1)
			}
			require.NoError(t, s.Rescale(valueGrads(m), to(2)))
		}
		twin, reference := model(of, 1), make()
		run(t, reference, twin, 1)
		change(reference, twin)
		run(t, reference, twin, 2)
		mpitest.Run(t, 2, func(t *testing.T, c mpi.Comm) {
			m, s := model(of, 1), make()
			gradients(m, 1)
			require.NoError(t, s.StepShare(valueGrads(m), shareOf(c)))
			change(s, m)
			gradients(m, 2)
			require.NoError(t, s.StepShare(valueGrads(m), shareOf(c)))
			same(t, weights(twin), weights(m))
			assert.Equal(t, reference.Report(), s.Report())
		})
	}
}

// A part that is not rescaled is inspected in the next step if something else has written the weights.
func TestRescaleOfOnePartHidesNoOverwrite(t *testing.T) {
	for _, of := range precisions {
		m := model(of, 1)
		s := solvers.NewSGD(solvers.Kernels(manifolds.Ensemble{Parts: manifolds.Equal(manifolds.Sphere{}, manifolds.Stiefel{}), Seed: 3}))
		run(t, s, m, 1)
		w := get(m[2].w)
		for i := range w {
			w[i] *= 1.5
		}
		put(m[2].w, w)
		count := 0
		require.NoError(t, s.Rescale(valueGrads(m), func(p *solvers.Part) (float64, error) {
			if name, _ := p.Parameter(); name != "conv2" {
				return 1, nil
			}
			count++
			return float64(3 - count), nil // 2 of the first part, 1 of the second
		}))
		require.Equal(t, 2, count)
		run(t, s, m, 2)
		for _, p := range s.Report().Parameters {
			if p.Name == "conv2" {
				assert.Equal(t, 1, p.Reprojections, p.Manifold)
			}
		}
		onManifold(t, s.Report(), of)
	}
}

// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"runtime"
	"sync"
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

// Runs of 100 steps end where those of testdata/sam.py end.
func TestSAMAgainstNumPy(t *testing.T) {
	text, err := os.ReadFile("testdata/sam.json")
	require.NoError(t, err)
	var cases []struct {
		Manifold               string
		Shape                  []int
		Kernel, Vector         []float64
		LastKernel, LastVector []float64
	}
	require.NoError(t, json.Unmarshal(text, &cases))
	on := map[string]manifolds.Manifold{
		"Sphere": manifolds.Sphere{}, "Stiefel": manifolds.Stiefel{}, "Euclidean": manifolds.Euclidean{},
		"canonical Stiefel": manifolds.Stiefel{Metric: manifolds.CanonicalMetric},
	}
	for _, of := range precisions {
		for _, c := range cases {
			t.Run(fmt.Sprint(of, c.Manifold, c.Shape), func(t *testing.T) {
				var options []manifolds.Option
				if c.Manifold != "Euclidean" {
					options = append(options, manifolds.Unit)
				}
				s := solvers.NewSAM(solvers.NewSGD(solvers.LearnRate(0.02), solvers.Momentum(0.9), solvers.Kernels(on[c.Manifold], options...)), 0.1)
				m := []*param{newParam("kernel", of, c.Shape...), newParam("vector", of, 3)}
				put(m[0].w, c.Kernel)
				put(m[1].w, c.Vector)
				slope := func(step int) {
					i := 0
					for _, p := range m {
						g := get(p.w)
						for k, z := range g {
							g[k] = math.Sin(0.7*float64(i)+0.3*float64(step)) + 0.1*float64(1+i%3)*z + 0.5*z*z*z
							i++
						}
						put(p.g, g)
					}
				}
				for step := range 100 {
					slope(step)
					require.NoError(t, s.Ascend(valueGrads(m)))
					slope(step)
					require.NoError(t, s.Step(valueGrads(m)))
				}
				tolerance := 1e3 * eps(of) // rounding errors of 100 steps, which the momentum makes ten times as long
				assert.InDeltaSlice(t, c.LastKernel, get(m[0].w), tolerance)
				assert.InDeltaSlice(t, c.LastVector, get(m[1].w), tolerance)
			})
		}
	}
}

// climb calls Ascend with the gradients of the seed, and gives the parameters others.
func climb(t *testing.T, s *solvers.SAM, m []*param, seed uint64) {
	t.Helper()
	gradients(m, seed)
	require.NoError(t, s.Ascend(valueGrads(m)))
	gradients(m, 1000+seed)
}

// aroundAll are the solvers of the package, wrapped ones too, that SAM is tested around.
func aroundAll(lr float64) []maker {
	all := native(lr)
	for _, w := range wrapped(lr)[:1] {
		all = append(all, maker{name: w.name, of: func(opts ...solvers.Option) stepper { return w.of(opts...).(*solvers.Constrained).Solver }})
	}
	return all
}

// The ascended weights are on their manifolds, at the distance rho from the others: gradients are zeroed, and Step is that of the solver at the weights
// before Ascend.
func TestSAMSteps(t *testing.T) {
	const rho = 0.01
	for _, of := range precisions {
		for _, kind := range aroundAll(0.01) {
			for _, at := range everywhere {
				t.Run(of.String()+"/"+kind.name+"/"+at.name, func(t *testing.T) {
					m := model(of, 1)
					s := solvers.NewSAM(kind.of(at.kernels()).(*solvers.Solver), rho)
					require.NoError(t, s.Init(valueGrads(m)))
					for step := range uint64(4) {
						before := weights(m)
						gradients(m, step)
						require.NoError(t, s.Ascend(valueGrads(m)))
						onManifold(t, s.Report(), of)
						sum := 0.0
						for _, p := range m {
							for i, w := range get(p.w) {
								sum += (w - before[p.name][i]) * (w - before[p.name][i])
							}
							assert.Equal(t, make([]float64, p.g.Size()), get(p.g), p.name)
						}
						if at.name != "Stiefel canonical" && at.name != "spectral ball" { // of another norm, and with a boundary
							assert.InEpsilon(t, rho, math.Sqrt(sum), 0.01)
						}
						gradients(m, 1000+step)
						require.NoError(t, s.Step(valueGrads(m)))
						onManifold(t, s.Report(), of)
						for _, p := range m {
							assert.Equal(t, make([]float64, p.g.Size()), get(p.g), p.name)
							assert.NotEqual(t, before[p.name], get(p.w), p.name)
						}
					}
					assert.Equal(t, 4, s.Report().Steps)
				})
			}
		}
	}
}

// Unconstrained weights make the steps of the solver with the gradient at x + rho g/|g|, to the bit, and so do all weights with a rho of 0 or where the first
// gradients are 0.
func TestSAMIsTheSolverWithAnotherGradient(t *testing.T) {
	for _, of := range precisions {
		for _, kind := range aroundAll(0.01) {
			for _, at := range everywhere[:6] {
				for _, c := range []struct {
					name  string
					rho   float64
					first bool // the first gradients are not 0
					free  bool
				}{{"no distance", 0, true, false}, {"no gradient", 0.05, false, false}, {"unconstrained", 0.05, true, true}} {
					t.Run(fmt.Sprint(of, "/", kind.name, "/", at.name, "/", c.name), func(t *testing.T) {
						var options []solvers.Option
						if !c.free {
							options = append(options, at.kernels())
						}
						m, twin := model(of, 1), model(of, 1)
						s, reference := solvers.NewSAM(kind.of(options...).(*solvers.Solver), c.rho), kind.of(options...)
						for step := range uint64(4) {
							climb := func() {
								if c.first {
									gradients(m, step)
								}
								require.NoError(t, s.Ascend(valueGrads(m)))
							}
							climb()
							gradients(m, 1000+step)
							require.NoError(t, s.Step(valueGrads(m)))
							run(t, reference, twin, 1000+step)
							same(t, weights(twin), weights(m))
						}
					})
				}
			}
		}
	}
}

// A run that is restored from a snapshot between two steps goes on to the bit.
func TestSAMSnapshot(t *testing.T) {
	for _, of := range precisions {
		for _, kind := range native(0.01) {
			at := everywhere[len(everywhere)-1]
			t.Run(of.String()+"/"+kind.name, func(t *testing.T) {
				make := func() *solvers.SAM { return solvers.NewSAM(kind.of(at.kernels()).(*solvers.Solver), 0.05) }
				m, a, b := model(of, 1), make(), make()
				for step := range uint64(3) {
					climb(t, a, m, step)
					require.NoError(t, a.Step(valueGrads(m)))
				}
				snap, err := a.Snapshot()
				require.NoError(t, err)
				twin := copied(m, of)
				require.NoError(t, b.Restore(valueGrads(twin), snap))
				for step := range uint64(3) {
					climb(t, a, m, 10+step)
					climb(t, b, twin, 10+step)
					same(t, weights(m), weights(twin))
					require.NoError(t, a.Step(valueGrads(m)))
					require.NoError(t, b.Step(valueGrads(twin)))
					same(t, weights(m), weights(twin))
				}
				assert.ErrorIs(t, kind.of(at.kernels()).(*solvers.Solver).Restore(valueGrads(copied(m, of)), snap), solvers.ErrParameter)
				plain, err := kind.of(at.kernels()).(*solvers.Solver).Snapshot()
				require.NoError(t, err)
				assert.ErrorContains(t, make().Restore(nil, plain), "want the snapshot of SAM(")
			})
		}
	}
}

// Calls out of turn are ErrAscent and change nothing.
func TestSAMOutOfTurn(t *testing.T) {
	for _, of := range precisions {
		m, twin := model(of, 1), model(of, 1)
		make := func() *solvers.SAM {
			return solvers.NewSAM(solvers.NewSGD(solvers.Momentum(0.9), solvers.Kernels(manifolds.Stiefel{})), 0.05)
		}
		s, reference := make(), make()
		refused := func(err error, want string) {
			t.Helper()
			require.ErrorIs(t, err, solvers.ErrAscent)
			assert.ErrorContains(t, err, want)
			assert.ErrorContains(t, err, "SAM(SGD)")
			same(t, weights(twin), weights(m))
			same(t, slopes(twin), slopes(m))
		}
		for step := range uint64(3) {
			gradients(m, step)
			gradients(twin, step)
			refused(s.Step(valueGrads(m)), "want a call of Ascend")
			s.Cancel() // does nothing
			climb(t, s, m, step)
			climb(t, reference, twin, step)
			refused(s.Ascend(valueGrads(m)), "Ascend: want")
			refused(s.Init(valueGrads(m)), "Init: want")
			_, err := s.Snapshot()
			refused(err, "Snapshot: want")
			refused(s.Restore(valueGrads(m), &solvers.Snapshot{}), "Restore: want")
			require.NoError(t, s.Step(valueGrads(m)))
			require.NoError(t, reference.Step(valueGrads(twin)))
			same(t, weights(twin), weights(m))
		}
	}
}

// An ascent or a step that fails, or is cancelled, leaves the weights and the state as before the ascent, and the gradients as they are.
func TestSAMFails(t *testing.T) {
	for _, of := range precisions {
		for _, kind := range native(0.01) {
			for i, f := range append(faults(), fault{"cancelled", nil, nil, nil}) {
				if kind.name != "SGD tangent momentum" && kind.name != "Adam" && i%7 != 0 {
					continue
				}
				at := everywhere[i%len(everywhere)]
				for _, second := range []bool{false, true} {
					for _, good := range []uint64{0, 2} {
						t.Run(fmt.Sprint(of, "/", kind.name, "/", f.name, "/", second, "/", good), func(t *testing.T) {
							make := func() *solvers.SAM { return solvers.NewSAM(kind.of(at.kernels()).(*solvers.Solver), 0.05) }
							m, twin, s, reference := model(of, 1), model(of, 1), make(), make()
							both := func(step uint64) {
								climb(t, s, m, step)
								climb(t, reference, twin, step)
								require.NoError(t, s.Step(valueGrads(m)))
								require.NoError(t, reference.Step(valueGrads(twin)))
								same(t, weights(twin), weights(m))
							}
							for step := range good {
								both(step)
							}
							w := weights(m)
							gradients(m, 90)
							attempt := s.Ascend
							if second {
								attempt = s.Step
								climb(t, s, m, 90)
								require.NotEqual(t, w, weights(m))
							}
							g := slopes(m)
							if f.call == nil {
								s.Cancel()
							} else {
								err := attempt(f.call(m))
								require.Error(t, err)
								assert.Regexp(t, "^solvers: ", err.Error())
								if len(f.call(m)) == len(m) || !second {
									require.ErrorIs(t, err, f.kind)
								}
							}
							if f.call == nil && !second { // nothing to cancel
								same(t, w, weights(m))
								both(10)
								return
							}
							same(t, w, weights(m))
							same(t, g, slopes(m))
							for step := range uint64(2) {
								both(10 + step)
							}
						})
					}
				}
			}
		}
	}
}

// Step wants the parameters of Ascend.
func TestSAMWantsTheParametersOfAscend(t *testing.T) {
	m := model(tensor.Float64, 1)
	s := solvers.NewSAM(solvers.NewSGD(), 0.05)
	for _, c := range []struct {
		of   func([]*param) []gorgonia.ValueGrad
		want string
	}{
		{func(m []*param) []gorgonia.ValueGrad { return valueGrads(m[1:]) }, "want the 6 parameters of Ascend, got 5"},
		{func(m []*param) []gorgonia.ValueGrad {
			other := newParam("conv1", tensor.Float64, 6, 3, 2, 3)
			return append(valueGrads(m[1:]), other)
		}, `"conv1" (6, 3, 2, 3): want the parameters of Ascend, with their memory`},
	} {
		before := weights(m)
		climb(t, s, m, 1)
		err := s.Step(c.of(m))
		assert.ErrorIs(t, err, solvers.ErrAscent)
		assert.ErrorContains(t, err, c.want)
		same(t, before, weights(m))
	}
}

func TestSAMRefusesRho(t *testing.T) {
	m := model(tensor.Float32, 1)
	gradients(m, 1)
	for _, s := range []*solvers.SAM{
		solvers.NewSAM(solvers.NewSGD(), -1), solvers.NewSAM(solvers.NewSGD(), math.NaN()), solvers.NewSAM(solvers.NewSGD(), math.Inf(1)),
		solvers.NewSAM(nil, 0.05), solvers.NewSAM(solvers.NewSGD(solvers.LearnRate(-1)), 0.05),
	} {
		_, err := s.Snapshot()
		for _, err := range []error{err, s.Ascend(valueGrads(m)), s.Init(valueGrads(m)), s.Restore(valueGrads(m), nil), s.Report().Err} {
			assert.ErrorIs(t, err, solvers.ErrOption)
		}
		assert.Error(t, s.Step(valueGrads(m)))
	}
}

// overflowing is a size of gradients whose norms are finite one by one and overflow together.
const overflowing = 1.2e307

// A gradient or weights of any size give an ascent of length rho, or an error.
func TestSAMAtExtremes(t *testing.T) {
	for _, of := range precisions {
		for _, at := range everywhere {
			for _, size := range []float64{1e-38, 1e-20, 1e20, 1e37, overflowing} {
				if size == overflowing && of == tensor.Float32 {
					continue
				}
				t.Run(fmt.Sprint(of, at.name, size), func(t *testing.T) {
					m, twin := model(of, 1), model(of, 1)
					make := func() *solvers.SAM { return solvers.NewSAM(solvers.NewSGD(solvers.LearnRate(0), at.kernels()), 0.05) }
					s, reference := make(), make()
					gradients(m, 1)
					gradients(twin, 1)
					norm := 0.0
					for _, p := range m {
						g := get(p.g)
						for i := range g {
							g[i] *= size
							norm = math.Hypot(norm, g[i])
						}
						put(p.g, g)
					}
					require.Equal(t, size == overflowing, math.IsInf(norm, 1))
					require.NoError(t, s.Ascend(valueGrads(m)))
					require.NoError(t, reference.Ascend(valueGrads(twin)))
					tolerance := 64 * eps(of)
					if of == tensor.Float32 && size < 1e-37 {
						tolerance = 1e-5 // denormal numbers have few digits
					}
					for i, p := range m {
						assert.InDeltaSlice(t, get(twin[i].w), get(p.w), tolerance, p.name)
					}
				})
			}
		}
	}
}

// Processes that share their steps have the weights of one that makes them alone, to the bit.
func TestSAMShares(t *testing.T) {
	for _, of := range precisions {
		for _, kind := range native(0.05) {
			for _, n := range []int{2, 3} {
				t.Run(fmt.Sprintf("%v/%s/%d", of, kind.name, n), func(t *testing.T) {
					make := func() *solvers.SAM {
						return solvers.NewSAM(kind.of(solvers.Kernels(manifolds.Stiefel{}), solvers.Anneal(solvers.Cosine(10, 0))).(*solvers.Solver), 0.05)
					}
					twin, reference := model(of, 1), make()
					var want []map[string][]float64
					for step := range uint64(4) {
						climb(t, reference, twin, step)
						want = append(want, weights(twin))
						require.NoError(t, reference.Step(valueGrads(twin)))
						want = append(want, weights(twin))
					}
					var lock sync.Mutex
					mpitest.Run(t, n, func(t *testing.T, c mpi.Comm) {
						m, s := model(of, 1), make()
						for step := range uint64(4) {
							gradients(m, step)
							require.NoError(t, s.AscendShare(valueGrads(m), shareOf(c)))
							same(t, want[2*step], weights(m), "ascent ", step)
							gradients(m, 1000+step)
							if step == 2 { // a failure of one is that of all, and all go back
								bad := valueGrads(m)
								if c.Rank() == 1 {
									bad = bad[1:]
								}
								require.Error(t, s.StepShare(bad, shareOf(c)))
								same(t, want[2*step-1], weights(m))
								gradients(m, step)
								require.NoError(t, s.AscendShare(valueGrads(m), shareOf(c)))
								gradients(m, 1000+step)
							}
							require.NoError(t, s.StepShare(valueGrads(m), shareOf(c)))
							same(t, want[2*step+1], weights(m), "step ", step)
						}
						lock.Lock()
						defer lock.Unlock()
						sameReport(t, reference.Report(), s.Report())
					})
				})
			}
		}
	}
}

// After the first steps there is next to no garbage.
func TestSAMDoesNotAllocate(t *testing.T) {
	for _, of := range precisions {
		for _, at := range everywhere {
			s := solvers.NewSAM(solvers.NewSGD(solvers.Momentum(0.9), at.kernels()), 0.05)
			m := model(of, 1)
			all := valueGrads(m)
			step := func() {
				for _, p := range m {
					p.g.Set(0, p.w.Get(0))
				}
				if s.Ascend(all) != nil || s.Step(all) != nil {
					t.Fatal("a step failed")
				}
			}
			for range 3 {
				step()
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range 20 {
				step()
			}
			runtime.ReadMemStats(&after)
			assert.Less(t, float64(after.TotalAlloc-before.TotalAlloc)/20, 5e3, at.name)
		}
	}
}

// The minima of (x_0 x_1 - 1/4)^2 on the unit sphere are curves, on which the second derivative across is largest where x_0 and x_1 differ most:
// it is 2 (x_0^2 + x_1^2 - 1/4). SGD ends on the curve where it meets it, and SAM moves along it to where it is flattest, x_0 = x_1 = 1/2.
func TestSAMFindsFlatMinima(t *testing.T) {
	for _, of := range precisions {
		end := func(rho float64) []float64 {
			p := newParam("x", of, 1, 3, 1, 1)
			put(p.w, []float64{0.8, 0.3, math.Sqrt(1 - 0.64 - 0.09)})
			s := solvers.NewSAM(solvers.NewSGD(solvers.LearnRate(0.1), solvers.Param("x", manifolds.Sphere{}, manifolds.Unit)), rho)
			gradient := func() {
				x := get(p.w)
				h := 2 * (x[0]*x[1] - 0.25)
				put(p.g, []float64{h * x[1], h * x[0], 0})
			}
			for range 5000 {
				gradient()
				require.NoError(t, s.Ascend(valueGrads([]*param{p})))
				gradient()
				require.NoError(t, s.Step(valueGrads([]*param{p})))
			}
			return get(p.w)
		}
		sharp, flat := end(0), end(0.1)
		assert.InDelta(t, 0.25, sharp[0]*sharp[1], 1e-6)
		assert.Greater(t, sharp[0]-sharp[1], 0.4)
		assert.InDelta(t, 0.25, flat[0]*flat[1], 0.02)
		assert.InDelta(t, 0, flat[0]-flat[1], 0.01)
	}
}

// On a manifold with an inner product of its own SAM refuses, and nothing changes.
func TestSAMRefusesOtherInnerProducts(t *testing.T) {
	for _, of := range precisions {
		m, twin := model(of, 1), model(of, 1)
		at := beyond[len(beyond)-1]
		s, reference := solvers.NewSAM(solvers.NewSGD(at.kernels()), 0.1), solvers.NewSGD(at.kernels())
		require.NoError(t, s.Init(valueGrads(m)))
		require.NoError(t, reference.Init(valueGrads(twin)))
		gradients(m, 1)
		err := s.Ascend(valueGrads(m))
		require.ErrorIs(t, err, solvers.ErrConstraint)
		require.ErrorContains(t, err, "want a manifold with the Frobenius inner product for SAM, got GeneralizedStiefel")
		same(t, weights(twin), weights(m))
	}
}

// unfused is a sphere without steps in place.
type unfused struct{ manifolds.Sphere }

func (u unfused) Scaled(s float64) manifolds.Manifold {
	return unfused{u.Sphere.Scaled(s).(manifolds.Sphere)}
}

// On spheres the weights ascend in place, to where the methods of the manifold lead.
func TestSAMAscendsInPlace(t *testing.T) {
	for _, of := range precisions {
		t.Run(of.String(), func(t *testing.T) {
			var count wayTaken
			make := func(m manifolds.Manifold) (*solvers.SAM, []*param) {
				s := solvers.NewSAM(solvers.NewSGD(solvers.LearnRate(0.02), solvers.Momentum(0.9), solvers.Kernels(m)), 0.05)
				all := model(of, 1)
				require.NoError(t, s.Init(valueGrads(all)))
				return s, all
			}
			s, m := make(watched{manifolds.Sphere{}, of, &count})
			reference, twin := make(unfused{})
			count = wayTaken{} // binding may try a manifold
			for step := range uint64(4) {
				climb(t, s, m, step)
				climb(t, reference, twin, step)
				for i, p := range m {
					near(t, get(twin[i].w), get(p.w), 1+int(step), of, "ascent, "+p.name)
				}
				require.NoError(t, s.Step(valueGrads(m)))
				require.NoError(t, reference.Step(valueGrads(twin)))
			}
			assert.Equal(t, wayTaken{inPlace: 2 * 2 * 4}, count) // two kernels
			for i, p := range m {
				near(t, get(twin[i].w), get(p.w), 4, of, p.name)
			}
		})
	}
}

// Where something else has written points that are not on the sphere, and the ascent is the first to find out, the weights are as before it.
func TestSAMFindsOverwrittenPoints(t *testing.T) {
	for _, of := range precisions {
		m := []*param{newParam("kernel", of, 16, 4, 3, 3), newParam("watched", of, 16, 4, 3, 3)}
		for i, p := range m {
			gaussian(p.w, source(uint64(i)), 1)
		}
		s := solvers.NewSAM(solvers.NewSGD(solvers.Kernels(manifolds.Sphere{})), 0.05)
		require.NoError(t, s.Init(valueGrads(m)))
		climb(t, s, m, 1)
		require.NoError(t, s.Step(valueGrads(m))) // the next looks at the points of the second kernel
		w := get(m[0].w)
		clear(w[3*36 : 4*36])
		w[3*36] = 1e-9 // none of these values vouches for the others
		put(m[0].w, w)
		w, other := get(m[0].w), get(m[1].w)
		gradients(m, 2)
		require.ErrorIs(t, s.Ascend(valueGrads(m)), solvers.ErrOverwritten)
		assert.Equal(t, w, get(m[0].w))
		assert.Equal(t, other, get(m[1].w))
	}
}

// held is a sphere whose points do not move along the first coordinate.
type held struct{ manifolds.Sphere }

func (h held) Tangent(dst, x, g manifolds.Points) error {
	n := x.N * x.P
	for k := range x.K {
		x, g, dst := x.Data64()[k*n:][:n], g.Data64()[k*n:][:n], dst.Data64()[k*n:][:n]
		gx, xx := 0.0, 0.0
		for i := 1; i < n; i++ {
			gx, xx = gx+g[i]*x[i], xx+x[i]*x[i]
		}
		dst[0] = 0
		for i := 1; i < n; i++ {
			dst[i] = g[i] - gx/xx*x[i]
		}
	}
	return nil
}

func (h held) Transport(dst, _, y, u manifolds.Points) error { return h.Tangent(dst, y, u) }

func (h held) TransportAlong(dst, _, _, y, u manifolds.Points) error { return h.Tangent(dst, y, u) }

func (h held) Scaled(s float64) manifolds.Manifold {
	return held{h.Sphere.Scaled(s).(manifolds.Sphere)}
}

// The ascent of a manifold that embeds another is along its own gradient.
func TestSAMAscendsByTheGradientOfTheManifold(t *testing.T) {
	const rho = 1e-3
	p := newParam("w", tensor.Float64, 1, 1, 1, 3)
	put(p.w, []float64{0, 0.6, 0.8})
	put(p.g, []float64{6, -0.8, 0.6})
	s := solvers.NewSAM(solvers.NewSGD(solvers.LearnRate(0.1), solvers.Param("w", held{}, manifolds.PerFilter, manifolds.Unit)), rho)
	require.NoError(t, s.Ascend(valueGrads([]*param{p})))
	assert.InDeltaSlice(t, []float64{0, 0.6 - 0.8*rho, 0.8 + 0.6*rho}, get(p.w), rho*rho)
}

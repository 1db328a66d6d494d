// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
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

// RDoG and RDoWG, against NumPy, against the best fixed rates, and where weights are not left alone.

type dogKind struct {
	name string
	make func(...solvers.Option) *solvers.Solver
}

var dogs = []dogKind{{"RDoG", solvers.NewRDoG}, {"RDoWG", solvers.NewRDoWG}}

var dogScopes = map[string]solvers.Scope{"point": solvers.EachPoint, "layer": solvers.EachLayer, "all": solvers.AllLayers}

// everyDog makes each of them with each scope and the given options.
func everyDog(own ...solvers.Option) (all []maker) {
	for _, d := range dogs {
		for name, scope := range dogScopes {
			all = append(all, maker{name: d.name + " " + name, of: func(opts ...solvers.Option) stepper {
				return d.make(append(append(slices.Clone(own), solvers.DistanceFor(scope)), opts...)...)
			}})
		}
	}
	return all
}

// Runs of 100 steps are those of testdata/rdog.py.
func TestRDoGAgainstNumPy(t *testing.T) {
	text, err := os.ReadFile("testdata/rdog.json")
	require.NoError(t, err)
	var cases []struct {
		Rule, Scope                  string
		Manifolds                    []string
		Shapes                       [][]int
		Starts, First, Last, Average [][]float64
	}
	require.NoError(t, json.Unmarshal(text, &cases))
	on := map[string]func(string) solvers.Option{
		"Euclidean": func(w string) solvers.Option { return solvers.Param(w, manifolds.Euclidean{}) },
		"Sphere": func(w string) solvers.Option {
			return solvers.Param(w, manifolds.Sphere{}, manifolds.PerFilter, manifolds.Unit)
		},
		"Stiefel": func(w string) solvers.Option { return solvers.Param(w, manifolds.Stiefel{}, manifolds.Unit) },
		"canonical Stiefel": func(w string) solvers.Option {
			return solvers.Param(w, manifolds.Stiefel{Metric: manifolds.CanonicalMetric}, manifolds.Unit)
		},
	}
	for _, of := range precisions {
		for _, c := range cases {
			t.Run(fmt.Sprint(of, c.Rule, c.Scope, c.Manifolds), func(t *testing.T) {
				opts := []solvers.Option{solvers.InitialDistance(1e-2), solvers.DistanceFor(dogScopes[c.Scope])}
				var m []*param
				for i, name := range c.Manifolds {
					p := newParam(fmt.Sprint("w", i), of, c.Shapes[i]...)
					put(p.w, c.Starts[i])
					m, opts = append(m, p), append(opts, on[name](p.name))
				}
				s := solvers.NewSWA(dogs[btoi(c.Rule == "RDoWG")].make(opts...), solvers.AverageByDistance())
				require.Equal(t, "SWA by distance("+c.Rule+")", s.String())
				for step := range 100 {
					for _, p := range m {
						slope(p, step)
					}
					require.NoError(t, s.Step(valueGrads(m)))
					for i, p := range m {
						if step == 0 {
							assert.InDeltaSlice(t, c.First[i], get(p.w), 16*eps(of))
						} else if step == 99 {
							assert.InDeltaSlice(t, c.Last[i], get(p.w), 64*100*eps(of))
						}
					}
				}
				require.NoError(t, s.Swap(valueGrads(m)))
				for i, p := range m {
					assert.InDeltaSlice(t, c.Average[i], get(p.w), 64*100*eps(of))
				}
			})
		}
	}
}

// search is a problem of which every gradient has noise.
type search struct {
	name  string
	shape []int
	on    solvers.Option
	problem
}

// run makes so many steps of a solver for the cost times scale, and returns how far above the best cost the last point and the average are, as a
// part of where it began.
func (q search) run(t *testing.T, s *solvers.Solver, steps int, scale float64, seed uint64, opts ...solvers.AverageOption) (last, average float64) {
	t.Helper()
	w := newParam("w", tensor.Float64, q.shape...)
	m := []*param{w}
	gaussian(w.w, source(8+seed), 1)
	require.NoError(t, s.Init(valueGrads(m)))
	rng, g := source(99+seed), make([]float64, w.w.Size())
	gap := func() float64 { return q.slope(g, get(w.w)) - q.best }
	first := gap()
	swa := solvers.NewSWA(s, opts...)
	for range steps {
		q.slope(g, get(w.w))
		for i := range g {
			g[i] = scale * (g[i] + 0.3*rng.NormFloat64())
		}
		put(w.g, g)
		require.NoError(t, swa.Step(valueGrads(m)))
	}
	last = gap() / first
	require.NoError(t, swa.Swap(valueGrads(m)))
	return last, gap() / first
}

// The average of the points, which the bounds of the papers are for, is with RDoWG as close to the best cost as the average, or the last point, with the
// best of 12 fixed rates, and with RDoG within twice that. Whatever the scale of the cost, over three decades, it is the same, and the fixed rate is far
// from the best at the other scales.
func TestRDoGFindsTheRate(t *testing.T) {
	if testing.Short() {
		t.Skip("hundreds of runs")
	}
	t.Parallel()
	unit := func(m manifolds.Manifold, g manifolds.Grouping) solvers.Option {
		return solvers.Param("w", m, g, manifolds.Unit)
	}
	const seeds = 3
	for _, q := range []search{
		{"Rayleigh", []int{1, 3, 2, 4}, unit(manifolds.Sphere{}, manifolds.PerFilter), rayleigh(source(3), 24, 1)},
		{"PCA", []int{12, 4, 1, 1}, unit(manifolds.Grassmann{}, manifolds.FilterBank), subspace(source(3), 12, 4)},
		{"Procrustes", []int{12, 4, 1, 1}, unit(manifolds.Stiefel{}, manifolds.FilterBank), procrustes(source(3), 12, 4)},
		{"Brockett", []int{12, 4, 1, 1}, unit(manifolds.Stiefel{}, manifolds.FilterBank), brockett(source(3), 12, 4)},
		{"Kabsch", []int{1, 1, 4, 4}, unit(manifolds.SpecialOrthogonal{}, manifolds.PerSlice), kabsch(source(3), 4, 4)},
	} {
		steps := 1500
		if q.name == "Brockett" { // whose other orders of the eigenvectors are saddles: all solvers take their time to leave them
			steps = 6000
		}
		fixed := func(rate, scale float64) float64 {
			last, average := 0.0, 0.0 // logarithms
			for seed := range uint64(seeds) {
				l, a := q.run(t, solvers.NewSGD(q.on, solvers.LearnRate(rate)), steps, scale, seed)
				last, average = last+math.Log(l)/seeds, average+math.Log(a)/seeds
			}
			return math.Exp(min(last, average))
		}
		rate, best := 0.0, math.Inf(1)
		for e := -9.0; e <= 2; e++ {
			if gap := fixed(math.Pow(2, e), 1); gap < best {
				rate, best = math.Pow(2, e), gap
			}
		}
		for _, d := range dogs {
			gap := func(scale float64, seed uint64) float64 {
				_, average := q.run(t, d.make(q.on), steps, scale, seed, solvers.AverageByDistance())
				return average
			}
			l, first := 0.0, 0.0
			for seed := range uint64(seeds) {
				g := gap(1, seed)
				if seed == 0 {
					first = g
				}
				l += math.Log(g) / seeds
			}
			t.Logf("%s, %s: %.2g times the gap of %.1e", q.name, d.name, math.Exp(l)/best, best)
			bound := 2.0
			if d.name == "RDoWG" {
				bound = 1.1
			}
			require.Less(t, math.Exp(l), bound*best, "%s, %s", q.name, d.name)
			for _, scale := range []float64{0x1p-5, 0x1p5} {
				require.InEpsilon(t, first, gap(scale, 0), 1e-9, "%s, %s, scale %g", q.name, d.name, scale)
			}
		}
		for _, scale := range []float64{0x1p-5, 0x1p5} {
			require.Greater(t, fixed(rate, scale), 4*best, "%s, scale %g", q.name, scale)
		}
	}
}

// Gradients of any length make the same steps, in float64 copies where they are extreme.
func TestRDoGDoesNotSeeTheLengthOfGradients(t *testing.T) {
	for _, of := range precisions {
		for _, d := range dogs {
			for name, scope := range dogScopes {
				for _, at := range everywhere {
					var want []*param
					for _, scale := range []float64{1, 0x1p-70, 0x1p70} {
						m := model(of, 1)
						s := d.make(at.kernels(), solvers.DistanceFor(scope))
						for step := range uint64(4) {
							gradients(m, step)
							for _, p := range m {
								put(p.g, plus(scale, get(p.g), 0, get(p.g)))
							}
							require.NoError(t, s.Step(valueGrads(m)))
						}
						onManifold(t, s.Report(), of)
						if want == nil {
							want = m
							continue
						}
						for i, p := range want {
							near(t, get(p.w), get(m[i].w), 4, of, fmt.Sprint(p.name, d.name, name, at.name, scale))
						}
					}
				}
			}
		}
	}
}

// The first step has the initial distance, of each point, layer, or all together.
func TestInitialDistance(t *testing.T) {
	const first = 1e-2
	for _, d := range dogs {
		for name, scope := range dogScopes {
			m := model(tensor.Float64, 1)
			s := d.make(solvers.Kernels(manifolds.Sphere{Geodesic: true}), solvers.InitialDistance(first), solvers.DistanceFor(scope))
			require.NoError(t, s.Init(valueGrads(m)))
			start := weights(m)
			run(t, s, m, 1)
			all, size := 0.0, 0.0
			for _, p := range s.Report().Parameters {
				x := start[p.Name]
				norm, free := math.Sqrt(dot(x, x)), float64(btoi(!p.Kernel))
				all, size = math.Hypot(all, p.StepLength), math.Hypot(size, norm)
				if name != "all" {
					assert.InEpsilon(t, first*(free+norm), p.StepLength, 1e-12, "%s, %s", d.name, p.Name)
				}
			}
			if name == "all" {
				assert.InEpsilon(t, first*(1+size), all, 1e-12)
			}
		}
	}
}

// The parts of an ensemble have one distance and one rate, that of their layer, and all layers together have one.
func TestRDoGShares(t *testing.T) {
	for name, scope := range dogScopes {
		m := model(tensor.Float64, 1)
		s := solvers.NewRDoG(everywhere[len(everywhere)-1].kernels(), solvers.DistanceFor(scope))
		for step := range uint64(3) {
			run(t, s, m, step)
		}
		snap, err := s.Snapshot()
		require.NoError(t, err)
		all := map[float64]int{}
		for _, p := range snap.Parameters[:3] { // two ensembles and a bias
			layer := map[float64]int{}
			for _, b := range p.State {
				if strings.HasSuffix(b.Name, "largest distance") {
					for _, v := range b.F64 {
						layer[v]++
						all[v]++
					}
				}
			}
			require.NotEmpty(t, layer)
			assert.Equal(t, name != "point" || p.Name == "bias1", len(layer) == 1, "%s, %s", name, p.Name)
		}
		assert.Equal(t, name == "all", len(all) == 1, name)
	}
}

// Small changes of the weights by something else, such as a decay of their own, are part of the way. Weights that are far from
// where the solver could have gone are a new start: the next step is no longer than the way so far.
func TestRDoGAndWeightsOfOthers(t *testing.T) {
	for _, d := range dogs {
		for name, scope := range dogScopes {
			for _, at := range []place{places[0], places[5], places[7], {"free", manifolds.Euclidean{}, nil}} {
				m := model(tensor.Float64, 1)
				s := d.make(at.kernels(), solvers.DistanceFor(scope), solvers.InitialDistance(1e-4))
				distance := func() (longest float64) {
					snap, err := s.Snapshot()
					require.NoError(t, err)
					for _, v := range snap.Parameters[2].State[0].F64 {
						longest = max(longest, v)
					}
					return longest
				}
				step := func(seed uint64) {
					for _, p := range m {
						gaussian(p.g, source(seed), 0.1)
						put(p.g, plus(1, get(p.g), 1, get(p.w))) // along the weights where they are free
						g := get(p.g)
						g[0]++ // and always in one direction
						put(p.g, g)
					}
					require.NoError(t, s.Step(valueGrads(m)))
				}
				step(0)
				first := distance()
				for seed := range uint64(10) {
					for _, p := range m {
						put(p.w, plus(1-1e-5, get(p.w), 0, get(p.w)))
					}
					step(1 + seed)
				}
				before := distance()
				assert.Greater(t, before, 5*first, "%s, %s, %s", d.name, name, at.name)

				for _, p := range m {
					gaussian(p.w, source(77), 1)
				}
				require.NoError(t, s.Init(valueGrads(m))) // on the manifold; the solver has been told
				far := get(m[2].w)
				step(50)
				assert.InEpsilon(t, before, distance(), 1e-12, "%s, %s, %s", d.name, name, at.name)
				moved := plus(1, get(m[2].w), -1, far)
				points := 1.0
				if name == "point" && at.name != "free" {
					points = float64(s.Report().Parameters[2].Points)
				}
				assert.LessOrEqual(t, math.Sqrt(dot(moved, moved)), 1.01*before*math.Sqrt(points))
			}
		}
	}
}

// A run that is interrupted, before or after weights were written by something else, goes on to the bit.
func TestRDoGResumes(t *testing.T) {
	for _, of := range precisions {
		for _, d := range dogs {
			for _, scope := range dogScopes {
				for _, at := range everywhere {
					make := func() *solvers.Solver {
						return d.make(at.kernels(), solvers.DistanceFor(scope), solvers.EuclideanDecay(0.1))
					}
					m, s := model(of, 1), make()
					for step := range uint64(9) {
						if step == 5 {
							put(m[4].w, plus(100, get(m[4].w), 0, get(m[4].w)))
						}
						run(t, s, m, step)
						snap, err := s.Snapshot()
						require.NoError(t, err)
						again, twin := make(), copied(m, of)
						require.NoError(t, again.Restore(valueGrads(twin), snap))
						if step%3 != 2 {
							continue
						}
						run(t, s, m, 90+step)
						run(t, again, twin, 90+step)
						same(t, weights(m), weights(twin))
					}
				}
			}
		}
	}
}

// The average by distances is saved with its weights.
func TestAverageByDistance(t *testing.T) {
	for _, of := range precisions {
		for _, scope := range dogScopes {
			make := func() *solvers.Average {
				return solvers.NewSWA(solvers.NewRDoWG(solvers.Kernels(manifolds.Stiefel{}), solvers.DistanceFor(scope),
					solvers.Param("offset", nil).With(solvers.Frozen())), solvers.AverageByDistance())
			}
			m, s := model(of, 1), make()
			for step := range uint64(4) {
				run(t, s, m, step)
			}
			snap, err := s.Snapshot()
			require.NoError(t, err)
			again, twin := make(), copied(m, of)
			require.NoError(t, again.Restore(valueGrads(twin), snap))
			run(t, s, m, 5)
			run(t, again, twin, 5)
			require.NoError(t, s.Swap(valueGrads(m)))
			require.NoError(t, again.Swap(valueGrads(twin)))
			same(t, weights(m), weights(twin))
			equal := solvers.NewSWA(solvers.NewRDoWG(solvers.Kernels(manifolds.Stiefel{}), solvers.DistanceFor(scope)))
			require.ErrorContains(t, equal.Restore(valueGrads(copied(m, of)), snap), "want the snapshot of SWA(RDoWG), got that of SWA by distance(RDoWG)")
			snap.Averages[0].Parameters[0].Total = math.NaN()
			require.ErrorContains(t, make().Restore(valueGrads(copied(m, of)), snap), "want a sum of weights that is finite")
		}
	}
	m := model(tensor.Float64, 1)
	for _, s := range []*solvers.Average{
		solvers.NewSWA(solvers.NewSGD(), solvers.AverageByDistance()), solvers.NewEMA(solvers.NewRDoG(), 0.9, solvers.AverageByDistance()),
		solvers.NewSWA(gorgonia.NewVanillaSolver(), solvers.AverageByDistance()),
	} {
		gradients(m, 1)
		before := weights(m)
		err := s.Step(valueGrads(m))
		require.ErrorIs(t, err, solvers.ErrOption)
		assert.Contains(t, err.Error(), "AverageByDistance: want NewSWA around NewRDoG or NewRDoWG")
		same(t, before, weights(m))
	}
}

func TestRDoGRefuses(t *testing.T) {
	m := model(tensor.Float64, 1)
	for _, c := range []struct {
		name  string
		make  func(...solvers.Option) *solvers.Solver
		opt   solvers.Option
		wants string
	}{
		{"distance", solvers.NewRDoG, solvers.InitialDistance(0), "InitialDistance: want a positive number, got 0"},
		{"scope", solvers.NewRDoWG, solvers.DistanceFor(solvers.EachGroup), "DistanceFor: want EachPoint, EachLayer or AllLayers, got 1"},
		{"momentum", solvers.NewRDoG, solvers.Momentum(0.9), "RDoG has no option Momentum"},
		{"of SGD", solvers.NewSGD, solvers.DistanceFor(solvers.EachPoint), "SGD has no option DistanceFor"},
		{"factor", solvers.NewSGD, solvers.FactorFor(solvers.AllLayers), "FactorFor: want EachPoint, EachGroup or EachLayer, got 3"},
		{"for the rest", solvers.NewMuon, solvers.RestBy(solvers.NewRDoG()), "moves every parameter by itself"},
	} {
		t.Run(c.name, func(t *testing.T) {
			refuses(t, func() stepper { return c.make(c.opt) }, m, solvers.ErrOption, c.wants)
		})
	}
}

// Processes that share their steps divide the layers, unless all layers have one rate: then each has the distances of all. The average is that of one
// process.
func TestRDoGOnSeveralProcesses(t *testing.T) {
	for name, scope := range dogScopes {
		make := func() *solvers.Average {
			return solvers.NewSWA(solvers.NewRDoWG(everywhere[len(everywhere)-1].kernels(), solvers.DistanceFor(scope)), solvers.AverageByDistance())
		}
		twin, reference := model(tensor.Float32, 1), make()
		for step := range uint64(5) {
			run(t, reference, twin, step)
		}
		report, last := reference.Report(), weights(twin)
		require.NoError(t, reference.Swap(valueGrads(twin)))
		average := weights(twin)
		reference.SwapBack()
		same(t, last, weights(twin))
		mpitest.Run(t, 3, func(t *testing.T, c mpi.Comm) {
			m, s := model(tensor.Float32, 1), make()
			for step := range uint64(5) {
				gradients(m, step)
				require.NoError(t, s.StepShare(valueGrads(m), shareOf(c)))
			}
			same(t, last, weights(m))
			assert.Equal(t, report, s.Report())
			snap, err := s.Snapshot()
			require.NoError(t, err)
			owned := 0
			for _, p := range snap.Parameters {
				owned += btoi(p.State != nil)
			}
			if name == "all" {
				assert.Len(t, snap.Parameters, owned)
			} else {
				assert.Less(t, owned, len(snap.Parameters))
			}
			require.NoError(t, s.Swap(valueGrads(m)))
			if c.Rank() == 0 { // the others have what they own
				same(t, average, weights(m))
			}
		})
	}
}

// Parameters that join later begin where they are, with the distance of all.
func TestRDoGJoins(t *testing.T) {
	m := model(tensor.Float64, 1)
	s := solvers.NewRDoG(solvers.DistanceFor(solvers.AllLayers))
	for step := range uint64(5) {
		run(t, s, m[:3], step)
	}
	run(t, s, m, 6)
	snap, err := s.Snapshot()
	require.NoError(t, err)
	for _, p := range snap.Parameters {
		assert.Equal(t, snap.Parameters[0].State[0].F64, p.State[0].F64, p.Name)
		assert.Equal(t, snap.Parameters[0].State[1].F64, p.State[1].F64, p.Name)
	}
}

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

// averaging is a way of averaging, and the weights of its mean: of the i-th of n steps that are averaged, not divided by their sum.
type averaging struct {
	name   string
	of     func(gorgonia.Solver, ...solvers.AverageOption) *solvers.Average
	weight func(i, n int) float64
}

var averagings = []averaging{
	{"EMA", func(s gorgonia.Solver, o ...solvers.AverageOption) *solvers.Average {
		return solvers.NewEMA(s, 0.8, o...)
	},
		func(i, n int) float64 { return math.Pow(0.8, float64(n-i)) }},
	{"EMA without a decay", func(s gorgonia.Solver, o ...solvers.AverageOption) *solvers.Average {
		return solvers.NewEMA(s, 0, o...)
	},
		func(i, n int) float64 {
			if i == n {
				return 1
			}
			return 0
		}},
	{"SWA", solvers.NewSWA, func(int, int) float64 { return 1 }},
}

// Averages are the weighted sums, projected where parameters are constrained; the weights are as without an average, and come back to the bit.
func TestAverageIsTheMean(t *testing.T) {
	for _, of := range precisions {
		for _, kind := range everySolver(0.01) {
			for i, at := range everywhere {
				way := averagings[i%len(averagings)]
				t.Run(fmt.Sprint(of, "/", kind.name, "/", at.name, "/", way.name), func(t *testing.T) {
					m, twin := model(of, 1), model(of, 1)
					norms := map[string]float64{}
					for _, p := range m {
						norms[p.name] = norm(get(p.w))
					}
					reference := kind.of(at.kernels())
					a := way.of(kind.of(at.kernels()), solvers.AverageFrom(3), solvers.AverageEvery(2))
					var seen []map[string][]float64
					for step := range uint64(9) {
						run(t, a, m, step)
						run(t, reference, twin, step)
						same(t, weights(twin), weights(m))
						if step >= 2 && step%2 == 0 {
							seen = append(seen, weights(m))
						}
					}
					assert.Equal(t, 4, a.Count())
					require.Len(t, seen, 4)
					before := weights(m)
					require.NoError(t, a.Swap(valueGrads(m)))
					assert.True(t, a.Swapped())
					onManifold(t, a.Report(), of)
					for _, p := range m {
						want, sum := make([]float64, p.w.Size()), 0.0
						for i, w := range seen {
							c := way.weight(i+1, len(seen))
							sum += c
							for k, v := range w[p.name] {
								want[k] += c * v
							}
						}
						for k := range want {
							want[k] /= sum
						}
						tolerance := 1e-14
						if of == tensor.Float32 {
							tolerance = 1e-7
						}
						if p.name == "conv1" || p.name == "conv2" {
							if _, ok := at.manifold.(manifolds.Quotient); ok {
								continue
							}
							project(t, at, p.w.Shape(), norms[p.name], want)
							tolerance *= 100 // rounding errors of the projection
						}
						assert.InDeltaSlice(t, want, get(p.w), tolerance, p.name)
					}
					a.SwapBack()
					same(t, before, weights(m))
					run(t, a, m, 20)
					run(t, reference, twin, 20)
					same(t, weights(twin), weights(m))
				})
			}
		}
	}
}

// project replaces the weights of a layer, which had the given norm at first, by their projection onto the manifold of a place.
func project(t *testing.T, at place, shape []int, norm float64, w []float64) {
	t.Helper()
	c := manifolds.On(at.manifold, at.options...)
	c.Layer = map[int]string{3: "conv1", 4: "conv2"}[shape[1]]
	pieces, err := c.Bind(shape, norm)
	require.NoError(t, err)
	flat, err := manifolds.Points64(w, len(w), 1, 1)
	require.NoError(t, err)
	from := flat.Like()
	require.NoError(t, from.CopyFrom(flat))
	for _, piece := range pieces {
		l := piece.Layout
		x, err := manifolds.Points64(make([]float64, l.K*l.N*l.P), l.K, l.N, l.P)
		require.NoError(t, err)
		require.NoError(t, l.Gather(x, from))
		require.NoError(t, piece.Manifold.Project(x, x))
		require.NoError(t, l.Scatter(flat, x))
	}
}

func norm(x []float64) (n float64) {
	for _, v := range x {
		n = math.Hypot(n, v)
	}
	return n
}

// On spheres the average is the weighted sum over its norm, and on the circle an intrinsic one is the average of the angles. A line in the plane is
// its angle up to pi, and a rotation of the plane its angle.
func TestAverageOnCircles(t *testing.T) {
	for _, of := range precisions {
		for _, c := range []struct {
			name   string
			shape  []int
			on     manifolds.Manifold
			own    []solvers.AverageOption
			angles bool
			point  func(angle float64) []float64
			angle  func(x []float64) float64
		}{
			{"sphere", []int{1, 2, 1, 1}, manifolds.Sphere{}, nil, false, circle, angleOf},
			{"sphere, intrinsic", []int{1, 2, 1, 1}, manifolds.Sphere{}, []solvers.AverageOption{solvers.AverageIntrinsic()}, true, circle, angleOf},
			{"sphere without its logarithm", []int{1, 2, 1, 1}, bare{manifolds.Sphere{}}, []solvers.AverageOption{solvers.AverageIntrinsic()}, false, circle, angleOf},
			{"lines", []int{1, 2, 1, 1}, manifolds.Grassmann{}, nil, true, circle, angleOf},
			{"rotations", []int{1, 1, 2, 2}, manifolds.SpecialOrthogonal{}, []solvers.AverageOption{solvers.AverageIntrinsic()}, true, func(a float64) []float64 {
				return []float64{math.Cos(a), -math.Sin(a), math.Sin(a), math.Cos(a)}
			}, func(x []float64) float64 { return math.Atan2(x[2], x[0]) }},
		} {
			for _, way := range averagings {
				t.Run(fmt.Sprint(of, "/", c.name, "/", way.name), func(t *testing.T) {
					p := newParam("w", of, c.shape...)
					m := []*param{p}
					put(p.w, c.point(0.3))
					a := way.of(solvers.NewSGD(solvers.LearnRate(0), solvers.Param("w", c.on, manifolds.Unit)), c.own...)
					var angles []float64
					for i := range 12 {
						angle := 0.3 + 0.4*math.Sin(float64(i*i)) // the weights are written from outside
						put(p.w, c.point(angle))
						require.NoError(t, a.Step(valueGrads(m)))
						angles = append(angles, angle)
					}
					var sum, cos, sin, mean float64
					for i, angle := range angles {
						w := way.weight(i+1, len(angles))
						sum, mean = sum+w, mean+w*angle
						cos, sin = cos+w*math.Cos(angle), sin+w*math.Sin(angle)
					}
					want := mean / sum
					tolerance := 40 * eps(of)
					if !c.angles {
						want = math.Atan2(sin, cos)
					}
					if _, ok := c.on.(bare); ok { // first-order steps along the chord
						tolerance = 0.02
					}
					require.NoError(t, a.Swap(valueGrads(m)))
					assert.InDelta(t, want, c.angle(get(p.w)), tolerance)
				})
			}
		}
	}
}

// bare hides everything of a manifold but its six methods and its size.
type bare struct{ manifolds.Manifold }

func circle(a float64) []float64  { return []float64{math.Cos(a), math.Sin(a)} }
func angleOf(x []float64) float64 { return math.Atan2(x[1], x[0]) }

// The two kinds of average agree to third order in the spread of the points: a quarter of the spread, 1/64 of the difference.
func TestAverageIntrinsicAgrees(t *testing.T) {
	for _, at := range everywhere {
		if at.name == "Grassmann bank" { // which has one kind
			continue
		}
		t.Run(at.name, func(t *testing.T) {
			apart := func(rate float64) (sum float64) {
				var ends []map[string][]float64
				for _, own := range [][]solvers.AverageOption{nil, {solvers.AverageIntrinsic()}} {
					m := model(tensor.Float64, 1)
					a := solvers.NewSWA(solvers.NewSGD(solvers.LearnRate(rate), at.kernels()), own...)
					for step := range uint64(6) {
						run(t, a, m, step)
					}
					require.NoError(t, a.Swap(valueGrads(m)))
					onManifold(t, a.Report(), tensor.Float64)
					ends = append(ends, weights(m))
				}
				for name, x := range ends[0] {
					for i, v := range ends[1][name] {
						sum += (v - x[i]) * (v - x[i])
					}
				}
				return math.Sqrt(sum)
			}
			wide, narrow := apart(0.02), apart(0.005)
			if at.name == "spectral ball" { // a convex set, whose points have one mean
				assert.Less(t, wide, 1e-13)
				return
			}
			assert.Greater(t, wide, 1e-12)
			order := 3.0
			if at.name == "Stiefel canonical" { // whose geodesics also bend within the manifold
				order = 2
			}
			assert.InDelta(t, order, math.Log(wide/narrow)/math.Log(4), 0.6)
		})
	}
}

// A run that is restored from a snapshot, as text, goes on with its averages to the bit, nested ones and those around SAM too.
// opaque is a solver that could be of another package: it has snapshots, which it also restores after steps, and shows nothing else of what it wraps.
type opaque struct{ of *solvers.Solver }

func (o *opaque) Step(model []gorgonia.ValueGrad) error { return o.of.Step(model) }

func (o *opaque) Snapshot() (*solvers.Snapshot, error) { return o.of.Snapshot() }

func (o *opaque) Restore(model []gorgonia.ValueGrad, snap *solvers.Snapshot) error {
	o.of = solvers.NewAdam()
	return o.of.Restore(model, snap)
}

// The averages around a solver of another package are restored with it, into a solver that has seen no parameters yet.
func TestAverageSnapshotOfAnotherSolver(t *testing.T) {
	for _, of := range precisions {
		average := func() *solvers.Average { return solvers.NewEMA(&opaque{solvers.NewAdam()}, 0.9) }
		m, a := model(of, 1), average()
		for step := range uint64(5) {
			run(t, a, m, step)
		}
		snap, err := a.Snapshot()
		require.NoError(t, err)
		require.Len(t, snap.Averages[0].Parameters, len(m))

		twin, b := copied(m, of), average()
		err = b.Restore(valueGrads(twin[1:]), snap)
		require.ErrorIs(t, err, solvers.ErrParameter)
		require.NoError(t, b.Restore(valueGrads(twin), snap))
		again, err := b.Snapshot()
		require.NoError(t, err)
		assert.Equal(t, snap.Averages[0].Steps, again.Averages[0].Steps)
		assert.ElementsMatch(t, snap.Averages[0].Parameters, again.Averages[0].Parameters)
		for step := range uint64(3) {
			run(t, a, m, 5+step)
			run(t, b, twin, 5+step)
		}
		require.NoError(t, a.Swap(valueGrads(m)))
		require.NoError(t, b.Swap(valueGrads(twin)))
		same(t, weights(m), weights(twin))
		b.SwapBack()

		before := *snap // from before the first average
		before.Averages = []solvers.AverageSnapshot{{Steps: 0}}
		require.NoError(t, b.Restore(valueGrads(twin), &before))
		require.ErrorIs(t, b.Swap(valueGrads(twin)), solvers.ErrAverage, "its averages are gone")
	}
}

func TestAverageSnapshot(t *testing.T) {
	for _, of := range precisions {
		for _, at := range everywhere {
			for _, c := range []struct {
				name string
				of   func() *solvers.Average
			}{
				{"EMA(Adam)", func() *solvers.Average { return solvers.NewEMA(solvers.NewAdam(at.kernels()), 0.9) }},
				{"SWA(EMA(SAM(SGD)))", func() *solvers.Average {
					s := solvers.NewSAM(solvers.NewSGD(solvers.Momentum(0.9), at.kernels()), 0.05)
					return solvers.NewSWA(solvers.NewEMA(s, 0.9, solvers.AverageIntrinsic()), solvers.AverageFrom(4))
				}},
			} {
				t.Run(fmt.Sprint(of, at.name, c.name), func(t *testing.T) {
					step := func(a *solvers.Average, m []*param, step uint64) {
						t.Helper()
						gradients(m, step)
						inner, _ := a.Unwrap().(*solvers.Average)
						if inner != nil {
							require.NoError(t, inner.Unwrap().(*solvers.SAM).Ascend(valueGrads(m)))
							gradients(m, 1000+step)
						}
						require.NoError(t, a.Step(valueGrads(m)))
					}
					m, a, b := model(of, 1), c.of(), c.of()
					for k := range uint64(6) {
						step(a, m, k)
					}
					snap, err := a.Snapshot()
					require.NoError(t, err)
					assert.Equal(t, c.name, snap.Solver)
					text, err := json.Marshal(snap)
					require.NoError(t, err)
					var read solvers.Snapshot
					require.NoError(t, json.Unmarshal(text, &read))
					twin := copied(m, of)
					require.NoError(t, b.Restore(valueGrads(twin), &read))
					for k := range uint64(4) {
						step(a, m, 10+k)
						step(b, twin, 10+k)
						same(t, weights(m), weights(twin))
						assert.Equal(t, a.Count(), b.Count())
						for _, pair := range [][2]*solvers.Average{{a, b}, {inside(a), inside(b)}} {
							require.NoError(t, pair[0].Swap(valueGrads(m)))
							require.NoError(t, pair[1].Swap(valueGrads(twin)))
							same(t, weights(m), weights(twin))
							pair[0].SwapBack()
							pair[1].SwapBack()
						}
					}
					again, err := json.Marshal(snap)
					require.NoError(t, err)
					assert.Equal(t, string(text), string(again), "a snapshot is a copy")
				})
			}
		}
	}
}

// inside is the average that another one wraps, or that itself.
func inside(a *solvers.Average) *solvers.Average {
	if b, ok := a.Unwrap().(*solvers.Average); ok {
		return b
	}
	return a
}

// A snapshot that does not fit is refused, and nothing has changed.
func TestAverageRestoreRefuses(t *testing.T) {
	m := model(tensor.Float32, 1)
	a := solvers.NewEMA(solvers.NewSGD(), 0.9)
	run(t, a, m, 1)
	for _, c := range []struct {
		change func(s *solvers.Snapshot)
		want   string
	}{
		{func(s *solvers.Snapshot) { s.Averages = nil }, "want the snapshot of EMA(SGD)"},
		{func(s *solvers.Snapshot) { s.Solver = "SWA(SGD)" }, "want the snapshot of EMA(SGD), got that of SWA(SGD)"},
		{func(s *solvers.Snapshot) { s.Solver = "EMA(Adam)" }, "want the snapshot of SGD, got that of Adam"},
		{func(s *solvers.Snapshot) { s.Averages[0].Steps = -1 }, "got -1 averaged steps"},
		{func(s *solvers.Snapshot) { s.Averages[0].Parameters[1].Count = 0 }, "want a count from 1"},
		{func(s *solvers.Snapshot) { s.Averages[0].Parameters[1].Name = "nonesuch" }, "nonesuch"},
		{func(s *solvers.Snapshot) { s.Averages[0].Parameters[1].Name = s.Averages[0].Parameters[0].Name }, "got another"},
		{func(s *solvers.Snapshot) { s.Averages[0].Parameters[1].Mean.F64 = nil }, "want an average of 4 numbers in float64, got 0"},
		{func(s *solvers.Snapshot) { s.Averages[0].Parameters[1].Mean.F64[2] = math.Inf(1) }, "want finite numbers, got +Inf at element 2"},
	} {
		snap, err := a.Snapshot()
		require.NoError(t, err)
		c.change(snap)
		twin := copied(m, tensor.Float32)
		b := solvers.NewEMA(solvers.NewSGD(), 0.9)
		err = b.Restore(valueGrads(twin), snap)
		assert.ErrorIs(t, err, solvers.ErrParameter)
		assert.ErrorContains(t, err, c.want)
		snap, err = a.Snapshot()
		require.NoError(t, err)
		require.NoError(t, b.Restore(valueGrads(twin), snap))
	}
	assert.ErrorIs(t, solvers.NewEMA(solvers.NewSGD(), 0.9).Restore(nil, nil), solvers.ErrParameter)
	_, err := solvers.NewEMA(gorgonia.NewAdamSolver(), 0.9).Snapshot()
	assert.ErrorIs(t, err, solvers.ErrStock)
	assert.ErrorContains(t, err, "*gorgonia.AdamSolver")
}

// Of several averages of a solver only one is in place of the weights at a time.
func TestAverageOfAnAverage(t *testing.T) {
	for _, of := range precisions {
		for _, kind := range everySolver(0.01) {
			m := model(of, 1)
			inner := solvers.NewEMA(kind.of(places[0].kernels()), 0.9)
			outer := solvers.NewSWA(inner)
			run(t, outer, m, 3)
			before := weights(m)
			for _, of := range [][2]*solvers.Average{{inner, outer}, {outer, inner}} {
				require.NoError(t, of[0].Swap(valueGrads(m)))
				placed := weights(m)
				gradients(m, 4)
				for _, err := range []error{of[1].Swap(valueGrads(m)), of[1].Step(valueGrads(m))} {
					require.ErrorIs(t, err, solvers.ErrAverage)
					assert.ErrorContains(t, err, "want SwapBack of "+of[0].String())
				}
				of[1].SwapBack()
				same(t, placed, weights(m))
				of[0].SwapBack()
				same(t, before, weights(m))
			}
		}
	}
}

// While averages are in place of the weights, the solver inside refuses to move, and SAM to ascend.
func TestAverageRefusesTheSolverInside(t *testing.T) {
	for _, of := range precisions {
		m := model(of, 1)
		inner := solvers.NewSAM(solvers.NewSGD(solvers.LearnRate(0.1), places[0].kernels()), 0.05)
		a := solvers.NewEMA(inner, 0.9)
		for step := range uint64(2) {
			gradients(m, step)
			require.NoError(t, inner.Ascend(valueGrads(m)))
			gradients(m, 10+step)
			require.NoError(t, a.Step(valueGrads(m)))
		}
		before := weights(m)
		require.NoError(t, a.Swap(valueGrads(m)))
		gradients(m, 3)
		require.ErrorIs(t, inner.Ascend(valueGrads(m)), solvers.ErrAverage)
		require.ErrorIs(t, inner.Init(valueGrads(m)), solvers.ErrAverage)
		a.SwapBack()
		inner.Cancel()
		same(t, before, weights(m))
		gradients(m, 3)
		require.NoError(t, inner.Ascend(valueGrads(m)))
	}
}

// Calls out of turn are ErrAverage and change nothing.
func TestAverageOutOfTurn(t *testing.T) {
	for _, of := range precisions {
		for _, kind := range everySolver(0.01) {
			m := model(of, 1)
			a := solvers.NewSWA(kind.of(places[0].kernels()), solvers.AverageFrom(2))
			refused := func(err error, want string) {
				t.Helper()
				require.ErrorIs(t, err, solvers.ErrAverage)
				assert.ErrorContains(t, err, want)
			}
			a.SwapBack()
			run(t, a, m, 1)
			before := weights(m)
			refused(a.Swap(valueGrads(m)), "want an average, got none")
			refused(a.Swap(nil), "want at least one parameter")
			same(t, before, weights(m))
			assert.Zero(t, a.Count())
			run(t, a, m, 2)
			before = weights(m)
			require.NoError(t, a.Swap(valueGrads(m)))
			average := weights(m)
			gradients(m, 3)
			refused(a.Step(valueGrads(m)), "Step: want SwapBack")
			refused(a.Swap(valueGrads(m)), "Swap: want SwapBack")
			_, err := a.Snapshot()
			refused(err, "Snapshot: want SwapBack")
			refused(a.Restore(valueGrads(m), nil), "Restore: want SwapBack")
			same(t, average, weights(m))
			a.SwapBack()
			same(t, before, weights(m))
			other := newParam("other", of, 3)
			err = a.Swap(append(valueGrads(m), other))
			assert.Error(t, err)
			same(t, before, weights(m))
			assert.Error(t, a.Swap(append(valueGrads(m), m[0])))
			assert.Error(t, a.Swap(append(valueGrads(m), nil)))
			same(t, before, weights(m))
			run(t, a, m, 3)
			assert.Equal(t, 2, a.Count())
		}
	}
}

func TestAverageRefusesOptions(t *testing.T) {
	m := model(tensor.Float32, 1)
	gradients(m, 1)
	before := weights(m)
	s := solvers.NewSGD()
	for _, a := range []*solvers.Average{
		solvers.NewEMA(s, 1), solvers.NewEMA(s, -0.1), solvers.NewEMA(s, math.NaN()), solvers.NewEMA(nil, 0.5), solvers.NewSWA(nil),
		solvers.NewSWA(s, solvers.AverageFrom(0)), solvers.NewSWA(s, solvers.AverageEvery(0)), solvers.NewSWA(s, nil),
	} {
		_, err := a.Snapshot()
		for _, err := range []error{err, a.Step(valueGrads(m)), a.Swap(valueGrads(m)), a.Restore(valueGrads(m), nil), a.Report().Err} {
			assert.ErrorIs(t, err, solvers.ErrOption)
		}
	}
	same(t, before, weights(m))
}

// A step that fails is not averaged.
func TestAverageOfFailedSteps(t *testing.T) {
	for _, of := range precisions {
		for i, f := range faults() {
			m, twin := model(of, 1), model(of, 1)
			make := func() *solvers.Average {
				return solvers.NewEMA(solvers.NewSGD(solvers.Momentum(0.9), everywhere[i%len(everywhere)].kernels()), 0.5)
			}
			a, reference := make(), make()
			run(t, a, m, 1)
			run(t, reference, twin, 1)
			gradients(m, 2)
			require.ErrorIs(t, a.Step(f.call(m)), f.kind)
			run(t, a, m, 3)
			run(t, reference, twin, 3)
			require.NoError(t, a.Swap(valueGrads(m)))
			require.NoError(t, reference.Swap(valueGrads(twin)))
			same(t, weights(twin), weights(m))
		}
	}
}

// A mean that has no nearest point, as that of opposite points, is an error of Swap, which changes nothing.
func TestAverageWithoutANearestPoint(t *testing.T) {
	p := newParam("w", tensor.Float64, 1, 2, 1, 1)
	m := []*param{p}
	a := solvers.NewSWA(solvers.NewSGD(solvers.LearnRate(0), solvers.Param("w", manifolds.Sphere{}, manifolds.Unit)))
	for _, x := range [][]float64{{1, 0}, {-1, 0}} {
		put(p.w, x)
		require.NoError(t, a.Step(valueGrads(m)))
	}
	err := a.Swap(valueGrads(m))
	require.ErrorIs(t, err, solvers.ErrAverage)
	assert.ErrorContains(t, err, `parameter "w"`)
	assert.Equal(t, []float64{-1, 0}, get(p.w))
	assert.False(t, a.Swapped())
	require.NoError(t, a.Step(valueGrads(m)))
}

// Parameters may join later, come in any order, and be forgotten: each has its own average.
func TestAverageOfParametersThatComeAndGo(t *testing.T) {
	m := model(tensor.Float64, 1)
	s := solvers.NewSGD(solvers.Kernels(manifolds.Stiefel{}))
	a := solvers.NewSWA(s)
	var seen []float64
	for step := range uint64(6) {
		part := slices.Clone(m)
		if step < 3 {
			part = part[1:]
		}
		if step%2 == 1 {
			slices.Reverse(part)
		}
		run(t, a, part, step)
		if step >= 3 {
			seen = append(seen, get(m[1].w)[0])
		}
	}
	run(t, a, m[1:], 7)
	assert.Equal(t, []string{"conv1"}, s.Forget())
	run(t, a, m, 8)
	first := get(m[0].w)
	require.NoError(t, a.Swap(valueGrads(m)))
	assert.InDeltaSlice(t, first, get(m[0].w), 1e-14, "its average begins anew")
	a.SwapBack()
	assert.Len(t, seen, 3)
}

// Processes that share their steps have the average of one that makes them alone, to the bit.
func TestAverageShares(t *testing.T) {
	for _, of := range precisions {
		for _, kind := range everySolver(0.01)[:10] {
			t.Run(fmt.Sprint(of, kind.name), func(t *testing.T) {
				make := func() *solvers.Average { return solvers.NewEMA(kind.of(solvers.Kernels(manifolds.Stiefel{})), 0.9) }
				twin, reference := model(of, 1), make()
				for step := range uint64(5) {
					run(t, reference, twin, step)
				}
				require.NoError(t, reference.Swap(valueGrads(twin)))
				mpitest.Run(t, 3, func(t *testing.T, c mpi.Comm) {
					m, a := model(of, 1), make()
					for step := range uint64(5) {
						gradients(m, step)
						require.NoError(t, a.StepShare(valueGrads(m), shareOf(c)))
					}
					require.NoError(t, a.Swap(valueGrads(m)))
					same(t, weights(twin), weights(m))
				})
			})
		}
	}
}

// Averages of 100 steps are those of testdata/average.py.
func TestAverageAgainstNumPy(t *testing.T) {
	text, err := os.ReadFile("testdata/average.json")
	require.NoError(t, err)
	var cases []struct {
		Kind, Manifold       string
		Intrinsic            bool
		Shape                []int
		Start, Last, Average []float64
	}
	require.NoError(t, json.Unmarshal(text, &cases))
	require.Len(t, cases, 10)
	on := map[string]manifolds.Manifold{
		"Euclidean": manifolds.Euclidean{}, "Sphere": manifolds.Sphere{}, "Stiefel": manifolds.Stiefel{Retraction: manifolds.Polar}, "Grassmann": manifolds.Grassmann{},
	}
	for _, of := range precisions {
		for _, c := range cases {
			t.Run(fmt.Sprint(of, c.Kind, c.Manifold, c.Intrinsic), func(t *testing.T) {
				constraint := solvers.Param("w", on[c.Manifold], manifolds.Unit)
				if c.Manifold == "Euclidean" {
					constraint = solvers.Param("w", on[c.Manifold])
				}
				s := solvers.NewSGD(solvers.LearnRate(0.05), constraint)
				var opts []solvers.AverageOption
				if c.Intrinsic && c.Manifold != "Grassmann" { // which has no other
					opts = append(opts, solvers.AverageIntrinsic())
				}
				a := solvers.NewEMA(s, 0.9, opts...)
				if c.Kind == "SWA" {
					a = solvers.NewSWA(s, append(opts, solvers.AverageFrom(11), solvers.AverageEvery(3))...)
				}
				p := newParam("w", of, c.Shape...)
				put(p.w, c.Start)
				for step := range 100 {
					slope(p, step)
					require.NoError(t, a.Step(valueGrads([]*param{p})))
				}
				// Of a span the matrix is one of many.
				compare := func(want []float64) {
					got := get(p.w)
					if c.Manifold == "Grassmann" {
						want, got = projector(want, 3), projector(got, 3)
					}
					assert.InDeltaSlice(t, want, got, 64*100*eps(of))
				}
				compare(c.Last)
				require.NoError(t, a.Swap(valueGrads([]*param{p})))
				compare(c.Average)
			})
		}
	}
}

// projector is that onto the span of the rows, which are orthonormal.
func projector(x []float64, rows int) []float64 {
	n := len(x) / rows
	p := make([]float64, n*n)
	for r := range rows {
		for i := range n {
			for j := range n {
				p[i*n+j] += x[r*n+i] * x[r*n+j]
			}
		}
	}
	return p
}

// An average that cannot be moved is an ErrAverage that names its parameter once, and all averages stay as they were.
func TestAverageThatCannotMove(t *testing.T) {
	armed := &breakage{}
	m := model(tensor.Float64, 1)
	a := solvers.NewEMA(solvers.NewSGD(solvers.Kernels(fragile{manifolds.Sphere{}, armed})), 0.9, solvers.AverageIntrinsic())
	run(t, a, m, 1)
	averages := func() map[string][]float64 {
		require.NoError(t, a.Swap(valueGrads(m)))
		defer a.SwapBack()
		return weights(m)
	}
	before := averages()
	gradients(m, 2)
	*armed = breakage{"retract", 3} // the step goes well, and the first average
	err := a.Step(valueGrads(m))
	require.ErrorIs(t, err, solvers.ErrAverage)
	assert.ErrorIs(t, err, errBreakage)
	assert.NotErrorIs(t, err, solvers.ErrDiverged)
	assert.Equal(t, 1, strings.Count(err.Error(), `"conv2"`), err.Error())
	*armed = breakage{}
	same(t, before, averages())
}

// SPDX-License-Identifier: Apache-2.0

package distributed_test

import (
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
	"github.com/kernelfold/kernelfold/solvers/distributed"
)

// fault spoils a step on one rank.
type fault struct {
	name  string
	kind  error
	wants []string // in the message, on every rank
	// spoil changes the parameters, of which the step is made of given, and returns what takes it back.
	spoil func(m []*param, given []gorgonia.ValueGrad) (heal func())
}

func faults(bad int) []fault {
	rank := fmt.Sprintf("distributed: rank %d: solvers: parameter ", bad)
	nothing := func() {}
	list := []fault{
		{"nil gradient", solvers.ErrNoGradient, []string{rank, `"offset"`, "want a gradient, got nil"}, func(m []*param, _ []gorgonia.ValueGrad) func() {
			m[5].none = true
			return func() { m[5].none = false }
		}},
		{"gradient of another size", solvers.ErrParameter, []string{rank, `"offset"`, "(5)", "(4)"}, func(m []*param, _ []gorgonia.ValueGrad) func() {
			g := m[5].g
			m[5].g = tensor.New(tensor.Of(g.Dtype()), tensor.WithShape(4))
			return func() { m[5].g = g }
		}},
		{"weights of another shape", distributed.ErrDifferent, []string{`"conv2" (6, 4, 2, 3) float`, `"conv2" (4, 6, 2, 3) float`, fmt.Sprintf("rank %d", bad)}, func(m []*param, _ []gorgonia.ValueGrad) func() {
			w, g := m[2].w, m[2].g
			m[2].w, m[2].g = tensor.New(tensor.Of(w.Dtype()), tensor.WithShape(4, 6, 2, 3)), tensor.New(tensor.Of(w.Dtype()), tensor.WithShape(4, 6, 2, 3))
			return func() { m[2].w, m[2].g = w, g }
		}},
		{"weights of another precision", distributed.ErrDifferent, []string{`"conv3" (5, 6, 3, 3) float32`, `"conv3" (5, 6, 3, 3) float64`}, func(m []*param, _ []gorgonia.ValueGrad) func() {
			w, g := m[3].w, m[3].g
			of := tensor.Float32
			if w.Dtype() == of {
				of = tensor.Float64
			}
			m[3].w, m[3].g = tensor.New(tensor.Of(of), tensor.WithShape(5, 6, 3, 3)), tensor.New(tensor.Of(of), tensor.WithShape(5, 6, 3, 3))
			return func() { m[3].w, m[3].g = w, g }
		}},
		{"another name", distributed.ErrDifferent, []string{"parameter 4", `"linear"`, `"renamed"`}, func(m []*param, given []gorgonia.ValueGrad) func() {
			renamed := *m[4]
			renamed.name = "renamed"
			given[4] = &renamed
			return nothing
		}},
		{"two in another order", distributed.ErrDifferent, []string{"parameter 0", `"conv1"`, `"bias1"`}, func(_ []*param, given []gorgonia.ValueGrad) func() {
			given[0], given[1] = given[1], given[0]
			return nothing
		}},
		{"nil parameter", solvers.ErrParameter, []string{"parameter 3", "nil"}, func(_ []*param, given []gorgonia.ValueGrad) func() {
			given[3] = nil
			return nothing
		}},
	}
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		list = append(list, fault{fmt.Sprint(v), solvers.ErrNotFinite, []string{rank, `"conv3"`, fmt.Sprintf("%v at element 7 of 270", v)}, func(m []*param, _ []gorgonia.ValueGrad) func() {
			set(m[3].g, 7, v)
			return nothing
		}})
	}
	return list
}

// What fails on one rank is an error of the same words on all, and nothing has changed on any: not the weights, not the
// gradients, and not the state, as steps show that go on as if it had not been.
func TestFailedStepChangesNothing(t *testing.T) {
	for _, of := range precisions {
		for _, mixed := range both() {
			for _, s := range []maker{makers()[2], makers()[5], makers()[7], makers()[9]} {
				for i := range faults(0) {
					t.Run(fmt.Sprintf("%v/mixed %v/%s/%s", of, mixed, s.name, faults(0)[i].name), func(t *testing.T) {
						severalRanks(t, func(t *testing.T, g *distributed.Group) {
							for _, good := range []int{0, 2} {
								for _, bad := range []int{0, g.Size() - 1} {
									survives(t, g, of, mixed, s, faults(bad)[i], bad, good)
								}
							}
						})
					})
				}
			}
		}
	}
}

func survives(t *testing.T, g *distributed.Group, of tensor.Dtype, mixed bool, s maker, f fault, bad, good int) {
	t.Helper()
	m, twin := net(of, 1, mixed), net(of, 1, mixed)
	solver, reference := average(g, s.make()), average(g, s.make())
	next := func(step int) {
		gradients(m, step, g.Rank())
		gradients(twin, step, g.Rank())
		require.NoError(t, solver.Step(all(m)))
		require.NoError(t, reference.Step(all(twin)))
		require.Equal(t, bits(twin), bits(m), "step %d", step)
	}
	for step := range good {
		next(step)
	}
	gradients(m, 50, g.Rank())
	given := all(m)
	heal := func() {}
	if g.Rank() == bad {
		heal = f.spoil(m, given)
	}
	w, slope := bits(m), slopes(m)
	err := solver.Step(given)
	require.ErrorIs(t, err, f.kind)
	alike(t, g, []byte(err.Error()))
	for _, want := range f.wants {
		assert.Contains(t, err.Error(), want)
	}
	assert.NotContains(t, err.Error(), "\n")
	require.Equal(t, w, bits(m), "weights")
	require.Equal(t, slope, slopes(m), "gradients")
	heal()
	for step := range 3 {
		next(60 + step)
	}
}

// Weights that something else has overwritten are an error on all ranks, whichever moves them, also where each moves its own and only one of them
// was overwritten. The others have moved, no gradient comes back, and no rank averages.
func TestOverwritten(t *testing.T) {
	for _, of := range precisions {
		for _, divide := range []bool{true, false} {
			onRanks(t, func(t *testing.T, g *distributed.Group) {
				m := net(of, 1, false)
				ema := solvers.NewEMA(solvers.NewSGD(solvers.LearnRate(0.02), kernels(manifolds.Sphere{})), 0.9)
				s := average(g, ema, distributed.Divide(divide))
				for step := range 3 {
					gradients(m, step, g.Rank())
					require.NoError(t, s.Step(all(m)))
				}
				if divide || g.Rank() == g.Size()-1 {
					set(m[0].w, 1, math.NaN())
				}
				gradients(m, 3, g.Rank())
				err := s.Step(all(m))
				require.ErrorIs(t, err, solvers.ErrOverwritten)
				assert.ErrorContains(t, err, `"conv1"`)
				alike(t, g, []byte(err.Error()))
				require.ErrorIs(t, s.Report().Err, solvers.ErrOverwritten)
				assert.Equal(t, 3, ema.Count())
				zero(t, m)
				alike(t, g, bits(m[1:]))
				fill(m[0].w, 1, 0.3, m[0].name)
				gradients(m, 4, g.Rank())
				require.NoError(t, s.Step(all(m)))
				alike(t, g, bits(m))
			})
		}
	}
}

// fewer is the only fault that cannot be told by a rank alone: it has a parameter less.
func TestFewerParameters(t *testing.T) {
	severalRanks(t, func(t *testing.T, g *distributed.Group) {
		m := net(tensor.Float32, 1, false)
		solver := average(g, solvers.NewSGD())
		for range 2 {
			given := all(m)
			if g.Rank() == 1 {
				given = given[:5]
			}
			gradients(m, 1, g.Rank())
			err := solver.Step(given)
			require.ErrorIs(t, err, distributed.ErrDifferent)
			assert.Contains(t, err.Error(), `parameter 5 "offset" (5) float32 on rank 0 and nothing more on rank 1`)
			alike(t, g, []byte(err.Error()))
			require.NoError(t, solver.Step(all(m)))
		}
	})
}

// breakable is Stiefel, by the general way, whose retraction fails on demand.
type breakable struct {
	manifolds.Manifold
	broken *bool
}

var errTold = errors.New("as told")

func (b breakable) Retract(dst, x, v manifolds.Points) error {
	if *b.broken {
		return errTold
	}
	return b.Manifold.Retract(dst, x, v)
}

func (b breakable) Scaled(s float64) manifolds.Manifold {
	return breakable{b.Manifold.(manifolds.Scalable).Scaled(s), b.broken}
}
func (b breakable) Norm(n, p int) float64 { return b.Manifold.(manifolds.Scalable).Norm(n, p) }
func (b breakable) Sized() bool           { return b.Manifold.(manifolds.Scalable).Sized() }

// A retraction that fails on the rank whose share it is, when others are ready to move.
func TestFailedRetraction(t *testing.T) {
	severalRanks(t, func(t *testing.T, g *distributed.Group) {
		for bad := range 2 { // has a kernel
			for _, whole := range []bool{false, true} {
				broken := false
				m, twin := net(tensor.Float64, 1, false), net(tensor.Float64, 1, false)
				make := func() gorgonia.Solver {
					return solvers.NewSGD(solvers.Momentum(0.9), kernels(breakable{manifolds.Sphere{}, &broken}))
				}
				solver, reference := average(g, make(), distributed.Divide(!whole)), average(g, make(), distributed.Divide(!whole))
				for step := range 6 {
					gradients(m, step, g.Rank())
					if step == 0 || step == 3 {
						w, slope := bits(m), slopes(m)
						broken = g.Rank() == bad
						err := solver.Step(all(m))
						broken = false
						var failed *distributed.RankError
						require.ErrorAs(t, err, &failed)
						assert.Equal(t, bad, failed.Rank)
						assert.Regexp(t, fmt.Sprintf(`distributed: rank %d: solvers: parameter "conv.".* as told`, bad), err.Error())
						assert.Equal(t, g.Rank() == bad, errors.Is(err, errTold))
						assert.ErrorIs(t, err, solvers.ErrDiverged)
						alike(t, g, []byte(err.Error()))
						require.Equal(t, w, bits(m))
						require.Equal(t, slope, slopes(m))
					}
					gradients(twin, step, g.Rank())
					require.NoError(t, solver.Step(all(m)))
					require.NoError(t, reference.Step(all(twin)))
					require.Equal(t, bits(twin), bits(m))
				}
			}
		}
	})
}

// Gradients that are finite on every rank and whose sum is not.
func TestOverflow(t *testing.T) {
	for _, of := range precisions {
		severalRanks(t, func(t *testing.T, g *distributed.Group) {
			m := net(of, 1, true)
			solver := average(g, solvers.NewSGD())
			gradients(m, 1, g.Rank())
			set(m[3].g, 7, math.MaxFloat32)
			if m[3].g.Dtype() == tensor.Float64 {
				set(m[3].g, 7, math.MaxFloat64)
			}
			w, slope := bits(m), slopes(m)
			err := solver.Step(all(m))
			require.ErrorIs(t, err, distributed.ErrOverflow)
			assert.Contains(t, err.Error(), `parameter "conv3" (5, 6, 3, 3) float`)
			assert.Contains(t, err.Error(), "+Inf at element 7 of 270")
			alike(t, g, []byte(err.Error()))
			require.Equal(t, w, bits(m))
			require.Equal(t, slope, slopes(m))
		})
	}
}

// A bit of one weight of one rank that flips is found at the next check, and only there.
func TestFlippedBit(t *testing.T) {
	severalRanks(t, func(t *testing.T, g *distributed.Group) {
		for k := range net(tensor.Float32, 1, false) {
			for _, whole := range []bool{false, true} {
				m := net(tensor.Float32, 1, false)
				solver := average(g, solvers.NewSGD(kernels(manifolds.Stiefel{})), distributed.CheckEvery(3), distributed.Divide(!whole))
				for step := 1; step < 6; step++ {
					gradients(m, step, g.Rank())
					require.NoError(t, solver.Step(all(m)))
				}
				if g.Rank() == g.Size()-1 {
					w := m[k].w.Float32s()
					w[3] = math.Float32frombits(math.Float32bits(w[3]) ^ 1<<3)
				}
				gradients(m, 6, g.Rank())
				w, slope := bits(m), slopes(m)
				err := solver.Step(all(m))
				require.ErrorIs(t, err, distributed.ErrOutOfSync)
				assert.Contains(t, err.Error(), fmt.Sprintf(`parameter %q`, m[k].name))
				assert.Contains(t, err.Error(), fmt.Sprintf("on rank %d", g.Size()-1))
				assert.Contains(t, err.Error(), "before step 6")
				alike(t, g, []byte(err.Error()))
				require.Equal(t, w, bits(m))
				require.Equal(t, slope, slopes(m))
			}
		}
		m := net(tensor.Float32, 1, false)
		never := average(g, gorgonia.NewVanillaSolver(), distributed.CheckEvery(0))
		for step := range 4 {
			gradients(m, step, g.Rank())
			m[0].w.Float32s()[g.Rank()] = float32(step)
			require.NoError(t, never.Step(all(m)))
		}
	})
}

// Ranks whose programs differ: another solver, option, learning rate, constraint.
func TestOtherSolvers(t *testing.T) {
	type made struct {
		solver gorgonia.Solver
		opts   []distributed.Option
	}
	sgd := func(opts ...solvers.Option) made {
		return made{solver: solvers.NewSGD(append([]solvers.Option{solvers.LearnRate(0.1)}, opts...)...)}
	}
	for _, c := range []struct {
		name  string
		usual func() made
		other func() made
		wants []string
	}{
		{"solver", func() made { return sgd() }, func() made { return made{solver: solvers.NewAdam()} }, []string{"the solver SGD", "the solver Adam"}},
		{"stock solver", func() made { return made{solver: gorgonia.NewVanillaSolver()} }, func() made { return made{solver: gorgonia.NewMomentum()} }, []string{"VanillaSolver", "Momentum"}},
		{"check", func() made { return sgd() }, func() made { m := sgd(); m.opts = append(m.opts, distributed.CheckEvery(7)); return m }, []string{"CheckEvery(100)", "CheckEvery(7)"}},
		{"divide", func() made { return sgd() }, func() made { m := sgd(); m.opts = append(m.opts, distributed.Divide(false)); return m }, []string{"Divide(true)", "Divide(false)"}},
		{"divide from", func() made { return sgd() }, func() made { m := sgd(); m.opts = append(m.opts, distributed.DivideFrom(5)); return m }, []string{"DivideFrom(0)", "DivideFrom(5)"}},
		{"learning rate", func() made { return sgd() }, func() made { return sgd(solvers.LearnRate(0.2)) }, []string{"learning rate 0.1", "learning rate 0.2"}},
		{"manifold", func() made { return sgd(kernels(manifolds.Sphere{})) }, func() made { return sgd(kernels(manifolds.Sphere{}), solvers.Param("conv3", manifolds.Stiefel{})) }, []string{`"conv3"`, "Sphere", "Stiefel"}},
		{"grouping", func() made { return sgd(kernels(manifolds.Sphere{})) }, func() made { return sgd(kernels(manifolds.Sphere{}, manifolds.PerSlice)) }, []string{`"conv1"`, manifolds.PerSlice.String()}},
		{"constrained", func() made { return made{solver: solvers.Constrain(gorgonia.NewVanillaSolver(), manifolds.Sphere{})} },
			func() made { return made{solver: solvers.Constrain(gorgonia.NewVanillaSolver(), manifolds.Stiefel{})} }, []string{`"conv1"`, "Sphere", "Stiefel"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			severalRanks(t, func(t *testing.T, g *distributed.Group) {
				m := net(tensor.Float64, 1, false)
				s := c.usual()
				if g.Rank() == g.Size()-1 {
					s = c.other()
				}
				solver := average(g, s.solver, s.opts...)
				gradients(m, 1, g.Rank())
				w, slope := bits(m), slopes(m)
				for range 2 {
					err := solver.Step(all(m))
					require.ErrorIs(t, err, distributed.ErrDifferent)
					for _, want := range append(c.wants, "on rank 0", fmt.Sprintf("on rank %d", g.Size()-1)) {
						assert.Contains(t, err.Error(), want)
					}
					alike(t, g, []byte(err.Error()))
					require.Equal(t, w, bits(m))
					require.Equal(t, slope, slopes(m))
				}
			})
		})
	}
}

// Options that are impossible are errors of the first call, whatever it is.
func TestBadOptions(t *testing.T) {
	m := net(tensor.Float64, 1, false)
	onRanks(t, func(t *testing.T, g *distributed.Group) {
		for _, s := range []*distributed.Solver{
			average(g, solvers.NewSGD(), distributed.CheckEvery(-1)),
			average(g, solvers.NewSGD(), distributed.DivideFrom(-1)),
			average(g, nil),
			average(g, solvers.NewSGD(solvers.LearnRate(-1))),
		} {
			assert.ErrorIs(t, s.Step(all(m)), solvers.ErrOption)
			assert.ErrorIs(t, s.Init(all(m)), solvers.ErrOption)
			_, err := s.Snapshot()
			assert.ErrorIs(t, err, solvers.ErrOption)
			assert.ErrorIs(t, s.Restore(all(m), &solvers.Snapshot{}), solvers.ErrOption)
		}
	})
	none := distributed.Average(nil, solvers.NewSGD())
	assert.ErrorIs(t, none.Step(all(m)), solvers.ErrOption)
	assert.ErrorIs(t, none.Init(all(m)), solvers.ErrOption)
	assert.Equal(t, "Average(SGD, no ranks)", none.String())
}

// odd is a third-party solver that does on one rank what it does not do on the others.
type odd struct {
	gorgonia.Solver
	rank  int
	fails bool
}

func (o *odd) Step(model []gorgonia.ValueGrad) error {
	if o.fails {
		return errTold
	}
	return o.Solver.Step(model)
}

// Init puts the weights to places that depend on the rank.
func (o *odd) Init(model []gorgonia.ValueGrad) error {
	if o.fails {
		return errTold
	}
	for _, v := range model {
		set(v.Value().(*tensor.Dense), 0, float64(o.rank))
	}
	return nil
}

// The failure of any solver on one rank is that of all. Weights are those of rank 0 even where Init of the solver makes
// them other ones.
func TestOddSolver(t *testing.T) {
	severalRanks(t, func(t *testing.T, g *distributed.Group) {
		m := net(tensor.Float32, 1, false)
		inner := &odd{gorgonia.NewVanillaSolver(), g.Rank(), false}
		solver := average(g, inner)
		for _, do := range []func([]gorgonia.ValueGrad) error{solver.Init, solver.Step} {
			gradients(m, 1, g.Rank())
			inner.fails = g.Rank() == 1
			err := do(all(m))
			inner.fails = false
			assert.EqualError(t, err, "distributed: rank 1: as told")
			assert.Equal(t, g.Rank() == 1, errors.Is(err, errTold))
			gradients(m, 1, g.Rank())
			require.NoError(t, do(all(m)))
		}
		w := net(tensor.Float32, 1, false)
		require.NoError(t, average(g, inner).Init(all(w)))
		alike(t, g, bits(w))
		for _, p := range w {
			assert.Zero(t, at(p.w, 0), p.name)
		}
	})
}

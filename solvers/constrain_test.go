// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"errors"
	"fmt"
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

// stock is a solver of Gorgonia.
type stock struct {
	name string
	make func(...gorgonia.SolverOpt) gorgonia.Solver
	// moves, on float32 too
	moves, narrow bool
	// joint: the step of a parameter depends on the others.
	joint bool
}

var stocks = []stock{
	{"Vanilla", func(o ...gorgonia.SolverOpt) gorgonia.Solver { return gorgonia.NewVanillaSolver(o...) }, true, true, false},
	{"Momentum", func(o ...gorgonia.SolverOpt) gorgonia.Solver { return gorgonia.NewMomentum(o...) }, true, true, false},
	{"Adam", func(o ...gorgonia.SolverOpt) gorgonia.Solver { return gorgonia.NewAdamSolver(o...) }, true, true, false},
	{"AdamW", func(o ...gorgonia.SolverOpt) gorgonia.Solver { return gorgonia.NewAdamW(o...) }, false, true, false},
	{"RMSProp", func(o ...gorgonia.SolverOpt) gorgonia.Solver { return gorgonia.NewRMSPropSolver(o...) }, true, true, false},
	{"AdaGrad", func(o ...gorgonia.SolverOpt) gorgonia.Solver { return gorgonia.NewAdaGradSolver(o...) }, true, true, false},
	{"Barzilai-Borwein", func(o ...gorgonia.SolverOpt) gorgonia.Solver { return gorgonia.NewBarzilaiBorweinSolver(o...) }, true, false, true},
}

// eachStock runs a test for all seven, in the precisions that they know.
func eachStock(t *testing.T, f func(t *testing.T, of tensor.Dtype, s stock)) {
	t.Helper()
	for _, of := range precisions {
		for _, s := range stocks {
			if of == tensor.Float32 && !s.narrow {
				continue
			}
			t.Run(of.String()+"/"+s.name, func(t *testing.T) { f(t, of, s) })
		}
	}
}

// All seven stay on every manifold.
func TestConstrainStaysOnTheManifold(t *testing.T) {
	limit := map[tensor.Dtype]float64{tensor.Float32: 1e-5, tensor.Float64: 1e-12}
	eachStock(t, func(t *testing.T, of tensor.Dtype, s stock) {
		for _, at := range everywhere {
			m := model(of, 1)
			c := solvers.Constrain(s.make(gorgonia.WithLearnRate(0.05)), at.manifold, at.options...)
			require.NoError(t, c.Init(valueGrads(m)))
			before := weights(m)
			for step := range uint64(40) {
				gradients(m, step)
				require.NoError(t, c.Step(valueGrads(m)), "%s at step %d", at.name, step)
				for _, p := range c.Report().Parameters {
					require.Less(t, p.Membership, limit[of], "%s, %s at step %d", at.name, p.Name, step)
					require.Zero(t, p.Reprojections)
				}
			}
			for _, p := range m {
				assert.Equal(t, make([]float64, p.g.Size()), get(p.g))
				if s.moves {
					assert.NotEqual(t, before[p.name], get(p.w), at.name)
				} else { // but for the rounding of retractions by nothing
					near(t, before[p.name], get(p.w), 40, of, p.name)
				}
			}
		}
	})
}

// What is not constrained moves as the stock solver moves it, with all its
// options, to the bit. Barzilai and Borwein's rate is that of all parameters
// together: it is compared without kernels.
func TestConstrainLeavesOthersAlone(t *testing.T) {
	options := []gorgonia.SolverOpt{gorgonia.WithLearnRate(0.02), gorgonia.WithClip(0.5), gorgonia.WithBatchSize(2), gorgonia.WithL2Reg(0.01), gorgonia.WithL1Reg(0.003),
		gorgonia.WithMomentum(0.7), gorgonia.WithBeta1(0.8), gorgonia.WithBeta2(0.9), gorgonia.WithEps(1e-4), gorgonia.WithRho(0.95)}
	eachStock(t, func(t *testing.T, of tensor.Dtype, s stock) {
		if !s.moves {
			t.Skip("takes nothing but nodes, and does not move them")
		}
		bare, wrapped := model(of, 1), model(of, 1)
		rules := []solvers.Option{solvers.Kernels(manifolds.Oblique{})}
		if s.joint {
			rules = nil
		}
		a, b := s.make(options...), solvers.ConstrainWith(s.make(options...), rules...)
		for step := range uint64(10) {
			run(t, a, bare, step)
			run(t, b, wrapped, step)
		}
		for i, p := range bare {
			if kernel := i == 0 || i == 2; !kernel || s.joint {
				same(t, map[string][]float64{p.name: get(p.w)}, map[string][]float64{p.name: get(wrapped[i].w)})
			} else {
				assert.NotEqual(t, get(p.w), get(wrapped[i].w))
			}
		}
	})
}

// The options of a wrapped solver can be changed on the way.
func TestUnwrap(t *testing.T) {
	for _, of := range precisions {
		inner := gorgonia.NewAdamSolver()
		c := solvers.Constrain(inner, manifolds.Sphere{})
		assert.Same(t, inner, c.Unwrap())
		a, b := model(of, 1), model(of, 1)
		bare := gorgonia.NewAdamSolver()
		for step := range uint64(5) {
			gorgonia.WithLearnRate(0.1 / float64(step+1))(c.Unwrap())
			gorgonia.WithLearnRate(0.1 / float64(step+1))(bare)
			run(t, c, a, step)
			run(t, bare, b, step)
		}
		assert.Equal(t, get(b[4].w), get(a[4].w))
	}
}

// Vanilla, constrained, is Riemannian gradient descent; so is Momentum without
// momentum.
func TestConstrainedVanillaIsSGD(t *testing.T) {
	for _, of := range precisions {
		for _, at := range everywhere {
			for _, inner := range []gorgonia.Solver{
				gorgonia.NewVanillaSolver(gorgonia.WithLearnRate(lr)),
				gorgonia.NewMomentum(gorgonia.WithLearnRate(lr), gorgonia.WithMomentum(0)),
			} {
				t.Run(fmt.Sprintf("%v/%s/%T", of, at.name, inner), func(t *testing.T) {
					const steps = 10
					a, b := model(of, 1), model(of, 1)
					s, c := solvers.NewSGD(solvers.LearnRate(lr), at.kernels()), solvers.Constrain(inner, at.manifold, at.options...)
					for step := range uint64(steps) {
						run(t, s, a, step)
						run(t, c, b, step)
					}
					// The displacement is the difference of two weights, and is projected
					// again: a few roundings of weights below 1 a step.
					for i, p := range a {
						near(t, get(p.w), get(b[i].w), 4*steps, of, p.name)
					}
				})
			}
		}
	}
}

// heavy is a third-party solver: heavy ball, state by ValueGrad,
// through the interfaces alone.
type heavy struct {
	mu    map[gorgonia.ValueGrad][]float64
	names []string
}

func (h *heavy) Step(model []gorgonia.ValueGrad) error {
	h.names = nil
	for _, v := range model {
		g, err := v.Grad()
		if err != nil {
			return err
		}
		w, d := v.Value().(*tensor.Dense), g.(*tensor.Dense)
		mu := h.mu[v]
		if mu == nil {
			mu = make([]float64, w.Size())
			h.mu[v] = mu
		}
		x, slope := get(w), get(d)
		for i := range x {
			mu[i] = 0.5*mu[i] - 0.1*slope[i]
			x[i] += mu[i]
		}
		put(w, x)
		d.Zero()
		h.names = append(h.names, v.(gorgonia.Namer).Name())
	}
	return nil
}

func TestConstrainAThirdPartySolver(t *testing.T) {
	for _, of := range precisions {
		for _, at := range everywhere {
			h := &heavy{mu: map[gorgonia.ValueGrad][]float64{}}
			c := solvers.Constrain(h, at.manifold, at.options...)
			m, bare := model(of, 1), model(of, 1)
			alone := &heavy{mu: map[gorgonia.ValueGrad][]float64{}}
			for step := range uint64(10) {
				gradients(m, step)
				require.NoError(t, c.Step(valueGrads(shuffled(m, step))))
				run(t, alone, bare, step)
				onManifold(t, c.Report(), of)
			}
			assert.ElementsMatch(t, []string{"conv1", "bias1", "conv2", "norm2", "linear", "offset"}, h.names)
			assert.Len(t, h.mu, 6, "the same six ValueGrads at every step")
			for _, i := range []int{1, 3, 4, 5} {
				assert.Equal(t, get(bare[i].w), get(m[i].w))
			}
		}
	}
}

// moody moves all that it is shown and then fails.
type moody struct {
	inner gorgonia.Solver
	mood  func() error
}

func (s *moody) Step(model []gorgonia.ValueGrad) error {
	if err := s.inner.Step(model); err != nil {
		return err
	}
	return s.mood()
}

func TestWrappedSolverFails(t *testing.T) {
	boom := errors.New("boom")
	for _, of := range precisions {
		for _, c := range []struct {
			name string
			mood func() error
			want string
		}{
			{"error", func() error { return boom }, "boom"},
			{"panic", func() error { panic("bang") }, "bang"},
			{"panic with an error", func() error { panic(boom) }, "boom"},
			{"nil dereference", func() error { var p *param; return errors.New(p.name) }, "nil pointer"},
		} {
			for _, good := range []int{0, 2} {
				t.Run(fmt.Sprintf("%v/%s/after %d", of, c.name, good), func(t *testing.T) {
					var inner *moody
					survives(t, of, func() stepper {
						inner = &moody{gorgonia.NewVanillaSolver(), func() error { return nil }}
						return solvers.Constrain(inner, manifolds.Stiefel{})
					}, good, func(s stepper, m []*param) error {
						inner := s.(*solvers.Constrained).Unwrap().(*moody)
						inner.mood = c.mood
						err := s.Step(valueGrads(m))
						inner.mood = func() error { return nil }
						if c.name == "error" {
							assert.ErrorIs(t, err, boom)
						}
						return err
					}, solvers.ErrStock, []string{"moody", c.want})
				})
			}
		}
	}
}

// A wrapped solver that makes weights infinite or NaN is stopped, and one that moves a kernel so far that
// nothing is left of where it was. Elsewhere a weight may be as large as its precision holds.
func TestWrappedSolverDiverges(t *testing.T) {
	for _, of := range precisions {
		for _, bad := range []float64{nan, inf, 1e36} {
			for i := range model(of, 1) {
				t.Run(fmt.Sprintf("%v/%g/%d", of, bad, i), func(t *testing.T) {
					if p := model(of, 1)[i]; bad == 1e36 && !solvers.IsKernel(p.w.Shape()) {
						m := model(of, 1)
						gradients(m, 1)
						require.NoError(t, solvers.Constrain(&spoiler{gorgonia.NewVanillaSolver(), i, bad}, manifolds.Stiefel{}).Step(valueGrads(m)))
						assert.InEpsilon(t, bad, get(m[i].w)[0], eps(of))
						return
					}
					survives(t, of, func() stepper {
						return solvers.Constrain(&spoiler{gorgonia.NewVanillaSolver(), i, 0}, manifolds.Stiefel{})
					}, 2, func(s stepper, m []*param) error {
						inner := s.(*solvers.Constrained).Unwrap().(*spoiler)
						inner.value = bad
						err := s.Step(valueGrads(m))
						inner.value = 0
						return err
					}, solvers.ErrDiverged, []string{fmt.Sprintf("%q", model(of, 1)[i].name)})
				})
			}
		}
	}
}

// spoiler spoils one weight.
type spoiler struct {
	inner gorgonia.Solver
	at    int
	value float64
}

func (s *spoiler) Step(model []gorgonia.ValueGrad) error {
	err := s.inner.Step(model)
	if s.value != 0 {
		write(model[s.at].Value(), s.value)
	}
	return err
}

// A parameter that is left out of a step stays where it is, though the stock
// solver's momentum would carry it on; the others do not notice.
func TestConstrainWithAParameterLeftOut(t *testing.T) {
	eachStock(t, func(t *testing.T, of tensor.Dtype, s stock) {
		m, full := model(of, 1), model(of, 1)
		kernels := solvers.Kernels(manifolds.Sphere{})
		a, b := solvers.ConstrainWith(s.make(), kernels), solvers.ConstrainWith(s.make(), kernels)
		for step := range uint64(3) {
			run(t, a, m, step)
			run(t, b, full, step)
		}
		same(t, weights(full), weights(m))
		for _, out := range []int{0, 4} {
			gradients(m, 9)
			gradients(full, 9)
			before, slope := get(m[out].w), get(m[out].g)
			rest := append(append([]*param(nil), m[:out]...), m[out+1:]...)
			require.NoError(t, a.Step(valueGrads(rest)))
			require.NoError(t, b.Step(valueGrads(full)))
			assert.Equal(t, before, get(m[out].w), "the one left out")
			assert.Equal(t, slope, get(m[out].g), "its gradient is for a later step")
		}
		if !s.joint {
			for _, i := range []int{1, 2, 3, 5} {
				assert.Equal(t, get(full[i].w), get(m[i].w), m[i].name)
			}
		}
		run(t, a, m, 10)
		onManifold(t, a.Report(), of)
	})
}

// Slices are copied for the wrapped solver: it never holds the weights.
func TestWrappedSolverDoesNotSeeTheWeights(t *testing.T) {
	m := model(tensor.Float64, 1)
	var seen []gorgonia.ValueGrad
	c := solvers.Constrain(stepFunc(func(model []gorgonia.ValueGrad) error {
		seen = model
		return nil
	}), manifolds.Sphere{})
	run(t, c, m, 1)
	before := weights(m)
	for _, v := range seen {
		write(v.Value(), 99)
		g, err := v.Grad()
		require.NoError(t, err)
		write(g, 99)
	}
	same(t, before, weights(m))
	run(t, c, m, 2)
	for _, p := range m { // a step of nothing normalises once more
		near(t, before[p.name], get(p.w), 1, tensor.Float64, p.name)
	}
}

type stepFunc func([]gorgonia.ValueGrad) error

func (f stepFunc) Step(model []gorgonia.ValueGrad) error { return f(model) }

// One that is left out is shown with a zero gradient, also to a solver that
// leaves gradients as they are.
func TestLeftOutParameterHasNoGradient(t *testing.T) {
	for _, of := range precisions {
		m := model(of, 1)
		shown := map[string]float64{}
		c := solvers.Constrain(stepFunc(func(model []gorgonia.ValueGrad) error {
			for _, v := range model {
				g, err := v.Grad()
				if err != nil {
					return err
				}
				shown[v.(gorgonia.Namer).Name()] = dot(get(g.(*tensor.Dense)), get(g.(*tensor.Dense)))
			}
			return nil
		}), manifolds.Sphere{})
		run(t, c, m, 1)
		run(t, c, m[1:], 2)
		assert.Len(t, shown, 6)
		for name, sq := range shown {
			assert.Equal(t, name == "conv1", sq == 0, name)
		}
	}
}

// saved is a wrapped solver with a memory that can be read: steps get shorter with their number.
type saved struct {
	rate  float64
	steps byte
}

func (s *saved) Step(model []gorgonia.ValueGrad) error {
	s.steps++
	return gorgonia.NewVanillaSolver(gorgonia.WithLearnRate(s.rate / float64(s.steps))).Step(model)
}
func (s *saved) SetLearnRate(lr float64) error { s.rate = lr; return nil }
func (s *saved) MarshalBinary() ([]byte, error) {
	return []byte{s.steps}, nil
}
func (s *saved) UnmarshalBinary(b []byte) error {
	if len(b) != 1 {
		return errors.New("want one byte")
	}
	s.steps = b[0]
	return nil
}

// A wrapped solver without a memory, or with one that can be read, continues from a snapshot to the bit; others are an error.
func TestSnapshotOfConstrain(t *testing.T) {
	for _, of := range precisions {
		for _, make := range []func() gorgonia.Solver{
			func() gorgonia.Solver { return gorgonia.NewVanillaSolver(gorgonia.WithLearnRate(0.01)) },
			func() gorgonia.Solver { return &saved{rate: 0.05} },
		} {
			m := model(of, 1)
			s := solvers.Constrain(make(), manifolds.Stiefel{})
			for step := range uint64(3) {
				run(t, s, m, step)
			}
			snap, err := s.Snapshot()
			require.NoError(t, err)
			again, twin := solvers.Constrain(make(), manifolds.Stiefel{}), copied(m, of)
			require.NoError(t, again.Restore(valueGrads(twin), snap))
			for step := range uint64(3) {
				run(t, s, m, 5+step)
				run(t, again, twin, 5+step)
			}
			same(t, weights(m), weights(twin))
			if _, ok := s.Unwrap().(*saved); ok {
				snap.Rule = []byte{1, 2}
				require.ErrorContains(t, solvers.Constrain(make(), manifolds.Stiefel{}).Restore(valueGrads(copied(m, of)), snap), "want one byte")
			}
		}
		for _, inner := range []gorgonia.Solver{gorgonia.NewMomentum(), gorgonia.NewAdamSolver(), gorgonia.NewRMSPropSolver()} {
			s := solvers.Constrain(inner, manifolds.Stiefel{})
			run(t, s, model(of, 1), 1)
			_, err := s.Snapshot()
			require.ErrorIs(t, err, solvers.ErrStock)
			assert.Contains(t, err.Error(), fmt.Sprintf("%T", inner))
		}
	}
}

// SetLearnRate is that of the wrapped solver, through wrappers, and an error where there is none.
func TestSetLearnRateOfConstrain(t *testing.T) {
	for _, of := range precisions {
		for _, inner := range []gorgonia.Solver{gorgonia.NewVanillaSolver(gorgonia.WithLearnRate(0.01)), &saved{rate: 0.01}} {
			m, twin := model(of, 1), model(of, 1)
			s := solvers.Constrain(inner, manifolds.Sphere{})
			require.NoError(t, s.SetLearnRate(0.25))
			run(t, s, m, 1)
			run(t, solvers.Constrain(gorgonia.NewVanillaSolver(gorgonia.WithLearnRate(0.25)), manifolds.Sphere{}), twin, 1)
			same(t, weights(twin), weights(m))
			require.NoError(t, solvers.SetLearnRate(s, 0.5))
		}
	}
	err := solvers.Constrain(gorgonia.NewAdaGradSolver(), manifolds.Sphere{}).SetLearnRate(0.1)
	require.ErrorIs(t, err, solvers.ErrOption)
	assert.Contains(t, err.Error(), "AdaGradSolver")
	require.ErrorIs(t, solvers.SetLearnRate(gorgonia.NewVanillaSolver(), -1), solvers.ErrOption)
	require.ErrorIs(t, solvers.SetLearnRate(&aroundItself{}, 0.1), solvers.ErrOption)
}

type aroundItself struct{ gorgonia.Solver }

func (a *aroundItself) Unwrap() gorgonia.Solver { return a }

// Processes divide the projections and retractions of a wrapped solver, which all of them run.
func TestShareOfConstrain(t *testing.T) {
	for _, of := range precisions {
		for _, s := range wrapped(0.05) {
			for _, at := range everywhere {
				t.Run(of.String()+"/"+s.name+"/"+at.name, func(t *testing.T) {
					twin := model(of, 1)
					reference := s.of(at.kernels())
					for step := range uint64(3) {
						run(t, reference, twin, step)
					}
					mpitest.Run(t, 2, func(t *testing.T, c mpi.Comm) {
						m := model(of, 1)
						solver := s.of(at.kernels()).(*solvers.Constrained)
						for step := range uint64(3) {
							gradients(m, step)
							require.NoError(t, solver.StepShare(valueGrads(m), shareOf(c)))
						}
						same(t, weights(twin), weights(m))
						assert.Equal(t, reference.Report(), solver.Report())
					})
				})
			}
		}
	}
}

// If the first step fails after the wrapped solver has made it, the parameters keep their positions, and the next step is made.
func TestConstrainAfterAFailedFirstStep(t *testing.T) {
	eachStock(t, func(t *testing.T, of tensor.Dtype, s stock) {
		m := model(of, 1)
		solver := solvers.Constrain(s.make(gorgonia.WithLearnRate(0.01)), manifolds.Stiefel{})
		failing := solvers.Share{Size: 1, Agree: func(error, uint64) error { return errBreakage }}
		for range 2 {
			gradients(m, 1)
			require.ErrorIs(t, solver.StepShare(valueGrads(m), failing), errBreakage)
		}
		for step := range uint64(3) {
			run(t, solver, m, step)
		}
		onManifold(t, solver.Report(), of)
	})
}

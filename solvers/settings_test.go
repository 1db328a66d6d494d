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

// Settings by parameter.

// A parameter with options of its own moves as under a solver that has them for all, and the others as without, to the
// bit; a run that is interrupted goes on to the bit.
func TestWith(t *testing.T) {
	type options = []solvers.Option
	sphere := solvers.Kernels(manifolds.Sphere{})
	for _, of := range precisions {
		for _, c := range []struct {
			name string
			make func(...solvers.Option) *solvers.Solver
			base options
			own  options // of conv2 and linear
			rate float64 // in the report
		}{
			{"rate", solvers.NewSGD, options{solvers.LearnRate(0.1)}, options{solvers.LearnRate(0.03)}, 0.03},
			{"no rate", solvers.NewSGD, options{solvers.LearnRate(0.1)}, options{solvers.LearnRate(0)}, 0},
			{"momentum", solvers.NewSGD, options{solvers.Momentum(0.9)}, options{solvers.Momentum(0.5), solvers.Nesterov()}, 0.01},
			{"no momentum", solvers.NewSGD, options{solvers.Momentum(0.9)}, options{solvers.Momentum(0)}, 0.01},
			{"no ambient momentum", solvers.NewSGD, options{solvers.Momentum(0.9), solvers.AmbientMomentum()}, options{solvers.Momentum(0)}, 0.01},
			{"ambient momentum", solvers.NewSGD, options{solvers.Momentum(0.9)}, options{solvers.AmbientMomentum(), solvers.Dampening(0.3)}, 0.01},
			{"tangent momentum", solvers.NewSGD, options{solvers.Momentum(0.9), solvers.AmbientMomentum(), solvers.Nesterov()}, options{solvers.TangentMomentum(), solvers.Nesterov(false)}, 0.01},
			{"decay", solvers.NewSGD, options{solvers.EuclideanDecay(0.1)}, options{solvers.EuclideanDecay(0.5)}, 0.01},
			{"ambient decay", solvers.NewSGD, options{solvers.Momentum(0.9), solvers.AmbientMomentum()}, options{solvers.AmbientDecay(0.5)}, 0.01},
			{"clip value", solvers.NewSGD, options{solvers.ClipValue(1)}, options{solvers.ClipValue(0.25)}, 0.01},
			{"geometric step", solvers.NewSGD, nil, options{solvers.GeometricStep()}, 0.01},
			{"sampled geometric step", solvers.NewSGD, options{solvers.GeometricStep()}, options{solvers.SampledGeometricStep()}, 0.01},
			{"betas", solvers.NewAdam, nil, options{solvers.Betas(0.5, 0.9), solvers.Eps(0.1), solvers.AMSGrad()}, 0.001},
			{"eps of Adagrad", solvers.NewAdagrad, nil, options{solvers.Eps(0.5)}, 0.01},
			{"rho and momentum of RMSProp", solvers.NewRMSProp, options{solvers.Rho(0.9)}, options{solvers.Rho(0.5), solvers.Momentum(0.9)}, 0.001},
			{"distance of RDoG", solvers.NewRDoG, nil, options{solvers.InitialDistance(0.1), solvers.DistanceFor(solvers.EachPoint)}, 1},
			{"rate of AdamW", solvers.NewAdamW, options{solvers.Anneal(solvers.StepDecay(3, 0.5))}, options{solvers.LearnRate(0.1), solvers.EuclideanDecay(0.2)}, 0.1 * 0.25},
		} {
			t.Run(of.String()+"/"+c.name, func(t *testing.T) {
				make := func(own bool) *solvers.Solver {
					opts := append(append(options{}, c.base...), sphere)
					if own {
						opts = append(opts, solvers.Param("conv2", nil).With(c.own...),
							solvers.Where(func(name string, _ tensor.Shape) bool { return name == "linear" }, nil).With(c.own...))
					}
					return c.make(opts...)
				}
				m, base, all := model(of, 1), model(of, 1), model(of, 1)
				mixed := make(true)
				for _, pair := range []struct {
					s *solvers.Solver
					m []*param
				}{{mixed, m}, {make(false), base}, {c.make(append(append(append(options{}, c.base...), sphere), c.own...)...), all}} {
					for step := range uint64(6) {
						run(t, pair.s, pair.m, step)
					}
				}
				differ := false
				for i, p := range m {
					want := base
					if p.name == "conv2" || p.name == "linear" {
						want = all
					}
					assert.Equal(t, get(want[i].w), get(p.w), p.name)
					differ = differ || !assert.ObjectsAreEqual(get(base[i].w), get(all[i].w))
				}
				assert.True(t, differ, "the options do something")
				r := mixed.Report()
				assert.InEpsilon(t, 1+c.rate, 1+r.Parameters[2].LearnRate, 1e-15)
				assert.Equal(t, r.LearnRate, r.Parameters[0].LearnRate)
				assert.Equal(t, "Sphere", r.Parameters[2].Manifold, "Param with nil leaves the constraint")

				snap, err := mixed.Snapshot()
				require.NoError(t, err)
				again, twin := make(true), copied(m, of)
				require.NoError(t, again.Restore(valueGrads(twin), snap))
				for step := range uint64(3) {
					run(t, mixed, m, 10+step)
					run(t, again, twin, 10+step)
				}
				same(t, weights(m), weights(twin))
				assert.Equal(t, mixed.Report(), again.Report())
			})
		}
	}
}

// GeometricStep(false) in With needs no other option where FactorFor is one of the solver.
func TestWithoutFactor(t *testing.T) {
	type options = []solvers.Option
	factor := options{solvers.GeometricStep(), solvers.FactorFor(solvers.EachLayer)}
	moved := func(opts ...solvers.Option) map[string][]float64 {
		m := model(tensor.Float64, 1)
		s := solvers.NewSGD(append(opts, solvers.LearnRate(0.5), solvers.Kernels(manifolds.Sphere{}))...)
		for step := range uint64(3) {
			run(t, s, m, step)
		}
		return weights(m)
	}
	with, without := moved(factor...), moved()
	mixed := moved(append(factor, solvers.Param("conv2", nil).With(solvers.GeometricStep(false)))...)
	assert.NotEqual(t, with["conv2"], without["conv2"])
	assert.Equal(t, without["conv2"], mixed["conv2"])
	assert.Equal(t, with["conv1"], mixed["conv1"])
}

// ClipNorm in With bounds each such parameter by itself, before the joint norm of all is taken.
func TestClipNormByParameter(t *testing.T) {
	for _, of := range precisions {
		m, before := model(of, 1), model(of, 1)
		s := solvers.NewSGD(solvers.LearnRate(1), solvers.ClipNorm(2), solvers.BatchSize(2),
			solvers.Where(func(name string, _ tensor.Shape) bool { return name == "linear" || name == "offset" }, nil).With(solvers.ClipNorm(1)))
		gradients(m, 1)
		g := slopes(m)
		require.NoError(t, s.Step(valueGrads(m)))
		total := 0.0
		factor := map[string]float64{}
		for _, p := range m {
			norm := math.Sqrt(dot(g[p.name], g[p.name])) / 2
			if factor[p.name] = 0.5; (p.name == "linear" || p.name == "offset") && norm > 1 {
				factor[p.name] /= norm
				norm = 1
			}
			total = math.Hypot(total, norm)
		}
		for i, p := range m {
			near(t, plus(1, get(before[i].w), -factor[p.name]*2/total, g[p.name]), get(p.w), 1, of, p.name)
		}
	}
}

// Among several selections of a parameter the last holds, option by option.
func TestLastSelectionHolds(t *testing.T) {
	m := model(tensor.Float64, 1)
	s := solvers.NewSGD(solvers.LearnRate(1),
		solvers.Kernels(manifolds.Sphere{}).With(solvers.LearnRate(0.5), solvers.Momentum(0.9)),
		solvers.Param("conv1", nil).With(solvers.LearnRate(0.25)),
		solvers.Param("conv2", manifolds.Stiefel{}),
		solvers.Param("conv1", nil).With(solvers.Frozen()),
		solvers.Param("conv1", nil).With(solvers.Frozen(false)))
	run(t, s, m, 1)
	r := s.Report()
	for i, want := range []float64{0.25, 1, 0.5, 1, 1, 1} {
		assert.Equal(t, want, r.Parameters[i].LearnRate, r.Parameters[i].Name)
		assert.False(t, r.Parameters[i].Frozen)
	}
	assert.Equal(t, "Sphere", r.Parameters[0].Manifold)
	assert.Equal(t, "Stiefel", r.Parameters[2].Manifold)
	snap, err := s.Snapshot()
	require.NoError(t, err)
	assert.Len(t, snap.Parameters[0].State, 1)
	assert.Empty(t, snap.Parameters[1].State)
	assert.Contains(t, r.String(), "learning rate 0.25")
}

// Rates keep their quotient when SetLearnRate changes that of the solver, for those that join later too, and after Restore.
func TestSetLearnRateKeepsQuotients(t *testing.T) {
	m := model(tensor.Float64, 1)
	make := func() *solvers.Solver {
		return solvers.NewSGD(solvers.LearnRate(0.5), solvers.Param("conv1", nil).With(solvers.LearnRate(0.125)),
			solvers.Where(func(name string, _ tensor.Shape) bool { return name == "conv2" || name == "offset" }, nil).With(solvers.LearnRate(2)))
	}
	s := make()
	rates := func(s *solvers.Solver, want ...float64) {
		t.Helper()
		r := s.Report()
		assert.Equal(t, want[0], r.LearnRate)
		for i, p := range r.Parameters {
			assert.Equal(t, want[i+1], p.LearnRate, p.Name)
		}
	}
	run(t, s, m[:3], 1)
	rates(s, 0.5, 0.125, 0.5, 2)
	require.NoError(t, s.SetLearnRate(0.25))
	rates(s, 0.25, 0.0625, 0.25, 1)
	before := get(m[5].w)
	gradients(m, 2)
	g := get(m[5].g)
	require.NoError(t, s.Step(valueGrads(m)))
	rates(s, 0.25, 0.0625, 0.25, 1, 0.25, 0.25, 1)
	assert.Equal(t, plus(1, before, -1, g), get(m[5].w))
	snap, err := s.Snapshot()
	require.NoError(t, err)
	again := make()
	require.NoError(t, again.Restore(valueGrads(copied(m, tensor.Float64)), snap))
	rates(again, 0.25, 0.0625, 0.25, 1, 0.25, 0.25, 1)
}

// Frozen parameters stay, unseen: neither projected, nor inspected, nor part of the joint norm. Their gradients are cleared, and may be missing.
func TestFrozen(t *testing.T) {
	for _, of := range precisions {
		for _, s := range native(0.01) {
			t.Run(of.String()+"/"+s.name, func(t *testing.T) {
				m, others := model(of, 1), model(of, 1)
				put(m[2].w, []float64{17, -1e10}) // far from any manifold
				start := weights(m)
				frozen := s.of(solvers.Kernels(manifolds.Stiefel{}), solvers.ClipNorm(1),
					solvers.Param("conv2", nil).With(solvers.Frozen()), solvers.Param("offset", nil).With(solvers.Frozen())).(*solvers.Solver)
				without := s.of(solvers.Kernels(manifolds.Stiefel{}), solvers.ClipNorm(1))
				others = []*param{others[0], others[1], others[3], others[4]}
				for step := range uint64(4) {
					gradients(m, step)
					put(m[2].g, []float64{math.Inf(1), math.NaN()})
					require.NoError(t, frozen.Step(instead("offset", func(p *param) gorgonia.ValueGrad { return &broken{param: p} })(m)))
					run(t, without, others, step)
					assert.Equal(t, make([]float64, m[2].g.Size()), get(m[2].g), "cleared")
				}
				for _, p := range others {
					for _, q := range m {
						if q.name == p.name {
							assert.Equal(t, get(p.w), get(q.w), p.name)
						}
					}
				}
				for _, i := range []int{2, 5} {
					for j, v := range get(m[i].w) {
						assert.Equal(t, math.Float64bits(start[m[i].name][j]), math.Float64bits(v))
					}
					row := frozen.Report().Parameters[i]
					assert.True(t, row.Frozen)
					assert.False(t, row.Projected)
					assert.Zero(t, row.StepLength)
					assert.Zero(t, row.Still)
				}
				assert.Contains(t, frozen.Report().String(), "frozen")
			})
		}
	}
}

// Options of the whole solver have no place in With, nor has With one on options that select nothing; the errors come
// with the first step, whether or not a parameter is selected.
func TestWithRefuses(t *testing.T) {
	m := model(tensor.Float64, 1)
	kernels := solvers.Kernels(manifolds.Sphere{})
	for _, c := range []struct {
		name  string
		opt   solvers.Option
		wants []string
	}{
		{"schedule", kernels.With(solvers.Anneal(solvers.Constant())), []string{"Anneal is an option of the whole solver", "Kernels(Sphere)"}},
		{"batch size", kernels.With(solvers.BatchSize(2)), []string{"BatchSize is an option of the whole solver"}},
		{"selection", kernels.With(solvers.Param("conv1", manifolds.Oblique{})), []string{"Param is an option of the whole solver"}},
		{"bad value", solvers.Param("conv1", nil).With(solvers.LearnRate(-1)), []string{"LearnRate: want a number", `Param("conv1", nil)`}},
		{"another rule's", solvers.Param("conv1", nil).With(solvers.Betas(0.1, 0.2)), []string{"SGD has no option Betas", `Param("conv1", nil)`}},
		{"unselected", solvers.Param("nonesuch", nil).With(solvers.Eps(1)), []string{"SGD has no option Eps"}},
		{"incomplete", kernels.With(solvers.Nesterov()), []string{"Nesterov", "Momentum greater than 0"}},
		{"factor", kernels.With(solvers.FactorFor(solvers.EachLayer)), []string{"FactorFor: want GeometricStep", "Kernels(Sphere)"}},
		{"twice", solvers.Kernels(manifolds.Sphere{}).With(solvers.Frozen(true, false)), []string{"Frozen: want at most one argument, got 2"}},
		{"of a rate", solvers.LearnRate(0.1).With(solvers.Momentum(0.9)), []string{"LearnRate.With: want Kernels, Natural, Param or Where"}},
		{"of nothing", solvers.Option{}.With(solvers.Momentum(0.9)), []string{"want Kernels, Natural, Param or Where"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			refuses(t, func() stepper { return solvers.NewSGD(c.opt) }, m, solvers.ErrOption, c.wants...)
		})
	}
	refuses(t, func() stepper { return solvers.NewSGD(solvers.Param("nonesuch", nil).With(solvers.LearnRate(1))) }, m,
		solvers.ErrConstraint, `Param("nonesuch", nil) applies to no parameter`)
	refuses(t, func() stepper { return solvers.NewSGD(kernels.With(solvers.WeightDecay(0.1))) }, m,
		solvers.ErrConstraint, `"conv1"`, "WeightDecay(0.1)")
	refuses(t, func() stepper {
		return solvers.ConstrainWith(gorgonia.NewVanillaSolver(), kernels.With(solvers.Momentum(0.9)))
	}, m, solvers.ErrOption, "Momentum")
}

// An option of a rule may have the name of another option, and is none of its kind.
func TestNamesOfOptions(t *testing.T) {
	m := model(tensor.Float64, 1)
	tuned := 0
	named := func(name string) solvers.Option {
		return solvers.Tune(name, func(r solvers.Rule) (solvers.Rule, bool) { tuned++; return r, true })
	}
	s := solvers.NewMuon(solvers.Kernels(manifolds.Sphere{}).With(named("Rest")))
	run(t, s, m, 1)
	assert.Equal(t, "Muon", s.Report().Parameters[0].Rule)
	assert.NotZero(t, tuned)
	refuses(t, func() stepper { return solvers.NewSGD(named("Kernels").With(solvers.Frozen())) }, m, solvers.ErrOption, "Kernels.With: want Kernels, Natural")
	for _, own := range [][]solvers.Option{{named("Tolerance")}, {solvers.Kernels(manifolds.Sphere{}).With(named("Tolerance"))}} {
		refuses(t, func() stepper { return solvers.ConstrainWith(gorgonia.NewVanillaSolver(), own...) }, m, solvers.ErrOption, "has no option Tolerance")
	}
}

// A wrapped solver has the rate, the decay and the rule: With takes only what changes the gradient that it is shown, or
// whether it is shown at all.
func TestWithUnderConstrain(t *testing.T) {
	m := model(tensor.Float64, 1)
	kernels := solvers.Kernels(manifolds.Sphere{})
	others := func(opts ...solvers.Option) solvers.Option {
		return solvers.Where(func(_ string, s tensor.Shape) bool { return len(s) < 4 }, nil).With(opts...)
	}
	vanilla := func(opts ...solvers.Option) stepper {
		return solvers.ConstrainWith(gorgonia.NewVanillaSolver(gorgonia.WithLearnRate(0.1)), opts...)
	}
	for name, o := range map[string]solvers.Option{
		"LearnRate": solvers.LearnRate(1e9), "WeightDecay": solvers.WeightDecay(1e9), "EuclideanDecay": solvers.EuclideanDecay(1e9),
		"GeometricStep": solvers.GeometricStep(), "SampledGeometricStep": solvers.SampledGeometricStep(),
	} {
		for where, opts := range map[string][]solvers.Option{"Kernels": {kernels.With(o)}, "Where": {kernels, others(o)}, "after Frozen": {kernels.With(solvers.Frozen(), o)}} {
			t.Run(name+"/"+where, func(t *testing.T) {
				refuses(t, func() stepper { return vanilla(opts...) }, m, solvers.ErrOption, "Constrain, in With has no option "+name, "want Tolerance, Frozen, ClipValue, ClipNorm, AmbientDecay")
			})
		}
	}
	refuses(t, func() stepper {
		return vanilla(kernels.With(solvers.SampledGeometricStep(), solvers.FactorFor(solvers.EachLayer)))
	}, m, solvers.ErrOption, "in With")
	refuses(t, func() stepper { return vanilla(kernels.With(solvers.AmbientDecay(0.1))) }, m, solvers.ErrConstraint, "conv1", "AmbientDecay(0.1)", "tangent part")

	// What it takes acts: the step of the offset, from g with the rate 0.1.
	offset := func(opts ...solvers.Option) (x, g, y []float64) {
		m := model(tensor.Float64, 1)
		gradients(m, 3)
		x, g = get(m[5].w), get(m[5].g)
		require.NoError(t, vanilla(opts...).Step(valueGrads(m)))
		return x, g, get(m[5].w)
	}
	norm := func(v []float64) (n float64) {
		for _, e := range v {
			n = math.Hypot(n, e)
		}
		return n
	}
	for name, c := range map[string]struct {
		opt  solvers.Option
		step func(x, g, all float64) float64
	}{
		"Tolerance":    {solvers.Tolerance(1), func(x, g, all float64) float64 { return g }},
		"Frozen":       {solvers.Frozen(), func(x, g, all float64) float64 { return 0 }},
		"ClipValue":    {solvers.ClipValue(0.2), func(x, g, all float64) float64 { return max(-0.2, min(0.2, g)) }},
		"ClipNorm":     {solvers.ClipNorm(0.2), func(x, g, all float64) float64 { return 0.2 * g / all }},
		"AmbientDecay": {solvers.AmbientDecay(3), func(x, g, all float64) float64 { return g + 3*x }},
	} {
		x, g, y := offset(kernels, others(c.opt))
		for i := range x {
			assert.InDelta(t, x[i]-0.1*c.step(x[i], g[i], norm(g)), y[i], 1e-15, name)
		}
	}
}

// Options with on ...bool.
func TestFlags(t *testing.T) {
	m := model(tensor.Float64, 1)
	for name, flag := range map[string]func(...bool) solvers.Option{
		"Nesterov": solvers.Nesterov, "TangentMomentum": solvers.TangentMomentum, "AmbientMomentum": solvers.AmbientMomentum,
		"GeometricStep": solvers.GeometricStep, "SampledGeometricStep": solvers.SampledGeometricStep, "Frozen": solvers.Frozen,
	} {
		refuses(t, func() stepper { return solvers.NewSGD(solvers.Momentum(0.9), flag(true, true)) }, m, solvers.ErrOption, name, "want at most one argument, got 2")
		a, b := model(tensor.Float64, 1), model(tensor.Float64, 1)
		for _, s := range []struct {
			m []*param
			o []solvers.Option
		}{{a, []solvers.Option{flag()}}, {b, []solvers.Option{flag(true)}}} {
			solver := solvers.NewSGD(append(s.o, solvers.Momentum(0.9), solvers.Kernels(manifolds.Sphere{}))...)
			run(t, solver, s.m, 1)
			run(t, solver, s.m, 2)
		}
		same(t, weights(a), weights(b))
	}
	refuses(t, func() stepper { return solvers.NewAdam(solvers.AMSGrad(true, false)) }, m, solvers.ErrOption, "AMSGrad")
	tangent, off := model(tensor.Float64, 1), model(tensor.Float64, 1)
	for _, s := range []struct {
		m []*param
		o solvers.Option
	}{{tangent, solvers.TangentMomentum()}, {off, solvers.AmbientMomentum(false)}} {
		solver := solvers.NewSGD(s.o, solvers.Momentum(0.9), solvers.Kernels(manifolds.Sphere{}))
		run(t, solver, s.m, 1)
		run(t, solver, s.m, 2)
	}
	same(t, weights(tangent), weights(off))
}

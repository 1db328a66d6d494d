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

var nan, inf = math.NaN(), math.Inf(1)

// An option that the rule does not have does not pass in silence.
func TestUnknownOptions(t *testing.T) {
	m := model(tensor.Float64, 1)
	sgd := func(o solvers.Option) stepper { return solvers.NewSGD(o) }
	adam := func(o solvers.Option) stepper { return solvers.NewAdam(o) }
	adamW := func(o solvers.Option) stepper { return solvers.NewAdamW(o) }
	own := func(o solvers.Option) stepper { return solvers.New(nothing{}, o) }
	wrap := func(o solvers.Option) stepper { return solvers.ConstrainWith(gorgonia.NewVanillaSolver(), o) }
	for _, c := range []struct {
		name   string
		make   func(solvers.Option) stepper
		option solvers.Option
		wants  []string
	}{
		{"momentum of Adam", adam, solvers.Momentum(0.9), []string{"Adam", "Momentum"}},
		{"Nesterov of AdamW", adamW, solvers.Nesterov(), []string{"AdamW", "Nesterov"}},
		{"dampening of Adam", adam, solvers.Dampening(0.1), []string{"Adam", "Dampening"}},
		{"tangent momentum of Adam", adam, solvers.TangentMomentum(), []string{"Adam", "TangentMomentum"}},
		{"ambient momentum of Adam", adam, solvers.AmbientMomentum(), []string{"Adam", "AmbientMomentum"}},
		{"betas of SGD", sgd, solvers.Betas(0.9, 0.99), []string{"SGD", "Betas"}},
		{"eps of SGD", sgd, solvers.Eps(1e-8), []string{"SGD", "Eps"}},
		{"AMSGrad of SGD", sgd, solvers.AMSGrad(), []string{"SGD", "AMSGrad"}},
		{"momentum of a rule of one's own", own, solvers.Momentum(0.9), []string{"Momentum"}},
		{"zero option", sgd, solvers.Option{}, []string{"SGD", "zero Option"}},
		{"zero option of Constrain", wrap, solvers.Option{}, []string{"Constrain"}},
		{"learning rate of Constrain", wrap, solvers.LearnRate(0.1), []string{"Constrain", "LearnRate"}},
		{"momentum of Constrain", wrap, solvers.Momentum(0.9), []string{"Constrain", "Momentum"}},
		{"clipping of Constrain", wrap, solvers.ClipNorm(1), []string{"Constrain", "ClipNorm"}},
		{"decay of Constrain", wrap, solvers.EuclideanDecay(1), []string{"Constrain", "EuclideanDecay"}},
		{"schedule of Constrain", wrap, solvers.Anneal(solvers.Constant()), []string{"Constrain", "Anneal"}},
		{"geometric step of Constrain", wrap, solvers.GeometricStep(true), []string{"Constrain", "GeometricStep"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			refuses(t, func() stepper { return c.make(c.option) }, m, solvers.ErrOption, c.wants...)
		})
	}
	t.Run("no solver to constrain", func(t *testing.T) {
		refuses(t, func() stepper { return solvers.Constrain(nil, manifolds.Sphere{}) }, m, solvers.ErrOption, "nil")
	})
}

// nothing is a rule that stays where it is.
type nothing struct{}

func (nothing) Name() string { return "nothing" }

func (nothing) State() []solvers.State { return nil }
func (nothing) Direction(p *solvers.Part) error {
	return p.Direction.Combine(0, p.Gradient, 0, p.Gradient)
}

func TestImpossibleValues(t *testing.T) {
	m := model(tensor.Float64, 1)
	type list = []solvers.Option
	numbers := func(f func(float64) solvers.Option, values ...float64) (out list) {
		for _, v := range values {
			out = append(out, f(v))
		}
		return out
	}
	betas := func(pairs ...[2]float64) (out list) {
		for _, p := range pairs {
			out = append(out, solvers.Betas(p[0], p[1]))
		}
		return out
	}
	anneal := func(schedules ...solvers.Schedule) (out list) {
		for _, s := range schedules {
			out = append(out, solvers.Anneal(s))
		}
		return out
	}
	sgd := func(o solvers.Option) stepper { return solvers.NewSGD(o) }
	adam := func(o solvers.Option) stepper { return solvers.NewAdam(o) }
	for _, c := range []struct {
		name    string
		make    func(solvers.Option) stepper
		options list
	}{
		{"LearnRate", sgd, numbers(solvers.LearnRate, -1, nan, inf, -inf)},
		{"Momentum", sgd, numbers(solvers.Momentum, -0.1, 1, 2, nan, inf)},
		{"Dampening", sgd, numbers(solvers.Dampening, -0.1, 1, nan)},
		{"Betas", adam, betas([2]float64{1, 0.9}, [2]float64{0.9, 1}, [2]float64{-0.1, 0.9}, [2]float64{0.9, nan}, [2]float64{nan, 0.9})},
		{"Eps", adam, numbers(solvers.Eps, 0, -1, nan, inf)},
		{"Eps of Adagrad", func(o solvers.Option) stepper { return solvers.NewAdagrad(o) }, numbers(solvers.Eps, 0, -1, nan, inf)},
		{"Rho", func(o solvers.Option) stepper { return solvers.NewRMSProp(o) }, numbers(solvers.Rho, -0.1, 1, nan, inf)},
		{"BatchSize", sgd, list{solvers.BatchSize(0), solvers.BatchSize(-3)}},
		{"ClipValue", sgd, numbers(solvers.ClipValue, 0, -1, nan)},
		{"ClipNorm", sgd, numbers(solvers.ClipNorm, 0, -1, nan)},
		{"WeightDecay", sgd, numbers(solvers.WeightDecay, -1, nan, inf)},
		{"EuclideanDecay", sgd, numbers(solvers.EuclideanDecay, -1, nan, inf)},
		{"AmbientDecay", sgd, numbers(solvers.AmbientDecay, -1, nan, inf)},
		{"Tolerance", sgd, numbers(solvers.Tolerance, 0, -1, nan)},
		{"Anneal", sgd, anneal(solvers.StepDecay(0, 0.5), solvers.StepDecay(10, 0), solvers.StepDecay(10, 1.5), solvers.StepDecay(10, nan),
			solvers.Cosine(0, 0), solvers.Cosine(10, -1), solvers.Cosine(10, 2), solvers.Cosine(10, nan),
			solvers.Warmup(0, solvers.Constant()), solvers.Warmup(10, solvers.Cosine(0, 0)),
			solvers.RobbinsMonro(0, 1), solvers.RobbinsMonro(10, 0.5), solvers.RobbinsMonro(10, 1.1), solvers.RobbinsMonro(nan, 1), solvers.RobbinsMonro(10, nan),
			solvers.NewSchedule("mine", nil))},
		{"Kernels", sgd, list{solvers.Kernels(nil)}},
		{"Param", sgd, list{solvers.Param("conv1", nil)}},
		{"Where", sgd, list{solvers.Where(nil, manifolds.Sphere{}), solvers.Where(func(string, tensor.Shape) bool { return true }, nil)}},
		{"Nesterov without momentum", sgd, list{solvers.Nesterov()}},
	} {
		for i, o := range c.options {
			t.Run(fmt.Sprintf("%s/%d", c.name, i), func(t *testing.T) {
				refuses(t, func() stepper { return c.make(o) }, m, solvers.ErrOption)
			})
		}
	}
	for _, lr := range []float64{-1, nan, inf} {
		s := solvers.NewSGD()
		require.ErrorIs(t, s.SetLearnRate(lr), solvers.ErrOption)
		require.NoError(t, s.SetLearnRate(0.5))
		assert.Equal(t, 0.5, s.Report().LearnRate)
	}
}

// Options that act on momentum only say so where there is none.
func TestOptionsThatNeedMomentum(t *testing.T) {
	m := model(tensor.Float64, 1)
	for name, o := range map[string]solvers.Option{"Nesterov": solvers.Nesterov(), "Dampening": solvers.Dampening(0.5), "TangentMomentum": solvers.TangentMomentum()} {
		t.Run(name, func(t *testing.T) {
			refuses(t, func() stepper { return solvers.NewSGD(o) }, m, solvers.ErrOption, name)
		})
	}
}

// A schedule that turns out negative or infinite fails that step, and changes
// nothing.
func TestScheduleThatGoesWrong(t *testing.T) {
	for _, bad := range []float64{-1, nan, inf} {
		m := model(tensor.Float64, 1)
		s := solvers.NewSGD(solvers.Anneal(solvers.NewSchedule("mine", func(step int) float64 {
			if step == 2 {
				return bad
			}
			return 1
		})))
		run(t, s, m, 0)
		run(t, s, m, 1)
		gradients(m, 2)
		w, g := weights(m), slopes(m)
		err := s.Step(valueGrads(m))
		require.ErrorIs(t, err, solvers.ErrOption)
		assert.Contains(t, err.Error(), "mine")
		same(t, w, weights(m))
		same(t, g, slopes(m))
		assert.Equal(t, 2, s.Report().Steps)
	}
}

// The last of several options of a kind holds.
func TestLastOptionHolds(t *testing.T) {
	a, b := model(tensor.Float64, 1), model(tensor.Float64, 1)
	run(t, solvers.NewSGD(solvers.LearnRate(1), solvers.LearnRate(0.25), solvers.WeightDecay(1), solvers.EuclideanDecay(0.5)), a, 1)
	run(t, solvers.NewSGD(solvers.LearnRate(0.25), solvers.EuclideanDecay(0.5)), b, 1)
	same(t, weights(b), weights(a))
}

// A learning rate beyond what the precision can carry is an error, not a weight
// that overflows.
func TestDivergence(t *testing.T) {
	for _, of := range precisions {
		for _, s := range everySolver(map[tensor.Dtype]float64{tensor.Float32: 1e39, tensor.Float64: 1.5e308}[of]) {
			t.Run(of.String()+"/"+s.name, func(t *testing.T) {
				m := model(of, 1)
				for _, p := range m {
					gaussian(p.g, source(1), 100)
				}
				w, g := weights(m), slopes(m)
				solver := s.of(solvers.Kernels(manifolds.Stiefel{}))
				require.ErrorIs(t, solver.Step(valueGrads(m)), solvers.ErrDiverged)
				same(t, w, weights(m))
				same(t, g, slopes(m))
			})
		}
	}
}

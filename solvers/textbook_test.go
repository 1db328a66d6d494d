// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// On unconstrained parameters every solver is the one of the textbooks. The
// recurrences are written out here, in float64, weight by weight.

// recurrence moves a weight x with gradient g at step t = 1, 2, ...; it keeps the
// state of one weight.
type recurrence func(x, g float64, t int) float64

const lr = 0.05

var textbook = []struct {
	name   string
	solver func(...solvers.Option) *solvers.Solver
	opts   []solvers.Option
	weight func() recurrence
}{
	{"SGD", solvers.NewSGD, nil, func() recurrence {
		return func(x, g float64, _ int) float64 { return x - lr*g }
	}},
	{"ambient momentum", solvers.NewSGD, []solvers.Option{solvers.Momentum(0.9), solvers.AmbientMomentum()}, func() recurrence {
		mu := 0.0
		return func(x, g float64, _ int) float64 {
			mu = 0.9*mu + g
			return x - lr*mu
		}
	}},
	{"tangent momentum", solvers.NewSGD, []solvers.Option{solvers.Momentum(0.9)}, func() recurrence {
		mu := 0.0
		return func(x, g float64, _ int) float64 {
			mu = 0.9*mu + g
			return x - lr*mu
		}
	}},
	{"ambient momentum, dampening", solvers.NewSGD, []solvers.Option{solvers.Momentum(0.9), solvers.Dampening(0.3), solvers.AmbientMomentum()}, func() recurrence {
		mu := 0.0
		return func(x, g float64, t int) float64 {
			if mu = 0.9*mu + 0.7*g; t == 1 {
				mu = g
			}
			return x - lr*mu
		}
	}},
	{"ambient Nesterov", solvers.NewSGD, []solvers.Option{solvers.Momentum(0.9), solvers.Nesterov(), solvers.AmbientMomentum()}, func() recurrence {
		mu := 0.0
		return func(x, g float64, _ int) float64 {
			mu = 0.9*mu + g
			return x - lr*(g+0.9*mu)
		}
	}},
	{"tangent Nesterov", solvers.NewSGD, []solvers.Option{solvers.Momentum(0.9), solvers.Nesterov()}, func() recurrence {
		mu := 0.0
		return func(x, g float64, _ int) float64 {
			mu = 0.9*mu + g
			return x - lr*(g+0.9*mu)
		}
	}},
	{"SGD, decoupled decay", solvers.NewSGD, []solvers.Option{solvers.Momentum(0.9), solvers.WeightDecay(0.1)}, func() recurrence {
		mu := 0.0
		return func(x, g float64, _ int) float64 {
			mu = 0.9*mu + g
			return x - lr*mu - lr*0.1*x
		}
	}},
	{"SGD, L2 penalty", solvers.NewSGD, []solvers.Option{solvers.Momentum(0.9), solvers.AmbientDecay(0.1)}, func() recurrence {
		mu := 0.0
		return func(x, g float64, _ int) float64 {
			mu = 0.9*mu + g + 0.1*x
			return x - lr*mu
		}
	}},
	{"geometric step", solvers.NewSGD, []solvers.Option{solvers.GeometricStep()}, func() recurrence { // flat: g_t = 1
		return func(x, g float64, _ int) float64 { return x - lr*g }
	}},
	{"sampled geometric step", solvers.NewSGD, []solvers.Option{solvers.SampledGeometricStep()}, func() recurrence {
		return func(x, g float64, _ int) float64 { return x - lr*g }
	}},
	{"Adam", solvers.NewAdam, nil, func() recurrence { return adam(0.9, 0.999, 1e-8, 0, false) }},
	{"Adam, betas and eps", solvers.NewAdam, []solvers.Option{solvers.Betas(0.8, 0.95), solvers.Eps(0.1)}, func() recurrence { return adam(0.8, 0.95, 0.1, 0, false) }},
	{"Adam without momentum", solvers.NewAdam, []solvers.Option{solvers.Betas(0, 0.99)}, func() recurrence { return adam(0, 0.99, 1e-8, 0, false) }},
	{"AMSGrad", solvers.NewAdam, []solvers.Option{solvers.AMSGrad(), solvers.Betas(0.9, 0.9)}, func() recurrence { return adam(0.9, 0.9, 1e-8, 0, true) }},
	{"AdamW", solvers.NewAdamW, nil, func() recurrence { return adam(0.9, 0.999, 1e-8, 0.01, false) }},
	{"AdamW, decay and AMSGrad", solvers.NewAdamW, []solvers.Option{solvers.WeightDecay(0.3), solvers.AMSGrad(), solvers.Betas(0.9, 0.9)}, func() recurrence { return adam(0.9, 0.9, 1e-8, 0.3, true) }},
	{"Adagrad", solvers.NewAdagrad, nil, func() recurrence { return adagrad(1, 1, 0, 1e-8, 0) }},
	{"Adagrad, eps and decay", solvers.NewAdagrad, []solvers.Option{solvers.Eps(0.1), solvers.WeightDecay(0.3)}, func() recurrence { return adagrad(1, 1, 0, 0.1, 0.3) }},
	{"RMSProp", solvers.NewRMSProp, nil, func() recurrence { return adagrad(0.99, 0.01, 0, 1e-8, 0) }},
	{"RMSProp, rho", solvers.NewRMSProp, []solvers.Option{solvers.Rho(0.5)}, func() recurrence { return adagrad(0.5, 0.5, 0, 1e-8, 0) }},
	{"RMSProp, momentum and decay", solvers.NewRMSProp, []solvers.Option{solvers.Rho(0.9), solvers.Momentum(0.5), solvers.WeightDecay(0.3)}, func() recurrence { return adagrad(0.9, 0.1, 0.5, 1e-8, 0.3) }},
}

// adagrad is Duchi, Hazan, Singer, figure 1, with the sum of squares, and RMSProp with their mean (Tieleman, Hinton) and a
// momentum (Graves, arXiv 1308.0850, section 4, without centring).
func adagrad(keep, take, theta, eps, lambda float64) recurrence {
	s, mu := 0.0, 0.0
	return func(x, g float64, _ int) float64 {
		s = keep*s + take*g*g
		mu = theta*mu + g/(math.Sqrt(s)+eps)
		return x - lr*mu - lr*lambda*x
	}
}

// adam is Kingma, Ba, algorithm 1; Loshchilov, Hutter, algorithm 2; Reddi, Kale,
// Kumar, algorithm 2, with bias correction.
func adam(beta1, beta2, eps, lambda float64, ams bool) recurrence {
	m, v, top := 0.0, 0.0, 0.0
	return func(x, g float64, t int) float64 {
		m = beta1*m + (1-beta1)*g
		v = beta2*v + (1-beta2)*g*g
		u := v
		if ams {
			top = max(top, v)
			u = top
		}
		mHat := m / (1 - math.Pow(beta1, float64(t)))
		vHat := u / (1 - math.Pow(beta2, float64(t)))
		return x - lr*mHat/(math.Sqrt(vHat)+eps) - lr*lambda*x
	}
}

func TestTextbook(t *testing.T) {
	const steps = 50
	for _, of := range precisions {
		for _, c := range textbook {
			t.Run(of.String()+"/"+c.name, func(t *testing.T) {
				m := model(of, 1)
				// A kernel under the constraint of having none is one of them.
				solver := c.solver(append(c.opts, solvers.LearnRate(lr), solvers.Kernels(manifolds.Euclidean{}))...)
				want := weights(m)
				rules := map[string][]recurrence{}
				for _, p := range m {
					for range want[p.name] {
						rules[p.name] = append(rules[p.name], c.weight())
					}
				}
				for step := 1; step <= steps; step++ {
					gradients(m, uint64(step))
					for _, p := range m {
						for i, g := range get(p.g) {
							want[p.name][i] = rules[p.name][i](want[p.name][i], g, step)
						}
					}
					require.NoError(t, solver.Step(valueGrads(m)))
				}
				for _, p := range m {
					near(t, want[p.name], get(p.w), steps, of, p.name)
				}
			})
		}
	}
}

// near requires numbers of the order of 1 to differ by no more than the rounding
// of so many steps: in each the weight, the state and the product of rate and
// direction are rounded, eight in all at most, and the errors of the state are as
// large as those of the weight since the rate times the largest direction is below 1.
func near(t *testing.T, want, got []float64, steps int, of tensor.Dtype, name string) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		require.InDelta(t, want[i], got[i], 8*float64(steps)*eps(of)*max(1, math.Abs(want[i])), "%s, element %d", name, i)
	}
}

// The stock solvers, where they are right, are the same. (AdamW moves nothing,
// Momentum's L2 acts on the velocity: not compared.)
func TestStockSolversAgree(t *testing.T) {
	const steps = 50
	stock := []gorgonia.SolverOpt{gorgonia.WithLearnRate(lr)}
	own := []solvers.Option{solvers.LearnRate(lr)}
	sets := []struct {
		name  string
		stock []gorgonia.SolverOpt
		own   []solvers.Option
	}{
		{"plain", nil, nil},
		{"batch size", []gorgonia.SolverOpt{gorgonia.WithBatchSize(3)}, []solvers.Option{solvers.BatchSize(3)}},
		{"clip", []gorgonia.SolverOpt{gorgonia.WithClip(0.5)}, []solvers.Option{solvers.ClipValue(0.5)}},
		{"batch size and clip", []gorgonia.SolverOpt{gorgonia.WithBatchSize(3), gorgonia.WithClip(0.25)}, []solvers.Option{solvers.BatchSize(3), solvers.ClipValue(0.25)}},
	}
	solversOf := []struct {
		name  string
		stock func(...gorgonia.SolverOpt) gorgonia.Solver
		own   func(...solvers.Option) *solvers.Solver
		l2    bool // the stock solver's L2 is right
	}{
		{"Vanilla", func(o ...gorgonia.SolverOpt) gorgonia.Solver { return gorgonia.NewVanillaSolver(o...) },
			solvers.NewSGD, true},
		{"Momentum", func(o ...gorgonia.SolverOpt) gorgonia.Solver {
			return gorgonia.NewMomentum(append(o, gorgonia.WithMomentum(0.9))...)
		}, func(o ...solvers.Option) *solvers.Solver { return solvers.NewSGD(append(o, solvers.Momentum(0.9))...) }, false},
		{"Adam", func(o ...gorgonia.SolverOpt) gorgonia.Solver { return gorgonia.NewAdamSolver(o...) },
			solvers.NewAdam, true},
	}
	for _, of := range precisions {
		for _, s := range solversOf {
			for _, o := range sets {
				t.Run(of.String()+"/"+s.name+"/"+o.name, func(t *testing.T) {
					a, b := model(of, 1), model(of, 1)
					agree(t, s.stock(append(o.stock, stock...)...), s.own(append(o.own, own...)...), a, b, steps, of)
				})
			}
			if s.l2 {
				t.Run(of.String()+"/"+s.name+"/L2", func(t *testing.T) {
					a, b := model(of, 1), model(of, 1)
					agree(t, s.stock(append(stock, gorgonia.WithL2Reg(0.1))...), s.own(append(own, solvers.AmbientDecay(0.1))...), a, b, steps, of)
				})
			}
		}
	}
}

func agree(t *testing.T, stock, own gorgonia.Solver, a, b []*param, steps int, of tensor.Dtype) {
	t.Helper()
	for step := range uint64(steps) {
		run(t, stock, a, step)
		run(t, own, b, step)
	}
	for i, p := range a {
		// Both round.
		near(t, get(p.w), get(b[i].w), 2*steps, of, p.name)
	}
}

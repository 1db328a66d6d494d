// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/solvers"
)

func checkGradient(m []*param, cost func() (float64, error), opts ...solvers.Option) (solvers.GradientCheck, error) {
	return solvers.CheckGradient(context.Background(), valueGrads(m), cost, opts...)
}

// On every manifold a right gradient is found to be right, with a slope of 2, and one that is wrong by 1 % in one element to be
// wrong, with a slope of 1. In float32 rounding blurs the slopes; there all elements are 50 % too large.
func TestCheckGradient(t *testing.T) {
	t.Parallel()
	for _, of := range precisions {
		for _, a := range arenas() {
			t.Run(fmt.Sprintf("%v/%s/%s", of, a.name, a.at.name), func(t *testing.T) {
				at := a.stage(t, of)
				m, before := []*param{at.kernel}, get(at.kernel.w)
				c, err := checkGradient(m, func() (float64, error) { return at.slope(t), nil }, a.at.kernels())
				require.NoError(t, err)
				require.NoError(t, c.Err())
				require.Equal(t, before, get(at.kernel.w), "weights are as before, off their manifold")
				require.Zero(t, norm64(get(at.kernel.g)))

				wrong, err := checkGradient(m, func() (float64, error) {
					cost := at.slope(t)
					g := get(at.kernel.g)
					if of == tensor.Float64 {
						g[1] *= 1.01
					} else {
						for i := range g {
							g[i] *= 1.5
						}
					}
					put(at.kernel.g, g)
					return cost, nil
				}, a.at.kernels())
				require.NoError(t, err)
				right, bad := c.Parameters[0], wrong.Parameters[0]
				if of == tensor.Float32 {
					require.NotEqual(t, solvers.GradientRight, bad.Verdict, "%v", wrong)
					return
				}
				require.Equal(t, solvers.GradientRight, right.Verdict)
				require.InDelta(t, 2, right.Slope, 0.1)
				require.InDelta(t, right.Derivative, right.Measured, 1e-5)
				require.ErrorIs(t, wrong.Err(), solvers.ErrGradient)
				require.InDelta(t, 1, bad.Slope, 0.1)
				require.InDelta(t, right.Derivative, bad.Measured, 1e-5)
				require.Equal(t, wrong.Evaluations, 2+4+len(bad.T))
			})
		}
	}
}

// Of several parameters, on a manifold and not, the wrong one is named.
func TestCheckGradientNames(t *testing.T) {
	t.Parallel()
	for _, at := range everywhere {
		m := model(tensor.Float64, 1)
		cost := half(m, func(_ int, cost float64) (float64, error) { return cost, nil })
		c, err := checkGradient(m, cost, at.kernels())
		require.NoError(t, err)
		require.Len(t, c.Parameters, len(m))
		for _, p := range c.Parameters {
			require.Equal(t, solvers.GradientRight, p.Verdict, "%s: %v", at.name, c)
		}
		for i, p := range m {
			c, err := checkGradient(m, func() (float64, error) {
				f, err := cost()
				g := get(p.g)
				g[0], g[1] = g[1], g[0]
				put(p.g, g)
				return f, err
			}, at.kernels())
			require.NoError(t, err)
			for j, q := range c.Parameters {
				require.Equal(t, i == j, q.Verdict == solvers.GradientWrong, "%s: %v", at.name, c)
			}
			var named *solvers.ParameterError
			require.ErrorAs(t, c.Err(), &named)
			require.Equal(t, p.name, named.Name)
			require.Len(t, strings.Split(c.String(), "\n"), 2+len(m))
		}
	}
}

// What has no line of slope 1 or 2: a linear cost has no errors, one that is not smooth has a slope between, and in a
// range of few steps there is nothing to be seen.
func TestCheckGradientVerdicts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cost  func(x float64) (f, slope float64)
		want  solvers.GradientVerdict
		slope float64
	}{
		"linear":     {func(x float64) (f, slope float64) { return 3 * x, 3 }, solvers.GradientRight, math.NaN()},
		"constant":   {func(x float64) (f, slope float64) { return 7, 0 }, solvers.GradientRight, math.NaN()},
		"square":     {func(x float64) (f, slope float64) { return x * x, 0 }, solvers.GradientRight, 2},
		"cube":       {func(x float64) (f, slope float64) { return x * x * x, 0 }, solvers.GradientRight, 3},
		"not smooth": {func(x float64) (f, slope float64) { return math.Pow(math.Abs(x), 1.5), 0 }, solvers.GradientUnclear, 1.5},
		"a corner":   {func(x float64) (f, slope float64) { return math.Abs(x), 1 }, solvers.GradientWrong, 1},
		"noise":      {func(x float64) (f, slope float64) { return x*x + 1e-2*math.Sin(1e19*x), 0 }, solvers.GradientUnclear, math.NaN()},
		"an edge": {func(x float64) (f, slope float64) {
			if math.Abs(x) > 1e-4 {
				return math.NaN(), 0
			}
			return x * x, 0
		}, solvers.GradientRight, 2},
	} {
		p := newParam("x", tensor.Float64, 3) // at zero
		check, err := checkGradient([]*param{p}, func() (float64, error) {
			sum := 0.0
			for i, x := range p.w.Float64s() {
				f, slope := c.cost(x)
				p.g.Float64s()[i] = slope
				sum += f
			}
			return sum, nil
		})
		require.NoError(t, err, name)
		require.Equal(t, c.want, check.Parameters[0].Verdict, "%s: %v", name, check)
		if math.IsNaN(c.slope) {
			require.True(t, math.IsNaN(check.Parameters[0].Slope), name)
		} else {
			require.InDelta(t, c.slope, check.Parameters[0].Slope, 1e-3, name)
		}
		require.Equal(t, []float64{0, 0, 0}, p.w.Float64s())
	}
	require.Equal(t, "unclear right wrong", fmt.Sprint(solvers.GradientUnclear, " ", solvers.GradientRight, " ", solvers.GradientWrong))
}

// A whole net, with batch normalisations in training mode, and one that is deployed wrongly: its cost has no gradient for a parameter.
func TestCheckGradientOfNet(t *testing.T) {
	t.Parallel()
	m, err := models.CNN(8, models.Options{Shape: [3]int{1, 8, 8}, Classes: 3, Seed: 1})
	require.NoError(t, err)
	rng := source(2)
	gaussian(m.Inputs[0].Value().(*tensor.Dense), rng, 1)
	for i, labels := 0, m.Targets[0].Value().(*tensor.Dense); i < 8; i++ {
		require.NoError(t, labels.SetAt(float32(1), i, i%3))
	}
	vm, err := m.Machine()
	require.NoError(t, err)
	defer vm.Close()
	before := fmt.Sprint(m.Learnables[0].Value().Data())
	c, err := solvers.CheckGradient(context.Background(), gorgonia.NodesToValueGrads(m.Learnables), func() (float64, error) {
		err := vm.RunAll()
		vm.Reset()
		return m.Loss(), err
	}, solvers.Kernels(manifolds.Stiefel{}))
	require.NoError(t, err)
	require.NoError(t, c.Err(), "%v", c)
	right := 0
	for _, p := range c.Parameters {
		if p.Verdict == solvers.GradientRight {
			right++
		}
	}
	require.GreaterOrEqual(t, 2*right, len(c.Parameters), "%v", c)
	require.Equal(t, before, fmt.Sprint(m.Learnables[0].Value().Data()))
}

// What cannot be checked is an error, and leaves the weights as they were.
func TestCheckGradientRefuses(t *testing.T) {
	t.Parallel()
	failed := errors.New("failed")
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for name, c := range map[string]struct {
		ctx    context.Context
		change func(call int, cost float64) (float64, error)
		opts   []solvers.Option
		want   error
	}{
		"NaN":       {change: func(int, float64) (float64, error) { return math.NaN(), nil }, want: solvers.ErrNotFinite},
		"random":    {change: func(call int, cost float64) (float64, error) { return cost * float64(call), nil }, want: solvers.ErrUnrepeatable},
		"cancelled": {ctx: cancelled, want: context.Canceled},
		"late": {change: func(call int, cost float64) (float64, error) {
			if call == 30 {
				return 0, failed
			}
			return cost, nil
		}, want: failed},
		"option":     {opts: []solvers.Option{solvers.LBFGS(3)}, want: solvers.ErrOption},
		"impossible": {opts: []solvers.Option{solvers.Param("offset", manifolds.Orthogonal{})}, want: solvers.ErrConstraint},
	} {
		t.Run(name, func(t *testing.T) {
			m := model(tensor.Float64, 1)
			before := weights(m)
			if c.ctx == nil {
				c.ctx = context.Background()
			}
			if c.change == nil {
				c.change = func(_ int, cost float64) (float64, error) { return cost, nil }
			}
			_, err := solvers.CheckGradient(c.ctx, valueGrads(m), half(m, c.change), append(c.opts, solvers.Kernels(manifolds.Stiefel{}))...)
			require.ErrorIs(t, err, c.want)
			same(t, before, weights(m))
		})
	}
}

// Dropout in training is found by its cost, a graph that was not differentiated by its missing gradient.
func TestCheckGradientOfGraphs(t *testing.T) {
	g := gorgonia.NewGraph()
	w := gorgonia.NewMatrix(g, gorgonia.Float64, gorgonia.WithName("w"), gorgonia.WithShape(8, 8), gorgonia.WithInit(gorgonia.Gaussian(0, 1)))
	dropped, err := nodes.Dropout(w, 0.5, &nodes.Noise{})
	require.NoError(t, err)
	node := gorgonia.Must(gorgonia.Sum(gorgonia.Must(gorgonia.Square(dropped))))
	var cost gorgonia.Value
	gorgonia.Read(node, &cost)
	model := []gorgonia.ValueGrad{w}

	vm := gorgonia.NewTapeMachine(g)
	_, err = solvers.CheckGradient(context.Background(), model, solvers.CostOf(vm, &cost))
	require.ErrorIs(t, err, solvers.ErrNoGradient)
	require.NoError(t, vm.Close())
	_, err = gorgonia.Grad(node, w)
	require.NoError(t, err)
	vm = gorgonia.NewTapeMachine(g, gorgonia.BindDualValues(w))
	_, err = solvers.CheckGradient(context.Background(), model, solvers.CostOf(vm, &cost))
	require.ErrorIs(t, err, solvers.ErrUnrepeatable)
	require.NoError(t, vm.Close())
	vm = gorgonia.NewTapeMachine(g, gorgonia.BindDualValues(w), gorgonia.EvalMode())
	c, err := solvers.CheckGradient(context.Background(), model, solvers.CostOf(vm, &cost))
	require.NoError(t, err)
	require.Equal(t, solvers.GradientRight, c.Parameters[0].Verdict)
	require.NoError(t, vm.Close())

	for _, f := range []func() (float64, error){solvers.CostOf(nil, &cost), solvers.CostOf(vm, nil)} {
		_, err = solvers.CheckGradient(context.Background(), model, f)
		require.ErrorIs(t, err, solvers.ErrParameter)
	}
}

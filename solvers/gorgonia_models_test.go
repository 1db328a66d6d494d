// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/solvers"
)

// The costs that Gorgonia tests its solvers with, from the same start and with
// the same thresholds (gorgonia v0.9.18, solvers_test.go), without constraints.

// plane builds a cost of a vector z of two numbers.
func plane(t *testing.T, cost func(z *gorgonia.Node) *gorgonia.Node) (z *gorgonia.Node, run func() float64) {
	t.Helper()
	g := gorgonia.NewGraph()
	z = gorgonia.NewVector(g, tensor.Float64, gorgonia.WithName("z"), gorgonia.WithShape(2),
		gorgonia.WithValue(tensor.New(tensor.WithShape(2), tensor.WithBacking([]float64{-0.5, 0.5}))))
	f := cost(z)
	var value gorgonia.Value
	gorgonia.Read(f, &value)
	_, err := gorgonia.Grad(f, z)
	require.NoError(t, err)
	vm := gorgonia.NewTapeMachine(g, gorgonia.BindDualValues(z))
	t.Cleanup(func() { _ = vm.Close() })
	return z, func() float64 {
		require.NoError(t, vm.RunAll())
		vm.Reset()
		return math.Abs(read(value))
	}
}

// rosenbrock is (1 - x)^2 + 100 (y - x^2)^2 at z = (x, y).
func rosenbrock(z *gorgonia.Node) *gorgonia.Node {
	must := gorgonia.Must
	part := func(name string, x, y float64) *gorgonia.Node {
		pick := gorgonia.NewConstant(tensor.New(tensor.WithShape(2), tensor.WithBacking([]float64{x, y})), gorgonia.WithName(name))
		return must(gorgonia.Mul(z, pick))
	}
	number := func(name string, v float64) *gorgonia.Node { return gorgonia.NewConstant(v, gorgonia.WithName(name)) }
	x, y := part("pick x", 1, 0), part("pick y", 0, 1)
	slow := must(gorgonia.Square(must(gorgonia.Sub(number("one", 1), x))))
	steep := must(gorgonia.Square(must(gorgonia.Sub(y, must(gorgonia.Square(x))))))
	return must(gorgonia.Add(slow, must(gorgonia.Mul(number("hundred", 100), steep))))
}

// square is |z|^2.
func square(z *gorgonia.Node) *gorgonia.Node { return gorgonia.Must(gorgonia.Mul(z, z)) }

func TestGorgoniaModels(t *testing.T) {
	constrain := func(s gorgonia.Solver) gorgonia.Solver { return solvers.ConstrainWith(s) }
	for _, c := range []struct {
		name   string
		cost   func(*gorgonia.Node) *gorgonia.Node
		solver gorgonia.Solver
		below  float64
		steps  int
	}{
		{"SGD", rosenbrock, solvers.NewSGD(solvers.LearnRate(0.001)), 0.185, 1000},
		{"SGD ambient momentum", rosenbrock, solvers.NewSGD(solvers.LearnRate(0.001), solvers.Momentum(0.9), solvers.AmbientMomentum()), 0.39, 1000},
		{"SGD tangent momentum", rosenbrock, solvers.NewSGD(solvers.LearnRate(0.001), solvers.Momentum(0.9)), 0.39, 1000},
		{"SGD Nesterov", rosenbrock, solvers.NewSGD(solvers.LearnRate(0.001), solvers.Momentum(0.9), solvers.Nesterov()), 0.39, 1000},
		{"Adam", rosenbrock, solvers.NewAdam(solvers.LearnRate(0.1)), 0.113, 1000},
		{"AMSGrad", rosenbrock, solvers.NewAdam(solvers.LearnRate(0.1), solvers.AMSGrad()), 0.113, 1000},
		{"AdamW", rosenbrock, solvers.NewAdamW(solvers.LearnRate(0.1), solvers.WeightDecay(1e-4)), 0.113, 1000},
		{"Adagrad", rosenbrock, solvers.NewAdagrad(solvers.LearnRate(0.5)), 0.113, 1000},
		{"RMSProp", rosenbrock, solvers.NewRMSProp(solvers.Rho(0.999)), 0.68, 1000}, // as the stock solver
		{"SGD, square", square, solvers.NewSGD(solvers.LearnRate(0.001)), 0.39, 1000},
		{"Adam, square", square, solvers.NewAdam(), 0.39, 1000},
		{"Constrain(Vanilla)", rosenbrock, constrain(gorgonia.NewVanillaSolver()), 0.185, 1000},
		{"Constrain(Momentum)", rosenbrock, constrain(gorgonia.NewMomentum()), 0.39, 1000},
		{"Constrain(Adam)", rosenbrock, constrain(gorgonia.NewAdamSolver(gorgonia.WithLearnRate(0.1))), 0.113, 1000},
		{"Constrain(RMSProp)", rosenbrock, constrain(gorgonia.NewRMSPropSolver()), 0.68, 1000},
		{"Constrain(AdaGrad)", square, constrain(gorgonia.NewAdaGradSolver()), 0.39, 1000},
		{"Constrain(Barzilai-Borwein)", rosenbrock, constrain(gorgonia.NewBarzilaiBorweinSolver(gorgonia.WithLearnRate(0.0001))), 0.00002, 250},
	} {
		t.Run(c.name, func(t *testing.T) {
			z, cost := plane(t, c.cost)
			least := cost()
			require.Greater(t, least, c.below, "or there is nothing to do")
			for step := 0; step < c.steps && least >= c.below; step++ {
				require.NoError(t, c.solver.Step([]gorgonia.ValueGrad{z}))
				least = min(least, cost())
			}
			assert.Less(t, least, c.below)
		})
	}
}

// The mean of x w, x growing: Adam against its recurrence, by numbers that
// Gorgonia's test gives for its own.
func TestGorgoniaAdamPrecision(t *testing.T) {
	for _, c := range []struct {
		of   tensor.Dtype
		size int
		want float64
	}{{tensor.Float32, 4, 0.18293014}, {tensor.Float64, 8, 0.18293561851374684}} {
		g := gorgonia.NewGraph()
		ones, rows := make([]float64, c.size), tensor.New(tensor.Of(c.of), tensor.WithShape(1, c.size))
		w := tensor.New(tensor.Of(c.of), tensor.WithShape(c.size, 1))
		for i := range ones {
			ones[i] = 1
		}
		put(w, ones)
		weight := gorgonia.NewMatrix(g, c.of, gorgonia.WithName("weight"), gorgonia.WithValue(w))
		x := gorgonia.NewMatrix(g, c.of, gorgonia.WithName("x"), gorgonia.WithValue(rows))
		cost := gorgonia.Must(gorgonia.Mean(gorgonia.Must(gorgonia.Mul(x, weight))))
		_, err := gorgonia.Grad(cost, weight)
		require.NoError(t, err)
		vm := gorgonia.NewTapeMachine(g, gorgonia.BindDualValues(weight))
		defer vm.Close()

		s, rule, want := solvers.NewAdam(solvers.LearnRate(0.1)), adam(0.9, 0.999, 1e-8, 0, false), 1.0
		step := 0
		for d := float32(0); d < 1; d += 0.1 {
			step++
			values := make([]float64, c.size)
			for i := range values {
				values[i] = float64(d)
			}
			put(rows, values)
			require.NoError(t, vm.RunAll())
			require.NoError(t, s.Step([]gorgonia.ValueGrad{weight}))
			vm.Reset()
			want += (rule(0, float64(d), step)) * 0.1 / lr // the recurrence has a rate of its own
		}
		for _, v := range get(w) {
			assert.InDelta(t, want, v, 8*float64(step)*eps(c.of))
			assert.InDelta(t, c.want, v, 1e-5)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// What is wrong with the stock solvers of Gorgonia v0.9.18, so that a fix
// shows up here: the documentation of Constrain rests on it.

// AdamW computes a step and drops it.
func TestStockAdamWMovesNothing(t *testing.T) {
	for _, of := range precisions {
		m := model(of, 1)
		before := weights(m)
		var nodes gorgonia.Nodes
		g := gorgonia.NewGraph()
		for _, p := range m {
			nodes = append(nodes, node(g, p))
		}
		s := gorgonia.NewAdamW(gorgonia.WithLearnRate(1))
		for step := range uint64(3) {
			gradients(m, step)
			require.NoError(t, s.Step(gorgonia.NodesToValueGrads(nodes)))
		}
		same(t, before, weights(m))

		// Ours does move, and Constrain does no worse than the stock solver.
		ours := solvers.NewAdamW(solvers.LearnRate(1))
		run(t, ours, m, 1)
		for _, p := range m {
			assert.NotEqual(t, before[p.name], get(p.w))
		}
	}
}

// AdamW takes no ValueGrad but nodes.
func TestStockAdamWWantsNodes(t *testing.T) {
	m := model(tensor.Float64, 1)
	gradients(m, 1)
	assert.Panics(t, func() { _ = gorgonia.NewAdamW().Step(valueGrads(m)) })
}

// AdaGrad has the options' fields, but no option reaches them.
func TestStockAdaGradIgnoresItsOptions(t *testing.T) {
	for _, of := range precisions {
		a, b := model(of, 1), model(of, 1)
		plain := gorgonia.NewAdaGradSolver()
		set := gorgonia.NewAdaGradSolver(gorgonia.WithLearnRate(1), gorgonia.WithClip(0.1), gorgonia.WithL2Reg(0.5), gorgonia.WithEps(0.1))
		for step := range uint64(3) {
			run(t, plain, a, step)
			run(t, set, b, step)
		}
		same(t, weights(a), weights(b))
	}
}

// Momentum has none on scalars: it does not store what it computed.
func TestStockMomentumForgetsScalars(t *testing.T) {
	for _, of := range precisions {
		s := gorgonia.NewMomentum(gorgonia.WithLearnRate(1), gorgonia.WithMomentum(0.5))
		p := scalar{number(of, 0), number(of, 0)}
		for range 2 {
			write(p.g, 1)
			require.NoError(t, s.Step([]gorgonia.ValueGrad{p}))
		}
		assert.Equal(t, -2.0, read(p.w), "with momentum it would be -2.5")
	}
}

// Momentum takes its L2 penalty of the velocity, so that the first step has
// none.
func TestStockMomentumDecaysTheVelocity(t *testing.T) {
	a, b := model(tensor.Float64, 1), model(tensor.Float64, 1)
	run(t, gorgonia.NewMomentum(), a, 1)
	run(t, gorgonia.NewMomentum(gorgonia.WithL2Reg(0.5)), b, 1)
	same(t, weights(a), weights(b))
}

// Barzilai and Borwein divide by the change of the gradient: none gives NaN,
// which Constrain stops.
func TestStockBarzilaiBorweinDividesByZero(t *testing.T) {
	m := model(tensor.Float64, 1)
	bare := gorgonia.NewBarzilaiBorweinSolver()
	run(t, bare, m, 1)
	run(t, bare, m, 1)
	assert.NotEqual(t, get(m[0].w), get(m[0].w), "NaN is not itself")

	m = model(tensor.Float64, 1)
	c := solvers.ConstrainWith(gorgonia.NewBarzilaiBorweinSolver(), solvers.Param("conv1", manifolds.Euclidean{}))
	run(t, c, m, 1)
	before := weights(m)
	gradients(m, 1)
	require.ErrorIs(t, c.Step(valueGrads(m)), solvers.ErrDiverged)
	same(t, before, weights(m))
}

// Barzilai and Borwein know float64 only, which Constrain passes on.
func TestStockBarzilaiBorweinIsFloat64(t *testing.T) {
	m := model(tensor.Float32, 1)
	gradients(m, 1)
	require.Error(t, gorgonia.NewBarzilaiBorweinSolver().Step(valueGrads(m)))
	before := weights(m)
	require.ErrorIs(t, solvers.ConstrainWith(gorgonia.NewBarzilaiBorweinSolver()).Step(valueGrads(m)), solvers.ErrStock)
	same(t, before, weights(m))
}

// NaN passes through all of them without a word, which is why Constrain looks
// first.
func TestStockSolversPassNaN(t *testing.T) {
	for _, s := range stocks {
		if !s.moves {
			continue
		}
		m := model(tensor.Float64, 1)
		gradients(m, 1)
		m[5].g.Float64s()[0] = nan
		require.NoError(t, s.make().Step(valueGrads(m)), s.name)
		assert.NotEqual(t, get(m[5].w), get(m[5].w), s.name)
	}
}

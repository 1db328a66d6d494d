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

// A nil node among the parameters is an error that says where it is, and nothing moves.
func TestNilNode(t *testing.T) {
	m := model(tensor.Float64, 1)
	gradients(m, 1)
	before := weights(m)
	with := append(valueGrads(m), gorgonia.NodesToValueGrads(gorgonia.Nodes{nil})...)
	for name, s := range map[string]gorgonia.Solver{
		"SGD": solvers.NewSGD(), "EMA": solvers.NewEMA(solvers.NewSGD(), 0.9), "Constrain": solvers.Constrain(gorgonia.NewVanillaSolver(), manifolds.Sphere{}),
	} {
		err := s.Step(with)
		require.ErrorIs(t, err, solvers.ErrParameter, name)
		assert.Contains(t, err.Error(), `"number 6"`, name)
		same(t, before, weights(m))
	}
}

// What no function of the package has made is an error, and so is a nil option of a manifold.
func TestZeroSolvers(t *testing.T) {
	m := model(tensor.Float64, 1)
	gradients(m, 1)
	before := weights(m)
	require.ErrorIs(t, (&solvers.Solver{}).Step(valueGrads(m)), solvers.ErrOption)
	require.ErrorIs(t, (&solvers.Solver{}).Init(valueGrads(m)), solvers.ErrOption)
	require.ErrorIs(t, (&solvers.Average{}).Step(valueGrads(m)), solvers.ErrOption)
	require.ErrorIs(t, (&solvers.Average{}).Swap(valueGrads(m)), solvers.ErrOption)
	same(t, before, weights(m))
	refuses(t, func() stepper { return solvers.NewSGD(solvers.Kernels(manifolds.Sphere{}, nil)) }, m, solvers.ErrOption, "Kernels: want a manifolds.Grouping")
}

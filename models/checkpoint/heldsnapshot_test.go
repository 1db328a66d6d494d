// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// A snapshot is written as its solver would be, more than once, and what is read restores a solver.
func TestHeldSnapshot(t *testing.T) {
	solver := func() *solvers.Solver {
		return solvers.NewSGD(solvers.Momentum(0.9), solvers.Kernels(manifolds.Stiefel{}))
	}
	path := filepath.Join(t.TempDir(), "run.safetensors")
	r := runOf(t, precisions[0], 1, solver())
	r.steps(t, 3)
	r.save(t, path)
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	var taken HeldSnapshot
	taken.Of, err = r.solver.Snapshot()
	require.NoError(t, err)
	for range 2 {
		require.NoError(t, Save(path, r.model, &taken, &r.loop))
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}

	other := runOf(t, precisions[0], 2, solver())
	var read HeldSnapshot
	require.NoError(t, Load(path, other.model, &read, &other.loop))
	require.NoError(t, other.solver.Restore(gorgonia.NodesToValueGrads(other.model.Learnables), read.Of))
	r.steps(t, 2)
	other.steps(t, 2)
	assert.Equal(t, r.memory(t), other.memory(t))

	assert.ErrorContains(t, Save(path, r.model, &HeldSnapshot{}, nil), "want a snapshot of the solver, got nil")
}

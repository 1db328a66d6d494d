// SPDX-License-Identifier: Apache-2.0

//go:build mpi

package mpi

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A process that MPI takes for the only one, though a launcher started more, is an error, not a run of its own.
func TestLauncherOfAnotherMPI(t *testing.T) {
	c, err := Join()
	if err != nil || c.Size() > 1 {
		t.Skip("a launcher started this test")
	}
	t.Setenv("SLURM_STEP_NUM_TASKS", "4")
	_, err = Join()
	require.Error(t, err)
	assert.Contains(t, err.Error(), "SLURM_STEP_NUM_TASKS=4")
	assert.Contains(t, err.Error(), "srun --mpi=pmix")
}

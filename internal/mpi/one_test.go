// SPDX-License-Identifier: Apache-2.0

//go:build !mpi

package mpi

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Without the tag there is one rank, and an error where a launcher started more.
func TestJoin(t *testing.T) {
	for _, v := range []string{"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS", "PMIX_RANK"} {
		t.Setenv(v, "")
	}
	for _, fine := range [][2]string{{"", ""}, {"OMPI_COMM_WORLD_SIZE", "1"}, {"SLURM_NTASKS", "4"}, {"PMIX_RANK", "0"}, {"PMI_SIZE", "none"}} {
		t.Run("one rank, "+fine[0], func(t *testing.T) {
			if fine[0] != "" {
				t.Setenv(fine[0], fine[1])
			}
			c, err := Join()
			require.NoError(t, err)
			assert.Equal(t, 1, c.Size())
			assert.Equal(t, 0, c.Rank())
			dst := make([]float32, 2)
			require.NoError(t, c.Sum32(dst, []float32{1, 2}))
			assert.Equal(t, []float32{1, 2}, dst)
			require.NoError(t, c.Close())
		})
	}
	for _, several := range [][2]string{{"OMPI_COMM_WORLD_SIZE", "2"}, {"PMI_SIZE", "16"}, {"SLURM_STEP_NUM_TASKS", "4"}, {"PMIX_RANK", "1"}} {
		t.Run("several, "+several[0], func(t *testing.T) {
			t.Setenv(several[0], several[1])
			_, err := Join()
			require.Error(t, err)
			assert.Contains(t, err.Error(), several[0]+"="+several[1])
			assert.Contains(t, err.Error(), "-tags mpi")
		})
	}
}

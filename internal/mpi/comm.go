// SPDX-License-Identifier: Apache-2.0

// Package mpi is the few collective operations of the Message Passing Interface that
// Kernelfold needs, by github.com/emer/empi under the build tag mpi, and for a single
// process without it.
package mpi

import (
	"fmt"
	"os"
	"strconv"
)

// Comm is a group of processes, its ranks, that call the same methods in the same order with slices of the same
// lengths: each call is made by all of them together. The slices are in memory of their own, that has no Go pointers. A
// Comm is not safe for concurrent use.
//
// When a rank dies, an engine ends the others: no method returns an error for it.
type Comm interface {
	Rank() int
	Size() int

	// Sum32 and Sum64 set dst to the sum of all ranks' src, the same on every rank. dst and src
	// do not overlap.
	Sum32(dst, src []float32) error
	Sum64(dst, src []float64) error
	// Gather sets dst, of Size times the length of src, to all ranks' src in their order.
	Gather(dst, src []byte) error
	// Broadcast sets b to that of the rank root.
	Broadcast(root int, b []byte) error
	// Close ends communication, once all ranks have called it.
	Close() error
}

// launched returns how many processes a launcher says that it started, and the variable that
// says so; 1 if none does.
//
// Open MPI's mpirun sets the first, MPICH's and Intel's the second (as does srun
// --mpi=pmi2), srun the third for the tasks of its step: SLURM_NTASKS will not do, since the batch script
// itself, which is one process, has it too.
func launched() (n int, variable string) {
	for _, v := range []string{"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"} {
		if n, err := strconv.Atoi(os.Getenv(v)); err == nil && n > 1 {
			return n, v
		}
	}
	if r, err := strconv.Atoi(os.Getenv("PMIX_RANK")); err == nil && r > 0 {
		return r + 1, "PMIX_RANK"
	}
	return 1, ""
}

// alone returns an error if a launcher started more than one process.
func alone(remedy string) error {
	if n, v := launched(); n > 1 {
		return fmt.Errorf("want one process, got %d (%s=%s): %s", n, v, os.Getenv(v), remedy)
	}
	return nil
}

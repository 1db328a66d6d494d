// SPDX-License-Identifier: Apache-2.0

// Package distributed trains one net on several processes, its ranks, which may be on several
// machines: each has a part of the batch, and all make the same step. A program changes one line,
//
//	solver := distributed.Average(group, solvers.NewSGD(solvers.Kernels(manifolds.Stiefel{})))
//
// where group is of the processes that mpirun or srun started:
//
//	group, err := distributed.Join()
//	...
//	defer group.Close()
//
// The processes speak by MPI, in programs that are built with -tags mpi. Without the tag, or
// without a launcher, the same program runs as one rank.
//
// # A step
//
// Before a step the solver that Average returns replaces the gradients by their mean over the ranks. With a part of
// the batch on each rank, all of one size, and a cost that is a mean over it, that is the gradient of the whole batch:
// a net without batch normalisation trains as on one rank, but for rounding. Batch normalisation sees the part of its
// rank.
//
// The work of a *solvers.Solver is shared: parameters with much to do, such as large filter banks on Stiefel, go to
// different ranks. Each moves its own, keeps the state of those alone, and tells the others where they went (stage 1 of
// ZeRO: Rajbhandari, Rasley, Ruwase, He, SC 2020). What is little work each rank does itself, and any other solver does
// everything on every rank.
//
// # Errors
//
// What fails on one rank is an error on every rank, a *RankError that names it, and a step that fails leaves the
// weights of all ranks as they were. So no rank waits for one that has given up, as long as all make the same
// calls. A program that fails alone should exit with a status other than 0 and without Close, as log.Fatal does: the
// launcher then ends the other ranks, as it does when a process dies.
package distributed

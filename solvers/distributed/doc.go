// SPDX-License-Identifier: Apache-2.0

// Package distributed trains one net on several processes, its ranks, which may be on several
// machines: each computes a part of the batch, and all make the same step. A program changes one line,
//
//	solver := distributed.Average(group, solvers.NewSGD(solvers.Kernels(manifolds.Stiefel{})))
//
// where group consists of the processes that mpirun or srun started:
//
//	group, err := distributed.Join()
//	...
//	defer group.Close()
//
// The processes communicate by MPI, in programs built with -tags mpi. Without the tag, or
// without a launcher, the same program runs as one rank.
//
// # A step
//
// Before a step the solver that Average returns replaces the gradients by their mean over the
// ranks. If the parts of the batch have the same size on all ranks, and the cost is a mean over the part,
// this mean is the gradient of the whole batch: a net without batch normalisation trains as on one rank, up
// to rounding. Batch normalisation normalises over the part of its rank.
//
// The work of a solver of package solvers is divided: parameters whose steps are costly, such as
// large filter banks on Stiefel, are distributed over the ranks. Each rank moves only its own parameters,
// keeps only their state, and sends the new weights to the others (stage 1 of ZeRO: Rajbhandari, Rasley,
// Ruwase, He, SC 2020). Every rank moves the cheap parameters itself. Any other solver makes the whole step
// on every rank.
//
// # Wrappers
//
// If your own solver wraps another, give it the method Unwrap() gorgonia.Solver. Average,
// package train and package checkpoint then find the state, the report and the learning rate of the
// solver inside. A wrapper with state of its own should have Snapshot and Restore as well. One that
// embeds a *solvers.Solver has its StepShare, which Average calls in place of Step: such a wrapper
// should hold the solver in a field instead.
//
// # Errors
//
// A failure on one rank is an error on every rank, a *RankError that names the rank. A step that fails leaves
// the weights of all ranks unchanged. As long as all ranks make the same calls, none waits for one that has
// failed. A program that fails on one rank only should exit with a status other than 0 and without Close, as
// log.Fatal does: the launcher then ends the other ranks, as it does when a process dies.
package distributed

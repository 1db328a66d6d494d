// SPDX-License-Identifier: Apache-2.0

// Package solvers has optimisers that keep convolution kernels on a manifold.
// They implement gorgonia.Solver, so that a Gorgonia program changes one line:
//
//	solver := solvers.NewSGD(solvers.LearnRate(0.1), solvers.Momentum(0.9), solvers.Kernels(manifolds.Stiefel{}))
//
// or keeps its solver and wraps it:
//
//	solver := solvers.Constrain(gorgonia.NewAdamSolver(), manifolds.Stiefel{})
//
// and nothing else. In its loop, after the machine has run:
//
//	err := solver.Step(gorgonia.NodesToValueGrads(learnables))
//	...
//	fmt.Println(solver.Report()) // what was constrained, to what, and how far it is from the manifold
//
// Kernels constrains every convolution kernel; Natural constrains the factors of
// orthogonal convolutions; Param and Where constrain other parameters, or free some. Everything else is unconstrained, and there each
// solver is its textbook form: without Kernels they also replace the stock
// solvers. Groupings and scales follow the manifold, as in
//
//	solvers.Kernels(manifolds.Sphere{}, manifolds.PerSlice, manifolds.Unit)
//
// # Contract
//
// Step validates every parameter and gradient, moves every parameter, and zeroes
// its gradient. It is atomic: an error names the parameter, what was
// wanted and what came, and leaves weights, gradients and state as before.
// State belongs to a parameter, whatever its place in the slice. The first Step
// projects weights that are not on their manifold, and re-projects later what
// drifts past the Tolerance; each step measures one parameter in turn.
//
// In each step, for each parameter: the Euclidean gradient is divided by
// BatchSize, clamped by ClipValue and scaled by ClipNorm; the Rule (SGD, Adam)
// makes a tangent direction of it; WeightDecay is added; the parameter is
// retracted along minus the learning rate times the direction, over the factor of
// GeometricStep; the state is transported.
//
// Minimize is for full batches. It has line searches in place of a learning rate: L-BFGS, conjugate
// gradients and gradient descent. CheckGradient checks the gradient of a cost.
//
// # More
//
// Snapshot and Restore carry a solver from one program to the next, to the bit;
// models/checkpoint writes them to disk. A solver of your own is a Rule, handed to
// New: docs/adding-a-solver.md makes one. docs/solvers.md has the equations with their
// sources, docs/migration.md the way from each stock solver, and
// docs/troubleshooting.md what to look at when a run goes wrong.
package solvers

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
// The rest of the program stays the same. In its loop, after the machine has run:
//
//	err := solver.Step(gorgonia.NodesToValueGrads(learnables))
//	...
//	fmt.Println(solver.Report()) // what was constrained, to what, and how far it is from the manifold
//
// Kernels constrains every convolution kernel; Natural constrains the factors of orthogonal convolutions; Param
// and Where constrain other parameters, or leave some unconstrained. On unconstrained parameters each solver is
// the usual textbook algorithm, so without Kernels these solvers also replace the stock ones. Groupings and
// scales follow the manifold, as in
//
//	solvers.Kernels(manifolds.Sphere{}, manifolds.PerSlice, manifolds.Unit)
//
// # Contract
//
// Step validates every parameter and gradient, moves every parameter, and zeroes
// its gradient. It is atomic: an error names the parameter and says what was wanted and what was found, and
// weights, gradients and state are as before. State belongs to a parameter, whatever its position in the slice.
// The first Step projects weights that are not on their manifold. Later steps measure one parameter each, in
// turn, and project it again if it has drifted past the Tolerance.
//
// In each step, for each parameter: the Euclidean gradient is divided by
// BatchSize, clamped by ClipValue and scaled by ClipNorm; the Rule (SGD, Adam) turns it into a tangent
// direction; WeightDecay is added; the parameter is retracted along the direction times minus the learning
// rate, divided by the factor of GeometricStep; the state is transported.
//
// Minimize is for full batches. It runs L-BFGS, conjugate gradients or gradient descent, with line searches
// instead of a learning rate. CheckGradient checks the gradient of a cost.
//
// # More
//
// Snapshot and Restore save the state of a solver and restore it bit for bit; models/checkpoint writes it to
// disk. To make your own solver, write a Rule and pass it to New: docs/adding-a-solver.md is a worked example.
// docs/solvers.md has the equations with their sources, docs/migration.md describes how to replace each stock
// solver, and docs/troubleshooting.md how to diagnose a run that goes wrong.
package solvers

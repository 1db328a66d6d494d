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
// Kernels constrains every convolution kernel; Param and Where constrain other
// parameters, or free some. Everything else is unconstrained, and there each
// solver is its textbook form: without Kernels they also replace the stock
// solvers. Report tells what was constrained, and how.
//
// # Contract
//
// Step validates every parameter and gradient, moves every parameter, and zeroes
// its gradient. It is all or nothing: an error names the parameter, what was
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
// A solver of one's own is a Rule, handed to New.
package solvers

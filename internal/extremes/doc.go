// SPDX-License-Identifier: Apache-2.0

// Package extremes tests the solvers with extreme numbers. It has a grid of cases (SGD, Adam,
// AMSGrad, Adagrad, RMSProp and Constrain on every manifold but ensembles, with most retractions,
// in every grouping and precision, with weights from 1e-30 to 1e30, gradients from 0 to 1e30 and
// learning rates from 0 to 1e25); an oracle that predicts one step of a solver in float64, written
// from the formulas and independent of the code that it judges; and a judge that uses only the
// public API of the solvers.
//
// Every step must end in one of two ways. Either it returns nil; then the weights and the state are
// correct and the weights on the manifold within a multiple of eps times the conditioning of the
// step, and the gradients are zero. Or it returns a typed error that names the parameter and has a
// reason (see Reason); then weights, gradients and state have the same bits as before.
//
// The conditioning is that of the exact step with respect to relative errors of eps in the weights,
// the gradient and the state. For a step from x on a sphere of radius r it is
//
//	kappa = 1 + (1 + a) / (|x + v| / r),  a = rate |d| / r,
//
// where v is the tangent step and |d| the sum of the norms of the terms of the direction before the
// tangent projection. Along a geodesic nothing is divided by |x + v|, and it is 1 + (1 + a). On
// Stiefel the smallest singular value of x + v takes the place of |x + v|. Where kappa eps reaches
// the diameter of the manifold, the inputs do not determine the end of the step. The point must
// then be on the manifold and must have moved, unless the direction is only rounding.
//
// With zero gradients and no momentum, or with a learning rate of 0, weights on the manifold may
// change by rounding errors, because a retraction of length 0 normalises them again.
//
// No other package imports this one. `go test` runs a sample. This command runs the whole grid:
//
//	KERNELFOLD_LONG=1 go test -run Extremes -timeout 0 ./internal/extremes -extremes.parts 1 -extremes.out table.md
//
// The flag -extremes.case replays one case by the name that a failure prints.
package extremes

// SPDX-License-Identifier: Apache-2.0

// Package extremes judges the solvers at the ends of what numbers can hold. It
// holds a grid of cases (every solver, manifold, grouping, retraction and
// precision, with weights from 1e-30 to 1e30, gradients from 0 to 1e30 and
// learning rates from 0 to 1e25), an oracle of one solver step in float64,
// written from the formulas and apart from the code it judges, and a judge that
// knows the solvers through their public API only.
//
// Every step must end in one of two ways. Either it returns nil, and the weights,
// the state and the manifold are right within a multiple of eps times the
// conditioning of the step, and the gradients are zero; or it returns a typed
// error that names the parameter, there is a reason for it (see Reason), and
// weights, gradients and state are as before, to the bit.
//
// The conditioning is that of the exact step with respect to relative errors of eps in the
// weights, the gradient and the state: for a step from x on a sphere of radius r,
//
//	kappa = 1 + (1 + a) / (|x + v| / r),  a = rate |d| / r,
//
// d the sum of the sizes of what is added up to the direction before its normal part is taken
// off, v the tangent step; along a geodesic, where nothing is divided by |x + v|,
// 1 + (1 + a). On Stiefel the least singular value of x + v takes the place of |x + v|. Where
// kappa eps reaches the diameter of the manifold the inputs do not determine where the
// step ends; then the point must be on the manifold and must not be where it was, unless the
// direction is rounding.
//
// Zero gradients without momentum, and a learning rate of 0, leave weights that are on
// their manifold as they are to rounding, not to the bit: a retraction of length 0 may
// still take off what rounding left.
//
// No other package imports this one. `go test` runs a sample. The whole grid is
// a command:
//
//	KERNELFOLD_LONG=1 go test -run Extremes -timeout 0 ./internal/extremes -extremes.parts 1 -extremes.out table.md
//
// The flag -extremes.case replays one case by the name that a failure prints.
package extremes

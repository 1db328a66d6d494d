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
// No other package imports this one. `go test` runs a sample. The whole grid is
// a command:
//
//	KERNELFOLD_LONG=1 go test -run Extremes -timeout 0 ./internal/extremes -extremes.parts 1 -extremes.out table.md
//
// The flag -extremes.case replays one case by the name that a failure prints.
package extremes

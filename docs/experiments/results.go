// SPDX-License-Identifier: Apache-2.0

// Package experiments holds results that examples/ranks reads wherever it is run.
package experiments

import "embed"

// Ranks are the measurements of TestMeasure of solvers/distributed on 1, 2 and 4 ranks: ranks-1.json, ranks-2.json, ranks-4.json.
//
//go:embed ranks-1.json ranks-2.json ranks-4.json
var Ranks embed.FS

// SPDX-License-Identifier: Apache-2.0

//go:build race

package solvers_test

import "gorgonia.org/tensor"

// Under the race detector, which is slow and looks for what precision does not change, the tables of tests run in one.
func init() { precisions = []tensor.Dtype{tensor.Float32} }

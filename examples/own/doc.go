// SPDX-License-Identifier: Apache-2.0

// Package own shows what your own program adds for its own manifold and solver: a file and a test for each. docs/adding-a-manifold.md and
// docs/adding-a-solver.md explain them line by line.
//
//	go test -v ./examples/own
package own

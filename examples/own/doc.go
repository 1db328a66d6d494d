// SPDX-License-Identifier: Apache-2.0

// Package own is what a program of yours adds when it brings a manifold and a
// solver: a file and a test for each. docs/adding-a-manifold.md and
// docs/adding-a-solver.md explain them line by line.
//
//	go test -v ./examples/own
package own

// SPDX-License-Identifier: Apache-2.0

// Package importtest holds the test that importing Kernelfold is enough to
// start Gorgonia on a current Go. It has no code of its own.
//
// Gorgonia asks for a version of go4.org/unsafe/assume-no-moving-gc that panics
// at start on any Go newer than itself. Our go.mod requires a version that does
// not, and the go command selects for a program the highest version that any of
// its modules requires. See docs/gorgonia.md.
package importtest

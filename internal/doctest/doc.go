// SPDX-License-Identifier: Apache-2.0

// Package doctest holds the tests of the pages of this repository: every block
// of Go in them compiles, and every link leads somewhere. It has no code of its
// own.
package doctest

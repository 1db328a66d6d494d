// SPDX-License-Identifier: Apache-2.0

// Package doctest holds the tests of the pages of this repository: every block
// of Go in them compiles or is a part of a file, every link leads somewhere,
// commands name packages, flags and tests that there are, and from the README
// there is a way to every page and every package. It has no code of its own.
package doctest

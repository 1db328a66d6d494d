// SPDX-License-Identifier: Apache-2.0

// Package doctest holds the tests of the pages of this repository: every block
// of Go compiles or is a part of a file, docs/start.md works as it stands, every
// link leads somewhere, commands name existing packages, flags and tests, and
// links from the README lead to every page and every package. It has no code
// of its own.
package doctest

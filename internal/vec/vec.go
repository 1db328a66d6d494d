// SPDX-License-Identifier: Apache-2.0

// Package vec holds the vector kernels that every other package is built on.
//
// Sums run in float64 for both precisions, so that the square of no float32
// overflows or vanishes. Slices of one call have one length; dst may be an
// argument.
//
// What is not a sum has the same bits at every level of [cpu.Level]: a product is
// rounded before it is added to. Sums differ in their order.
package vec

// Float is the set of precisions.
type Float interface{ float32 | float64 }

// Eps returns the distance from 1 to the next larger T.
func Eps[T Float]() float64 {
	if T(1)+T(1e-9) == 1 {
		return 0x1p-23
	}
	return 0x1p-52
}

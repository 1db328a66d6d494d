// SPDX-License-Identifier: Apache-2.0

// Package vec holds the vector kernels that every other package is built on.
//
// Sums run in float64 for both precisions, so squares of float32 numbers neither overflow nor
// vanish. All slices of a call have the same length; dst may be one of the arguments.
//
// Results that are not sums have the same bits at every [cpu.Level], because products are rounded
// before anything is added to them. Sums may differ, because the order of addition does.
package vec

import "unsafe"

// Float is the set of precisions.
type Float interface{ float32 | float64 }

// Double reports whether T is float64.
func Double[T Float]() bool { return unsafe.Sizeof(T(0)) == 8 }

// Eps returns the distance from 1 to the next larger T.
func Eps[T Float]() float64 {
	if Double[T]() {
		return 0x1p-52
	}
	return 0x1p-23
}

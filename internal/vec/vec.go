// SPDX-License-Identifier: Apache-2.0

// Package vec holds the vector kernels that every other package is built on.
//
// Sums run in float64 for both precisions, so squares of float32 numbers neither overflow nor
// vanish. All slices of a call have the same length; dst may be one of the arguments.
//
// Results that are not sums have the same bits at every [cpu.Level], because products are rounded
// before anything is added to them. Sums may differ, because the order of addition does, and so may
// the sign of a zero that is a maximum of zeros.
package vec

import (
	"unsafe"

	"github.com/kernelfold/kernelfold/internal/cpu"
)

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

// Pointer32 returns the address of the first element for assembly in float32, which T must be.
func Pointer32[T Float](x []T) *float32 { return (*float32)(unsafe.Pointer(unsafe.SliceData(x))) }

// Pointer64 is Pointer32 for float64.
func Pointer64[T Float](x []T) *float64 { return (*float64)(unsafe.Pointer(unsafe.SliceData(x))) }

// Float32s returns x itself, where T is float32.
func Float32s[T Float](x []T) []float32 { return unsafe.Slice(Pointer32(x), len(x)) }

// whole returns how many of n elements kernels process: all with AVX-512, whole vectors with AVX2 and
// NEON, none without.
func whole[T Float](n int) int {
	switch cpu.Use {
	case cpu.Portable:
		return 0
	case cpu.AVX512:
		return n
	}
	return n &^ (cpu.Use.Bytes()/int(unsafe.Sizeof(T(0))) - 1)
}

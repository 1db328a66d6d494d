// SPDX-License-Identifier: Apache-2.0

//go:build arm64 && !noasm

package vec

import (
	"unsafe"

	"github.com/kernelfold/kernelfold/internal/cpu"
)

// Each function below runs a kernel on a whole number of vectors and returns the number of elements.

// kernel is a precision, or none if NEON is not in use.
type kernel int

const (
	none kernel = iota
	neon32
	neon64
)

// choose returns the kernel for n elements, and the number of elements that it processes.
func choose[T Float](n int) (kernel, int) {
	switch {
	case cpu.Use != cpu.NEON:
		return none, 0
	case Double[T]():
		return neon64, n &^ 1
	}
	return neon32, n &^ 3
}

func single[T Float](x []T) *float32 { return (*float32)(unsafe.Pointer(unsafe.SliceData(x))) }

func double[T Float](x []T) *float64 { return (*float64)(unsafe.Pointer(unsafe.SliceData(x))) }

func dotKernel[T Float](x, y []T) (done int, s float64) {
	k, n := choose[T](len(x))
	switch k {
	case neon32:
		s = dot32NEON(single(x), single(y), n)
	case neon64:
		s = dot64NEON(double(x), double(y), n)
	}
	return n, s
}

func sumKernel[T Float](x []T) (done int, s float64) {
	k, n := choose[T](len(x))
	switch k {
	case neon32:
		s = sum32NEON(single(x), n)
	case neon64:
		s = sum64NEON(double(x), n)
	}
	return n, s
}

func dotShiftKernel[T Float](x, y []T, mean float64) (done int, sum, dot float64) {
	k, n := choose[T](len(x))
	switch k {
	case neon32:
		sum, dot = dotShift32NEON(single(x), single(y), n, mean)
	case neon64:
		sum, dot = dotShift64NEON(double(x), double(y), n, mean)
	}
	return n, sum, dot
}

func squareShiftKernel[T Float](x []T, mean float64) (done int, s float64) {
	k, n := choose[T](len(x))
	switch k {
	case neon32:
		s = squareShift32NEON(single(x), n, mean)
	case neon64:
		s = squareShift64NEON(double(x), n, mean)
	}
	return n, s
}

func maxAbsKernel[T Float](x []T) (done int, top T) {
	k, n := choose[T](len(x))
	switch k {
	case neon32:
		top = T(maxAbs32NEON(single(x), n))
	case neon64:
		top = T(maxAbs64NEON(double(x), n))
	}
	return n, top
}

func affineKernel[T Float](dst, x []T, a, b T) (done int) {
	k, n := choose[T](len(dst))
	switch k {
	case neon32:
		affine32NEON(single(dst), single(x), n, float32(a), float32(b))
	case neon64:
		affine64NEON(double(dst), double(x), n, float64(a), float64(b))
	}
	return n
}

func affine2Kernel[T Float](dst, x, y []T, a, b, c T) (done int) {
	k, n := choose[T](len(dst))
	switch k {
	case neon32:
		affine232NEON(single(dst), single(x), single(y), n, float32(a), float32(b), float32(c))
	case neon64:
		affine264NEON(double(dst), double(x), double(y), n, float64(a), float64(b), float64(c))
	}
	return n
}

func rectifyKernel[T Float](dst, x []T) (done int) {
	k, n := choose[T](len(dst))
	switch k {
	case neon32:
		rectify32NEON(single(dst), single(x), n)
	case neon64:
		rectify64NEON(double(dst), double(x), n)
	}
	return n
}

func rectifyBackKernel[T Float](dst, y, g []T) (done int) {
	k, n := choose[T](len(dst))
	switch k {
	case neon32:
		rectifyBack32NEON(single(dst), single(y), single(g), n)
	case neon64:
		rectifyBack64NEON(double(dst), double(y), double(g), n)
	}
	return n
}

func maxPairsKernel[T Float](dst, r0, r1 []T) (done int) {
	k, n := choose[T](len(dst))
	switch k {
	case neon32:
		maxPairs32NEON(single(dst), single(r0), single(r1), n)
	case neon64:
		maxPairs64NEON(double(dst), double(r0), double(r1), n)
	}
	return n
}

func maxPairsBackKernel[T Float](d0, d1, r0, r1, y, g []T) (done int) {
	k, n := choose[T](len(y))
	switch k {
	case neon32:
		maxPairsBack32NEON(single(d0), single(d1), single(r0), single(r1), single(y), single(g), n)
	case neon64:
		maxPairsBack64NEON(double(d0), double(d1), double(r0), double(r1), double(y), double(g), n)
	}
	return n
}

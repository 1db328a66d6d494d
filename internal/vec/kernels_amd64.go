// SPDX-License-Identifier: Apache-2.0

//go:build amd64 && !noasm

package vec

import (
	"unsafe"

	"github.com/kernelfold/kernelfold/internal/cpu"
)

// Each function below runs a kernel on the first elements and returns their number: all elements
// with AVX-512, a whole number of vectors with AVX2, and none without either.

// kernel is an instruction set and a precision: narrow is AVX2 and wide is AVX-512.
type kernel int

const (
	none kernel = iota
	narrow32
	narrow64
	wide32
	wide64
)

// choose returns the kernel for n elements, and the number of elements that it processes.
func choose[T Float](n int) (kernel, int) {
	switch single := unsafe.Sizeof(T(0)) == 4; {
	case cpu.Use == cpu.AVX512 && single:
		return wide32, n
	case cpu.Use == cpu.AVX512:
		return wide64, n
	case cpu.Use == cpu.AVX2 && single:
		return narrow32, n &^ 7
	case cpu.Use == cpu.AVX2:
		return narrow64, n &^ 3
	}
	return none, 0
}

func single[T Float](x []T) *float32 { return (*float32)(unsafe.Pointer(unsafe.SliceData(x))) }

func double[T Float](x []T) *float64 { return (*float64)(unsafe.Pointer(unsafe.SliceData(x))) }

func dotKernel[T Float](x, y []T) (done int, s float64) {
	k, n := choose[T](len(x))
	switch k {
	case narrow32:
		s = dot32AVX2(single(x), single(y), n)
	case narrow64:
		s = dot64AVX2(double(x), double(y), n)
	case wide32:
		s = dot32AVX512(single(x), single(y), n)
	case wide64:
		s = dot64AVX512(double(x), double(y), n)
	}
	return n, s
}

func sumKernel[T Float](x []T) (done int, s float64) {
	k, n := choose[T](len(x))
	switch k {
	case narrow32:
		s = sum32AVX2(single(x), n)
	case narrow64:
		s = sum64AVX2(double(x), n)
	case wide32:
		s = sum32AVX512(single(x), n)
	case wide64:
		s = sum64AVX512(double(x), n)
	}
	return n, s
}

func dotShiftKernel[T Float](x, y []T, mean float64) (done int, sum, dot float64) {
	k, n := choose[T](len(x))
	switch k {
	case narrow32:
		sum, dot = dotShift32AVX2(single(x), single(y), n, mean)
	case narrow64:
		sum, dot = dotShift64AVX2(double(x), double(y), n, mean)
	case wide32:
		sum, dot = dotShift32AVX512(single(x), single(y), n, mean)
	case wide64:
		sum, dot = dotShift64AVX512(double(x), double(y), n, mean)
	}
	return n, sum, dot
}

func squareShiftKernel[T Float](x []T, mean float64) (done int, s float64) {
	k, n := choose[T](len(x))
	switch k {
	case narrow32:
		s = squareShift32AVX2(single(x), n, mean)
	case narrow64:
		s = squareShift64AVX2(double(x), n, mean)
	case wide32:
		s = squareShift32AVX512(single(x), n, mean)
	case wide64:
		s = squareShift64AVX512(double(x), n, mean)
	}
	return n, s
}

func maxAbsKernel[T Float](x []T) (done int, top T) {
	k, n := choose[T](len(x))
	switch k {
	case narrow32:
		top = T(maxAbs32AVX2(single(x), n))
	case narrow64:
		top = T(maxAbs64AVX2(double(x), n))
	case wide32:
		top = T(maxAbs32AVX512(single(x), n))
	case wide64:
		top = T(maxAbs64AVX512(double(x), n))
	}
	return n, top
}

func affineKernel[T Float](dst, x []T, a, b T) (done int) {
	k, n := choose[T](len(dst))
	switch k {
	case narrow32:
		affine32AVX2(single(dst), single(x), n, float32(a), float32(b))
	case narrow64:
		affine64AVX2(double(dst), double(x), n, float64(a), float64(b))
	case wide32:
		affine32AVX512(single(dst), single(x), n, float32(a), float32(b))
	case wide64:
		affine64AVX512(double(dst), double(x), n, float64(a), float64(b))
	}
	return n
}

func affine2Kernel[T Float](dst, x, y []T, a, b, c T) (done int) {
	k, n := choose[T](len(dst))
	switch k {
	case narrow32:
		affine232AVX2(single(dst), single(x), single(y), n, float32(a), float32(b), float32(c))
	case narrow64:
		affine264AVX2(double(dst), double(x), double(y), n, float64(a), float64(b), float64(c))
	case wide32:
		affine232AVX512(single(dst), single(x), single(y), n, float32(a), float32(b), float32(c))
	case wide64:
		affine264AVX512(double(dst), double(x), double(y), n, float64(a), float64(b), float64(c))
	}
	return n
}

func rectifyKernel[T Float](dst, x []T) (done int) {
	k, n := choose[T](len(dst))
	switch k {
	case narrow32:
		rectify32AVX2(single(dst), single(x), n)
	case narrow64:
		rectify64AVX2(double(dst), double(x), n)
	case wide32:
		rectify32AVX512(single(dst), single(x), n)
	case wide64:
		rectify64AVX512(double(dst), double(x), n)
	}
	return n
}

func rectifyBackKernel[T Float](dst, y, g []T) (done int) {
	k, n := choose[T](len(dst))
	switch k {
	case narrow32:
		rectifyBack32AVX2(single(dst), single(y), single(g), n)
	case narrow64:
		rectifyBack64AVX2(double(dst), double(y), double(g), n)
	case wide32:
		rectifyBack32AVX512(single(dst), single(y), single(g), n)
	case wide64:
		rectifyBack64AVX512(double(dst), double(y), double(g), n)
	}
	return n
}

func maxPairsKernel[T Float](dst, r0, r1 []T) (done int) {
	k, n := choose[T](len(dst))
	switch k {
	case narrow32:
		maxPairs32AVX2(single(dst), single(r0), single(r1), n)
	case narrow64:
		maxPairs64AVX2(double(dst), double(r0), double(r1), n)
	case wide32:
		maxPairs32AVX512(single(dst), single(r0), single(r1), n)
	case wide64:
		maxPairs64AVX512(double(dst), double(r0), double(r1), n)
	}
	return n
}

func maxPairsBackKernel[T Float](d0, d1, r0, r1, y, g []T) (done int) {
	k, n := choose[T](len(y))
	switch k {
	case narrow32:
		maxPairsBack32AVX2(single(d0), single(d1), single(r0), single(r1), single(y), single(g), n)
	case narrow64:
		maxPairsBack64AVX2(double(d0), double(d1), double(r0), double(r1), double(y), double(g), n)
	case wide32:
		maxPairsBack32AVX512(single(d0), single(d1), single(r0), single(r1), single(y), single(g), n)
	case wide64:
		maxPairsBack64AVX512(double(d0), double(d1), double(r0), double(r1), double(y), double(g), n)
	}
	return n
}

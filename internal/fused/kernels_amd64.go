// SPDX-License-Identifier: Apache-2.0

//go:build amd64 && !noasm

package fused

import (
	"unsafe"

	"github.com/kernelfold/kernelfold/internal/cpu"
	"github.com/kernelfold/kernelfold/internal/descent"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Each function below runs a kernel. It reports whether there is one for this machine.

// kernel is an instruction set and a precision: narrow is AVX2 and wide is AVX-512.
type kernel int

const (
	none kernel = iota
	narrow32
	narrow64
	wide32
	wide64
)

func choose[T vec.Float]() kernel {
	switch single := unsafe.Sizeof(T(0)) == 4; {
	case cpu.Use == cpu.AVX512 && single:
		return wide32
	case cpu.Use == cpu.AVX512:
		return wide64
	case cpu.Use == cpu.AVX2 && single:
		return narrow32
	case cpu.Use == cpu.AVX2:
		return narrow64
	}
	return none
}

// groupOfNine returns the number of points of 9 elements that a kernel processes at once, or 0 if
// there is no kernel.
func groupOfNine[T vec.Float]() int {
	switch choose[T]() {
	case narrow32:
		return 8
	case wide32:
		return 16
	}
	return 0
}

// singles returns x, whose elements must be float32.
func singles[T vec.Float](x []T) []float32 { return unsafe.Slice(single(x), len(x)) }

// stepOfNine makes the step for groups of points. It stops after a group with a long step and
// returns the number of groups that it has moved.
func stepOfNine(x, m, g []float32, lanes int, n *nineStep, r *nineState, tangent bool) int {
	k, terms, state := len(x)/(nine*lanes), &n.terms[0], (*float32)(unsafe.Pointer(r))
	if lanes == 8 {
		return stepOfNine32AVX2(&x[0], &m[0], &g[0], k, terms, state, tangent)
	}
	return stepOfNine32AVX512(&x[0], &m[0], &g[0], k, terms, state, tangent)
}

func single[T vec.Float](x []T) *float32 { return (*float32)(unsafe.Pointer(unsafe.SliceData(x))) }

func double[T vec.Float](x []T) *float64 { return (*float64)(unsafe.Pointer(unsafe.SliceData(x))) }

func (w *work[T]) momentsKernel(x, m, g []T, n, k int, o Sphere, s descent.Step) bool {
	kernel := choose[T]()
	switch kernel {
	case narrow32:
		moments32AVX2(single(x), single(m), single(g), n, k, float32(s.Ahead), float32(s.Slope), o.Centred, &w.sums[0][0])
	case narrow64:
		moments64AVX2(double(x), double(m), double(g), n, k, float64(s.Ahead), float64(s.Slope), o.Centred, &w.sums[0][0])
	case wide32:
		moments32AVX512(single(x), single(m), single(g), n, k, float32(s.Ahead), float32(s.Slope), o.Centred, &w.sums[0][0])
	case wide64:
		moments64AVX512(double(x), double(m), double(g), n, k, float64(s.Ahead), float64(s.Slope), o.Centred, &w.sums[0][0])
	}
	return kernel != none
}

func (w *work[T]) blendsKernel(k int) bool {
	for i := k; i%8 != 0; i++ {
		// The kernel processes whole vectors: fill the last with a point that does not move.
		w.sums[sumXX][i] = 1 / w.terms[inverseSquare][0]
		for j := sumXD; j <= sumD; j++ {
			w.sums[j][i] = 0
		}
	}
	switch choose[T]() {
	case narrow32:
		blends32AVX2(&w.terms[0][0], &w.sums[0][0], k, single(w.blend[0][:]))
	case narrow64:
		blends64AVX2(&w.terms[0][0], &w.sums[0][0], k, double(w.blend[0][:]))
	case wide32:
		blends32AVX512(&w.terms[0][0], &w.sums[0][0], k, single(w.blend[0][:]))
	case wide64:
		blends64AVX512(&w.terms[0][0], &w.sums[0][0], k, double(w.blend[0][:]))
	default:
		return false
	}
	return true
}

func (w *work[T]) applyKernel(x, m, g []T, n, k int, s descent.Step) bool {
	kernel := choose[T]()
	switch kernel {
	case narrow32:
		apply32AVX2(single(x), single(m), single(g), n, k, float32(s.Ahead), float32(s.Slope), float32(s.Keep), float32(s.Take), s.Tangent, single(w.blend[0][:]))
	case narrow64:
		apply64AVX2(double(x), double(m), double(g), n, k, float64(s.Ahead), float64(s.Slope), float64(s.Keep), float64(s.Take), s.Tangent, double(w.blend[0][:]))
	case wide32:
		apply32AVX512(single(x), single(m), single(g), n, k, float32(s.Ahead), float32(s.Slope), float32(s.Keep), float32(s.Take), s.Tangent, single(w.blend[0][:]))
	case wide64:
		apply64AVX512(double(x), double(m), double(g), n, k, float64(s.Ahead), float64(s.Slope), float64(s.Keep), float64(s.Take), s.Tangent, double(w.blend[0][:]))
	}
	return kernel != none
}

func (w *work[T]) columnMomentsKernel(x, m, g []T, rows, stride, cols int, o Sphere, s descent.Step) bool {
	kernel := choose[T]()
	switch kernel {
	case narrow32:
		momentsOfColumns32AVX2(single(x), single(m), single(g), rows, stride, cols, float32(s.Ahead), float32(s.Slope), o.Centred, &w.sums[0][0])
	case narrow64:
		momentsOfColumns64AVX2(double(x), double(m), double(g), rows, stride, cols, float64(s.Ahead), float64(s.Slope), o.Centred, &w.sums[0][0])
	case wide32:
		momentsOfColumns32AVX512(single(x), single(m), single(g), rows, stride, cols, float32(s.Ahead), float32(s.Slope), o.Centred, &w.sums[0][0])
	case wide64:
		momentsOfColumns64AVX512(double(x), double(m), double(g), rows, stride, cols, float64(s.Ahead), float64(s.Slope), o.Centred, &w.sums[0][0])
	}
	return kernel != none
}

func (w *work[T]) columnApplyKernel(x, m, g []T, rows, stride, cols int, s descent.Step) bool {
	kernel := choose[T]()
	switch kernel {
	case narrow32:
		applyToColumns32AVX2(single(x), single(m), single(g), rows, stride, cols, float32(s.Ahead), float32(s.Slope), float32(s.Keep), float32(s.Take), s.Tangent, single(w.blend[0][:]))
	case narrow64:
		applyToColumns64AVX2(double(x), double(m), double(g), rows, stride, cols, float64(s.Ahead), float64(s.Slope), float64(s.Keep), float64(s.Take), s.Tangent, double(w.blend[0][:]))
	case wide32:
		applyToColumns32AVX512(single(x), single(m), single(g), rows, stride, cols, float32(s.Ahead), float32(s.Slope), float32(s.Keep), float32(s.Take), s.Tangent, single(w.blend[0][:]))
	case wide64:
		applyToColumns64AVX512(double(x), double(m), double(g), rows, stride, cols, float64(s.Ahead), float64(s.Slope), float64(s.Keep), float64(s.Take), s.Tangent, double(w.blend[0][:]))
	}
	return kernel != none
}

func flatKernel[T vec.Float](x, m, g []T, s descent.Step, shrink float64) (square float64, done bool) {
	switch choose[T]() {
	case narrow32:
		square = flat32AVX2(single(x), single(m), single(g), len(x), float32(s.Ahead), float32(s.Slope), float32(s.Keep), float32(s.Take), float32(shrink), float32(s.Rate))
	case narrow64:
		square = flat64AVX2(double(x), double(m), double(g), len(x), float64(s.Ahead), float64(s.Slope), float64(s.Keep), float64(s.Take), float64(shrink), float64(s.Rate))
	case wide32:
		square = flat32AVX512(single(x), single(m), single(g), len(x), float32(s.Ahead), float32(s.Slope), float32(s.Keep), float32(s.Take), float32(shrink), float32(s.Rate))
	case wide64:
		square = flat64AVX512(double(x), double(m), double(g), len(x), float64(s.Ahead), float64(s.Slope), float64(s.Keep), float64(s.Take), float64(shrink), float64(s.Rate))
	default:
		return 0, false
	}
	return square, true
}

func adamKernel[T vec.Float](x, m, s, largest, g []T, a AdamStep) (square float64, done bool) {
	switch choose[T]() {
	case narrow32:
		square = adam32AVX2(single(x), single(m), single(s), single(largest), single(g), len(x), float32(a.Slope), float32(a.Beta1), float32(1-a.Beta1), float32(a.Beta2), float32(1-a.Beta2), float32(1/a.Correct1), float32(1/a.Correct2), float32(a.Eps), float32(a.Shrink), float32(a.Rate))
	case narrow64:
		square = adam64AVX2(double(x), double(m), double(s), double(largest), double(g), len(x), float64(a.Slope), float64(a.Beta1), float64(1-a.Beta1), float64(a.Beta2), float64(1-a.Beta2), float64(1/a.Correct1), float64(1/a.Correct2), float64(a.Eps), float64(a.Shrink), float64(a.Rate))
	case wide32:
		square = adam32AVX512(single(x), single(m), single(s), single(largest), single(g), len(x), float32(a.Slope), float32(a.Beta1), float32(1-a.Beta1), float32(a.Beta2), float32(1-a.Beta2), float32(1/a.Correct1), float32(1/a.Correct2), float32(a.Eps), float32(a.Shrink), float32(a.Rate))
	case wide64:
		square = adam64AVX512(double(x), double(m), double(s), double(largest), double(g), len(x), float64(a.Slope), float64(a.Beta1), float64(1-a.Beta1), float64(a.Beta2), float64(1-a.Beta2), float64(1/a.Correct1), float64(1/a.Correct2), float64(a.Eps), float64(a.Shrink), float64(a.Rate))
	default:
		return 0, false
	}
	return square, true
}

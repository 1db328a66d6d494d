// SPDX-License-Identifier: Apache-2.0

//go:build arm64 && !noasm

package fused

import (
	"unsafe"

	"github.com/kernelfold/kernelfold/internal/cpu"
	"github.com/kernelfold/kernelfold/internal/descent"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Each function below runs a kernel. It reports whether there is one for this machine.

// kernel is a precision, or none if NEON is not in use.
type kernel int

const (
	none kernel = iota
	neon32
	neon64
)

func choose[T vec.Float]() kernel {
	switch {
	case cpu.Use != cpu.NEON:
		return none
	case vec.Double[T]():
		return neon64
	}
	return neon32
}

// Points of 9 elements have no kernel of their own.

func groupOfNine[T vec.Float]() int                                              { return 0 }
func singles[T vec.Float](_ []T) []float32                                       { return nil }
func stepOfNine(_, _, _ []float32, _ int, _ *nineStep, _ *nineState, _ bool) int { return 0 }

func single[T vec.Float](x []T) *float32 { return (*float32)(unsafe.Pointer(unsafe.SliceData(x))) }

func double[T vec.Float](x []T) *float64 { return (*float64)(unsafe.Pointer(unsafe.SliceData(x))) }

func (w *work[T]) momentsKernel(x, m, g []T, n, k int, o Sphere, s descent.Step) bool {
	kernel := choose[T]()
	switch kernel {
	case neon32:
		moments32NEON(single(x), single(m), single(g), n, k, float32(s.Ahead), float32(s.Slope), o.Centred, &w.sums[0][0])
	case neon64:
		moments64NEON(double(x), double(m), double(g), n, k, float64(s.Ahead), float64(s.Slope), o.Centred, &w.sums[0][0])
	}
	return kernel != none
}

func (w *work[T]) blendsKernel(k int) bool {
	for i := k; i%2 != 0; i++ {
		// The kernel processes two points at a time: fill up with a point that does not move.
		w.sums[sumXX][i] = 1 / w.terms[inverseSquare][0]
		for j := sumXD; j <= sumD; j++ {
			w.sums[j][i] = 0
		}
	}
	switch choose[T]() {
	case neon32:
		blends32NEON(&w.terms[0][0], &w.sums[0][0], k, single(w.blend[0][:]))
	case neon64:
		blends64NEON(&w.terms[0][0], &w.sums[0][0], k, double(w.blend[0][:]))
	default:
		return false
	}
	return true
}

func (w *work[T]) applyKernel(x, m, g []T, n, k int, s descent.Step) bool {
	kernel := choose[T]()
	switch kernel {
	case neon32:
		apply32NEON(single(x), single(m), single(g), n, k, float32(s.Ahead), float32(s.Slope), float32(s.Keep), float32(s.Take), s.Tangent, single(w.blend[0][:]))
	case neon64:
		apply64NEON(double(x), double(m), double(g), n, k, float64(s.Ahead), float64(s.Slope), float64(s.Keep), float64(s.Take), s.Tangent, double(w.blend[0][:]))
	}
	return kernel != none
}

func (w *work[T]) columnMomentsKernel(x, m, g []T, rows, stride, cols int, o Sphere, s descent.Step) bool {
	kernel := choose[T]()
	switch kernel {
	case neon32:
		momentsOfColumns32NEON(single(x), single(m), single(g), rows, stride, cols, float32(s.Ahead), float32(s.Slope), o.Centred, &w.sums[0][0])
	case neon64:
		momentsOfColumns64NEON(double(x), double(m), double(g), rows, stride, cols, float64(s.Ahead), float64(s.Slope), o.Centred, &w.sums[0][0])
	}
	return kernel != none
}

func (w *work[T]) columnApplyKernel(x, m, g []T, rows, stride, cols int, s descent.Step) bool {
	kernel := choose[T]()
	switch kernel {
	case neon32:
		applyToColumns32NEON(single(x), single(m), single(g), rows, stride, cols, float32(s.Ahead), float32(s.Slope), float32(s.Keep), float32(s.Take), s.Tangent, single(w.blend[0][:]))
	case neon64:
		applyToColumns64NEON(double(x), double(m), double(g), rows, stride, cols, float64(s.Ahead), float64(s.Slope), float64(s.Keep), float64(s.Take), s.Tangent, double(w.blend[0][:]))
	}
	return kernel != none
}

func flatKernel[T vec.Float](x, m, g []T, s descent.Step, shrink float64) (square float64, done bool) {
	switch choose[T]() {
	case neon32:
		square = flat32NEON(single(x), single(m), single(g), len(x), float32(s.Ahead), float32(s.Slope), float32(s.Keep), float32(s.Take), float32(shrink), float32(s.Rate))
	case neon64:
		square = flat64NEON(double(x), double(m), double(g), len(x), float64(s.Ahead), float64(s.Slope), float64(s.Keep), float64(s.Take), float64(shrink), float64(s.Rate))
	default:
		return 0, false
	}
	return square, true
}

func adamKernel[T vec.Float](x, m, s, largest, g []T, a AdamStep) (square float64, done bool) {
	switch choose[T]() {
	case neon32:
		square = adam32NEON(single(x), single(m), single(s), single(largest), single(g), len(x), float32(a.Slope), float32(a.Beta1), float32(1-a.Beta1), float32(a.Beta2), float32(1-a.Beta2), float32(1/a.Correct1), float32(1/a.Correct2), float32(a.Eps), float32(a.Shrink), float32(a.Rate))
	case neon64:
		square = adam64NEON(double(x), double(m), double(s), double(largest), double(g), len(x), float64(a.Slope), float64(a.Beta1), float64(1-a.Beta1), float64(a.Beta2), float64(1-a.Beta2), float64(1/a.Correct1), float64(1/a.Correct2), float64(a.Eps), float64(a.Shrink), float64(a.Rate))
	default:
		return 0, false
	}
	return square, true
}

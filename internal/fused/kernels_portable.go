// SPDX-License-Identifier: Apache-2.0

//go:build (!amd64 && !arm64) || noasm

package fused

import (
	"github.com/kernelfold/kernelfold/internal/descent"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Without kernels these functions report that they have done nothing.

func groupOfNine[T vec.Float]() int                                                   { return 0 }
func singles[T vec.Float](_ []T) []float32                                            { return nil }
func stepOfNine(_, _, _ []float32, _ int, _ *nineStep, _ *nineState, _ bool) int      { return 0 }
func (w *work[T]) momentsKernel(_, _, _ []T, _, _ int, _ Sphere, _ descent.Step) bool { return false }
func (w *work[T]) blendsKernel(_ int) bool                                            { return false }
func (w *work[T]) applyKernel(_, _, _ []T, _, _ int, _ descent.Step) bool             { return false }
func (w *work[T]) columnMomentsKernel(_, _, _ []T, _, _, _ int, _ Sphere, _ descent.Step) bool {
	return false
}
func (w *work[T]) columnApplyKernel(_, _, _ []T, _, _, _ int, _ descent.Step) bool   { return false }
func flatKernel[T vec.Float](_, _, _ []T, _ descent.Step, _ float64) (float64, bool) { return 0, false }
func adamKernel[T vec.Float](_, _, _, _, _ []T, _ AdamStep) (float64, bool)          { return 0, false }

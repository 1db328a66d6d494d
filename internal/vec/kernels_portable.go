// SPDX-License-Identifier: Apache-2.0

//go:build (!amd64 && !arm64) || noasm

package vec

// Without kernels, the number of processed elements is 0.

func dotKernel[T Float](_, _ []T) (int, float64)                          { return 0, 0 }
func sumKernel[T Float](_ []T) (int, float64)                             { return 0, 0 }
func dotShiftKernel[T Float](_, _ []T, _ float64) (int, float64, float64) { return 0, 0, 0 }
func squareShiftKernel[T Float](_ []T, _ float64) (int, float64)          { return 0, 0 }
func maxAbsKernel[T Float](_ []T) (int, T)                                { return 0, 0 }
func affineKernel[T Float](_, _ []T, _, _ T) int                          { return 0 }
func affine2Kernel[T Float](_, _, _ []T, _, _, _ T) int                   { return 0 }
func rectifyKernel[T Float](_, _ []T) int                                 { return 0 }
func rectifyBackKernel[T Float](_, _, _ []T) int                          { return 0 }
func maxPairsKernel[T Float](_, _, _ []T) int                             { return 0 }
func maxPairsBackKernel[T Float](_, _, _, _, _, _ []T) int                { return 0 }

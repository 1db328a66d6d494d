// SPDX-License-Identifier: Apache-2.0

//go:build (!amd64 && !arm64) || noasm

package winograd

type kernel struct{}

var kernels struct{ image, filter, result, resultBack, filterBack kernel }

// Fast reports whether the transforms have assembly with the instructions in use.
func Fast() bool { return false }

func (*transform) run([]float32, Grid, []float32, Grid, int, int) bool { return false }

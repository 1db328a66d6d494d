// SPDX-License-Identifier: Apache-2.0

//go:build !noasm

package winograd

import "github.com/kernelfold/kernelfold/internal/cpu"

// kernel is a transform with NEON. Distances are in elements.
type kernel func(dst *float32, toNext, toRow, toCol int, src *float32, fromNext, fromRow, fromCol int, blocks, n int)

var kernels = struct{ image, filter, result, resultBack, filterBack kernel }{
	image32NEON, filter32NEON, result32NEON, resultBack32NEON, filterBack32NEON,
}

// Fast reports whether the transforms have assembly with the instructions in use.
func Fast() bool { return cpu.Use == cpu.NEON }

// run applies the assembly, if there is some for vectors of n elements.
func (t *transform) run(dst []float32, to Grid, src []float32, from Grid, blocks, n int) bool {
	if n%Lanes != 0 || !Fast() {
		return false
	}
	t.assembly(&dst[to.At], to.Next, to.Row, to.Col, &src[from.At], from.Next, from.Row, from.Col, blocks, n)
	return true
}

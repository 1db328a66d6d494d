// SPDX-License-Identifier: Apache-2.0

//go:build !noasm

package winograd

import "github.com/kernelfold/kernelfold/internal/cpu"

// kernel is a transform with AVX2 and with AVX-512. Distances are in elements.
type kernel struct{ avx2, avx512 assembly }

type assembly func(dst *float32, toNext, toRow, toCol int, src *float32, fromNext, fromRow, fromCol int, blocks, n int)

var kernels = struct{ image, filter, result, resultBack, filterBack kernel }{
	image:      kernel{image32AVX2, image32AVX512},
	filter:     kernel{filter32AVX2, filter32AVX512},
	result:     kernel{result32AVX2, result32AVX512},
	resultBack: kernel{resultBack32AVX2, resultBack32AVX512},
	filterBack: kernel{filterBack32AVX2, filterBack32AVX512},
}

// Fast reports whether the transforms have assembly with the instructions in use.
func Fast() bool { return cpu.Use >= cpu.AVX2 }

// run applies the assembly, if there is some for vectors of n elements.
func (t *transform) run(dst []float32, to Grid, src []float32, from Grid, blocks, n int) bool {
	if n%Lanes != 0 || !Fast() {
		return false
	}
	f := t.assembly.avx2
	if cpu.Use >= cpu.AVX512 {
		f = t.assembly.avx512
	}
	f(&dst[to.At], to.Next, to.Row, to.Col, &src[from.At], from.Next, from.Row, from.Col, blocks, n)
	return true
}

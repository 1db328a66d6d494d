// SPDX-License-Identifier: Apache-2.0

// Command gemm writes the assembly of internal/gemm, for amd64 and for arm64: for each precision and level
// the kernel that multiplies a panel of A with a panel of B, the two ways to pack a
// panel, the transpose of a narrow matrix, and the factorisation of a small square.
package main

//go:generate go run . -out ../../gemm/kernel_amd64.s -stubs ../../gemm/stubs_amd64.go -pkg gemm

import (
	. "github.com/mmcloughlin/avo/build"

	"github.com/kernelfold/kernelfold/internal/_gen/simd"
)

func main() {
	ConstraintExpr("amd64,!noasm")
	declareTables()
	for _, f := range []float{{32}, {64}} {
		for _, m := range []machine{avx2{f}, avx512{f}} {
			product(m)
			copyRows(m)
			eliminate(m)
		}
		transpose(avx2{f})
		columns(avx2{f})
	}
	simd.Write()
	writeNEON()
}

// SPDX-License-Identifier: Apache-2.0

// Command vec writes the assembly of internal/vec, for amd64 and for arm64. With AVX-512 a kernel processes any number of
// elements, with AVX2 and NEON a whole number of vectors.
package main

//go:generate go run . -out ../../vec/kernels_amd64.s -stubs ../../vec/stubs_amd64.go -pkg vec

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"

	"github.com/kernelfold/kernelfold/internal/_gen/dispatch"
	"github.com/kernelfold/kernelfold/internal/_gen/simd"
)

func main() {
	ConstraintExpr("amd64,!noasm")
	for _, m := range simd.Machines() {
		dot(m)
		sum(m)
		dotShift(m)
		squareShift(m)
		maxAbs(m)
		affine(m)
		affine2(m)
		rectify(m)
		rectifyBack(m)
		rectifyTo(m)
		taps(m)
		maxPairs(m)
		maxPairsBack(m)
		evens(m)
		spread(m)
	}
	simd.Write()
	writeNEON()
	dispatch.Write("../../vec")
}

// loop runs the body for each vector of the n elements; at is its offset in bytes.
func loop(m simd.Machine, n GPVirtual, body func(p simd.Part, at GPVirtual)) {
	at := GP64()
	XORQ(at, at)
	lanes := Imm(uint64(m.Lanes()))
	SUBQ(lanes, n)
	JL(LabelRef("rest"))
	Label("loop")
	body(simd.Part{Machine: m}, at)
	ADDQ(U32(m.Bytes()), at)
	SUBQ(lanes, n)
	JGE(LabelRef("loop"))
	Label("rest")
	if m.Wide {
		ADDQ(lanes, n)
		JZ(LabelRef("done"))
		body(simd.Part{Machine: m, Mask: m.First(n)}, at)
		Label("done")
	}
}

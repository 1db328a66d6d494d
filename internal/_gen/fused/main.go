// SPDX-License-Identifier: Apache-2.0

// Command fused writes the assembly of internal/fused, for amd64 and for arm64.
package main

//go:generate go run . -out ../../fused/kernels_amd64.s -stubs ../../fused/stubs_amd64.go -pkg fused

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"

	"github.com/kernelfold/kernelfold/internal/_gen/dispatch"
	"github.com/kernelfold/kernelfold/internal/_gen/simd"
)

// maxPoints is the number of points that the workspace of a step holds.
const maxPoints = 64

func main() {
	ConstraintExpr("amd64,!noasm")
	for _, m := range simd.Machines() {
		moments(m)
		blends(m)
		apply(m)
		momentsOfColumns(m)
		applyToColumns(m)
		flat(m)
		adam(m)
		if m.Bits == 32 {
			for _, s := range sliceKernels {
				sliceStep(m, s)
			}
		}
	}
	simd.Write()
	writeNEON()
	dispatch.Write("../../fused")
}

// row runs the body for the n elements of a row: for several vectors at a time, then for single
// vectors, then for the remaining elements, with the mask rest. u counts the vectors that are
// processed at a time.
func row(m simd.Machine, label string, n GPVirtual, rest simd.Mask, unrolled int, body func(p simd.Part, u int, at GPVirtual, disp int)) {
	at, left := GP64(), GP64()
	XORQ(at, at)
	MOVQ(n, left)
	counts := []int{unrolled, 1}
	if unrolled == 1 {
		counts = counts[1:]
	}
	for _, vectors := range counts {
		name := label + map[bool]string{true: "One", false: "Many"}[vectors == 1]
		lanes := U32(vectors * m.Lanes())
		SUBQ(lanes, left)
		JL(LabelRef(name + "Done"))
		Label(name)
		for u := range vectors {
			body(simd.Part{Machine: m}, u, at, u*m.Bytes())
		}
		ADDQ(U32(vectors*m.Bytes()), at)
		SUBQ(lanes, left)
		JGE(LabelRef(name))
		Label(name + "Done")
		ADDQ(lanes, left)
	}
	JZ(LabelRef(label + "Whole"))
	body(simd.Part{Machine: m, Mask: rest}, 0, at, 0)
	Label(label + "Whole")
}

// restOf returns the mask of the elements that remain after the whole vectors.
func restOf(m simd.Machine, n GPVirtual) simd.Mask {
	rest := GP64()
	MOVQ(n, rest)
	ANDQ(U32(m.Lanes()-1), rest)
	return m.First(rest)
}

// direction computes d = ahead m + slope g. Without m it is slope g.
type direction struct {
	m, grad      GPVirtual
	ahead, slope VecVirtual
	momentum     bool
}

func newDirection(m simd.Machine) direction {
	return direction{simd.Pointer("m"), simd.Pointer("grad"), m.Constant("ahead"), m.Constant("slope"), true}
}

// at sets v to d, g to the gradient and, if there is one, u to the momentum.
func (d direction) at(p simd.Part, at GPVirtual, disp int, v, g, u VecVirtual) {
	p.Load(simd.At(d.grad, at, disp), g)
	p.Mul(d.slope, g, v)
	if d.momentum {
		p.Load(simd.At(d.m, at, disp), u)
		p.FMA(d.ahead, u, v)
	}
}

// advance moves the pointers on by a number of bytes.
func (d direction) advance(by GPVirtual) {
	ADDQ(by, d.grad)
	if d.momentum {
		ADDQ(by, d.m)
	}
}

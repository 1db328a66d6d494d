// SPDX-License-Identifier: Apache-2.0

// Command fused writes the assembly of internal/fused.
package main

//go:generate go run . -out ../../fused/kernels_amd64.s -stubs ../../fused/stubs_amd64.go -pkg fused

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"

	"github.com/kernelfold/kernelfold/internal/_gen/simd"
)

// crowd is how many points the work space of a step has room for.
const crowd = 64

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
			stepOfNine(m)
		}
	}
	simd.Write()
}

// row runs the body for the n elements of a row: so many vectors at a time, then single
// ones, then a piece with the mask of the n elements' rest. u counts the vectors of one
// turn.
func row(m simd.Machine, label string, n GPVirtual, rest simd.Mask, unrolled int, body func(p simd.Part, u int, at GPVirtual, disp int)) {
	at, left := GP64(), GP64()
	XORQ(at, at)
	MOVQ(n, left)
	turns := []int{unrolled, 1}
	if unrolled == 1 {
		turns = turns[1:]
	}
	for _, turn := range turns {
		name := label + map[bool]string{true: "One", false: "Many"}[turn == 1]
		lanes := U32(turn * m.Lanes())
		SUBQ(lanes, left)
		JL(LabelRef(name + "Done"))
		Label(name)
		for u := range turn {
			body(simd.Part{Machine: m}, u, at, u*m.Bytes())
		}
		ADDQ(U32(turn*m.Bytes()), at)
		SUBQ(lanes, left)
		JGE(LabelRef(name))
		Label(name + "Done")
		ADDQ(lanes, left)
	}
	JZ(LabelRef(label + "Whole"))
	body(simd.Part{Machine: m, Mask: rest}, 0, at, 0)
	Label(label + "Whole")
}

// restOf is the mask of the elements that no whole vector holds.
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

// at sets d, g and u, where u is that of m.
func (d direction) at(p simd.Part, at GPVirtual, disp int, v, g, u VecVirtual) {
	p.Load(simd.At(d.grad, at, disp), g)
	p.Mul(d.slope, g, v)
	if d.momentum {
		p.Load(simd.At(d.m, at, disp), u)
		p.FMA(d.ahead, u, v)
	}
}

// advance moves on by so many bytes.
func (d direction) advance(by GPVirtual) {
	ADDQ(by, d.grad)
	if d.momentum {
		ADDQ(by, d.m)
	}
}

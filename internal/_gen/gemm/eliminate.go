// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// side is the size of the matrices that eliminate factors.
const side = 16

// eliminate writes the Cholesky factorisation of a small matrix, by columns, together with the
// inversion of the factor, by rows, because both subtract the same multiples.
func eliminate(m machine) {
	f := m.float()
	name := "eliminate" + m.suffix()
	TEXT(name, NOSPLIT, fmt.Sprintf("func(l, v, pivots *%s, n int)", f.name()))
	Pragma("noescape")
	Doc(fmt.Sprintf("%s factors an n x n matrix G = L L^T, n at most %d. l holds the columns of G, %[2]d elements", name, side),
		"apart, and then those of L on and below the diagonal. The row operations that turn L into the",
		"identity are applied to v as well. pivots are the squares of the diagonal of L.")
	vectors, row := side/m.lanes(), side*f.size()
	lk, vk, pivots, n, k, li, vi, i := RAX, RBX, RCX, RDX, RSI, R8, R9, RDI
	Load(Param("l"), lk)
	Load(Param("v"), vk)
	Load(Param("pivots"), pivots)
	Load(Param("n"), n)
	XORQ(k, k)
	factor, tmp := m.vector(8), m.vector(9)
	each := func(do func(j int, at func(base Register) Mem, l, v VecPhysical)) {
		for j := range vectors {
			do(j, func(base Register) Mem { return Mem{Base: base, Disp: j * m.lanes() * f.size()} }, m.vector(j), m.vector(4+j))
		}
	}
	scalar := func(base, index Register) Mem { return Mem{Base: base, Index: index, Scale: uint8(f.size())} }

	Label("column")
	x, root := m.vector(10).AsX(), m.vector(11).AsX()
	pick(f, VMOVSS, VMOVSD)(scalar(lk, k), x)
	pick(f, VMOVSS, VMOVSD)(x, scalar(pivots, k))
	pick(f, VSQRTSS, VSQRTSD)(x, x, root)
	pick(f, VDIVSS, VDIVSD)(x, root, x)
	pick(f, VBROADCASTSS, VBROADCASTSD)(x, factor)
	each(func(_ int, at func(Register) Mem, l, v VecPhysical) {
		VMOVUPS(at(lk), l)
		VMOVUPS(at(vk), v)
		m.scale(factor, l)
		m.scale(factor, v)
		VMOVUPS(l, at(lk))
		VMOVUPS(v, at(vk))
	})
	MOVQ(lk, li)
	MOVQ(vk, vi)
	LEAQ(Mem{Base: k, Disp: 1}, i)
	Label("below")
	CMPQ(i, n)
	JGE(LabelRef("next"))
	ADDQ(U32(row), li)
	ADDQ(U32(row), vi)
	m.broadcast(scalar(lk, i), factor)
	each(func(_ int, at func(Register) Mem, l, v VecPhysical) {
		VMOVUPS(at(li), tmp)
		pick(f, VFNMADD231PS, VFNMADD231PD)(factor, l, tmp)
		VMOVUPS(tmp, at(li))
		VMOVUPS(at(vi), tmp)
		pick(f, VFNMADD231PS, VFNMADD231PD)(factor, v, tmp)
		VMOVUPS(tmp, at(vi))
	})
	INCQ(i)
	JMP(LabelRef("below"))
	Label("next")
	ADDQ(U32(row), lk)
	ADDQ(U32(row), vk)
	INCQ(k)
	CMPQ(k, n)
	JL(LabelRef("column"))
	VZEROUPPER()
	RET()
}

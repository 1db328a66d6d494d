// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"

	"github.com/kernelfold/kernelfold/internal/_gen/simd"
)

// writeAMD64 writes the assembly for amd64.
func writeAMD64() {
	ConstraintExpr("amd64,!noasm")
	for _, m := range []simd.Machine{{Bits: 32}, {Bits: 32, Wide: true}} {
		for _, l := range lines[VecVirtual]() {
			avxLine{l}.write(m)
		}
	}
	simd.Write()
}

// avx is arithmetic on registers alone.
type avx struct{ simd.Machine }

func (m avx) Move(a, v VecVirtual)    { m.Machine.Move(a, v) }
func (m avx) Add(b, a, v VecVirtual)  { m.Machine.Add(b, a, v) }
func (m avx) Sub(b, a, v VecVirtual)  { m.Machine.Sub(b, a, v) }
func (m avx) Mul(b, a, v VecVirtual)  { m.Machine.Mul(b, a, v) }
func (m avx) FMA(b, a, v VecVirtual)  { m.Machine.FMA(b, a, v) }
func (m avx) FNMA(b, a, v VecVirtual) { m.Machine.FNMA(b, a, v) }

type avxLine struct{ line[VecVirtual] }

// write writes a transform.
func (l avxLine) write(m simd.Machine) {
	name := l.name + m.Suffix()
	TEXT(name, attr.Attribute(0), "func(dst *float32, toNext, toRow, toCol int, src *float32, fromNext, fromRow, fromCol int, blocks, n int)")
	Pragma("noescape")
	doc := l.doc()
	doc[0] = name + " " + doc[0]
	Doc(doc...)
	dst, src := simd.Pointer("dst"), simd.Pointer("src")
	bytes := func(name string) GPVirtual {
		d := simd.Pointer(name)
		SHLQ(U8(2), d)
		return d
	}
	down, across, toDown, toAcross := bytes("fromRow"), bytes("fromCol"), bytes("toRow"), bytes("toCol")
	blocks := simd.Pointer("blocks")
	c := make([]VecVirtual, len(l.constants))
	table := l.table()
	for i := range c {
		c[i] = m.Vec()
		m.Broadcast(table.Offset(4*i), c[i])
	}
	// Columns that are mapped wait on the stack, aligned to vectors.
	half := GP64()
	LEAQ(AllocLocal(l.to*l.from*m.Bytes()+m.Bytes()), half)
	ADDQ(U32(m.Bytes()-1), half)
	ANDQ(I32(-m.Bytes()), half)
	waiting := func(i, j int) Mem { return Mem{Base: half, Disp: (i*l.from + j) * m.Bytes()} }
	even, odd := GP64(), GP64() // the elements of a line with even and with odd numbers
	in := func(i int, step GPVirtual) Mem {
		base := even
		if i%2 == 1 {
			base = odd
		}
		if i < 2 {
			return Mem{Base: base}
		}
		return Mem{Base: base, Index: step, Scale: uint8(i / 2 * 2)}
	}
	left := GP64()

	Label("block")
	Load(Param("n"), left)
	Label("vector")
	MOVQ(src, even)
	LEAQ(Mem{Base: src, Index: down, Scale: 1}, odd)
	for j := range l.from {
		x := m.Vecs(l.from)
		for i := range x {
			m.Load(in(i, down), x[i])
		}
		for i, v := range l.do(avx{m}, c, x) {
			m.Store(v, waiting(i, j))
		}
		if j < l.from-1 {
			ADDQ(across, even)
			ADDQ(across, odd)
		}
	}
	MOVQ(dst, even)
	LEAQ(Mem{Base: dst, Index: toAcross, Scale: 1}, odd)
	for i := range l.to {
		x := m.Vecs(l.from)
		for j := range x {
			m.Load(waiting(i, j), x[j])
		}
		for j, v := range l.do(avx{m}, c, x) {
			m.Store(v, in(j, toAcross))
		}
		if i < l.to-1 {
			ADDQ(toDown, even)
			ADDQ(toDown, odd)
		}
	}
	ADDQ(U32(m.Bytes()), src)
	ADDQ(U32(m.Bytes()), dst)
	SUBQ(U32(m.Lanes()), left)
	JNZ(LabelRef("vector"))
	// To the next block, from the end of this one's first vector.
	for _, end := range []struct {
		at   GPVirtual
		next string
	}{{src, "fromNext"}, {dst, "toNext"}} {
		Load(Param(end.next), even)
		Load(Param("n"), odd)
		SUBQ(odd, even)
		LEAQ(Mem{Base: end.at, Index: even, Scale: 4}, end.at)
	}
	DECQ(blocks)
	JNZ(LabelRef("block"))
	simd.End()
}

var tables = map[string]Mem{}

// table returns the constants in memory.
func (l avxLine) table() Mem {
	t, ok := tables[l.name]
	if !ok {
		t = GLOBL(l.name+"Constants", attr.RODATA|attr.NOPTR)
		for i, v := range l.constants {
			DATA(4*i, U32(math.Float32bits(float32(v))))
		}
		tables[l.name] = t
	}
	return t
}

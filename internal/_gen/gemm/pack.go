// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// copyRows writes the kernel that packs a panel whose rows are contiguous in memory.
func copyRows(m machine) {
	name, t := "copy"+m.suffix(), m.float().name()
	TEXT(name, NOSPLIT, fmt.Sprintf("func(dst *%[1]s, stride int, src *%[1]s, ld, cols, k int, alpha %[1]s)", t))
	Pragma("noescape")
	Doc(name+" sets dst[p*stride+j] = alpha src[p*ld+j] for p < k and j < cols, at most "+fmt.Sprint(2*m.lanes())+",",
		"with p ascending. It writes zeros after each row, up to a whole number of vectors.")
	dst, stride, src, ld, cols, k := RAX, RBX, RCX, RDX, RSI, RDI
	Load(Param("dst"), dst)
	Load(Param("stride"), stride)
	Load(Param("src"), src)
	Load(Param("ld"), ld)
	Load(Param("cols"), cols)
	Load(Param("k"), k)
	alpha := m.vector(0)
	p, err := Param("alpha").Resolve()
	if err != nil {
		panic(err)
	}
	m.broadcast(p.Addr, alpha)
	shift := m.float().shift()
	SHLQ(shift, stride)
	SHLQ(shift, ld)
	MOVQ(cols, R8)
	m.masks(R8)
	CMPQ(cols, Imm(uint64(m.lanes())))
	JLE(LabelRef("one"))
	for vectors := 2; vectors >= 1; vectors-- {
		label := map[int]string{1: "one", 2: "two"}[vectors]
		Label(label)
		for j := range vectors {
			m.loadMasked(j, Mem{Base: src, Disp: j * m.lanes() * m.float().size()}, m.vector(1+j))
		}
		for j := range vectors {
			m.scale(alpha, m.vector(1+j))
			VMOVUPS(m.vector(1+j), Mem{Base: dst, Disp: j * m.lanes() * m.float().size()})
		}
		ADDQ(ld, src)
		ADDQ(stride, dst)
		DECQ(k)
		JNZ(LabelRef(label))
		VZEROUPPER()
		RET()
	}
}

// transpose writes the kernel that packs a panel whose columns are contiguous in memory, by square
// blocks as large as a vector.
func transpose(m avx2) {
	f, n := m.float(), m.lanes()
	name, t := fmt.Sprint("transpose", f.bits), f.name()
	TEXT(name, NOSPLIT, fmt.Sprintf("func(dst *%[1]s, stride int, src *%[1]s, ld, cols, k int, alpha %[1]s)", t))
	Pragma("noescape")
	Doc(name+" sets dst[p*stride+j] = alpha src[j*ld+p] for p < k and j < cols, at most "+fmt.Sprint(n)+", with p",
		fmt.Sprintf("ascending. It writes %d elements for each p, those beyond cols arbitrary, and k is at least %[1]d.", n))
	dst, stride, rows, k := RAX, RBX, []GPPhysical{RSI, RDI, R8, R9, R10, R11, R12, R13}[:n], RCX
	Load(Param("src"), rows[0])
	Load(Param("ld"), stride)
	Load(Param("cols"), k)
	shift := f.shift()
	SHLQ(shift, stride)
	for j := 1; j < n; j++ { // beyond the last row, repeat it
		LEAQ(Mem{Base: rows[j-1], Index: stride, Scale: 1}, rows[j])
		CMPQ(k, Imm(uint64(j)))
		CMOVQLE(rows[j-1], rows[j])
	}
	Load(Param("dst"), dst)
	Load(Param("stride"), stride)
	Load(Param("k"), k)
	SHLQ(shift, stride)
	alpha := m.vector(15)
	p, err := Param("alpha").Resolve()
	if err != nil {
		panic(err)
	}
	m.broadcast(p.Addr, alpha)

	at := RDX // of the next square, in bytes
	XORQ(at, at)
	Label("square")
	for half := range 2 {
		out := m.square(func(j int) Mem { return Mem{Base: rows[j], Index: at, Scale: 1, Disp: 16 * half} })
		for _, o := range out {
			m.scale(alpha, o)
			VMOVUPS(o, Mem{Base: dst})
			ADDQ(stride, dst)
		}
	}
	size := f.size()
	ADDQ(Imm(32), at)
	SUBQ(Imm(uint64(n)), k)
	CMPQ(k, Imm(uint64(n)))
	JGE(LabelRef("square"))
	// The rest: the last square again, moved back to end with the last element.
	TESTQ(k, k)
	JZ(LabelRef("done"))
	SUBQ(Imm(uint64(n)), k)
	LEAQ(Mem{Base: at, Index: k, Scale: uint8(size)}, at)
	IMULQ(k, stride)
	ADDQ(stride, dst)
	Load(Param("stride"), stride)
	SHLQ(shift, stride)
	MOVQ(U32(n), k)
	JMP(LabelRef("square"))
	Label("done")
	VZEROUPPER()
	RET()
}

// square transposes half of a square block as large as a vector: the elements of 128 bits in each of
// its rows, which become as many vectors. It uses vectors 0 to 11.
func (m avx2) square(from func(row int) Mem) []VecPhysical {
	v := func(j int) VecPhysical { return m.vector(j) }
	for j := range m.lanes() / 2 {
		VMOVUPS(from(j), m.lower(v(j)))
		m.insert(from(j+m.lanes()/2), v(j))
	}
	if m.f.bits == 64 {
		VUNPCKLPD(v(1), v(0), v(2))
		VUNPCKHPD(v(1), v(0), v(3))
		return []VecPhysical{v(2), v(3)}
	}
	VUNPCKLPS(v(1), v(0), v(4))
	VUNPCKHPS(v(1), v(0), v(5))
	VUNPCKLPS(v(3), v(2), v(6))
	VUNPCKHPS(v(3), v(2), v(7))
	VUNPCKLPD(v(6), v(4), v(8))
	VUNPCKHPD(v(6), v(4), v(9))
	VUNPCKLPD(v(7), v(5), v(10))
	VUNPCKHPD(v(7), v(5), v(11))
	return []VecPhysical{v(8), v(9), v(10), v(11)}
}

// columns writes the transpose of a narrow matrix with many rows, block after block down the rows, so
// that the rows of the result are written one vector after the other.
func columns(m avx2) {
	f, n := m.float(), m.lanes()
	name, t := fmt.Sprint("columns", f.bits), f.name()
	TEXT(name, NOSPLIT, fmt.Sprintf("func(dst *%[1]s, stride int, src *%[1]s, ld, k int)", t))
	Pragma("noescape")
	Doc(fmt.Sprintf("%s sets dst[p*stride+j] = src[j*ld+p] for p < %d and j < k, a multiple of %[2]d and not 0.", name, n))
	dst, stride, k, rows, ld := RAX, RBX, RCX, []GPPhysical{RSI, RDI, R8, R9, R10, R11, R12, R13}[:n], RDX
	Load(Param("src"), rows[0])
	Load(Param("ld"), ld)
	Load(Param("dst"), dst)
	Load(Param("stride"), stride)
	Load(Param("k"), k)
	SHLQ(f.shift(), ld)
	SHLQ(f.shift(), stride)
	for j := 1; j < n; j++ {
		LEAQ(Mem{Base: rows[j-1], Index: ld, Scale: 1}, rows[j])
	}
	IMUL3Q(Imm(uint64(n)), ld, ld)
	at, to := R14, R15
	XORQ(at, at)
	Label("square")
	MOVQ(dst, to)
	for half := range 2 {
		for i, o := range m.square(func(j int) Mem { return Mem{Base: rows[j], Index: at, Scale: 1, Disp: 16 * half} }) {
			VMOVUPS(o, Mem{Base: to})
			if half == 0 || i < n/2-1 {
				ADDQ(stride, to)
			}
		}
	}
	ADDQ(U32(32), dst)
	ADDQ(ld, at)
	SUBQ(U32(n), k)
	JNZ(LabelRef("square"))
	VZEROUPPER()
	RET()
}

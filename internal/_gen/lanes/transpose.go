// SPDX-License-Identifier: Apache-2.0

package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// transpose works in square tiles. The last tile of a row or column of tiles overlaps the one
// before it, so that it is whole; a matrix narrower than a tile is read and written with masks.
func transpose(m machine) {
	m.start("transpose", "(dst, src *%s, rows, cols int)", "sets dst to the transpose of the row-major rows x cols matrix src. rows and cols are positive.")
	t := m.bytes() / m.size()
	rows, cols := load("rows"), load("cols")
	high, across := copied(rows), copied(cols) // of a tile
	for _, n := range []GPVirtual{high, across} {
		most := GP64()
		MOVQ(U32(t), most)
		CMPQ(n, most)
		CMOVQGT(most, n)
	}
	read, written := m.mask(across), m.mask(high)
	fromRow, toRow := scaled(cols, m.size()), scaled(rows, m.size())

	i, j := GP64(), GP64()
	down, right := label(), label()
	XORQ(i, i)
	Label(down)
	XORQ(j, j)
	Label(right)

	v := make([]VecVirtual, t)
	for k := range v {
		v[k] = m.vector()
		m.zero(v[k]) // not all rows may be there
	}
	from := copied(i)
	IMULQ(fromRow, from)
	ADDQ(load("src"), from)
	each(v, high, func(k int) {
		m.loadMasked(Mem{Base: from, Index: j, Scale: uint8(m.size())}, read, v[k])
		ADDQ(fromRow, from)
	})
	m.transposeTile(v)
	to := copied(j)
	IMULQ(toRow, to)
	ADDQ(load("dst"), to)
	store := func(put func(v VecVirtual, to Mem)) {
		each(v, across, func(k int) {
			put(v[k], Mem{Base: to, Index: i, Scale: uint8(m.size())})
			ADDQ(toRow, to)
		})
	}
	if m.wide {
		store(func(v VecVirtual, to Mem) { pick(m, VMOVUPS, VMOVUPD)(v, written, to) })
	} else { // masked stores are slow
		masked, stored := label(), label()
		CMPQ(high, Imm(uint64(t)))
		JNE(LabelRef(masked))
		store(func(v VecVirtual, to Mem) { m.move(v, to) })
		JMP(LabelRef(stored))
		Label(masked)
		store(func(v VecVirtual, to Mem) { pick(m, VMASKMOVPS, VMASKMOVPD)(v, written, to) })
		Label(stored)
	}
	next(j, across, cols, right)
	next(i, high, rows, down)
	end()
}

// each runs body for the first n of v, n > 0.
func each(v []VecVirtual, n Register, body func(k int)) {
	out := label()
	for k := range v {
		if k > 0 {
			CMPQ(n, Imm(uint64(k)))
			JE(LabelRef(out))
		}
		body(k)
	}
	Label(out)
}

// next moves at by step to the next tile, or back to the last whole one, and jumps to the label again
// unless all n are done.
func next(at, step, n Register, again string) {
	done, last := label(), GP64()
	ADDQ(step, at)
	CMPQ(at, n)
	JGE(LabelRef(done))
	MOVQ(n, last)
	SUBQ(step, last)
	CMPQ(at, last)
	CMOVQGT(last, at)
	JMP(LabelRef(again))
	Label(done)
}

func scaled(n Register, by int) GPVirtual {
	s := copied(n)
	IMUL3Q(Imm(uint64(by)), s, s)
	return s
}

// mask returns the mask of the first n elements of a vector.
func (m machine) mask(n Register) Register {
	if m.wide {
		bits, k := GP64(), K()
		MOVQ(I32(-1), bits)
		BZHIQ(n, bits, bits)
		KMOVW(bits.As32(), k)
		return k
	}
	at, table, v := scaled(n, m.size()), GP64(), m.vector()
	LEAQ(masks(), table)
	SUBQ(at, table)
	VMOVUPS(Mem{Base: table, Disp: m.bytes()}, v)
	return v
}

var table Mem

// masks is a table of 32 bytes of ones, then 32 of zeros.
func masks() Mem {
	if table.Symbol.Name == "" {
		table = GLOBL("masks", 8|16) // RODATA, NOPTR
		for i := range 8 {
			ones := U64(0)
			if i < 4 {
				ones = ^ones
			}
			DATA(8*i, ones)
		}
	}
	return table
}

func (m machine) loadMasked(from Mem, mask Register, v VecVirtual) {
	if m.wide {
		pick(m, VMOVUPS_Z, VMOVUPD_Z)(from, mask, v)
	} else {
		pick(m, VMASKMOVPS, VMASKMOVPD)(from, mask, v)
	}
}

// transposeTile transposes the square matrix whose rows are v: first within the quarters of 128
// bits, then the quarters as wholes.
func (m machine) transposeTile(v []VecVirtual) {
	w := 16 / m.size()
	for g := 0; g < len(v); g += w {
		q := v[g : g+w]
		if m.bits == 64 {
			m.pair(three(VUNPCKLPD), three(VUNPCKHPD), &q[0], &q[1])
			continue
		}
		m.pair(three(VUNPCKLPS), three(VUNPCKHPS), &q[0], &q[1])
		m.pair(three(VUNPCKLPS), three(VUNPCKHPS), &q[2], &q[3])
		m.pair(three(VUNPCKLPD), three(VUNPCKHPD), &q[0], &q[2])
		m.pair(three(VUNPCKLPD), three(VUNPCKHPD), &q[1], &q[3])
		q[1], q[2] = q[2], q[1]
	}
	if !m.wide {
		for c := range w {
			m.pair(halves(0x20), halves(0x31), &v[c], &v[w+c])
		}
		return
	}
	// Quarter L of v[g w + c] is column L w + c of rows g w ... Taking even and odd
	// quarters twice puts that of group g in quarter g, and column L w + c in place.
	for c := range w {
		a, b, d, e := &v[c], &v[w+c], &v[2*w+c], &v[3*w+c]
		even, odd := quarters(0x88), quarters(0xdd)
		m.pair(even, odd, a, b) // quarters 0 2 0 2, and 1 3 1 3
		m.pair(even, odd, d, e)
		m.pair(even, odd, a, d) // columns 0 and 2
		m.pair(even, odd, b, e) // columns 1 and 3
	}
}

// pair replaces x and y by the results of two instructions.
func (m machine) pair(first, second func(y, x, to Op), x, y *VecVirtual) {
	a, b := m.vector(), m.vector()
	first(*y, *x, a)
	second(*y, *x, b)
	*x, *y = a, b
}

func three(f func(...Op)) func(y, x, to Op) {
	return func(y, x, to Op) { f(y, x, to) }
}

func quarters(which int) func(y, x, to Op) {
	return func(y, x, to Op) { VSHUFF64X2(U8(which), y, x, to) }
}

func halves(which int) func(y, x, to Op) {
	return func(y, x, to Op) { VPERM2F128(U8(which), y, x, to) }
}

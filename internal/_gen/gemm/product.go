// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Of the mode of a product.
const (
	add      = 1 // to what C holds
	quarters = 2 // B comes in four pieces
)

// product writes the kernel. It dispatches on the number of rows, so that each
// height has a loop of its own with all sums in registers.
func product(m machine) {
	name, t := "mul"+m.suffix(), m.float().name()
	TEXT(name, NOSPLIT, fmt.Sprintf("func(rows, cols, k int, a, b *%[1]s, at *int, step int, c *%[1]s, ldc, mode int)", t))
	Pragma("noescape")
	Doc(name+" sets the rows x cols tile C to A B, or adds A B to it. A is packed, k times rows",
		"elements. Row p of B begins at b[at[p]], its second vector, or its next quarter of a",
		"tile, step elements after. C has rows ldc elements apart. rows is 1 to "+fmt.Sprint(m.height())+", cols 1 to "+fmt.Sprint(2*m.lanes())+",",
		"and k at least 1. B is read across the whole width of a tile, C within cols alone.")
	rows, cols, k := RBX, RCX, RDX
	Load(Param("rows"), rows)
	Load(Param("cols"), cols)
	Load(Param("k"), k)
	p := pointers{a: RAX, b: [4]GPPhysical{RSI, R8, R9, R10}, at: RDI, k: k, off: [2]GPPhysical{R11, R12}, c: R8, ldc: R9, cols: cols, mode: RBP}
	p.mode = R15
	Load(Param("a"), p.a)
	Load(Param("b"), p.b[0])
	Load(Param("at"), p.at)
	Load(Param("mode"), p.mode)
	Load(Param("step"), R13)
	size := m.float().size()
	LEAQ(Mem{Base: p.b[0], Index: R13, Scale: uint8(size)}, p.b[1])
	LEAQ(Mem{Base: p.b[1], Index: R13, Scale: uint8(size)}, p.b[2])
	LEAQ(Mem{Base: p.b[2], Index: R13, Scale: uint8(size)}, p.b[3])
	dispatch(name, rows, 1, m.height())
	for r := 1; r <= m.height(); r++ {
		tile{m, name, r, p}.write()
	}
}

// dispatch jumps to the code for the number of rows, from low to high.
func dispatch(name string, rows GPPhysical, low, high int) {
	if low == high {
		JMP(LabelRef(fmt.Sprintf("rows%d", low)))
		return
	}
	mid := (low + high + 1) / 2
	CMPQ(rows, Imm(uint64(mid)))
	above := fmt.Sprintf("from%dto%d", mid, high)
	JGE(LabelRef(above))
	dispatch(name, rows, low, mid-1)
	Label(above)
	dispatch(name, rows, mid, high)
}

type pointers struct {
	a, at, k, cols, mode GPPhysical
	b                    [4]GPPhysical
	off                  [2]GPPhysical
	c, ldc               GPPhysical // take the place of b[1] and b[2] in the end
}

type tile struct {
	machine
	name string
	rows int
	p    pointers
}

func (t tile) label(s string) string    { return fmt.Sprintf("%s%d", s, t.rows) }
func (t tile) sum(i, j int) VecPhysical { return t.vector(2*i + j) }

func (t tile) write() {
	p := t.p
	Label(t.label("rows"))
	for i := range t.rows {
		t.zero(t.sum(i, 0))
		t.zero(t.sum(i, 1))
	}
	TESTQ(U32(quarters), p.mode)
	JNZ(LabelRef(t.label("quarters")))

	const unrolled = 4
	SUBQ(Imm(unrolled), p.k)
	JL(LabelRef(t.label("rest")))
	t.loop(t.label("halves"), unrolled, false, JGE)
	Label(t.label("rest"))
	ADDQ(Imm(unrolled), p.k)
	JZ(LabelRef(t.label("store")))
	t.loop(t.label("single"), 1, false, JNZ)
	JMP(LabelRef(t.label("store")))
	t.loop(t.label("quarters"), 1, true, JNZ)
	t.store()
}

// ahead is how many bytes of A are fetched before they are needed: A comes from
// memory once, B stays in a cache.
const ahead = 2048

// loop adds the products of n rows of B at a time.
func (t tile) loop(label string, n int, quarters bool, again func(Op)) {
	p, size := t.p, t.float().size()
	h := t.machine.height()
	b0, b1 := t.vector(2*h), t.vector(2*h+1)
	Label(label)
	for u := range n {
		off := p.off[u%2]
		MOVQ(Mem{Base: p.at, Disp: 8 * u}, off)
		row := func(i int) Mem { return Mem{Base: p.b[i], Index: off, Scale: uint8(size)} }
		if quarters {
			VMOVUPS(row(0), t.lower(b0))
			VMOVUPS(row(2), t.lower(b1))
			t.insert(row(1), b0)
			t.insert(row(3), b1)
		} else {
			VMOVUPS(row(0), b0)
			VMOVUPS(row(1), b1)
		}
		PREFETCHT0(Mem{Base: p.a, Disp: u*t.rows*size + ahead})
		for i := range t.rows {
			a := t.vector(2*h + 2 + i%2)
			t.broadcast(Mem{Base: p.a, Disp: (u*t.rows + i) * size}, a)
			t.fma(a, b0, t.sum(i, 0))
			t.fma(a, b1, t.sum(i, 1))
		}
	}
	ADDQ(Imm(uint64(8*n)), p.at)
	ADDQ(U32(n*t.rows*size), p.a)
	SUBQ(Imm(uint64(n)), p.k)
	again(LabelRef(label))
}

func (t tile) store() {
	p, size := t.p, t.float().size()
	width := 2 * t.lanes()
	Label(t.label("store"))
	Load(Param("c"), p.c)
	Load(Param("ldc"), p.ldc)
	SHLQ(U8(map[int]int{4: 2, 8: 3}[size]), p.ldc)
	CMPQ(p.cols, Imm(uint64(width)))
	JNE(LabelRef(t.label("masked")))
	t.each("whole", func(_ int, to Mem, v VecPhysical) { t.addFrom(to, v) },
		func(_ int, v VecPhysical, to Mem) { VMOVUPS(v, to) })
	Label(t.label("masked"))
	t.masks(p.cols)
	t.each("part", t.addMasked, t.storeMasked)
}

// each adds, where the mode says so, and stores.
func (t tile) each(label string, add2 func(int, Mem, VecPhysical), store func(int, VecPhysical, Mem)) {
	p := t.p
	TESTQ(U32(add), p.mode)
	JZ(LabelRef(t.label(label)))
	for _, adding := range []bool{true, false} {
		if !adding {
			Label(t.label(label))
		}
		for i := range t.rows {
			for j := range 2 {
				at := Mem{Base: p.c, Disp: j * t.lanes() * t.float().size()}
				if adding {
					add2(j, at, t.sum(i, j))
				}
				store(j, t.sum(i, j), at)
			}
			if i < t.rows-1 {
				ADDQ(p.ldc, p.c)
			}
		}
		VZEROUPPER()
		RET()
	}
}

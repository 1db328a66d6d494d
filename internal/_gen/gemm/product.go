// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Bits of the mode of a product.
const (
	add      = 1 // add to C
	quarters = 2 // each row of B lies in four pieces
)

// product writes the kernel. It has a separate loop for each number of rows, with all sums in
// registers.
func product(m machine) {
	name, f := "mul"+m.suffix(), m.float()
	TEXT(name, NOSPLIT, fmt.Sprintf("func(rows, cols, k int, a *%[1]s, rs, cs int, b *%[1]s, at *int, step int, c *%[1]s, ldc, mode int)", f.name()))
	Pragma("noescape")
	Doc(name+" sets the rows x cols tile C to A B, or adds A B to it. Element (i, p) of A is",
		"a[i*rs+p*cs]. Row p of B begins at b[at[p]]; its second vector, or each further quarter of a",
		"tile, begins step elements later. The rows of C are ldc elements apart. rows is 1 to "+fmt.Sprint(m.height())+",",
		"cols 1 to "+fmt.Sprint(2*m.lanes())+" and k at least 1. B is read across the whole width of a tile, or of one vector if",
		"cols is no more than that; C is read and written only within cols.")
	t := tile{machine: m, a: []GPPhysical{RAX, RBX, RCX, R14, R15}, rs: R12, cs: R13, b: [4]GPPhysical{RSI, R8, R9, R10}, at: RDI, k: RDX, off: R11}
	rows, step := R11, R10
	Load(Param("k"), t.k)
	Load(Param("a"), t.a[0])
	Load(Param("rs"), t.rs)
	Load(Param("cs"), t.cs)
	Load(Param("b"), t.b[0])
	Load(Param("at"), t.at)
	Load(Param("step"), step)
	Load(Param("rows"), rows)
	for _, r := range []GPPhysical{t.rs, t.cs, step} {
		SHLQ(f.shift(), r)
	}
	for i := 1; i < 4; i++ {
		LEAQ(Mem{Base: t.b[i-1], Index: step, Scale: 1}, t.b[i])
	}
	dispatch(rows, 1, m.height())
	for r := 1; r <= m.height(); r++ {
		t.rows = r
		t.write()
	}
}

// dispatch jumps to the code for the number of rows, from low to high.
func dispatch(rows GPPhysical, low, high int) {
	if low == high {
		JMP(LabelRef(fmt.Sprint("rows", low)))
		return
	}
	mid := (low + high + 1) / 2
	above := fmt.Sprintf("from%dto%d", mid, high)
	CMPQ(rows, Imm(uint64(mid)))
	JGE(LabelRef(above))
	dispatch(rows, low, mid-1)
	Label(above)
	dispatch(rows, mid, high)
}

// tile is the code for a number of rows, and the registers that it works with.
type tile struct {
	machine
	rows          int
	a             []GPPhysical // every third row
	rs, cs, at, k GPPhysical
	b             [4]GPPhysical
	off           GPPhysical
}

func (t tile) label(s string) string    { return fmt.Sprint(s, t.rows) }
func (t tile) sum(i, j int) VecPhysical { return t.vector(2*i + j) }

func (t tile) write() {
	Label(t.label("rows"))
	t.fetch()
	for i := 1; 3*i < t.rows; i++ {
		LEAQ(Mem{Base: t.a[i-1], Index: t.rs, Scale: 2}, t.a[i])
		ADDQ(t.rs, t.a[i])
	}
	for i := range t.rows {
		t.zero(t.sum(i, 0))
		t.zero(t.sum(i, 1))
	}
	Load(Param("mode"), t.off)
	TESTQ(U32(quarters), t.off)
	JNZ(LabelRef(t.label("quarters")))
	Load(Param("cols"), t.off)
	CMPQ(t.off, Imm(uint64(t.lanes())))
	JLE(LabelRef(t.label("narrow")))
	t.unrolled("wide", t.halves)
	JMP(LabelRef(t.label("store")))
	Label(t.label("quarters"))
	t.loop("quarter", 1, t.quarters, JNZ)
	Label(t.label("store"))
	t.store(2)
	Label(t.label("narrow"))
	t.unrolled("narrowOf", t.first)
	t.store(1)
}

// fetch prefetches C, because all of it is needed at once in the end.
func (t tile) fetch() {
	const worth = 64 // rows of B for which that is worthwhile
	c, ldc := t.off, t.a[1]
	CMPQ(t.k, Imm(worth))
	JL(LabelRef(t.label("fetched")))
	Load(Param("c"), c)
	Load(Param("ldc"), ldc)
	SHLQ(t.float().shift(), ldc)
	for i := range t.rows {
		PREFETCHT0(Mem{Base: c})
		PREFETCHT0(Mem{Base: c, Disp: t.lanes() * t.float().size()})
		if i < t.rows-1 {
			ADDQ(ldc, c)
		}
	}
	Label(t.label("fetched"))
}

// unrolled adds the products of all rows of B, four at a time.
func (t tile) unrolled(name string, load func(off GPPhysical) []VecPhysical) {
	const n = 4
	rest, done := t.label(name+"Rest"), t.label(name+"Done")
	SUBQ(Imm(n), t.k)
	JL(LabelRef(rest))
	t.loop(name+"Four", n, load, JGE)
	Label(rest)
	ADDQ(Imm(n), t.k)
	JZ(LabelRef(done))
	t.loop(name+"One", 1, load, JNZ)
	Label(done)
}

// ahead is the distance in bytes at which packed A is prefetched: A is read from memory once, while
// B stays in a cache.
const ahead = 2048

// loop adds the products of n rows of B at a time.
func (t tile) loop(name string, n int, load func(off GPPhysical) []VecPhysical, again func(Op)) {
	Label(t.label(name))
	for u := range n {
		MOVQ(Mem{Base: t.at, Disp: 8 * u}, t.off)
		b := load(t.off)
		PREFETCHT0(Mem{Base: t.a[0], Disp: ahead})
		for i := range t.rows {
			a := t.vector(2*t.height() + 2 + i%2)
			from := Mem{Base: t.a[i/3]}
			if i%3 != 0 {
				from.Index, from.Scale = t.rs, uint8(i%3)
			}
			t.broadcast(from, a)
			for j, v := range b {
				t.fma(a, v, t.sum(i, j))
			}
		}
		for i := 0; 3*i < t.rows; i++ {
			ADDQ(t.cs, t.a[i])
		}
	}
	ADDQ(Imm(uint64(8*n)), t.at)
	SUBQ(Imm(uint64(n)), t.k)
	again(LabelRef(t.label(name)))
}

// row returns the address of piece i of a row of B.
func (t tile) row(i int, off GPPhysical) Mem {
	return Mem{Base: t.b[i], Index: off, Scale: uint8(t.float().size())}
}

// first loads the first vector of a row of B; halves loads both vectors, and quarters both vectors
// from four pieces.
func (t tile) first(off GPPhysical) []VecPhysical {
	b := t.vector(2 * t.height())
	VMOVUPS(t.row(0, off), b)
	return []VecPhysical{b}
}

func (t tile) halves(off GPPhysical) []VecPhysical {
	b := t.vector(2*t.height() + 1)
	VMOVUPS(t.row(1, off), b)
	return append(t.first(off), b)
}

func (t tile) quarters(off GPPhysical) []VecPhysical {
	b := []VecPhysical{t.vector(2 * t.height()), t.vector(2*t.height() + 1)}
	for i, v := range b {
		VMOVUPS(t.row(2*i, off), t.lower(v))
		t.insert(t.row(2*i+1, off), v)
	}
	return b
}

// store adds the sums to C or stores them, and returns.
func (t tile) store(vectors int) {
	name := t.label(fmt.Sprintf("store%dx", vectors))
	cols, mode, c, ldc := t.a[1], t.a[2], t.b[1], t.b[2] // registers not needed any more
	Load(Param("cols"), cols)
	Load(Param("mode"), mode)
	Load(Param("c"), c)
	Load(Param("ldc"), ldc)
	SHLQ(t.float().shift(), ldc)
	each := func(add func(int, Mem, VecPhysical), store func(int, VecPhysical, Mem)) {
		for i := range t.rows {
			for j := range vectors {
				to := Mem{Base: c, Disp: j * t.lanes() * t.float().size()}
				if add != nil {
					add(j, to, t.sum(i, j))
				}
				store(j, t.sum(i, j), to)
			}
			if i < t.rows-1 {
				ADDQ(ldc, c)
			}
		}
		VZEROUPPER()
		RET()
	}
	either := func(name string, adding func(int, Mem, VecPhysical), store func(int, VecPhysical, Mem)) {
		TESTQ(U32(add), mode)
		JZ(LabelRef(name))
		each(adding, store)
		Label(name)
		each(nil, store)
	}
	if t.masksCost() {
		CMPQ(cols, Imm(uint64(vectors*t.lanes())))
		JNE(LabelRef(name + "Part"))
		either(name+"Whole", func(_ int, from Mem, v VecPhysical) { t.addFrom(from, v) },
			func(_ int, v VecPhysical, to Mem) { VMOVUPS(v, to) })
		Label(name + "Part")
	}
	t.masks(cols)
	either(name+"Masked", t.addMasked, t.storeMasked)
}

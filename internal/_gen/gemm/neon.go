// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/kernelfold/kernelfold/internal/_gen/neon"
)

// NEON has room for 12 rows of two sums, two vectors of B and twelve elements of A. The elements of A
// stay in the lanes of vectors, because a multiply-add can take one of its factors from a lane.
const neonHeight = 12

// writeNEON writes the assembly for arm64.
func writeNEON() {
	f := neon.New("gemm")
	for _, bits := range neon.Machines() {
		productNEON(f, bits)
		copyRowsNEON(f, bits)
		transposeNEON(f, bits)
		columnsNEON(f, bits)
		eliminateNEON(f, bits)
	}
	f.Write("../../gemm/kernel_arm64.s", "../../gemm/stubs_arm64.go")
}

// bytesOf returns the sizes of the pieces in which n bytes are moved, the longest first.
func bytesOf(n int) (pieces []int) {
	for _, size := range []int{16, 8, 4} {
		for ; n >= size; n -= size {
			pieces = append(pieces, size)
		}
	}
	return pieces
}

// productNEON writes the kernel. It has a loop for each number of rows, each way in which A lies in
// memory and each way in which B does, with all sums in registers.
func productNEON(f *neon.File, bits int) {
	m := f.Function(bits, "mul", "func(rows, vectors, k int, a *%[1]s, rs, cs int, b *%[1]s, at *int, step int, c *%[1]s, ldc, mode int)",
		"sets a tile C of the given number of rows, 1 to 12, and of vectors, 1 or 2, to A B, or adds A B",
		"to it. Element (i, p) of A is a[i*rs+p*cs]. Row p of B begins at b[at[p]]; its second vector, or",
		"each further quarter of a tile, begins step elements later. The rows of C are ldc elements apart.",
		"k is at least 1. With one vector B is read no further than that.")
	t := tileNEON{Machine: m, k: m.Argument("k"), at: m.Argument("at"), cs: m.Argument("cs"), rows: m.Argument("rows")}
	t.a[0], t.rs[1], t.b[0], t.step = m.Argument("a"), m.Argument("rs"), m.Argument("b"), m.Argument("step")
	for i := 1; i < 4; i++ {
		t.b[i] = m.Int()
	}
	t.a[1], t.a[2], t.rs[2], t.rs[3], t.off, t.tmp = m.Int(), m.Int(), m.Int(), m.Int(), m.Int(), m.Int()
	m.Emit("LSL", m.Shift(), t.cs, t.cs)
	m.Emit("LSL", m.Shift(), t.step, t.step)
	for i := 1; i < 4; i++ {
		m.Emit("ADD", t.step, t.b[i-1], t.b[i])
	}
	t.sums, t.rowOfB, t.lanes = m.Vecs(2*neonHeight), m.Vecs(2), m.Vecs(6)
	m.Dispatch("rows", t.rows, 1, neonHeight)
	for r := 1; r <= neonHeight; r++ {
		t.height = r
		t.write()
	}
}

// tileNEON is the code for a number of rows, and the registers that it works with.
type tileNEON struct {
	neon.Machine
	height          int
	k, at, cs, rows neon.Int
	a               [3]neon.Int // every fourth row
	rs              [4]neon.Int // multiples of the distance of rows
	b               [4]neon.Int
	step, off, tmp  neon.Int
	sums            []neon.Vec
	rowOfB, lanes   []neon.Vec
}

func (t tileNEON) label(s string) string { return fmt.Sprint(s, t.height) }

func (t tileNEON) write() {
	t.Label(t.label("rows"))
	for i := range t.height {
		t.Zero(t.sums[2*i])
		t.Zero(t.sums[2*i+1])
	}
	mode, vectors := t.off, t.tmp
	t.Reload("mode", mode)
	t.Reload("vectors", vectors)
	quarters, narrow := t.label("quarters"), t.label("narrow")
	for _, packed := range []bool{true, false} {
		suffix := map[bool]string{true: "Packed", false: "Strided"}[packed]
		if packed {
			t.Emit("CMP", 1, t.rs[1])
			t.Emit("BNE", t.label("strided"))
		} else {
			t.Label(t.label("strided"))
			t.Emit("LSL", t.Shift(), t.rs[1], t.rs[1])
			if t.height > 2 {
				t.Emit("ADD", t.rs[1], t.rs[1], t.rs[2])
			}
			if t.height > 3 {
				t.Emit("ADD", t.rs[1], t.rs[2], t.rs[3])
			}
			for i := 1; 4*i < t.height; i++ {
				t.Emit("ADD", fmt.Sprintf("%v<<2", t.rs[1]), t.a[i-1], t.a[i])
			}
		}
		t.Emit("TBNZ", 1, mode, quarters+suffix)
		t.Emit("CMP", 1, vectors)
		t.Emit("BEQ", narrow+suffix)
		t.loop("wide"+suffix, packed, 2, t.halves)
		t.Emit("B", t.label("store"))
		t.Label(quarters + suffix)
		t.loop("quarter"+suffix, packed, 2, t.quarters)
		t.Emit("B", t.label("store"))
		t.Label(narrow + suffix)
		t.loop("narrowOf"+suffix, packed, 1, t.first)
		t.Emit("B", t.label("storeNarrow"))
	}
	t.Label(t.label("store"))
	t.store("wide", 2)
	t.Label(t.label("storeNarrow"))
	t.store("narrow", 1)
}

// loop adds the products of the rows of B.
func (t tileNEON) loop(name string, packed bool, vectors int, load func()) {
	t.Label(t.label(name))
	t.Emit("MOVD.P", fmt.Sprintf("8(%v)", t.at), t.off)
	load()
	add := func(i int, a neon.Vec, lane int) {
		for j := range vectors {
			t.FMALane(a, lane, t.rowOfB[j], t.sums[2*i+j])
		}
	}
	if packed {
		at := 0
		for i, size := range bytesOf(t.height * t.Size()) {
			t.LoadBytes(size, neon.At(t.a[0], at), t.lanes[i])
			at += size
		}
		row := 0
		for i, size := range bytesOf(t.height * t.Size()) {
			for lane := range size / t.Size() {
				add(row, t.lanes[i], lane)
				row++
			}
		}
		t.Emit("ADD", t.cs, t.a[0], t.a[0])
	} else {
		for i := range t.height {
			v, from := t.lanes[i%len(t.lanes)], neon.At(t.a[i/4], 0)
			if i%4 != 0 {
				from += fmt.Sprintf("(%v)", t.rs[i%4])
			}
			t.LoadBytes(t.Size(), from, v)
			add(i, v, 0)
		}
		for i := 0; 4*i < t.height; i++ {
			t.Emit("ADD", t.cs, t.a[i], t.a[i])
		}
	}
	t.Emit("SUB", 1, t.k, t.k)
	t.Emit("CBNZ", t.k, t.label(name))
}

// piece returns the address of piece i of a row of B.
func (t tileNEON) piece(i int) string {
	t.Emit("ADD", fmt.Sprintf("%v<<%d", t.off, t.Shift()), t.b[i], t.tmp)
	return neon.At(t.tmp, 0)
}

// first loads the first vector of a row of B; halves loads both vectors, and quarters both vectors
// from four pieces of 8 bytes.
func (t tileNEON) first() { t.Load(t.piece(0), t.rowOfB[0]) }

func (t tileNEON) halves() {
	t.first()
	t.Load(t.piece(1), t.rowOfB[1])
}

func (t tileNEON) quarters() {
	for i, v := range t.rowOfB {
		t.LoadBytes(8, t.piece(2*i), v)
		t.Emit("VLD1", t.piece(2*i+1), t.Double().Lane(v, 1))
	}
}

// store adds the sums to C or stores them, and returns.
func (t tileNEON) store(name string, vectors int) {
	mode, c, ldc := t.off, t.a[0], t.a[1] // registers not needed any more
	t.Reload("mode", mode)
	t.Reload("c", c)
	t.Reload("ldc", ldc)
	t.Emit("LSL", t.Shift(), ldc, ldc)
	plain := t.label(name + "Plain")
	t.Emit("TBZ", 0, mode, plain)
	for _, adding := range []bool{true, false} {
		for i := range t.height {
			for j := range vectors {
				s, to := t.sums[2*i+j], neon.At(c, j*neon.Bytes)
				if adding {
					t.Load(to, t.rowOfB[j])
					t.Add(t.rowOfB[j], s, s)
				}
				t.Store(s, to)
			}
			if i < t.height-1 {
				t.Emit("ADD", ldc, c, c)
			}
		}
		t.Return()
		if adding {
			t.Label(plain)
		}
	}
}

// copyRowsNEON writes the kernel that packs a panel whose rows are contiguous in memory. It has a loop for
// each number of columns.
func copyRowsNEON(f *neon.File, bits int) {
	m := f.Function(bits, "copy", "func(dst *%[1]s, stride int, src *%[1]s, ld, cols, k int, alpha %[1]s)",
		"sets dst[p*stride+j] = alpha src[p*ld+j] for p < k and j < cols, at most 12, and writes nothing else.")
	dst, stride, src, ld, cols, k := m.Argument("dst"), m.Argument("stride"), m.Argument("src"), m.Argument("ld"), m.Argument("cols"), m.Argument("k")
	alpha, v := m.Constant("alpha"), m.Vecs(6)
	m.Emit("LSL", m.Shift(), stride, stride)
	m.Emit("LSL", m.Shift(), ld, ld)
	m.Dispatch("cols", cols, 1, neonHeight)
	for n := 1; n <= neonHeight; n++ {
		m.Label(fmt.Sprint("cols", n))
		at := 0
		for i, size := range bytesOf(n * m.Size()) {
			m.LoadBytes(size, neon.At(src, at), v[i])
			m.Mul(alpha, v[i], v[i])
			m.StoreBytes(size, v[i], neon.At(dst, at))
			at += size
		}
		m.Emit("ADD", ld, src, src)
		m.Emit("ADD", stride, dst, dst)
		m.Emit("SUB", 1, k, k)
		m.Emit("CBNZ", k, fmt.Sprint("cols", n))
		m.Return()
	}
}

// transposeNEON writes the kernel that packs a panel whose columns are contiguous in memory, by square
// blocks as large as a vector.
func transposeNEON(f *neon.File, bits int) {
	n := 128 / bits
	m := f.Function(bits, "transpose", "func(dst *%[1]s, stride int, src *%[1]s, ld, cols, k int, alpha %[1]s)",
		fmt.Sprint("sets dst[p*stride+j] = alpha src[j*ld+p] for p < k and j < cols, at most ", n, ", with p"),
		fmt.Sprintf("ascending. It writes %d elements for each p, those beyond cols arbitrary, and k is at least %[1]d.", n))
	dst, stride, ld, cols, k := m.Argument("dst"), m.Argument("stride"), m.Argument("ld"), m.Argument("cols"), m.Argument("k")
	rows := []neon.Int{m.Argument("src")}
	m.Emit("LSL", m.Shift(), stride, stride)
	m.Emit("LSL", m.Shift(), ld, ld)
	for j := 1; j < n; j++ { // beyond the last row, repeat it
		rows = append(rows, m.Int())
		m.Emit("ADD", ld, rows[j-1], rows[j])
		m.Emit("CMP", j, cols)
		m.Emit("CSEL", "LE", rows[j-1], rows[j], rows[j])
	}
	alpha := m.Constant("alpha")
	back, tmp := m.Int(), m.Int()
	v, w := m.Vecs(n), m.Vecs(n)
	m.Label("square")
	for j, r := range rows {
		m.Load(neon.At(r, 0), v[j])
	}
	for _, o := range m.Transposed(v, w) {
		m.Mul(alpha, o, o)
		m.Store(o, neon.At(dst, 0))
		m.Emit("ADD", stride, dst, dst)
	}
	m.Advance(neon.Bytes, rows...)
	m.Emit("SUB", n, k, k)
	m.Emit("CMP", n, k)
	m.Emit("BGE", "square")
	// The rest: the last square again, moved back to end with the last element.
	m.Emit("CBZ", k, "done")
	m.Emit("SUB", n, k, back)
	m.Emit("LSL", m.Shift(), back, tmp)
	for _, r := range rows {
		m.Emit("ADD", tmp, r, r)
	}
	m.Emit("MUL", back, stride, tmp)
	m.Emit("ADD", tmp, dst, dst)
	m.Emit("MOVD", n, k)
	m.Emit("B", "square")
	m.Label("done")
	m.Return()
}

// columnsNEON writes the transposition of a strip as wide as a vector, by square blocks.
func columnsNEON(f *neon.File, bits int) {
	n := 128 / bits
	m := f.Function(bits, "columns", "func(dst *%[1]s, stride int, src *%[1]s, ld, k int)",
		fmt.Sprintf("sets dst[p*stride+j] = src[j*ld+p] for p < %d and j < k, a multiple of %[1]d.", n))
	rows, stride, src, ld, k := []neon.Int{m.Argument("dst")}, m.Argument("stride"), m.Argument("src"), m.Argument("ld"), m.Argument("k")
	m.Emit("LSL", m.Shift(), stride, stride)
	m.Emit("LSL", m.Shift(), ld, ld)
	for p := 1; p < n; p++ {
		rows = append(rows, m.Int())
		m.Emit("ADD", stride, rows[p-1], rows[p])
	}
	v, w := m.Vecs(n), m.Vecs(n)
	m.Label("square")
	for _, r := range v {
		m.Load(neon.At(src, 0), r)
		m.Emit("ADD", ld, src, src)
	}
	for p, r := range m.Transposed(v, w) {
		m.Store(r, neon.At(rows[p], 0))
	}
	m.Advance(neon.Bytes, rows...)
	m.Emit("SUB", n, k, k)
	m.Emit("CBNZ", k, "square")
	m.Return()
}

// eliminateNEON writes the Cholesky factorisation of a small matrix together with the inversion of the
// factor.
func eliminateNEON(f *neon.File, bits int) {
	m := f.Function(bits, "eliminate", "func(l, v, pivots *%[1]s, n int)",
		fmt.Sprintf("factors an n x n matrix G = L L^T, n at most %d. l holds the columns of G, %[1]d elements", side),
		"apart, and then those of L on and below the diagonal. The row operations that turn L into the",
		"identity are applied to v as well. pivots are the squares of the diagonal of L.")
	lk, vk, pivots, n := m.Argument("l"), m.Argument("v"), m.Argument("pivots"), m.Argument("n")
	diagonal, below, li, vi, left := m.Int(), m.Int(), m.Int(), m.Int(), m.Int()
	row := side * m.Size()
	count := row / neon.Bytes
	lv, vv, factor, root, tmp := m.Vecs(count), m.Vecs(count), m.Vec(), m.Vec(), m.Vec()
	one := neon.Part{Machine: m, One: true}
	m.Emit("MOVD", lk, diagonal)
	m.Label("column")
	one.Load(neon.At(diagonal, 0), tmp)
	one.Store(tmp, neon.At(pivots, 0))
	m.Sqrt(tmp, root)
	m.Div(tmp, root, factor)
	for j := range count {
		m.Load(neon.At(lk, j*neon.Bytes), lv[j])
		m.Load(neon.At(vk, j*neon.Bytes), vv[j])
		m.MulLane(factor, 0, lv[j], lv[j])
		m.MulLane(factor, 0, vv[j], vv[j])
		m.Store(lv[j], neon.At(lk, j*neon.Bytes))
		m.Store(vv[j], neon.At(vk, j*neon.Bytes))
	}
	m.Emit("MOVD", lk, li)
	m.Emit("MOVD", vk, vi)
	m.Emit("ADD", m.Size(), diagonal, below)
	m.Emit("SUBS", 1, n, left)
	m.Emit("BEQ", "done")
	m.Label("below")
	m.Advance(row, li, vi)
	one.Load(neon.At(below, 0), factor)
	m.Advance(m.Size(), below)
	for _, half := range []struct {
		to   neon.Int
		from []neon.Vec
	}{{li, lv}, {vi, vv}} {
		for j, v := range half.from {
			m.Load(neon.At(half.to, j*neon.Bytes), tmp)
			m.FNMALane(factor, 0, v, tmp)
			m.Store(tmp, neon.At(half.to, j*neon.Bytes))
		}
	}
	m.Emit("SUB", 1, left, left)
	m.Emit("CBNZ", left, "below")
	m.Advance(row, lk, vk)
	m.Advance(row+m.Size(), diagonal)
	m.Advance(m.Size(), pivots)
	m.Emit("SUB", 1, n, n)
	m.Emit("B", "column")
	m.Label("done")
	m.Return()
}

// SPDX-License-Identifier: Apache-2.0

package main

import "github.com/kernelfold/kernelfold/internal/_gen/neon"

// writeNEON writes the assembly for arm64.
func writeNEON() {
	f := neon.New("winograd")
	for _, l := range lines[neon.Vec]() {
		transformNEON(f, l)
	}
	f.Write("../../winograd/kernels_arm64.s", "../../winograd/stubs_arm64.go")
}

// transformNEON writes a transform.
func transformNEON(f *neon.File, l line[neon.Vec]) {
	m := f.Function(32, l.name, "func(dst *%[1]s, toNext, toRow, toCol int, src *%[1]s, fromNext, fromRow, fromCol int, blocks, n int)", l.doc()...)
	bytes := func(name string) neon.Int {
		d := m.Argument(name)
		m.Emit("LSL", m.Shift(), d, d)
		return d
	}
	dst, src, blocks, n := m.Argument("dst"), m.Argument("src"), m.Argument("blocks"), bytes("n")
	down, across, toDown, toAcross := bytes("fromRow"), bytes("fromCol"), bytes("toRow"), bytes("toCol")
	next, toNext := bytes("fromNext"), bytes("toNext")
	for _, d := range []neon.Int{next, toNext} { // from the end of a block's first vector
		m.Emit("SUB", n, d, d)
	}
	c := m.Table(l.name+"Constants", l.constants)
	waiting := m.Stack(l.to * l.from * neon.Bytes) // columns that are mapped
	at := func(i, j int) string { return waiting((i*l.from + j) * neon.Bytes) }
	left, line, p := m.Int(), m.Int(), m.Int()

	m.Label("block")
	m.Emit("MOVD", n, left)
	m.Label("vector")
	m.Emit("MOVD", src, line)
	for j := range l.from {
		m.Scope(func() {
			x := m.Vecs(l.from)
			m.Emit("MOVD", line, p)
			for i, v := range x {
				m.Load(neon.At(p, 0), v)
				if i < l.from-1 {
					m.Emit("ADD", down, p, p)
				}
			}
			for i, v := range l.do(m, c, x) {
				m.Store(v, at(i, j))
			}
			m.Emit("ADD", across, line, line)
		})
	}
	m.Emit("MOVD", dst, line)
	for i := range l.to {
		m.Scope(func() {
			x := m.Vecs(l.from)
			for j, v := range x {
				m.Load(at(i, j), v)
			}
			m.Emit("MOVD", line, p)
			for j, v := range l.do(m, c, x) {
				m.Store(v, neon.At(p, 0))
				if j < l.to-1 {
					m.Emit("ADD", toAcross, p, p)
				}
			}
			m.Emit("ADD", toDown, line, line)
		})
	}
	m.Advance(neon.Bytes, src, dst)
	m.Emit("SUB", neon.Bytes, left, left)
	m.Emit("CBNZ", left, "vector")
	m.Emit("ADD", next, src, src)
	m.Emit("ADD", toNext, dst, dst)
	m.Emit("SUB", 1, blocks, blocks)
	m.Emit("CBNZ", blocks, "block")
	m.Return()
}

// SPDX-License-Identifier: Apache-2.0

package neon

import "fmt"

// Points of 9 elements in float32 are moved four at a time, wherever each of them lies; Rows says where. For arithmetic,
// each of nine vectors holds one element of all four.

// Rows are the addresses of four points.
type Rows [4]Row

// Row is the address of a point.
type Row struct {
	base Int
	disp int
}

// At is the address of an element of the point.
func (r Row) At(element int) string { return At(r.base, r.disp+4*element) }

// RowsAt are those of points that lie one after the other from p on.
func RowsAt(p Int) (rows Rows) {
	for l := range rows {
		rows[l] = Row{p, 9 * 4 * l}
	}
	return rows
}

// Rows are the next four points of the array at p: those with the numbers, of 32 bits each, that begin at order or,
// if order is 0, those that lie one after the other from p on, which then moves beyond them.
func (m Machine) Rows(label string, p, order Int) (rows Rows) {
	for l := range rows {
		rows[l] = Row{m.Int(), 0}
	}
	m.Emit("CBNZ", order, label+"Scattered")
	for l, r := range rows {
		m.Emit("ADD", 9*4*l, p, r.base)
	}
	m.Advance(9*Bytes, p)
	m.Emit("B", label+"Found")
	m.Label(label + "Scattered")
	for l, r := range rows {
		m.Emit("MOVW", At(order, 4*l), r.base)
		m.Emit("ADD", fmt.Sprintf("%v<<3", r.base), r.base, r.base)
		m.Emit("ADD", fmt.Sprintf("%v<<2", r.base), p, r.base)
	}
	m.Label(label + "Found")
	return rows
}

// Piece is part of a row.
type Piece struct {
	Part
	First int // element
}

// Pieces returns those of a row: elements 0 to 3, 4 to 7, and 8.
func (m Machine) Pieces() []Piece {
	return []Piece{{Part{m, false}, 0}, {Part{m, false}, 4}, {Part{m, true}, 8}}
}

// Elements returns the vectors of the elements of four points. load writes a piece of point l to v.
func (m Machine) Elements(load func(p Piece, l int, v Vec)) []Vec {
	all := m.Vecs(9)
	for _, piece := range m.Pieces() {
		m.Scope(func() {
			v, w := m.Vecs(4), m.Vecs(4)
			for l := range v {
				load(piece, l, v[l])
			}
			if piece.One {
				m.Zip1(v[2], v[0], w[0])
				m.Zip1(v[3], v[1], w[1])
				m.Zip1(w[1], w[0], all[8])
				return
			}
			for i, r := range m.Transposed(v, w) {
				m.Move(r, all[piece.First+i])
			}
		})
	}
	return all
}

// Points is the inverse of Elements: it stores four points.
func (m Machine) Points(elements []Vec, rows Rows) {
	for _, piece := range m.Pieces() {
		m.Scope(func() {
			v, w := m.Vecs(4), m.Vecs(4)
			for l := range v {
				if piece.One {
					m.Emit("VMOV", m.Lane(elements[8], l), m.Lane(v[l], 0))
				} else {
					m.Move(elements[piece.First+l], v[l])
				}
			}
			if !piece.One {
				v = m.Transposed(v, w)
			}
			for l := range v {
				piece.Store(v[l], rows[l].At(piece.First))
			}
		})
	}
}

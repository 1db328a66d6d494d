// SPDX-License-Identifier: Apache-2.0

package neon

// Four points of 9 elements in float32 lie one after the other in memory. For arithmetic, each of nine
// vectors holds one element of all four.

// nine is the distance of two such points in bytes.
const nine = 9 * 4

// pieces are the parts of a point: elements 0 to 3, 4 to 7, and 8.
var pieces = []struct{ first, bytes int }{{0, 16}, {4, 16}, {8, 4}}

// Elements returns the vectors of the elements of four points. load writes a part of a point, of
// which disp is the distance from the first point, to v.
func (m Machine) Elements(load func(p Part, disp int, v Vec)) []Vec {
	all := m.Vecs(9)
	for _, piece := range pieces {
		m.Scope(func() {
			v, w := m.Vecs(4), m.Vecs(4)
			for l := range v {
				load(Part{m, piece.bytes == 4}, l*nine+4*piece.first, v[l])
			}
			if piece.bytes == 4 {
				m.Zip1(v[2], v[0], w[0])
				m.Zip1(v[3], v[1], w[1])
				m.Zip1(w[1], w[0], all[8])
				return
			}
			for i, r := range m.Transposed(v, w) {
				m.Move(r, all[piece.first+i])
			}
		})
	}
	return all
}

// Points is the inverse of Elements: it stores four points from p on.
func (m Machine) Points(elements []Vec, p Int) {
	for _, piece := range pieces {
		m.Scope(func() {
			v, w := m.Vecs(4), m.Vecs(4)
			for l := range v {
				if piece.bytes == 4 {
					m.Emit("VMOV", m.Lane(elements[8], l), m.Lane(v[l], 0))
				} else {
					m.Move(elements[piece.first+l], v[l])
				}
			}
			if piece.bytes == 16 {
				v = m.Transposed(v, w)
			}
			for l := range v {
				Part{m, piece.bytes == 4}.Store(v[l], At(p, l*nine+4*piece.first))
			}
		})
	}
}

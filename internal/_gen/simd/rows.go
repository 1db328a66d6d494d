// SPDX-License-Identifier: Apache-2.0

package simd

import (
	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Rows are the points of a group, wherever each of them lies. Nine loads and stores them with the lanes of Elements
// and Points, eight elements of a point at a time and the last by itself.
type Rows struct{ base, order Register }

// RowsOf returns the points of the array at p whose numbers, of 32 bits each, begin at order.
func RowsOf(p, order Register) Rows { return Rows{p, order} }

// at returns the address of point l.
func (r Rows) at(l int) Mem {
	number := GP64()
	MOVLQSX(Mem{Base: r.order, Disp: 4 * l}, number)
	LEAQ(Mem{Base: number, Index: number, Scale: 8}, number)
	return Mem{Base: r.base, Index: number, Scale: 4}
}

// far is the distance of the points that are prefetched.
const far = 512

// Prefetch fetches the points of arrays whose numbers are far behind order, if these are in the list. It counts the argument listed,
// the length of the list, down.
func (g *Nine) Prefetch(label string, order Register, arrays ...Register) {
	left := Argument("listed")
	n := GP64()
	MOVQ(left, n)
	SUBQ(U32(g.Lanes()), n)
	MOVQ(n, left)
	CMPQ(n, U32(far))
	JL(LabelRef(label + "Near"))
	for l := range g.Lanes() {
		at := Rows{nil, order}.at(far + l)
		for _, p := range arrays {
			at.Base = p
			PREFETCHT1(at)
			PREFETCHT1(at.Offset(8 * 4))
		}
	}
	Label(label + "Near")
}

// The eight elements of a point fill half a vector of AVX-512. A vector then holds two points.

// slots calls use for the point of each lane, with the vector and the half of it that hold the point.
func (g *Nine) slots(use func(lane, point, vector, half int)) {
	for i := range 8 {
		for half := range g.Lanes() / 8 {
			lane := i
			if g.Wide {
				lane = i/4*8 + half*4 + i%4
			}
			point := 0
			for g.Place(point) != lane {
				point++
			}
			use(lane, point, i, half)
		}
	}
}

// LoadRows returns the vectors of the elements.
func (g *Nine) LoadRows(rows Rows) (elements [9]VecVirtual) {
	v, last := g.Vecs(8), g.Vecs(g.Lanes()/4) // the last elements of four points each
	g.slots(func(lane, point, i, half int) {
		at := rows.at(point)
		switch {
		case half == 1:
			VINSERTF64X4(Imm(1), at, v[i], v[i])
		case g.Wide:
			VBROADCASTF64X4(at, v[i])
		default:
			VMOVUPS(at, v[i])
		}
		if q := last[lane/4]; lane%4 == 0 {
			g.Broadcast(at.Offset(8*4), q)
		} else {
			VINSERTPS(Imm(uint64(lane%4<<4)), at.Offset(8*4), q.AsX(), q.AsX())
		}
	})
	for q := 0; q < len(last); q += 2 {
		if g.Wide {
			VINSERTF32X4(Imm(1), last[q+1].AsX(), last[q].AsY(), last[q].AsY())
		} else {
			VINSERTF128(Imm(1), last[q+1].AsX(), last[q], last[q])
		}
	}
	if g.Wide {
		VINSERTF64X4(Imm(1), last[2].AsY(), last[0], last[0])
	}
	elements[8] = last[0]
	a, b := g.quarters(v[:4]), g.quarters(v[4:])
	for c := range 4 {
		elements[c], elements[c+4] = g.Vec(), g.Vec()
		if g.Wide {
			VSHUFF64X2(Imm(0x88), b[c], a[c], elements[c])
			VSHUFF64X2(Imm(0xdd), b[c], a[c], elements[c+4])
		} else {
			VPERM2F128(Imm(0x20), b[c], a[c], elements[c])
			VPERM2F128(Imm(0x31), b[c], a[c], elements[c+4])
		}
	}
	return elements
}

// StoreRows is the inverse of LoadRows.
func (g *Nine) StoreRows(elements [9]Op, rows Rows) {
	load := func(e []Op) (v []VecVirtual) {
		for _, o := range e {
			v = append(v, g.Register(o))
		}
		return v
	}
	a := g.quarters(load(elements[:4]))
	b := g.quarters(load(elements[4:8]))
	v, last := make([]VecVirtual, 8), make([]VecVirtual, g.Lanes()/4)
	var first, second VecVirtual
	if g.Wide {
		first, second = g.Register(turns()), g.Register(turns().Offset(64))
	}
	for c := range 4 {
		v[c+4] = g.Vec()
		if g.Wide {
			v[c] = a[c]
			g.Move(a[c], v[c+4])
			VPERMT2PD(b[c], first, v[c])
			VPERMT2PD(b[c], second, v[c+4])
		} else {
			v[c] = g.Vec()
			VPERM2F128(Imm(0x20), b[c], a[c], v[c])
			VPERM2F128(Imm(0x31), b[c], a[c], v[c+4])
		}
	}
	whole := g.Register(elements[8])
	for q := range last {
		last[q] = XMM()
		switch {
		case q == 0:
			VMOVAPS(whole.AsX(), last[q])
		case g.Wide:
			VEXTRACTF32X4(Imm(uint64(q)), whole, last[q])
		default:
			VEXTRACTF128(Imm(1), whole, last[q])
		}
	}
	g.slots(func(lane, point, i, half int) {
		at := rows.at(point)
		if half == 0 {
			VMOVUPS(v[i].AsY(), at)
		} else {
			VEXTRACTF64X4(Imm(1), v[i], at)
		}
		if lane%4 == 0 {
			VMOVSS(last[lane/4], at.Offset(8*4))
		} else {
			VEXTRACTPS(Imm(uint64(lane%4)), last[lane/4], at.Offset(8*4))
		}
	})
}

// quarters transposes the 4 x 4 matrices in the quarters of four vectors.
func (g *Nine) quarters(v []VecVirtual) [4]VecVirtual {
	t, u := g.Vecs(4), g.Vecs(4)
	for i := range 2 {
		g.UnpackLow(v[2*i+1], v[2*i], t[i])
		g.UnpackHigh(v[2*i+1], v[2*i], t[2+i])
	}
	d := g.Double()
	for i := range 2 {
		d.UnpackLow(t[2*i+1], t[2*i], u[2*i])
		d.UnpackHigh(t[2*i+1], t[2*i], u[2*i+1])
	}
	return [4]VecVirtual(u)
}

var turnsTable *Mem

// turns is a table of the permutations that take quarters 0 and 1, and 2 and 3, of two vectors by turns.
func turns() Mem {
	if turnsTable == nil {
		t := GLOBL("turns", attr.RODATA|attr.NOPTR)
		for i := range 16 { // numbers of 64 bits, two to a quarter; those of the second vector begin at 8
			DATA(8*i, U64(i/4*2+i%2+i/2%2*8))
		}
		turnsTable = &t
	}
	return *turnsTable
}

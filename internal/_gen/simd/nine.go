// SPDX-License-Identifier: Apache-2.0

package simd

import (
	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Nine converts groups of points of 9 elements in float32 between two layouts. In memory, nine
// vectors of L lanes hold L points, one after the other. For arithmetic, each vector holds one
// element of all points.
//
// Element e of point l lies in lane p of vector r, where L r + p = 9 l + e, and so
// r = u (e - p) mod 9 with u the inverse of L modulo 9. Rotating lane p of all vectors by
// -u p mod 9 vectors leaves element e of all points in vector u e mod 9. Rotating the lanes of that
// vector by e leaves point l in lane 9 l mod L, for every e. The first rotation takes one round for
// each bit of -u p mod 9.
type Nine struct {
	Machine
	inverse   int
	masks     []Op
	rotations Register // with AVX2, a table of 0, 1 ... L-1, twice
}

// NewNine prepares its masks.
func NewNine(m Machine) *Nine {
	g := &Nine{Machine: m}
	lanes := m.Lanes()
	for g.inverse*lanes%9 != 1 {
		g.inverse++
	}
	for b := 0; 1<<b < min(lanes, 9); b++ {
		bits := 0
		for p := range lanes {
			bits |= (9 - g.inverse) * p % 9 >> b & 1 << p
		}
		if !m.Wide {
			g.masks = append(g.masks, Imm(uint64(bits)))
			continue
		}
		r, k := GP32(), K()
		MOVL(U32(bits), r)
		KMOVW(r, k)
		g.masks = append(g.masks, k)
	}
	if !m.Wide {
		g.rotations = GP64()
		LEAQ(rotations(lanes), g.rotations)
	}
	return g
}

var rotationTable *Mem

// rotations is a table of 0, 1 ... lanes-1, twice.
func rotations(lanes int) Mem {
	if rotationTable == nil {
		t := GLOBL("rotations", attr.RODATA|attr.NOPTR)
		for i := range 2 * lanes {
			DATA(4*i, U32(i%lanes))
		}
		rotationTable = &t
	}
	return *rotationTable
}

// Place is the lane of point l in the vector of an element.
func (g *Nine) Place(l int) int { return 9 * l % g.Lanes() }

// Elements returns the vectors of the elements. It overwrites v.
func (g *Nine) Elements(v [9]VecVirtual) (elements [9]VecVirtual) {
	g.rounds(v, false)
	for e := range elements {
		elements[e] = g.rotated(v[g.inverse*e%9], e)
	}
	return elements
}

// Points is the inverse of Elements.
func (g *Nine) Points(elements [9]VecVirtual) (v [9]VecVirtual) {
	for e := range elements {
		v[g.inverse*e%9] = g.rotated(elements[e], g.Lanes()-e)
	}
	g.rounds(v, true)
	return v
}

// rounds rotates the lanes among the vectors, or back.
func (g *Nine) rounds(v [9]VecVirtual, back bool) {
	for b, mask := range g.masks {
		by, first := 1<<b, g.Vec()
		if back {
			by = 9 - by
		}
		g.Move(v[0], first)
		for n := range v {
			from := v[(n+1)*by%9]
			if n == 8 {
				from = first
			}
			to := v[n*by%9]
			if g.Wide {
				VMOVAPS(from, mask, to)
			} else {
				VBLENDPS(mask, from, to, to)
			}
		}
	}
}

// rotated returns v with its lanes rotated.
func (g *Nine) rotated(v VecVirtual, by int) VecVirtual {
	by %= g.Lanes()
	if by == 0 {
		return v
	}
	w := g.Vec()
	if g.Wide {
		VALIGND(Imm(uint64(by)), v, v, w)
	} else {
		g.Load(Mem{Base: g.rotations, Disp: 4 * by}, w)
		VPERMPS(v, w, w)
	}
	return w
}

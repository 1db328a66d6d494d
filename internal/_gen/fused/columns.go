// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"

	"github.com/kernelfold/kernelfold/internal/_gen/simd"
)

// tile is some rows of some columns.
type tile struct {
	simd.Machine
	d                  direction
	x                  GPVirtual
	rows, stride, cols GPVirtual
	side               GPVirtual // an array with one number per column
	size               int       // of such a number, in bytes
}

func newTile(m simd.Machine, side string, size int) tile {
	t := tile{m, newDirection(m), simd.Pointer("x"), simd.Pointer("rows"), simd.Pointer("stride"), simd.Pointer("cols"),
		simd.Pointer(side), size}
	IMUL3Q(U32(m.Size()), t.stride, t.stride)
	return t
}

// run runs the body for several vectors of columns at a time, then for single vectors, then for the
// remaining columns.
func (t tile) run(label string, together int, body func(name string, p simd.Part, vectors int)) {
	counts := []int{together, 1}
	if together == 1 {
		counts = counts[1:]
	}
	move := func(vectors int) {
		by := U32(vectors * t.Bytes())
		ADDQ(by, t.x)
		ADDQ(by, t.d.grad)
		if t.d.momentum {
			ADDQ(by, t.d.m)
		}
		ADDQ(U32(vectors*t.Lanes()*t.size), t.side)
	}
	for _, vectors := range counts {
		name := fmt.Sprint(label, vectors)
		lanes := U32(vectors * t.Lanes())
		SUBQ(lanes, t.cols)
		JL(LabelRef(name + "Done"))
		Label(name)
		body(name, simd.Part{Machine: t.Machine}, vectors)
		move(vectors)
		SUBQ(lanes, t.cols)
		JGE(LabelRef(name))
		Label(name + "Done")
		ADDQ(lanes, t.cols)
	}
	JZ(LabelRef(label + "Whole"))
	body(label+"Rest", simd.Part{Machine: t.Machine, Mask: t.First(t.cols)}, 1)
	Label(label + "Whole")
	simd.End()
}

// each runs the body for each row; at is the offset of the row in bytes.
func (t tile) each(name string, body func(at GPVirtual)) {
	at, left := GP64(), GP64()
	XORQ(at, at)
	MOVQ(t.rows, left)
	Label(name + "Row")
	body(at)
	ADDQ(t.stride, at)
	DECQ(left)
	JNZ(LabelRef(name + "Row"))
}

// momentsOfColumns writes the first pass for columns.
func momentsOfColumns(m simd.Machine) {
	m.Function("momentsOfColumns", "func(x, m, grad *%[1]s, rows, stride, cols int, ahead, slope %[1]s, centred bool, sums *float64)",
		fmt.Sprintf("adds the sums over some rows, stride elements apart, to the sums of cols columns, at most %d.", maxPoints),
		"There is at least one row.")
	t := newTile(m, "sums", 8)
	centred := GP8()
	Load(Param("centred"), centred)
	TESTQ(t.d.m, t.d.m)
	JZ(LabelRef("plain"))
	TESTB(centred, centred)
	JNZ(LabelRef("centred"))
	variant := func(label string, momentum, centred bool) {
		Label(label)
		t.d.momentum = momentum
		count, together := 3, 2
		if m.Wide {
			together = 4
		}
		if centred {
			count, together = 5, together/2
		}
		t.run(label, together, func(name string, p simd.Part, vectors int) {
			all := make([][]VecVirtual, vectors)
			for i := range all {
				all[i] = m.Zeros(count)
			}
			t.each(name, func(at GPVirtual) {
				for i, s := range all {
					v, g, w := m.Vec(), m.Vec(), m.Vec()
					t.d.at(p, at, i*m.Bytes(), v, g, w)
					p.Load(simd.At(t.x, at, i*m.Bytes()), w)
					p.FMA(w, w, s[0])
					p.FMA(v, w, s[1])
					p.FMA(v, v, s[2])
					if centred {
						p.Add(w, s[3], s[3])
						p.Add(v, s[4], s[4])
					}
				}
			})
			for i, s := range all {
				for j, v := range s {
					addWide(m, v, Mem{Base: t.side, Disp: 8 * (maxPoints*j + i*m.Lanes())})
				}
			}
		})
	}
	variant("momentum", true, false)
	variant("centred", true, true)
	Label("plain")
	TESTB(centred, centred)
	JNZ(LabelRef("plainCentred"))
	variant("plainUncentred", false, false)
	variant("plainCentred", false, true)
}

// addWide adds v to the float64 numbers at to.
func addWide(m simd.Machine, v VecVirtual, to Mem) {
	d := m.Double()
	if m.Bits == 64 {
		d.Add(to, v, v)
		d.Store(v, to)
		return
	}
	low, high := d.Vec(), d.Vec()
	m.Upper(v, high)
	VCVTPS2PD(d.Lower(v), low)
	VCVTPS2PD(d.Lower(high), high)
	for i, v := range []VecVirtual{low, high} {
		d.Add(to.Offset(i*d.Bytes()), v, v)
		d.Store(v, to.Offset(i*d.Bytes()))
	}
}

// applyToColumns writes the second pass for columns.
func applyToColumns(m simd.Machine) {
	m.Function("applyToColumns", "func(x, m, grad *%[1]s, rows, stride, cols int, ahead, slope, keep, take %[1]s, tangent bool, blend *%[1]s)",
		fmt.Sprintf("is apply for some rows, stride elements apart, of cols columns, at most %d.", maxPoints))
	t := newTile(m, "blend", m.Size())
	zero, tangent := m.Zeros(1)[0], GP8()
	Load(Param("tangent"), tangent)
	TESTQ(t.d.m, t.d.m)
	JZ(LabelRef("plain"))
	TESTB(tangent, tangent)
	JNZ(LabelRef("tangent"))
	variant := func(label string, momentum, tangent bool) {
		Label(label)
		t.d.momentum = momentum
		count, together := 3, 1
		if tangent {
			count = 6
		}
		if m.Wide {
			together = 2
		}
		t.run(label, together, func(name string, p simd.Part, vectors int) {
			c := make([][]VecVirtual, vectors)
			for i := range c {
				c[i] = m.Vecs(count)
				for j, v := range c[i] {
					m.Load(Mem{Base: t.side, Disp: m.Size() * (maxPoints*j + i*m.Lanes())}, v)
				}
			}
			t.each(name, func(at GPVirtual) {
				for i, c := range c {
					v, g, w, old, y := m.Vec(), m.Vec(), m.Vec(), m.Vec(), m.Vec()
					disp := i * m.Bytes()
					t.d.at(p, at, disp, v, g, w)
					p.Load(simd.At(t.x, at, disp), old)
					blendPoint(p, c, old, v, y)
					p.Store(y, simd.At(t.x, at, disp))
					if tangent {
						blendMomentum(p, c, old, y, v)
						p.Store(v, simd.At(t.d.m, at, disp))
					} else if momentum {
						f := m.Vec()
						m.Broadcast(simd.Argument("take"), f)
						p.Mul(f, g, g)
						m.Broadcast(simd.Argument("keep"), f)
						p.FMA(f, w, g)
						p.Store(g, simd.At(t.d.m, at, disp))
					}
					p.Store(zero, simd.At(t.d.grad, at, disp))
				}
			})
		})
	}
	variant("ambient", true, false)
	variant("tangent", true, true)
	variant("plain", false, false)
}

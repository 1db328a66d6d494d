// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"

	"github.com/kernelfold/kernelfold/internal/_gen/simd"
)

// Points of 3 x 3 are too short for a vector each. They are taken as many at a time as a
// vector has lanes.

const nine = 9

// chunk loads 128 bits at an offset in elements of each point, points from j on in steps
// of what such a chunk holds: its piece i is that of point i*each+j.
func chunk(m simd.Machine, p GPVirtual, j, offset int, v VecVirtual) {
	each := 16 / m.Size()
	at := func(i int) Mem { return Mem{Base: p, Disp: ((i*each+j)*nine + offset) * m.Size()} }
	if !m.Wide {
		VBROADCASTF128(at(0), v) // defines all of v, for the same price as a part
		VINSERTF128(Imm(1), at(1), v, v)
		return
	}
	VBROADCASTF32X4(at(0), v)
	for i := 1; i < 4; i++ {
		VINSERTF32X4(Imm(uint64(i)), at(i), v, v)
	}
}

// turn transposes the squares of 128 bits, the elements of the points for the points of an
// element. It returns the last count of them, computed as they are asked for.
func turn(m simd.Machine, v []VecVirtual, count int) []func() VecVirtual {
	pair := func(op func(...Op), a, b VecVirtual) VecVirtual {
		o := m.Vec()
		op(b, a, o)
		return o
	}
	later := func(op func(...Op), a, b VecVirtual) func() VecVirtual {
		return func() VecVirtual { return pair(op, a, b) }
	}
	if m.Bits == 64 {
		return []func() VecVirtual{later(VUNPCKLPD, v[0], v[1]), later(VUNPCKHPD, v[0], v[1])}[2-count:]
	}
	high0, high1 := pair(VUNPCKHPS, v[0], v[1]), pair(VUNPCKHPS, v[2], v[3])
	if count == 1 {
		return []func() VecVirtual{later(VUNPCKHPD, high0, high1)}
	}
	low0, low1 := pair(VUNPCKLPS, v[0], v[1]), pair(VUNPCKLPS, v[2], v[3])
	return []func() VecVirtual{later(VUNPCKLPD, low0, low1), later(VUNPCKHPD, low0, low1),
		later(VUNPCKLPD, high0, high1), later(VUNPCKHPD, high0, high1)}
}

func all(later []func() VecVirtual) []VecVirtual {
	v := make([]VecVirtual, len(later))
	for i, f := range later {
		v[i] = f()
	}
	return v
}

// momentsOfNine writes the first sweep for points of 9 elements.
func momentsOfNine(m simd.Machine) {
	lanes, each := m.Lanes(), 16/m.Size()
	m.Function("momentsOfNine", "func(x, m, grad *%[1]s, k int, ahead, slope %[1]s, centred bool, sums *float64)",
		fmt.Sprintf("is moments for k times %d vectors of 9 elements.", lanes))
	x, first, grad, k, sums, centred := simd.Pointer("x"), simd.Pointer("m"), simd.Pointer("grad"), simd.Pointer("k"), simd.Pointer("sums"), GP8()
	Load(Param("centred"), centred)
	TESTQ(first, first)
	JZ(LabelRef("plain"))
	TESTB(centred, centred)
	JNZ(LabelRef("centred"))
	variant := func(label string, momentum, centred bool) {
		Label(label)
		count := 3
		if centred {
			count = 5
		}
		s := m.Zeros(count)
		for offset := 0; offset < nine; offset += each {
			fresh := min(each, nine-offset)
			from := offset - (each - fresh)
			d := m.Vecs(each)
			for j := range d {
				chunk(m, grad, j, from, d[j])
			}
			slope := m.Constant("slope")
			for j := range d {
				m.Mul(slope, d[j], d[j])
			}
			if momentum {
				ahead := m.Constant("ahead")
				for j := range d {
					v := m.Vec()
					chunk(m, first, j, from, v)
					m.FMA(ahead, v, d[j])
				}
			}
			d = all(turn(m, d, fresh))
			v := m.Vecs(each)
			for j := range v {
				chunk(m, x, j, from, v[j])
			}
			for j, next := range turn(m, v, fresh) {
				v := next()
				m.FMA(v, v, s[0])
				m.FMA(v, d[j], s[1])
				m.FMA(d[j], d[j], s[2])
				if centred {
					m.Add(v, s[3], s[3])
					m.Add(d[j], s[4], s[4])
				}
			}
		}
		for i, s := range s {
			to := Mem{Base: sums, Disp: 8 * crowd * i}
			if m.Bits == 64 {
				m.Store(s, to)
				continue
			}
			d := m.Double()
			low, high := d.Vec(), d.Vec()
			m.Upper(s, high)
			VCVTPS2PD(d.Lower(s), low)
			VCVTPS2PD(d.Lower(high), high)
			d.Store(low, to)
			d.Store(high, to.Offset(d.Bytes()))
		}
		step := U32(nine * m.Bytes())
		ADDQ(step, x)
		ADDQ(step, grad)
		if momentum {
			ADDQ(step, first)
		}
		ADDQ(U32(8*lanes), sums)
		DECQ(k)
		JNZ(LabelRef(label))
		simd.End()
	}
	variant("momentum", true, false)
	variant("centred", true, true)
	Label("plain")
	TESTB(centred, centred)
	JNZ(LabelRef("plainCentred"))
	variant("plainUncentred", false, false)
	variant("plainCentred", false, true)
}

// spread says, for each of nine vectors of elements, whose coefficients they take.
func spread(m simd.Machine) Mem {
	name := "spread" + m.Suffix()
	t, ok := spreads[name]
	if !ok {
		t = GLOBL(name, attr.RODATA|attr.NOPTR)
		for i := range nine * m.Lanes() {
			point := i / nine
			switch {
			case m.Bits == 32:
				DATA(4*i, U32(point))
			case m.Wide:
				DATA(8*i, U64(point))
			default: // halves of float64 are permuted as float32
				DATA(8*i, U64(2*point|(2*point+1)<<32))
			}
		}
		spreads[name] = t
	}
	return t
}

var spreads = map[string]Mem{}

// applyToNine writes the second sweep for points of 9 elements.
func applyToNine(m simd.Machine) {
	m.Function("applyToNine", "func(x, m, grad *%[1]s, k int, ahead, slope, keep, take %[1]s, tangent bool, blend *%[1]s)",
		fmt.Sprintf("is apply for k times %d vectors of 9 elements.", m.Lanes()))
	x, k, blend, tangent := simd.Pointer("x"), simd.Pointer("k"), simd.Pointer("blend"), GP8()
	d := newDirection(m)
	Load(Param("tangent"), tangent)
	table := GP64()
	LEAQ(spread(m), table)
	zero, at := m.Zeros(1)[0], GP64()
	XORQ(at, at)
	TESTQ(d.m, d.m)
	JZ(LabelRef("plain"))
	TESTB(tangent, tangent)
	JNZ(LabelRef("tangent"))
	variant := func(label string, momentum, tangent bool) {
		Label(label)
		d.momentum = momentum
		p := part{m, nil}
		for i := range nine {
			index := m.Vec()
			VMOVUPS(Mem{Base: table, Disp: i * m.Bytes()}, index)
			own := func(j int, v VecVirtual) {
				from := Mem{Base: blend, Disp: m.Size() * crowd * j}
				if m.Bits == 64 && m.Wide {
					VPERMPD(from, index, v)
				} else {
					VPERMPS(from, index, v)
				}
			}
			v, g, w, old, y, c := m.Vec(), m.Vec(), m.Vec(), m.Vec(), m.Vec(), m.Vec()
			disp := i * m.Bytes()
			d.at(p, at, disp, v, g, w)
			p.load(simd.At(x, at, disp), old)
			own(2, y)
			own(1, c)
			p.FMA(c, v, y)
			own(0, c)
			p.FMA(c, old, y)
			p.store(y, simd.At(x, at, disp))
			if tangent {
				own(5, c)
				p.Add(c, v, v)
				own(4, c)
				p.FMA(c, old, v)
				own(3, c)
				p.FMA(c, y, v)
				p.store(v, simd.At(d.m, at, disp))
			} else if momentum {
				p.Broadcast(simd.Argument("take"), c)
				p.Mul(c, g, g)
				p.Broadcast(simd.Argument("keep"), c)
				p.FMA(c, w, g)
				p.store(g, simd.At(d.m, at, disp))
			}
			p.store(zero, simd.At(d.grad, at, disp))
		}
		ADDQ(U32(nine*m.Bytes()), at)
		ADDQ(U32(m.Bytes()), blend)
		DECQ(k)
		JNZ(LabelRef(label))
		simd.End()
	}
	variant("ambient", true, false)
	variant("tangent", true, true)
	variant("plain", false, false)
}

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
// vector has lanes, in float32.

const nine = 9

// eights loads the first eight elements of points. With AVX-512 there are two points in a
// vector, the second four after the first.
func eights(m simd.Machine, p GPVirtual, i int, v VecVirtual) {
	at := func(point int) Mem { return Mem{Base: p, Disp: point * nine * m.Size()} }
	if !m.Wide {
		VMOVUPS(at(i), v)
		return
	}
	first := i/4*8 + i%4
	VBROADCASTF64X4(at(first), v)
	VINSERTF64X4(Imm(1), at(first+4), v, v)
}

// ninths gathers the last element of each point by loading it where it belongs, without a
// look beyond the last point.
type ninths struct {
	simd.Machine
	masks [7]Register
	order VecVirtual
}

func newNinths(m simd.Machine) ninths {
	n := ninths{Machine: m}
	if !m.Wide {
		return n
	}
	// Points 0 and 1 go to the lanes 7 and 8, points 2+2i and 3+2i, which are 9 elements
	// apart, to the lanes i and 9+i.
	n.masks = [7]Register{K1, K2, K3, K4, K5, K6, K7}
	t := GP32()
	for i, k := range n.masks {
		MOVL(U32(1<<i|1<<(9+i)), t)
		KMOVW(t, k)
	}
	order := GLOBL("orderOfNinths", attr.RODATA|attr.NOPTR)
	lane := [16]int{7, 8}
	for i := range 7 {
		lane[2+2*i], lane[3+2*i] = i, 9+i
	}
	for i, l := range lane {
		DATA(4*i, U32(l))
	}
	n.order = m.Vec()
	VMOVUPS(order, n.order)
	return n
}

func (n ninths) load(p GPVirtual, v VecVirtual) {
	at := func(element int) Mem { return Mem{Base: p, Disp: element * n.Size()} }
	if !n.Wide {
		VMOVUPS(at(8), v)
		for i := 1; i < 8; i++ {
			VBLENDPS(Imm(1<<i), at(8+8*i), v, v)
		}
		return
	}
	VMOVUPS(at(8-7), v)
	VINSERTF32X4(Imm(2), at(nine+8), v, v)
	for i, k := range n.masks {
		VMOVUPS(at((2+2*i)*nine+8-i), k, v)
	}
}

// sort puts them in the order of the points.
func (n ninths) sort(v VecVirtual) {
	if n.Wide {
		VPERMPS(v, n.order, v)
	}
}

// fold adds the elements of a and b by halves of 128 bits: firsts of the one and of the
// other, then seconds.
func fold(m simd.Machine, low, high func(...Op), a, b VecVirtual) VecVirtual {
	v, w := m.Vec(), m.Vec()
	low(b, a, v)
	high(b, a, w)
	m.Add(w, v, v)
	return v
}

// join adds the elements of 128 bits of a and b to those beside them.
func join(m simd.Machine, a, b VecVirtual) VecVirtual {
	if m.Wide {
		return fold(m,
			func(o ...Op) { VSHUFF32X4(Imm(0x88), o[0], o[1], o[2]) },
			func(o ...Op) { VSHUFF32X4(Imm(0xdd), o[0], o[1], o[2]) }, a, b)
	}
	return fold(m,
		func(o ...Op) { VPERM2F128(Imm(0x20), o[0], o[1], o[2]) },
		func(o ...Op) { VPERM2F128(Imm(0x31), o[0], o[1], o[2]) }, a, b)
}

// momentsOfNine writes the first sweep for points of 9 elements.
func momentsOfNine(m simd.Machine) {
	lanes := m.Lanes()
	m.Function("momentsOfNine", "func(x, m, grad *%[1]s, k int, ahead, slope %[1]s, centred bool, sums *float64)",
		fmt.Sprintf("is moments for k times %d vectors of 9 elements.", lanes))
	x, first, grad, k, sums, centred := simd.Pointer("x"), simd.Pointer("m"), simd.Pointer("grad"), simd.Pointer("k"), simd.Pointer("sums"), GP8()
	ahead, slope := m.Constant("ahead"), m.Constant("slope")
	ninths := newNinths(m)
	Load(Param("centred"), centred)
	TESTQ(first, first)
	JZ(LabelRef("plain"))
	TESTB(centred, centred)
	JNZ(LabelRef("centred"))
	variant := func(label string, momentum, centred bool) {
		Label(label)
		// terms are what is summed, from x and d.
		terms := []func(x, d VecVirtual) VecVirtual{}
		product := func(a, b VecVirtual) VecVirtual {
			v := m.Vec()
			m.Mul(b, a, v)
			return v
		}
		terms = append(terms,
			func(x, _ VecVirtual) VecVirtual { return product(x, x) },
			func(x, d VecVirtual) VecVirtual { return product(x, d) },
			func(_, d VecVirtual) VecVirtual { return product(d, d) })
		if centred {
			terms = append(terms,
				func(x, _ VecVirtual) VecVirtual { return x },
				func(_, d VecVirtual) VecVirtual { return d })
		}
		load := func(from func(p GPVirtual, v VecVirtual)) (v, d VecVirtual) {
			v, d = m.Vec(), m.Vec()
			from(grad, d)
			m.Mul(slope, d, d)
			if momentum {
				w := m.Vec()
				from(first, w)
				m.FMA(ahead, w, d)
			}
			from(x, v)
			return v, d
		}
		// two, four and eight return the sums of so many vectors from i on, for each term.
		two := func(i int) []VecVirtual {
			x0, d0 := load(func(p GPVirtual, v VecVirtual) { eights(m, p, i, v) })
			x1, d1 := load(func(p GPVirtual, v VecVirtual) { eights(m, p, i+1, v) })
			s := make([]VecVirtual, len(terms))
			for t, term := range terms {
				s[t] = fold(m, VUNPCKLPS, VUNPCKHPS, term(x0, d0), term(x1, d1))
			}
			return s
		}
		four := func(i int) []VecVirtual {
			a, b := two(i), two(i+2)
			for t := range a {
				a[t] = fold(m, VUNPCKLPD, VUNPCKHPD, a[t], b[t])
			}
			return a
		}
		s, b := four(0), four(4)
		for t := range s {
			s[t] = join(m, s[t], b[t])
		}
		v, d := load(ninths.load)
		ninths.sort(v)
		ninths.sort(d)
		for t, term := range terms {
			m.Add(term(v, d), s[t], s[t])
		}
		for i, s := range s {
			d := m.Double()
			low, high := d.Vec(), d.Vec()
			m.Upper(s, high)
			VCVTPS2PD(d.Lower(s), low)
			VCVTPS2PD(d.Lower(high), high)
			to := Mem{Base: sums, Disp: 8 * crowd * i}
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
	t := GLOBL("spread"+m.Suffix(), attr.RODATA|attr.NOPTR)
	for i := range nine * m.Lanes() {
		DATA(4*i, U32(i/nine))
	}
	return t
}

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
		d.momentum = momentum
		p := part{m, nil}
		// register loads what lies there; early does so with AVX-512, which has registers
		// for what all vectors use.
		register := func(o Op) VecVirtual {
			if v, ok := o.(VecVirtual); ok {
				return v
			}
			v := m.Vec()
			m.Load(o, v)
			return v
		}
		early := func(o Op) Op {
			if m.Wide {
				return register(o)
			}
			return o
		}
		var index [nine]Op
		Label(label)
		for i := range index {
			index[i] = early(Mem{Base: table, Disp: i * m.Bytes()})
		}
		var coefficients [6]Op
		Label(label + "Loop")
		for j := range coefficients {
			if j < 3 || tangent {
				coefficients[j] = early(Mem{Base: blend, Disp: m.Size() * crowd * j})
			}
		}
		for i := range nine {
			lanes := register(index[i])
			own := func(j int, v VecVirtual) { VPERMPS(coefficients[j], lanes, v) }
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
		JNZ(LabelRef(label + "Loop"))
		simd.End()
	}
	variant("ambient", true, false)
	variant("tangent", true, true)
	variant("plain", false, false)
}

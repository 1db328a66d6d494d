// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"

	"github.com/kernelfold/kernelfold/internal/_gen/simd"
)

// moments writes the first pass. Sums of float32 run in the lanes of a few vectors and are then
// added up in float64: one lane sums at most n/64 elements with AVX-512, and n/16 with AVX2.
func moments(m simd.Machine) {
	m.Function("moments", "func(x, m, grad *%[1]s, n, k int, ahead, slope %[1]s, centred bool, sums *float64)",
		"computes the sums of x x, x d and d d, and of x and d if centred, for k vectors of n elements,",
		fmt.Sprintf("where d = ahead m + slope grad. Each sum has %d places. m may be nil.", maxPoints))
	x, n, k, sums, centred := simd.Pointer("x"), simd.Pointer("n"), simd.Pointer("k"), simd.Pointer("sums"), GP8()
	d := newDirection(m)
	Load(Param("centred"), centred)
	rest := restOf(m, n)
	size := GP64()
	MOVQ(n, size)
	IMUL3Q(U32(m.Size()), size, size)
	TESTQ(d.m, d.m)
	JZ(LabelRef("plain"))
	TESTB(centred, centred)
	JNZ(LabelRef("centred"))
	variant := func(label string, momentum, centred bool) {
		Label(label)
		d.momentum = momentum
		count, unrolled := 3, 2
		if m.Wide {
			unrolled = 4
		}
		if centred {
			count, unrolled = 5, unrolled/2
		}
		all := make([][]VecVirtual, unrolled)
		for i := range all {
			all[i] = m.Zeros(count)
		}
		row(m, label, n, rest, unrolled, func(p simd.Part, u int, at GPVirtual, disp int) {
			v, g, w := m.Vec(), m.Vec(), m.Vec()
			d.at(p, at, disp, v, g, w)
			p.Load(simd.At(x, at, disp), w)
			s := all[u]
			p.FMA(w, w, s[0])
			p.FMA(v, w, s[1])
			p.FMA(v, v, s[2])
			if centred {
				p.Add(w, s[3], s[3])
				p.Add(v, s[4], s[4])
			}
		})
		for u := unrolled / 2; u > 0; u /= 2 {
			for i := range u {
				for j := range count {
					m.Add(all[i+u][j], all[i][j], all[i][j])
				}
			}
		}
		for j, s := range all[0] {
			total(m, s)
			VMOVSD(s.AsX(), Mem{Base: sums, Disp: 8 * maxPoints * j})
		}
		ADDQ(U32(8), sums)
		ADDQ(size, x)
		d.advance(size)
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

// total sums the elements of s in float64 and leaves the sum in the first element.
func total(m simd.Machine, s VecVirtual) {
	d, tmp := m.Double(), m.Double().Vec()
	if m.Bits == 32 {
		m.Upper(s, tmp)
		VCVTPS2PD(d.Lower(tmp), tmp)
		VCVTPS2PD(d.Lower(s), s)
		VADDPD(tmp, s, s)
	}
	d.Total(s, tmp)
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"

	"github.com/kernelfold/kernelfold/internal/_gen/simd"
)

// Two vectors of pairs, a and b, are separated into the first and the second elements of the pairs.
// The instructions work within pieces of 128 bits, so the half pieces of the results come in the
// order a0 b0 a1 b1 ...

// firsts sets v to the first elements of the pairs of a and b, and seconds to the second elements.
func firsts(m simd.Machine, a, b, v VecVirtual) {
	if m.Bits == 32 {
		VSHUFPS(Imm(0x88), b, a, v)
	} else {
		VUNPCKLPD(b, a, v)
	}
}

func seconds(m simd.Machine, a, b, v VecVirtual) {
	if m.Bits == 32 {
		VSHUFPS(Imm(0xdd), b, a, v)
	} else {
		VUNPCKHPD(b, a, v)
	}
}

// order permutes the half pieces of a vector.
type order func(v VecVirtual)

func orders(m simd.Machine) (sort, mix order) {
	if !m.Wide {
		swap := func(v VecVirtual) { VPERMPD(Imm(0xd8), v, v) }
		return swap, swap
	}
	permutation := func(name string, at [8]int) order {
		t := table(name, at)
		p := m.Vec()
		VMOVDQU64(t, p)
		return func(v VecVirtual) { VPERMPD(v, p, v) }
	}
	return permutation("sortHalves", [8]int{0, 2, 4, 6, 1, 3, 5, 7}),
		permutation("mixHalves", [8]int{0, 4, 1, 5, 2, 6, 3, 7})
}

var tables = map[string]Mem{}

func table(name string, values [8]int) Mem {
	t, ok := tables[name]
	if !ok {
		t = GLOBL(name, attr.RODATA|attr.NOPTR)
		for i, v := range values {
			DATA(8*i, U64(v))
		}
		tables[name] = t
	}
	return t
}

// pairs runs the body for as many pairs at a time as a vector has lanes. at is the offset in bytes
// of the single elements, and double that of the pairs.
func pairs(m simd.Machine, n GPVirtual, body func(single simd.Part, pair [2]simd.Part, at, double GPVirtual)) {
	double := GP64()
	XORQ(double, double)
	loop(m, n, func(p simd.Part, at GPVirtual) {
		pair := [2]simd.Part{p, p}
		if p.Mask != nil {
			twice := GP64()
			LEAQ(Mem{Base: n, Index: n, Scale: 1}, twice)
			pair[0].Mask = m.First(twice)
			rest := GP64()
			XORQ(rest, rest)
			SUBQ(Imm(uint64(m.Lanes())), twice)
			CMOVQLT(rest, twice)
			pair[1].Mask = m.First(twice)
		}
		body(p, pair, at, double)
		ADDQ(Imm(uint64(2*m.Bytes())), double)
	})
}

func maxPairs(m simd.Machine) {
	m.Function("maxPairs", "func(dst, r0, r1 *%[1]s, n int)",
		"sets dst[j] to the largest of r0[2j], r0[2j+1], r1[2j] and r1[2j+1], or to NaN if one is NaN.")
	dst, r0, r1, n := simd.Pointer("dst"), simd.Pointer("r0"), simd.Pointer("r1"), simd.Pointer("n")
	sort, _ := orders(m)
	var ones VecVirtual
	if m.Wide {
		ones = m.Vec()
		VPTERNLOGD(Imm(0xff), ones, ones, ones)
	}
	// larger sets b to the larger of a and b, or to NaN (all bits set) if one is NaN.
	larger := func(a, b VecVirtual) {
		if m.Wide {
			k := K()
			m.Compare(simd.Unordered, b, a, k)
			m.Max(b, a, b)
			if m.Bits == 32 {
				VMOVAPS(ones, k, b)
			} else {
				VMOVAPD(ones, k, b)
			}
			return
		}
		nan := m.Vec()
		m.Compare(simd.Unordered, b, a, nan)
		m.Max(b, a, b)
		m.Or(nan, b, b)
	}
	pairs(m, n, func(single simd.Part, pair [2]simd.Part, at, double GPVirtual) {
		v, w := m.Vecs(2), m.Vecs(2)
		for i := range 2 {
			pair[i].Load(simd.At(r0, double, i*m.Bytes()), v[i])
			pair[i].Load(simd.At(r1, double, i*m.Bytes()), w[i])
			larger(w[i], v[i])
		}
		firsts(m, v[0], v[1], w[0])
		seconds(m, v[0], v[1], w[1])
		larger(w[0], w[1])
		sort(w[1])
		single.Store(w[1], simd.At(dst, at, 0))
	})
	simd.End()
}

func maxPairsBack(m simd.Machine) {
	m.Function("maxPairsBack", "func(d0, d1, r0, r1, y, grad *%[1]s, n int)",
		"sets the first of r0[2j], r0[2j+1], r1[2j] and r1[2j+1] that equals y[j] to grad[j] and the",
		"other three to 0, in d0 and d1.")
	d, r := []GPVirtual{simd.Pointer("d0"), simd.Pointer("d1")}, []GPVirtual{simd.Pointer("r0"), simd.Pointer("r1")}
	y, g, n := simd.Pointer("y"), simd.Pointer("grad"), simd.Pointer("n")
	_, mix := orders(m)
	pairs(m, n, func(single simd.Part, pair [2]simd.Part, at, double GPVirtual) {
		top, left := m.Vec(), m.Vec() // left is g where no element equal to y was found yet
		single.Load(simd.At(y, at, 0), top)
		single.Load(simd.At(g, at, 0), left)
		mix(top)
		mix(left)
		for i := range 2 {
			v, place := m.Vecs(2), m.Vecs(2)
			for j := range 2 {
				pair[j].Load(simd.At(r[i], double, j*m.Bytes()), v[j])
			}
			for j, part := range []func(m simd.Machine, a, b, v VecVirtual){firsts, seconds} {
				part(m, v[0], v[1], place[j])
				if m.Wide {
					k, not := K(), K()
					m.Compare(simd.Same, top, place[j], k)
					KNOTW(k, not)
					if m.Bits == 32 {
						VMOVAPS_Z(left, k, place[j])
						VMOVAPS_Z(left, not, left)
					} else {
						VMOVAPD_Z(left, k, place[j])
						VMOVAPD_Z(left, not, left)
					}
				} else {
					m.Compare(simd.Same, top, place[j], place[j])
					is := m.Vec()
					m.Move(place[j], is)
					m.And(left, is, place[j])
					m.AndNot(left, is, left)
				}
			}
			m.UnpackLow(place[1], place[0], v[0])
			m.UnpackHigh(place[1], place[0], v[1])
			for j := range 2 {
				pair[j].Store(v[j], simd.At(d[i], double, j*m.Bytes()))
			}
		}
	})
	simd.End()
}

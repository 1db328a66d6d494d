// SPDX-License-Identifier: Apache-2.0

package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"

	"github.com/kernelfold/kernelfold/internal/_gen/neon"
	"github.com/kernelfold/kernelfold/internal/_gen/simd"
)

const stridesSignature = "func(dst, src *%[1]s, dstPitch, srcPitch, rows, n int)"

// rowsOfPairs runs the body for each vector of each row, of single elements and of pairs of which the last has only its first element.
// at and double are the offsets in bytes.
func rowsOfPairs(m simd.Machine, singles, pairs string, body func(single simd.Part, pair [2]simd.Part, one, two Mem)) {
	single, double := simd.Pointer(singles), simd.Pointer(pairs)
	pitch, skip := simd.Pointer(singles+"Pitch"), simd.Pointer(pairs+"Pitch")
	rows, full := simd.Pointer("rows"), simd.Pointer("n")
	size := Imm(map[int]uint64{32: 2, 64: 3}[m.Bits])
	SHLQ(size, pitch)
	SHLQ(size, skip)
	var last simd.Part
	var lastPair [2]simd.Part
	log2 := Imm(map[int]uint64{4: 2, 8: 3, 16: 4}[m.Lanes()])
	if m.Wide { // the last vector has 1 element or more
		rest, zero := GP64(), GP64()
		LEAQ(Mem{Base: full, Disp: -1}, rest)
		ANDQ(Imm(uint64(m.Lanes()-1)), rest)
		INCQ(rest)
		last = simd.Part{Machine: m, Mask: m.First(rest)}
		SUBQ(rest, full)
		SHLQ(Imm(1), rest)
		DECQ(rest)
		lastPair[0] = simd.Part{Machine: m, Mask: m.First(rest)}
		XORQ(zero, zero)
		SUBQ(Imm(uint64(m.Lanes())), rest)
		CMOVQLT(zero, rest)
		lastPair[1] = simd.Part{Machine: m, Mask: m.First(rest)}
	}
	SHRQ(log2, full)
	left, at, twice := GP64(), GP64(), GP64()
	visit := func(p simd.Part, pair [2]simd.Part) {
		body(p, pair, simd.At(single, at, 0), simd.At(double, twice, 0))
	}
	Label("row")
	XORQ(at, at)
	XORQ(twice, twice)
	MOVQ(full, left)
	TESTQ(left, left)
	JZ(LabelRef("rest"))
	Label("loop")
	visit(simd.Part{Machine: m}, [2]simd.Part{{Machine: m}, {Machine: m}})
	ADDQ(U32(m.Bytes()), at)
	ADDQ(U32(2*m.Bytes()), twice)
	DECQ(left)
	JNZ(LabelRef("loop"))
	Label("rest")
	if m.Wide {
		visit(last, lastPair)
	}
	ADDQ(pitch, single)
	ADDQ(skip, double)
	DECQ(rows)
	JNZ(LabelRef("row"))
}

func evens(m simd.Machine) {
	m.Function("evens", stridesSignature, "sets dst[u*dstPitch+j] to src[u*srcPitch+2j], for 1 row or more and 1 element or more.")
	sort, _ := orders(m)
	v := m.Vecs(2)
	rowsOfPairs(m, "dst", "src", func(single simd.Part, pair [2]simd.Part, to, from Mem) {
		for i := range 2 {
			pair[i].Load(from.Offset(i*m.Bytes()), v[i])
		}
		firsts(m, v[0], v[1], v[0])
		sort(v[0])
		single.Store(v[0], to)
	})
	simd.End()
}

func spread(m simd.Machine) {
	m.Function("spread", stridesSignature, "sets dst[u*dstPitch+2j] to src[u*srcPitch+j], for 1 row or more and 1 element or more.")
	_, mix := orders(m)
	v, old := m.Vecs(2), m.Vec()
	var even simd.Mask // of a vector
	evenLanes := 0x5555 & (1<<m.Lanes() - 1)
	if m.Wide {
		bits, k := GP32(), K()
		MOVL(U32(evenLanes), bits)
		KMOVW(bits, k)
		even = k
	}
	rowsOfPairs(m, "src", "dst", func(single simd.Part, pair [2]simd.Part, from, to Mem) {
		single.Load(from, v[0])
		mix(v[0])
		m.UnpackHigh(v[0], v[0], v[1])
		m.UnpackLow(v[0], v[0], v[0])
		for i := range 2 {
			at := to.Offset(i * m.Bytes())
			switch {
			case !m.Wide:
				m.Load(at, old)
				m.Blend(evenLanes, v[i], old, old)
				m.Store(old, at)
			case single.Mask == nil:
				m.StoreMasked(even, v[i], at)
			default:
				k := K()
				KANDW(even, pair[i].Mask, k)
				m.StoreMasked(k, v[i], at)
			}
		}
	})
	simd.End()
}

// rowsNEON runs the body for each vector of each row.
func rowsNEON(m neon.Machine, singles, pairs string, body func(single, pair neon.Int)) {
	rows, n := m.Argument("rows"), m.Argument("n")
	from := []neon.Int{m.Argument(singles), m.Argument(pairs)}
	by := []neon.Int{m.Argument(singles + "Pitch"), m.Argument(pairs + "Pitch")}
	for _, pitch := range by {
		m.Emit("LSL", m.Shift(), pitch, pitch)
	}
	at, left := []neon.Int{m.Int(), m.Int()}, m.Int()
	m.Loop("row", rows, 1, func() {
		m.Emit("MOVD", n, left)
		for i := range at {
			m.Emit("MOVD", from[i], at[i])
			m.Emit("ADD", by[i], from[i], from[i])
		}
		m.Loop("one", left, m.Lanes(), func() { body(at[0], at[1]) })
	})
	m.Return()
}

func evensNEON(f *neon.File, bits int) {
	m := f.Function(bits, "evens", stridesSignature, "sets dst[u*dstPitch+j] to src[u*srcPitch+2j].")
	v := m.Vecs(2)
	rowsNEON(m, "dst", "src", func(to, from neon.Int) {
		m.LoadPairs(from, v[0], v[1])
		m.Store(v[0], neon.At(to, 0))
		m.Advance(neon.Bytes, to)
	})
}

func spreadNEON(f *neon.File, bits int) {
	m := f.Function(bits, "spread", stridesSignature, "sets dst[u*dstPitch+2j] to src[u*srcPitch+j].")
	v, same := m.Vecs(2), m.Int()
	rowsNEON(m, "src", "dst", func(from, to neon.Int) {
		m.Emit("MOVD", to, same)
		m.LoadPairs(same, v[0], v[1])
		m.Load(neon.At(from, 0), v[0])
		m.Advance(neon.Bytes, from)
		m.StorePairs(v[0], v[1], to)
	})
}

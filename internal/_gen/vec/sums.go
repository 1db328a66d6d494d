// SPDX-License-Identifier: Apache-2.0

package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"

	"github.com/kernelfold/kernelfold/internal/_gen/simd"
)

// load64 loads as many elements as a vector holds at 64 bits.
func load64(p simd.Part, from Mem, v VecVirtual) {
	switch {
	case p.Bits == 64:
		p.Load(from, v)
	case p.Mask == nil:
		VCVTPS2PD(from, v)
	default:
		VCVTPS2PD_Z(from, p.Mask, v)
	}
}

// page is how many bytes ahead long arrays are prefetched. Processors do not prefetch beyond the end of a page of memory by themselves.
const page = 1 << 12

// sums runs the body, which adds to sums at 64 bits, for four vectors at a time, then for single
// vectors, then for the remaining elements. While more than a page of elements is left, it prefetches the arrays in far. It leaves the
// sums in the first elements of the vectors it returns.
func sums(m simd.Machine, count int, far []GPVirtual, body func(p simd.Part, at GPVirtual, disp int, sum []VecVirtual)) []VecVirtual {
	const unrolled = 4
	n := simd.Pointer("n")
	d := m.Double()
	step := d.Lanes() * m.Size() // bytes that fill a vector
	all := make([][]VecVirtual, unrolled)
	for u := range all {
		all[u] = d.Zeros(count)
	}
	at := GP64()
	XORQ(at, at)
	if len(far) > 0 {
		lanes, ahead := unrolled*d.Lanes(), page/m.Size()
		SUBQ(U32(ahead+lanes), n)
		JL(LabelRef("farDone"))
		Label("far")
		for disp := 0; disp < unrolled*step; disp += 64 {
			for _, x := range far {
				PREFETCHT0(simd.At(x, at, page+disp))
			}
		}
		for i := range unrolled {
			body(simd.Part{Machine: m}, at, i*step, all[i])
		}
		ADDQ(U32(unrolled*step), at)
		SUBQ(Imm(uint64(lanes)), n)
		JGE(LabelRef("far"))
		Label("farDone")
		ADDQ(U32(ahead+lanes), n)
	}
	for _, u := range []int{unrolled, 1} {
		label := map[int]string{unrolled: "loop", 1: "single"}[u]
		lanes := Imm(uint64(u * d.Lanes()))
		SUBQ(lanes, n)
		JL(LabelRef(label + "Done"))
		Label(label)
		for i := range u {
			body(simd.Part{Machine: m}, at, i*step, all[i])
		}
		ADDQ(U32(u*step), at)
		SUBQ(lanes, n)
		JGE(LabelRef(label))
		Label(label + "Done")
		ADDQ(lanes, n)
	}
	if m.Wide {
		JZ(LabelRef("total"))
		body(simd.Part{Machine: m, Mask: d.First(n)}, at, 0, all[0])
		Label("total")
	}
	tmp := d.Vec()
	for i := range count {
		d.Add(all[1][i], all[0][i], all[0][i])
		d.Add(all[3][i], all[2][i], all[2][i])
		d.Add(all[2][i], all[0][i], all[0][i])
		d.Total(all[0][i], tmp)
	}
	return all[0]
}

func dot(m simd.Machine) {
	m.Function("dot", "func(x, y *%[1]s, n int) float64", "returns the sum of x[i]*y[i].")
	x, y, a, b := simd.Pointer("x"), simd.Pointer("y"), m.Double().Vec(), m.Double().Vec()
	s := sums(m, 1, []GPVirtual{x, y}, func(p simd.Part, at GPVirtual, disp int, sum []VecVirtual) {
		load64(p, simd.At(x, at, disp), a)
		load64(p, simd.At(y, at, disp), b)
		m.Double().FMA(a, b, sum[0])
	})
	Store(s[0].AsX(), ReturnIndex(0))
	simd.End()
}

func sum(m simd.Machine) {
	m.Function("sum", "func(x *%[1]s, n int) float64", "returns the sum of x[i].")
	x, a := simd.Pointer("x"), m.Double().Vec()
	s := sums(m, 1, nil, func(p simd.Part, at GPVirtual, disp int, sum []VecVirtual) {
		load64(p, simd.At(x, at, disp), a)
		m.Double().Add(a, sum[0], sum[0])
	})
	Store(s[0].AsX(), ReturnIndex(0))
	simd.End()
}

func dotShift(m simd.Machine) {
	m.Function("dotShift", "func(x, y *%[1]s, n int, mean float64) (sum, dot float64)",
		"returns the sums of y[i] and of y[i]*(x[i]-mean).")
	d := m.Double()
	x, y, a, b, mean := simd.Pointer("x"), simd.Pointer("y"), d.Vec(), d.Vec(), d.Constant("mean")
	s := sums(m, 2, nil, func(p simd.Part, at GPVirtual, disp int, sum []VecVirtual) {
		load64(p, simd.At(x, at, disp), a)
		load64(p, simd.At(y, at, disp), b)
		d.Sub(mean, a, a)
		d.Add(b, sum[0], sum[0])
		d.FMA(a, b, sum[1])
	})
	Store(s[0].AsX(), ReturnIndex(0))
	Store(s[1].AsX(), ReturnIndex(1))
	simd.End()
}

func squareShift(m simd.Machine) {
	m.Function("squareShift", "func(x *%[1]s, n int, mean float64) float64", "returns the sum of (x[i]-mean)^2.")
	d := m.Double()
	x, a, mean := simd.Pointer("x"), d.Vec(), d.Constant("mean")
	s := sums(m, 1, nil, func(p simd.Part, at GPVirtual, disp int, sum []VecVirtual) {
		load64(p, simd.At(x, at, disp), a)
		if p.Mask == nil {
			d.Sub(mean, a, a)
		} else {
			VSUBPD_Z(mean, a, p.Mask, a)
		}
		d.FMA(a, a, sum[0])
	})
	Store(s[0].AsX(), ReturnIndex(0))
	simd.End()
}

// maxAbs compares the bits of |x[i]| as integers. The bits of NaN are larger than those of all
// numbers.
func maxAbs(m simd.Machine) {
	m.Function("maxAbs", "func(x *%[1]s, n int) %[1]s", "returns the largest |x[i]|, or NaN if any x[i] is NaN.")
	x, n, v, abs, other := simd.Pointer("x"), simd.Pointer("n"), m.Vec(), m.Vec(), m.Vec()
	top := m.Zeros(1)[0]
	shift := func(op func(...Op)) { op(Imm(1), abs, abs) }
	VPCMPEQD(abs.AsY(), abs.AsY(), abs.AsY())
	if m.Wide {
		VPTERNLOGD(Imm(0xff), abs, abs, abs)
	}
	if m.Bits == 32 {
		shift(VPSRLD)
	} else {
		shift(VPSRLQ)
	}
	larger := func(with VecVirtual) {
		switch {
		case m.Bits == 32:
			VPMAXUD(with, top, top)
		case m.Wide:
			VPMAXUQ(with, top, top)
		default:
			above := m.Vec()
			VPCMPGTQ(top, with, above)
			VBLENDVPD(above, with, top, top)
		}
	}
	loop(m, n, func(p simd.Part, at GPVirtual) {
		p.Load(simd.At(x, at, 0), v)
		m.And(abs, v, v)
		larger(v)
	})
	if m.Wide {
		VEXTRACTF64X4(Imm(1), top, other.AsY())
		larger(other)
	}
	VEXTRACTF128(Imm(1), top.AsY(), other.AsX())
	larger(other)
	VPERMILPD(Imm(1), top.AsX(), other.AsX())
	larger(other)
	if m.Bits == 32 {
		VMOVSHDUP(top.AsX(), other.AsX())
		larger(other)
	}
	Store(top.AsX(), ReturnIndex(0))
	simd.End()
}

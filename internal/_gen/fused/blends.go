// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"

	"github.com/kernelfold/kernelfold/internal/_gen/simd"
)

// The rows of a terms, of eight equal places each; from direct on they are results.
const (
	share = iota // 1/n if the points are centred, else 0
	rate
	radius
	curvature
	rho  // curvature^(-1/2)
	bend // 1/radius^2
	one
	least // what |x|^2 has to exceed
	direct
	length
	factor
	long
)

// blends writes the step from the sums to the coefficients, for a vector of points at a
// time, in float64.
func blends(m simd.Machine) {
	m.Function("blends", "func(terms, sums *float64, k int, blend *%[1]s)",
		fmt.Sprintf("turns the sums of k points into what their step blends, each with %d places.", crowd),
		"The third sum becomes |t d|^2. It adds to the results among the terms.")
	d := m.Double()
	terms, sums, k, blend := simd.Pointer("terms"), simd.Pointer("sums"), simd.Pointer("k"), simd.Pointer("blend")
	term := func(i int) Mem { return Mem{Base: terms, Disp: 64 * i} }
	sum := func(i int) Mem { return Mem{Base: sums, Disp: 8 * crowd * i} }
	gather := func(op func(b, a, v Op), v VecVirtual, i int) {
		op(term(i), v, v)
		d.Store(v, term(i))
	}

	Label("loop")
	xx, xd, dd, x, mean := d.Vec(), d.Vec(), d.Vec(), d.Vec(), d.Vec()
	d.Load(sum(0), xx)
	d.Load(sum(1), xd)
	d.Load(sum(2), dd)
	d.Load(sum(3), mean)
	d.Mul(term(share), mean, mean)
	d.FNMA(sum(3), mean, xx)
	d.FNMA(sum(4), mean, xd)
	d.Move(mean, x)
	mean = d.Vec()
	d.Load(sum(4), mean)
	d.Mul(term(share), mean, mean)
	d.FNMA(sum(4), mean, dd)

	alive := newAlive(d, term(least), xx)
	c, vv, t, tmp := d.Vec(), d.Vec(), d.Vec(), d.Vec()
	d.Div(xx, xd, c)
	d.Move(dd, vv)
	d.FNMA(xd, c, vv)
	d.Zero(tmp)
	d.Max(vv, tmp, vv)
	alive.keep(vv)
	d.Load(term(rate), t)
	bits := GP64()
	MOVQ(term(curvature), bits)
	TESTQ(bits, bits)
	JZ(LabelRef("straight"))
	{
		r, a, b := d.Vec(), d.Vec(), d.Vec()
		d.Sqrt(vv, r)
		d.Add(term(rho), r, r)
		d.Add(term(rho), r, a)
		d.Mul(a, a, a) // (2 rho + r)^2
		d.Load(term(one), b)
		d.FMA(term(curvature), r, b) // 1 + curvature (rho + r)
		d.Max(a, b, a)
		d.Mul(vv, a, a)
		d.Max(term(one), a, a)
		d.Sqrt(a, a)
		d.Div(a, t, t)
		gather(d.Max, a, factor)
	}
	Label("straight")
	f := d.Vec()
	d.Mul(t, t, tmp)
	d.Mul(sum(2), tmp, dd) // of d as it is, not centred: its rounding counts
	alive.keep(dd)
	d.Store(dd, sum(2))
	gather(d.Max, dd, long)
	d.Mul(vv, tmp, tmp)
	d.Add(tmp, xx, f)
	gather(d.Add, tmp, length)
	d.Load(term(radius), tmp)
	d.Sqrt(f, f)
	d.Div(f, tmp, f)

	d.Mul(f, t, t)
	a := d.Vec()
	d.Move(f, a)
	d.FMA(c, t, a)
	alive.keepOr(a, term(one))
	alive.keep(t)
	alive.keep(c)
	h := d.Vec()
	d.Mul(vv, t, h)
	d.Mul(term(bend), h, h)
	b := d.Vec()
	d.Mul(mean, t, b)
	d.FNMA(a, x, b)
	alive.keep(b)
	d.Mul(c, x, x)
	d.Sub(mean, x, x)
	alive.keep(x)
	gather(d.Add, vv, direct)
	d.Zero(tmp)
	d.Sub(t, tmp, t)
	d.Sub(c, tmp, c)
	for i, v := range []VecVirtual{a, t, b, h, c, x} {
		to := Mem{Base: blend, Disp: m.Size() * crowd * i}
		switch {
		case m.Bits == 64:
			d.Store(v, to)
		case m.Wide:
			VCVTPD2PS(v, v.AsY())
			VMOVUPS(v.AsY(), to)
		default:
			VCVTPD2PSY(v, v.AsX())
			VMOVUPS(v.AsX(), to)
		}
	}
	ADDQ(U32(d.Bytes()), sums)
	ADDQ(U32(d.Lanes()*m.Size()), blend)
	SUBQ(Imm(uint64(d.Lanes())), k)
	JG(LabelRef("loop"))
	simd.End()
}

// alive says which points are not zero.
type alive struct {
	simd.Machine
	mask Op
}

func newAlive(d simd.Machine, least Mem, xx VecVirtual) alive {
	a := alive{d, nil}
	if d.Wide {
		a.mask = K()
	} else {
		a.mask = d.Vec()
	}
	d.Compare(simd.Above, least, xx, a.mask)
	return a
}

// keep sets v to 0 for the others.
func (a alive) keep(v VecVirtual) {
	if a.Wide {
		VMOVAPD_Z(v, a.mask, v)
	} else {
		a.And(a.mask, v, v)
	}
}

// keepOr sets v to w for the others.
func (a alive) keepOr(v VecVirtual, w Mem) {
	if a.Wide {
		not := K()
		KNOTW(a.mask, not)
		VMOVUPD(w, not, v)
		return
	}
	other := a.Vec()
	a.Load(w, other)
	VBLENDVPD(a.mask, v, other, v)
}

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
	root // of the inverse curvature, or 0
	bend // 1/radius^2
	one
	least // what |x|^2 has to exceed
	never // infinity
	direct
	length
	factor
	long
)

// The coefficients of a blend.
const (
	blendA = iota
	blendF
	blendB
	blendH
	blendC
	blendE
)

// blends writes the step from the sums to the coefficients, for a vector of points at a
// time, in float64.
func blends(m simd.Machine) {
	m.Function("blends", "func(terms, sums *float64, k int, blend *%[1]s)",
		fmt.Sprintf("turns the sums of k points into what their step blends, each with %d places.", crowd),
		"The third sum becomes |t d|^2. It adds to the results among the terms.")
	d := m.Double()
	terms, from, k, blend := simd.Pointer("terms"), simd.Pointer("sums"), simd.Pointer("k"), simd.Pointer("blend")
	sum := func(i int) Mem { return Mem{Base: from, Disp: 8 * crowd * i} }

	Label("loop")
	s := sums{d.Vec(), d.Vec(), d.Vec(), d.Vec(), d.Vec()}
	for i, v := range []VecVirtual{s.xx, s.xd, s.dd, s.x, s.d} {
		d.Load(sum(i), v)
	}
	o := solved(blender{d, terms}, "straight", s)
	d.Store(o.long, sum(2))
	for _, r := range []struct {
		op  func(b, a, v Op)
		v   VecVirtual
		row int
	}{{d.Max, o.long, long}, {d.Add, o.length, length}, {d.Add, o.direct, direct}} {
		blender{d, terms}.gather(r.op, r.v, r.row)
	}
	for i, v := range o.blend {
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
	ADDQ(U32(d.Bytes()), from)
	ADDQ(U32(d.Lanes()*m.Size()), blend)
	SUBQ(Imm(uint64(d.Lanes())), k)
	JG(LabelRef("loop"))
	simd.End()
}

// blender is a machine beside the terms of a step.
type blender struct {
	simd.Machine
	terms Register
}

func (b blender) term(i int) Mem { return Mem{Base: b.terms, Disp: 64 * i} }

// gather joins v into a result, and overwrites it.
func (b blender) gather(op func(b, a, v Op), v VecVirtual, i int) {
	op(b.term(i), v, v)
	b.Store(v, b.term(i))
}

// sums are those over the elements of points, of x x, x d and d d; and of x and d, which
// are nil unless the points are centred.
type sums struct{ xx, xd, dd, x, d VecVirtual }

// solution is what points blend, where b and e are nil unless they are centred, and
// |v|^2, |t v|^2 and |t d|^2.
type solution struct {
	blend                [6]VecVirtual
	direct, length, long VecVirtual
}

// solved computes coefficients from sums, which it overwrites.
func solved(d blender, label string, s sums) (o solution) {
	term := d.term
	xx, xd := s.xx, s.xd
	centred := s.x != nil
	dd, x, mean := d.Vec(), d.Vec(), d.Vec()
	d.Move(s.dd, dd)
	if centred {
		d.Mul(term(share), s.x, x)
		d.FNMA(s.x, x, xx)
		d.FNMA(s.d, x, xd)
		d.Mul(term(share), s.d, mean)
		d.FNMA(s.d, mean, dd)
	}
	alive := newAlive(d.Machine, term(least), xx)
	c, vv, t, tmp := d.Vec(), d.Vec(), d.Vec(), d.Vec()
	d.Div(xx, xd, c)
	d.Move(dd, vv)
	d.FNMA(xd, c, vv)
	d.Zero(tmp)
	d.Max(vv, tmp, vv)
	alive.keep(vv)
	d.Load(term(rate), t)
	bits := GP64()
	MOVQ(term(root), bits)
	TESTQ(bits, bits)
	JZ(LabelRef(label))
	{
		r, a := d.Vec(), d.Vec()
		d.Sqrt(vv, r)
		d.Mul(term(root), r, r)
		d.Add(term(one), r, a)
		d.Add(term(one), a, a)
		d.Mul(r, a, a)
		d.Max(term(one), a, a)
		d.Div(a, t, t)
		d.gather(d.Max, a, factor)
	}
	Label(label)
	f := d.Vec()
	o.direct, o.length, o.long = vv, d.Vec(), s.dd
	d.Mul(t, t, tmp)
	d.Mul(tmp, s.dd, o.long) // of d as it is, not centred: its rounding counts
	alive.keepOr(o.long, term(never))
	d.Mul(vv, tmp, o.length)
	d.Add(o.length, xx, f)
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
	o.blend = [6]VecVirtual{a, t, nil, h, c, nil}
	if centred {
		b := d.Vec()
		d.Mul(mean, t, b)
		d.FNMA(a, x, b)
		alive.keep(b)
		d.Mul(c, x, x)
		d.Sub(mean, x, x)
		alive.keep(x)
		o.blend[2], o.blend[5] = b, x
	}
	d.Zero(tmp)
	d.Sub(t, tmp, t)
	d.Sub(c, tmp, c)
	return o
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
func (a alive) keep(v VecVirtual) { a.Keep(a.mask, v) }

// keepOr sets v to w for the others.
func (a alive) keepOr(v VecVirtual, w Mem) {
	other := a.Vec()
	switch {
	case a.Wide:
		not := K()
		KNOTW(a.mask, not)
		a.StoreMasked(not, w, v)
	case a.Bits == 32:
		a.Load(w, other)
		VBLENDVPS(a.mask, v, other, v)
	default:
		a.Load(w, other)
		VBLENDVPD(a.mask, v, other, v)
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"

	"github.com/kernelfold/kernelfold/internal/_gen/simd"
)

// The rows of terms, of eight equal places each: constants of a step, and from direct on its
// results.
const (
	inverseN = iota // 1/n if the points are centred, else 0
	rate
	radius
	root          // the radius if the step is geometric, else 0
	inverseSquare // 1/radius^2
	one
	minSquare // lower bound of |x|^2
	infinity
	direct
	length
	factor
	long
)

// The coefficients of an update.
const (
	blendA = iota
	blendF
	blendB
	blendH
	blendC
	blendE
)

// blends writes the computation of the coefficients from the sums, for a vector of points at a time,
// in float64.
func blends(m simd.Machine) {
	m.Function("blends", "func(terms, sums *float64, k int, blend *%[1]s)",
		fmt.Sprintf("computes the coefficients of k points from their sums, each with %d places.", maxPoints),
		"It replaces the third sum by |t d|^2 and adds to the results in terms.")
	d := m.Double()
	terms, from, k, blend := simd.Pointer("terms"), simd.Pointer("sums"), simd.Pointer("k"), simd.Pointer("blend")
	sum := func(i int) Mem { return Mem{Base: from, Disp: 8 * maxPoints * i} }

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
		to := Mem{Base: blend, Disp: m.Size() * maxPoints * i}
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

// blender is a machine with the address of the terms of a step.
type blender struct {
	simd.Machine
	terms Register
}

func (b blender) term(i int) Mem { return Mem{Base: b.terms, Disp: 64 * i} }

// gather combines v with result i by op. It overwrites v.
func (b blender) gather(op func(b, a, v Op), v VecVirtual, i int) {
	op(b.term(i), v, v)
	b.Store(v, b.term(i))
}

// sums are the sums over the elements of points of x x, x d and d d, and of x and d, which are nil
// unless the points are centred.
type sums struct{ xx, xd, dd, x, d VecVirtual }

// solution holds the coefficients of points, of which b and e are nil unless the points are
// centred, and |v|^2, |t v|^2 and |t d|^2.
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
		d.Mul(term(inverseN), s.x, x)
		d.FNMA(s.x, x, xx)
		d.FNMA(s.d, x, xd)
		d.Mul(term(inverseN), s.d, mean)
		d.FNMA(s.d, mean, dd)
	}
	valid := newValid(d.Machine, term(minSquare), xx)
	c, vv, t, tmp := d.Vec(), d.Vec(), d.Vec(), d.Vec()
	d.Div(xx, xd, c)
	d.Move(dd, vv)
	d.FNMA(xd, c, vv)
	d.Zero(tmp)
	d.Max(vv, tmp, vv)
	valid.keep(vv)
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
	d.Mul(tmp, s.dd, o.long) // of d before centring, because that sets the rounding errors
	valid.keepOr(o.long, term(infinity))
	d.Mul(vv, tmp, o.length)
	d.Add(o.length, xx, f)
	d.Load(term(radius), tmp)
	d.Sqrt(f, f)
	d.Div(f, tmp, f)

	d.Mul(f, t, t)
	a := d.Vec()
	d.Move(f, a)
	d.FMA(c, t, a)
	valid.keepOr(a, term(one))
	valid.keep(t)
	valid.keep(c)
	h := d.Vec()
	d.Mul(vv, t, h)
	d.Mul(term(inverseSquare), h, h)
	o.blend = [6]VecVirtual{a, t, nil, h, c, nil}
	if centred {
		b := d.Vec()
		d.Mul(mean, t, b)
		d.FNMA(a, x, b)
		valid.keep(b)
		d.Mul(c, x, x)
		d.Sub(mean, x, x)
		valid.keep(x)
		o.blend[2], o.blend[5] = b, x
	}
	d.Zero(tmp)
	d.Sub(t, tmp, t)
	d.Sub(c, tmp, c)
	return o
}

// valid is the mask of the points that are not zero.
type valid struct {
	simd.Machine
	mask Op
}

func newValid(d simd.Machine, minSquare Mem, xx VecVirtual) valid {
	a := valid{d, nil}
	if d.Wide {
		a.mask = K()
	} else {
		a.mask = d.Vec()
	}
	d.Compare(simd.Above, minSquare, xx, a.mask)
	return a
}

// keep sets v to 0 for all other points.
func (a valid) keep(v VecVirtual) { a.Keep(a.mask, v) }

// keepOr sets v to w for all other points.
func (a valid) keepOr(v VecVirtual, w Mem) {
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

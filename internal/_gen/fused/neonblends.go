// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/kernelfold/kernelfold/internal/_gen/neon"
)

// blenderNEON is a machine with the address of the terms of a step.
type blenderNEON struct {
	neon.Machine
	terms neon.Int
}

func (b blenderNEON) at(i int) string { return neon.At(b.terms, 64*i) }

// term loads row i of the terms.
func (b blenderNEON) term(i int) neon.Vec {
	v := b.Vec()
	b.Load(b.at(i), v)
	return v
}

// by sets v to op of row i of the terms and a.
func (b blenderNEON) by(op func(b, a, v neon.Vec), i int, a, v neon.Vec) {
	b.Scope(func() { op(b.term(i), a, v) })
}

// gather combines v with result i by op.
func (b blenderNEON) gather(op func(b, a, v neon.Vec), v neon.Vec, i int) {
	b.Scope(func() {
		old := b.term(i)
		op(old, v, old)
		b.Store(old, b.at(i))
	})
}

// solutionNEON holds the coefficients of points, of which b and e are there only if the points are
// centred, and |v|^2, |t v|^2 and |t d|^2.
type solutionNEON struct {
	blend                [6]neon.Vec
	direct, length, long neon.Vec
}

// solvedNEON computes coefficients from the sums of x x, x d and d d, and of x and d if the points are
// centred. It overwrites the sums.
func solvedNEON(d blenderNEON, label string, sums []neon.Vec) (o solutionNEON) {
	xx, xd, full, centred := sums[0], sums[1], sums[2], len(sums) == 5
	var x, mean neon.Vec
	vv, valid := d.Vec(), d.Vec()
	keep := func(v neon.Vec) { d.And(valid, v, v) }
	keepOr := func(v neon.Vec, row int) { d.Scope(func() { d.InsertElse(valid, d.term(row), v) }) }
	d.Move(full, vv)
	if centred {
		x, mean = d.Vec(), d.Vec()
		d.by(d.Mul, inverseN, sums[3], x)
		d.by(d.Mul, inverseN, sums[4], mean)
		d.FNMA(sums[3], x, xx)
		d.FNMA(sums[4], x, xd)
		d.FNMA(sums[4], mean, vv)
	}
	d.by(d.Above, minSquare, xx, valid)
	c, t := d.Vec(), d.term(rate)
	d.Div(xx, xd, c)
	d.FNMA(xd, c, vv)
	d.Scope(func() { d.Max(d.Zeros(1)[0], vv, vv) })
	keep(vv)
	d.Scope(func() {
		bits := d.Int()
		d.Emit("MOVD", d.at(root), bits)
		d.Emit("CBZ", bits, label)
		r, a := d.Vec(), d.Vec()
		d.Sqrt(vv, r)
		d.by(d.Mul, root, r, r)
		d.by(d.Add, one, r, a)
		d.by(d.Add, one, a, a)
		d.Mul(r, a, a)
		d.by(d.Max, one, a, a)
		d.Div(a, t, t)
		d.gather(d.Max, a, factor)
	})
	d.Label(label)
	square := xd
	d.Mul(t, t, square)
	d.Mul(square, full, full) // of d before centring, because that sets the rounding errors
	keepOr(full, infinity)
	f := d.Vec()
	o.direct, o.length, o.long = vv, square, full
	d.Mul(vv, square, o.length)
	d.Add(o.length, xx, f)
	d.Sqrt(f, f)
	d.Scope(func() { d.Div(f, d.term(radius), f) })
	d.Mul(f, t, t)
	a, h := f, xx
	d.FMA(c, t, a)
	keepOr(a, one)
	keep(t)
	keep(c)
	d.Mul(vv, t, h)
	d.by(d.Mul, inverseSquare, h, h)
	o.blend = [6]neon.Vec{blendA: a, blendF: t, blendH: h, blendC: c}
	if centred {
		b, e := sums[3], sums[4]
		d.Mul(mean, t, b)
		d.FNMA(a, x, b)
		keep(b)
		d.Mul(c, x, e)
		d.Sub(mean, e, e)
		keep(e)
		o.blend[blendB], o.blend[blendE] = b, e
	}
	d.Neg(t, t)
	d.Neg(c, c)
	return o
}

// blendsNEON writes the computation of the coefficients from the sums, for two points at a time, in
// float64.
func blendsNEON(f *neon.File, bits int) {
	m := f.Function(bits, "blends", "func(terms, sums *float64, k int, blend *%[1]s)",
		fmt.Sprintf("computes the coefficients of k points from their sums, each with %d places.", maxPoints),
		"It replaces the third sum by |t d|^2 and adds to the results in terms.")
	d := blenderNEON{m.Double(), m.Argument("terms")}
	from, k, blend := m.Argument("sums"), m.Argument("k"), m.Argument("blend")
	m.Label("points")
	sums := d.Vecs(5)
	for i, v := range sums {
		d.Load(neon.At(from, 8*maxPoints*i), v)
	}
	o := solvedNEON(d, "straight", sums)
	d.Store(o.long, neon.At(from, 8*maxPoints*2))
	d.gather(d.Max, o.long, long)
	d.gather(d.Add, o.length, length)
	d.gather(d.Add, o.direct, direct)
	for i, v := range o.blend {
		to := neon.At(blend, m.Size()*maxPoints*i)
		if bits == 32 {
			m.Narrow(v, v)
			m.StoreBytes(8, v, to)
		} else {
			m.Store(v, to)
		}
	}
	m.Advance(neon.Bytes, from)
	m.Advance(2*m.Size(), blend)
	m.Emit("SUBS", 2, k, k)
	m.Emit("BGT", "points")
	m.Return()
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/kernelfold/kernelfold/internal/_gen/neon"
)

// blendsNEON writes the computation of the coefficients from the sums, for two points at a time, in
// float64.
func blendsNEON(f *neon.File, bits int) {
	m := f.Function(bits, "blends", "func(terms, sums *float64, k int, blend *%[1]s)",
		fmt.Sprintf("computes the coefficients of k points from their sums, each with %d places.", maxPoints),
		"It replaces the third sum by |t d|^2 and adds to the results in terms.")
	d := m.Double()
	terms, from, k, blend, bit := m.Argument("terms"), m.Argument("sums"), m.Argument("k"), m.Argument("blend"), m.Int()
	term := func(i int) neon.Vec {
		v := d.Vec()
		d.Load(neon.At(terms, 64*i), v)
		return v
	}
	minSquare, rate, one, infinity := term(minSquare), term(rate), term(one), term(infinity)
	m.Label("points")
	m.Scope(func() {
		sums := d.Vecs(5)
		for i, v := range sums {
			d.Load(neon.At(from, 8*maxPoints*i), v)
		}
		xx, xd, full, sx, sd := sums[0], sums[1], sums[2], sums[3], sums[4]
		x, mean, dd, valid := d.Vec(), d.Vec(), d.Vec(), d.Vec()
		keep := func(v neon.Vec) { d.And(valid, v, v) }
		d.Scope(func() {
			k := term(inverseN)
			d.Mul(k, sx, x)
			d.Mul(k, sd, mean)
		})
		d.Move(full, dd)
		d.FNMA(sx, x, xx)
		d.FNMA(sd, x, xd)
		d.FNMA(sd, mean, dd)
		d.Above(minSquare, xx, valid)
		c, vv, t := d.Vec(), dd, d.Vec()
		d.Div(xx, xd, c)
		d.FNMA(xd, c, vv)
		d.Scope(func() { d.Max(d.Zeros(1)[0], vv, vv) })
		keep(vv)
		d.Move(rate, t)
		m.Emit("MOVD", neon.At(terms, 64*root), bit)
		m.Emit("CBZ", bit, "straight")
		d.Scope(func() {
			r, a := term(root), d.Vec()
			d.Sqrt(vv, a)
			d.Mul(a, r, r)
			d.Add(one, r, a)
			d.Add(one, a, a)
			d.Mul(r, a, a)
			d.Max(one, a, a)
			d.Div(a, t, t)
			top := term(factor)
			d.Max(top, a, a)
			d.Store(a, neon.At(terms, 64*factor))
		})
		m.Label("straight")
		square, travel, f := d.Vec(), d.Vec(), d.Vec()
		d.Mul(t, t, square)
		d.Mul(square, full, full) // of d before centring, because that sets the rounding errors
		d.InsertElse(valid, infinity, full)
		d.Store(full, neon.At(from, 8*maxPoints*2))
		d.Mul(vv, square, travel)
		for _, r := range []struct {
			op  func(b, a, v neon.Vec)
			v   neon.Vec
			row int
		}{{d.Max, full, long}, {d.Add, travel, length}, {d.Add, vv, direct}} {
			d.Scope(func() {
				old := term(r.row)
				r.op(old, r.v, old)
				d.Store(old, neon.At(terms, 64*r.row))
			})
		}
		d.Add(travel, xx, f)
		d.Sqrt(f, f)
		d.Scope(func() { d.Div(f, term(radius), f) })
		d.Mul(f, t, t)
		a := f
		d.FMA(c, t, a)
		d.InsertElse(valid, one, a)
		keep(t)
		keep(c)
		h, b, e := d.Vec(), d.Vec(), d.Vec()
		d.Mul(vv, t, h)
		d.Scope(func() { d.Mul(term(inverseSquare), h, h) })
		d.Mul(mean, t, b)
		d.FNMA(a, x, b)
		keep(b)
		d.Mul(c, x, e)
		d.Sub(mean, e, e)
		keep(e)
		d.Neg(t, t)
		d.Neg(c, c)
		for i, v := range []neon.Vec{a, t, b, h, c, e} {
			to := neon.At(blend, m.Size()*maxPoints*i)
			if bits == 32 {
				m.Narrow(v, v)
				m.StoreBytes(8, v, to)
			} else {
				m.Store(v, to)
			}
		}
	})
	m.Advance(neon.Bytes, from)
	m.Advance(2*m.Size(), blend)
	m.Emit("SUBS", 2, k, k)
	m.Emit("BGT", "points")
	m.Return()
}

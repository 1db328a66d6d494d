// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/kernelfold/kernelfold/internal/_gen/neon"
)

// framerNEON holds the registers of the kernel for 3 x 3 frames, which has room for all matrices of a
// step.
type framerNEON struct {
	neon.Machine
	x, m, g, state neon.Int
	c              []neon.Vec // the coefficients of a step, in their lanes
}

// row is where a row of the state lies, at a distance in bytes.
func (f framerNEON) row(i, disp int) string { return neon.At(f.state, 64*i+disp) }

// coefficient returns the vector and the lane of a coefficient.
func (f framerNEON) coefficient(i int) (neon.Vec, int) { return f.c[i/4], i % 4 }

// scale multiplies v by a coefficient.
func (f framerNEON) scale(v neon.Vec, by int) {
	c, lane := f.coefficient(by)
	f.MulLane(c, lane, v, v)
}

// spread returns a coefficient in all lanes.
func (f framerNEON) spread(i int) neon.Vec {
	v := f.Vec()
	f.Broadcast(f.row(coefficients, 4*i), v)
	return v
}

// mixed returns the elements of a m + b g for coefficients a and b; m may be nil.
func (f framerNEON) mixed(label string, a, b int, ofM, ofG neon.Rows) []neon.Vec {
	c, lane := f.coefficient(a)
	return f.Elements(func(p neon.Piece, l int, v neon.Vec) {
		without := fmt.Sprintf("%sOf%dAt%d", label, l, p.First)
		p.Load(ofG[l].At(p.First), v)
		f.scale(v, b)
		f.Emit("CBZ", f.m, without)
		f.Scope(func() {
			w := f.Vec()
			p.Load(ofM[l].At(p.First), w)
			f.FMALane(c, lane, w, v)
		})
		f.Label(without)
	})
}

// framesNEON writes a whole step for four 3 x 3 matrices at a time.
func framesNEON(file *neon.File) {
	m := file.Function(32, "frames", framesSignature, framesDoc(4)...)
	f := framerNEON{Machine: m, x: m.Argument("x"), m: m.Argument("m"), g: m.Argument("slopes"), state: m.Argument("state")}
	blocks, geometric, tangent, transported := m.Argument("blocks"), m.Argument("geometric"), m.Argument("tangent"), m.Argument("transported")
	order, own, done := m.Argument("order"), m.Argument("steps"), m.Int()
	m.Emit("MOVD", 0, done)
	f.c = m.Vecs(4)
	for i, v := range f.c {
		m.Load(f.row(coefficients, i*neon.Bytes), v)
	}
	m.Label("block")
	ofX, ofM, ofG := m.Rows("x", f.x, order), neon.RowsAt(f.m), m.Rows("g", f.g, order)
	y := m.Elements(func(p neon.Piece, l int, v neon.Vec) { p.Load(ofX[l].At(p.First), v) })
	v := f.mixed("direction", ahead, slope, ofM, ofG)
	f.tangentProject(y, v)
	m.Scope(func() {
		t, squares := m.Vec(), m.Vecs(2)
		f.squares(v, squares)
		m.Scope(func() { m.Move(f.spread(back), t) })
		m.Emit("CBZ", own, "oneStep")
		m.Load(neon.At(own, 0), t)
		m.Advance(neon.Bytes, own)
		m.Label("oneStep")
		m.Emit("CBZ", geometric, "straight")
		f.shorten(t, squares)
		m.Label("straight")
		for i := range y {
			m.FMA(v[i], t, y[i])
		}
		m.Store(t, f.row(points, 0)) // until the block is known to move
		m.Store(squares[0], f.row(points+1, 0))
		m.Store(squares[1], f.row(points+1, neon.Bytes))
	})
	m.Scope(func() {
		l := f.factor(y, "out")
		f.solve(y, l)
	})
	m.Scope(f.sum)
	m.Emit("CBZ", transported, "moved")
	f.tangentProject(y, v)
	m.Label("moved")
	m.Points(y, ofX)
	m.Emit("CBZ", f.m, "clear")
	m.Emit("CBZ", tangent, "ambient")
	m.Points(v, ofM)
	m.Emit("B", "stored")
	m.Label("ambient")
	m.Scope(func() {
		old, w := m.Vec(), m.Vec()
		for l := range ofM {
			for _, p := range m.Pieces() {
				p.Load(ofG[l].At(p.First), w)
				f.scale(w, take)
				p.Load(ofM[l].At(p.First), old)
				c, lane := f.coefficient(keep)
				f.FMALane(c, lane, old, w)
				p.Store(w, ofM[l].At(p.First))
			}
		}
	})
	m.Label("stored")
	m.Advance(9*neon.Bytes, f.m)
	m.Label("clear")
	m.Emit("CBNZ", order, "stay")
	zero := m.Zeros(1)[0]
	for i := range y {
		m.Store(zero, neon.At(f.g, (i-9)*neon.Bytes))
	}
	m.Emit("B", "next")
	m.Label("stay")
	m.Advance(neon.Bytes, order)
	m.Label("next")
	m.Emit("ADD", 1, done, done)
	m.Emit("SUB", 1, blocks, blocks)
	m.Emit("CBNZ", blocks, "block")
	m.Label("out")
	m.ResultInt(done, "ret")
	m.Return()
}

// tangentProject: v <- v - x sym(x^T v) / r^2.
func (f framerNEON) tangentProject(x, v []neon.Vec) {
	f.Scope(func() {
		var s [3][3]neon.Vec
		for j := range 3 {
			for k := j; k < 3; k++ {
				sum := f.Vec()
				f.Mul(x[at(0, j)], v[at(0, k)], sum)
				for i := range 3 {
					if i > 0 {
						f.FMA(x[at(i, j)], v[at(i, k)], sum)
					}
					if j != k {
						f.FMA(x[at(i, k)], v[at(i, j)], sum)
					}
				}
				if j == k {
					f.scale(sum, whole)
				} else {
					f.scale(sum, halved)
				}
				s[j][k], s[k][j] = sum, sum
			}
		}
		for i := range 3 {
			for j := range 3 {
				for k := range 3 {
					f.FNMA(x[at(i, k)], s[k][j], v[at(i, j)])
				}
			}
		}
	})
}

// halves sets low and high to v in float64.
func (f framerNEON) halves(v, low, high neon.Vec) {
	f.WidenLow(v, low)
	f.WidenHigh(v, high)
}

// squares sets sums to |v|^2 in float64, for the first two lanes and for the others.
func (f framerNEON) squares(v, sums []neon.Vec) {
	d := f.Double()
	f.Zero(sums[0])
	f.Zero(sums[1])
	f.Scope(func() {
		low, high := f.Vec(), f.Vec()
		for _, w := range v {
			f.halves(w, low, high)
			d.FMA(low, low, sums[0])
			d.FMA(high, high, sums[1])
		}
	})
}

// shorten divides t by g_t, which is max(1, r (2 + r)) for r = |v| over the root of the curvature.
func (f framerNEON) shorten(t neon.Vec, squares []neon.Vec) {
	f.Scope(func() {
		r, a := f.Vec(), f.Vec()
		f.Narrow(squares[0], r)
		f.NarrowHigh(squares[1], r)
		f.Sqrt(r, r)
		f.scale(r, root)
		f.Add(f.spread(two), r, a)
		f.Mul(r, a, a)
		f.Max(f.spread(unit), a, a)
		f.Div(a, t, t)
	})
}

// sum adds |v|^2 and |t v|^2 to the sums, and keeps the t nearest to 0.
func (f framerNEON) sum() {
	d := f.Double()
	t, old, halves := f.Vec(), f.Vec(), f.Vecs(2)
	f.Load(f.row(points, 0), t)
	f.halves(t, halves[0], halves[1])
	for i, w := range halves {
		f.Scope(func() {
			v := f.Vec()
			f.Load(f.row(points+1, i*neon.Bytes), v)
			d.Mul(w, w, w)
			d.Mul(v, w, w)
			for _, term := range []struct {
				row int
				v   neon.Vec
			}{{directions, v}, {lengths, w}} {
				to := f.row(term.row, i*neon.Bytes)
				d.Load(to, old)
				d.Add(old, term.v, old)
				d.Store(old, to)
			}
		})
	}
	f.Load(f.row(steps, 0), old)
	f.Max(old, t, t)
	f.Store(t, f.row(steps, 0))
}

// factor returns L for y^T y / r^2 = L L^T, with 1/l_ii in place of l_ii. It jumps to out if a pivot
// is too small or a trace too large in any lane.
func (f framerNEON) factor(y []neon.Vec, out string) (l [3][3]neon.Vec) {
	for j := range 3 {
		for k := range j + 1 {
			l[j][k] = f.Vec()
			f.Mul(y[at(0, j)], y[at(0, k)], l[j][k])
			for i := 1; i < 3; i++ {
				f.FMA(y[at(i, j)], y[at(i, k)], l[j][k])
			}
			f.scale(l[j][k], whole)
		}
	}
	f.Scope(func() {
		good, one := f.Vec(), f.spread(unit)
		f.Scope(func() {
			trace := f.Vec()
			f.Add(l[0][0], l[1][1], trace)
			f.Add(l[2][2], trace, trace)
			f.Above(trace, f.spread(limit), good)
		})
		for j := range 3 {
			pivot := l[j][j]
			f.Scope(func() {
				least := f.Vec()
				c, lane := f.coefficient(tiny)
				f.MulLane(c, lane, pivot, least)
				for k := range j {
					f.FNMA(l[j][k], l[j][k], pivot)
				}
				f.Above(least, pivot, least)
				f.And(least, good, good)
			})
			f.Sqrt(pivot, pivot)
			f.Div(pivot, one, pivot)
			for i := j + 1; i < 3; i++ {
				for k := range j {
					f.FNMA(l[i][k], l[j][k], l[i][j])
				}
				f.Mul(pivot, l[i][j], l[i][j])
			}
		}
		low, high := f.Int(), f.Int()
		f.Extract(good, 0, low)
		f.Extract(good, 1, high)
		f.Emit("AND", high, low, low)
		f.Emit("CMP", -1, low)
		f.Emit("BNE", out)
	})
	return l
}

// solve: y <- y L^-T, row by row.
func (f framerNEON) solve(y []neon.Vec, l [3][3]neon.Vec) {
	for i := range 3 {
		for j := range 3 {
			for k := range j {
				f.FNMA(y[at(i, k)], l[j][k], y[at(i, j)])
			}
			f.Mul(l[j][j], y[at(i, j)], y[at(i, j)])
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/kernelfold/kernelfold/internal/_gen/neon"
)

// groupNEON is the state of the kernel for points of 9 elements, four at a time.
type groupNEON struct {
	blenderNEON
	ofX, ofM, ofGrad neon.Rows
}

// stepOfNineNEON writes the whole step.
func stepOfNineNEON(f *neon.File, s sliceKernel) {
	m := f.Function(32, s.name, stepOfNineSignature, s.doc(4)...)
	x, mom, grad, order, left, terms := m.Argument("x"), m.Argument("m"), m.Argument("grad"), m.Argument("order"), m.Argument("k"), m.Argument("terms")
	g := groupNEON{blenderNEON: blenderNEON{m, m.Argument("state")}}
	rates, tangent, done, far, tmp := m.Argument("rates"), m.Argument("tangent"), m.Int(), m.Int(), m.Int()
	m.Scope(func() {
		v := m.Vec()
		for i := range take + 1 {
			if constantRow(i) {
				m.Broadcast(neon.At(terms, 4*i), v)
				m.Store(v, g.at(i))
			}
		}
	})
	m.Emit("MOVD", 0, done)
	m.Emit("MOVD", g.at(inverseN), tmp)
	m.Emit("CBNZ", tmp, "centred")
	for _, label := range []string{"uncentred", "centred"} {
		m.Label(label)
		m.Scope(func() {
			g.ofX, g.ofM, g.ofGrad = m.Rows(label+"X", x, order), neon.RowsAt(mom), m.Rows(label+"Gradient", grad, order)
			m.Scope(func() { // the elements of d wait in the state
				slope, ahead := g.term(slope), g.term(ahead)
				d := m.Elements(func(p neon.Piece, l int, v neon.Vec) {
					p.Load(g.ofGrad[l].At(p.First), v)
					p.Mul(slope, v, v)
				})
				m.Emit("CBZ", mom, label+"Plain")
				m.Scope(func() {
					for e, v := range m.Elements(func(p neon.Piece, l int, v neon.Vec) { p.Load(g.ofM[l].At(p.First), v) }) {
						m.FMA(ahead, v, d[e])
					}
				})
				m.Label(label + "Plain")
				for e, v := range d {
					m.Store(v, g.at(elements+e))
				}
			})
			points := m.Elements(func(p neon.Piece, l int, v neon.Vec) { p.Load(g.ofX[l].At(p.First), v) })
			m.Emit("CBZ", rates, label+"OneRate")
			m.Scope(func() {
				v := m.Vec()
				m.Load(neon.At(rates, 0), v)
				m.Store(v, g.at(rate))
			})
			m.Advance(neon.Bytes, rates)
			m.Label(label + "OneRate")
			m.Emit("MOVD", 0, far)
			for j := range s.vectors {
				m.Scope(func() { g.move(fmt.Sprint(label, j), points, j, s.vectors, label == "centred", tangent, far, tmp) })
			}
			m.Points(points, g.ofX)
			m.Emit("CBZ", mom, label+"Clear")
			m.Emit("CBZ", tangent, label+"Ambient")
			for e, v := range points {
				m.Load(g.at(elements+e), v)
			}
			m.Points(points, g.ofM)
			m.Emit("B", label+"Moved")
			m.Label(label + "Ambient")
			m.Scope(func() {
				keep, take, u, v := g.term(keep), g.term(take), m.Vec(), m.Vec()
				for l := range g.ofM {
					for _, p := range m.Pieces() {
						p.Load(g.ofGrad[l].At(p.First), v)
						m.Mul(take, v, v)
						p.Load(g.ofM[l].At(p.First), u)
						m.FMA(keep, u, v)
						p.Store(v, g.ofM[l].At(p.First))
					}
				}
			})
			m.Label(label + "Moved")
			m.Advance(nine*neon.Bytes, mom)
			m.Label(label + "Clear")
			m.Emit("CBNZ", order, label+"Stay")
			zero := m.Zeros(1)[0]
			for i := range nine {
				m.Store(zero, neon.At(grad, (i-nine)*neon.Bytes))
			}
			m.Emit("B", label+"Next")
			m.Label(label + "Stay")
			m.Advance(neon.Bytes, order)
			m.Label(label + "Next")
			m.Emit("ADD", 1, done, done)
			m.Emit("CBNZ", far, "out")
			m.Emit("SUB", 1, left, left)
			m.Emit("CBNZ", left, label)
			m.Emit("B", "out")
		})
	}
	m.Label("out")
	m.ResultInt(done, "ret")
	m.Return()
}

// move moves sphere j of all points; y and the momentum take the places of x and d. It stores |t d|^2/r^2 and sets
// bits in far for the points where it is above 1.
func (g groupNEON) move(label string, points []neon.Vec, j, spheres int, centred bool, tangent, far, tmp neon.Int) {
	m := g.Machine
	s := m.Zeros(map[bool]int{false: 3, true: 5}[centred])
	for e := j; e < nine; e += spheres {
		m.Scope(func() { accumulateNEON(neon.Part{Machine: m}, points[e], g.term(elements+e), s) })
	}
	o := solvedNEON(g.blenderNEON, label+"Straight", s)
	g.by(m.Mul, inverseSquare, o.long, o.long)
	m.Store(o.long, g.at(longs+j))
	g.by(m.Above, one, o.long, o.long)
	for i := range 2 {
		m.Extract(o.long, i, tmp)
		m.Emit("ORR", tmp, far, far)
	}
	addWideNEON(neon.Part{Machine: m}, o.direct, g.terms, 64*directs)
	addWideNEON(neon.Part{Machine: m}, o.length, g.terms, 64*lengths)
	m.Emit("CBNZ", tangent, label+"Tangent")
	for e := j; e < nine; e += spheres {
		old := points[e]
		m.Mul(o.blend[blendA], old, old)
		g.by(m.FMA, elements+e, o.blend[blendF], old)
		if centred {
			m.Add(o.blend[blendB], old, old)
		}
	}
	m.Emit("B", label+"Moved")
	m.Label(label + "Tangent")
	for e := j; e < nine; e += spheres {
		m.Scope(func() {
			old, d, y := points[e], g.term(elements+e), m.Vec()
			m.Mul(o.blend[blendA], old, y)
			m.FMA(o.blend[blendF], d, y)
			m.FMA(o.blend[blendC], old, d)
			if centred {
				m.Add(o.blend[blendB], y, y)
				m.Add(o.blend[blendE], d, d)
			}
			m.FMA(o.blend[blendH], y, d)
			m.Store(d, g.at(elements+e))
			m.Move(y, old)
		})
	}
	m.Label(label + "Moved")
}

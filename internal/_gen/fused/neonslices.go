// SPDX-License-Identifier: Apache-2.0

package main

import "github.com/kernelfold/kernelfold/internal/_gen/neon"

// stepOfNineNEON writes the whole step for points of 9 elements, four at a time.
func stepOfNineNEON(f *neon.File) {
	m := f.Function(32, "stepOfNine", stepOfNineSignature, stepOfNineDoc(4)...)
	x, mom, grad, left, terms := m.Argument("x"), m.Argument("m"), m.Argument("grad"), m.Argument("k"), m.Argument("terms")
	g := blenderNEON{m, m.Argument("state")}
	tangent, done, far, tmp := m.Argument("tangent"), m.Int(), m.Int(), m.Int()
	m.Scope(func() {
		v := m.Vec()
		for i := range take + 1 {
			if constantRow(i) {
				m.Broadcast(neon.At(terms, 4*i), v)
				m.Store(v, g.at(i))
			}
		}
	})
	slopes, aheads := g.term(slope), g.term(ahead)
	m.Emit("MOVD", 0, done)
	m.Emit("MOVD", g.at(inverseN), tmp)
	m.Emit("CBNZ", tmp, "centred")
	for _, label := range []string{"uncentred", "centred"} {
		centred := label == "centred"
		m.Label(label)
		m.Scope(func() {
			// Sums. The elements of d wait in the state.
			s := m.Zeros(map[bool]int{false: 3, true: 5}[centred])
			m.Scope(func() {
				d := m.Elements(func(p neon.Part, disp int, v neon.Vec) {
					m.Scope(func() {
						w := m.Vec()
						p.Load(neon.At(grad, disp), w)
						p.Mul(slopes, w, v)
						p.Load(neon.At(mom, disp), w)
						p.FMA(aheads, w, v)
					})
				})
				for e, v := range d {
					m.FMA(v, v, s[2])
					if centred {
						m.Add(v, s[4], s[4])
					}
					m.Store(v, g.at(elements+e))
				}
			})
			points := m.Elements(func(p neon.Part, disp int, v neon.Vec) { p.Load(neon.At(x, disp), v) })
			for e, v := range points {
				m.FMA(v, v, s[0])
				g.by(m.FMA, elements+e, v, s[1])
				if centred {
					m.Add(v, s[3], s[3])
				}
			}
			o := solvedNEON(g, label+"Straight", s)
			g.by(m.Mul, inverseSquare, o.long, o.long)
			m.Store(o.long, g.at(long))
			g.by(m.Above, one, o.long, o.long)
			m.Extract(o.long, 0, far)
			m.Extract(o.long, 1, tmp)
			m.Emit("ORR", tmp, far, far)
			addWideNEON(neon.Part{Machine: m}, o.direct, g.terms, 64*directs)
			addWideNEON(neon.Part{Machine: m}, o.length, g.terms, 64*lengths)

			// The update, element by element; y and the momentum take the places of x and d.
			m.Emit("CBNZ", tangent, label+"Tangent")
			for e, old := range points {
				m.Mul(o.blend[blendA], old, old)
				g.by(m.FMA, elements+e, o.blend[blendF], old)
				if centred {
					m.Add(o.blend[blendB], old, old)
				}
			}
			m.Points(points, x)
			m.Scope(func() {
				keep, take, u, v := g.term(keep), g.term(take), m.Vec(), m.Vec()
				for i := range nine {
					m.Load(neon.At(grad, i*neon.Bytes), v)
					m.Mul(take, v, v)
					m.Load(neon.At(mom, i*neon.Bytes), u)
					m.FMA(keep, u, v)
					m.Store(v, neon.At(mom, i*neon.Bytes))
				}
			})
			m.Emit("B", label+"Next")
			m.Label(label + "Tangent")
			for e, old := range points {
				m.Scope(func() {
					d, y := g.term(elements+e), m.Vec()
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
			m.Points(points, x)
			for e, v := range points {
				m.Load(g.at(elements+e), v)
			}
			m.Points(points, mom)
			m.Label(label + "Next")
			zero := m.Zeros(1)[0]
			for i := range nine {
				m.Store(zero, neon.At(grad, i*neon.Bytes)) // after m, which may be the same array
			}
			m.Advance(nine*neon.Bytes, x, mom, grad)
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

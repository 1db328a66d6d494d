// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/kernelfold/kernelfold/internal/_gen/neon"
)

// writeNEON writes the assembly for arm64.
func writeNEON() {
	f := neon.New("fused")
	for _, bits := range neon.Machines() {
		momentsNEON(f, bits)
		blendsNEON(f, bits)
		applyNEON(f, bits)
		momentsOfColumnsNEON(f, bits)
		applyToColumnsNEON(f, bits)
		flatNEON(f, bits)
		adamNEON(f, bits)
	}
	for _, s := range sliceKernels {
		stepOfNineNEON(f, s)
	}
	f.Write("../../fused/kernels_arm64.s", "../../fused/stubs_arm64.go")
}

// stepNEON holds the pointers to x and to what d = ahead m + slope grad is made of. Without momentum d is
// slope grad.
type stepNEON struct {
	neon.Machine
	x, m, grad   neon.Int
	ahead, slope neon.Vec
	momentum     bool
}

func newStepNEON(m neon.Machine) stepNEON {
	return stepNEON{m, m.Argument("x"), m.Argument("m"), m.Argument("grad"), m.Constant("ahead"), m.Constant("slope"), true}
}

// pointers returns the non-empty ones.
func (s stepNEON) pointers() []neon.Int {
	if s.momentum {
		return []neon.Int{s.x, s.m, s.grad}
	}
	return []neon.Int{s.x, s.grad}
}

// direction sets v to d, g to the gradient and, if there is one, u to the momentum.
func (s stepNEON) direction(p neon.Part, disp int, v, g, u neon.Vec) {
	p.Load(neon.At(s.grad, disp), g)
	p.Mul(s.slope, g, v)
	if s.momentum {
		p.Load(neon.At(s.m, disp), u)
		p.FMA(s.ahead, u, v)
	}
}

// rowNEON runs the body for n elements: for several vectors at a time, then for single vectors, then for
// single elements. It advances the pointers beyond them. u counts the vectors that are processed at a
// time.
func rowNEON(m neon.Machine, label string, n neon.Int, unrolled int, pointers []neon.Int, body func(p neon.Part, u, disp int)) {
	m.Scope(func() {
		left := m.Int()
		m.Emit("MOVD", n, left)
		each := func(name string, p neon.Part, together, elements int) {
			m.Loop(label+name, left, together*elements, func() {
				for u := range together {
					m.Scope(func() { body(p, u, u*p.Bytes()) })
				}
				m.Advance(together*p.Bytes(), pointers...)
			})
		}
		each("Many", neon.Part{Machine: m}, unrolled, m.Lanes())
		each("Vector", neon.Part{Machine: m}, 1, m.Lanes())
		each("Element", neon.Part{Machine: m, One: true}, 1, 1)
	})
}

// foldNEON adds up the rows of sums, in the first row.
func foldNEON(m neon.Machine, all [][]neon.Vec) {
	for u := len(all) / 2; u > 0; u /= 2 {
		for i := range u {
			for j := range all[i] {
				m.Add(all[i+u][j], all[i][j], all[i][j])
			}
		}
	}
}

// totalNEON sums the elements of s in float64 and leaves the sum in the first element.
func totalNEON(m neon.Machine, s neon.Vec) {
	d := m.Double()
	if m.Bits == 32 {
		m.Scope(func() {
			high := m.Vec()
			m.WidenHigh(s, high)
			m.WidenLow(s, s)
			d.Add(high, s, s)
		})
	}
	d.AddPair(s, s, s)
}

// zerosNEON returns n rows of sums.
func zerosNEON(m neon.Machine, n, count int) [][]neon.Vec {
	all := make([][]neon.Vec, n)
	for i := range all {
		all[i] = m.Zeros(count)
	}
	return all
}

// accumulateNEON adds the products of x and d to the sums, and x and d themselves if there are five.
func accumulateNEON(p neon.Part, x, d neon.Vec, s []neon.Vec) {
	p.FMA(x, x, s[0])
	p.FMA(d, x, s[1])
	p.FMA(d, d, s[2])
	if len(s) == 5 {
		p.Add(x, s[3], s[3])
		p.Add(d, s[4], s[4])
	}
}

// variantsNEON writes the four variants of a first pass: with and without momentum, centred or not.
func variantsNEON(s *stepNEON, centred neon.Int, write func(label string, count int)) {
	s.Emit("CBZ", s.m, "plain")
	s.Emit("CBNZ", centred, "centred")
	write("momentum", 3)
	s.Label("centred")
	write("momentumCentred", 5)
	s.Label("plain")
	s.momentum = false
	s.Emit("CBNZ", centred, "plainCentred")
	write("plainUncentred", 3)
	s.Label("plainCentred")
	write("plainOfCentred", 5)
}

// momentsNEON writes the first pass. One lane sums at most n/16 elements in float32.
func momentsNEON(f *neon.File, bits int) {
	m := f.Function(bits, "moments", "func(x, m, grad *%[1]s, n, k int, ahead, slope %[1]s, centred bool, sums *float64)",
		"computes the sums of x x, x d and d d, and of x and d if centred, for k vectors of n elements,",
		fmt.Sprintf("where d = ahead m + slope grad. Each sum has %d places. m may be nil.", maxPoints))
	s := newStepNEON(m)
	n, k, sums, centred := m.Argument("n"), m.Argument("k"), m.Argument("sums"), m.Argument("centred")
	variantsNEON(&s, centred, func(label string, count int) {
		m.Scope(func() {
			m.Label(label + "Point")
			all := zerosNEON(m, 64/bits*2, count)
			rowNEON(m, label, n, len(all), s.pointers(), func(p neon.Part, u, disp int) {
				v, g, w := m.Vec(), m.Vec(), m.Vec()
				s.direction(p, disp, v, g, w)
				p.Load(neon.At(s.x, disp), w)
				accumulateNEON(p, w, v, all[u])
			})
			foldNEON(m, all)
			for j, v := range all[0] {
				totalNEON(m, v)
				m.StoreBytes(8, v, neon.At(sums, 8*maxPoints*j))
			}
			m.Advance(8, sums)
			m.Emit("SUB", 1, k, k)
			m.Emit("CBNZ", k, label+"Point")
			m.Return()
		})
	})
}

// applyNEON writes the second pass.
func applyNEON(f *neon.File, bits int) {
	m := f.Function(bits, "apply", "func(x, m, grad *%[1]s, n, k, next int, ahead, slope, keep, take %[1]s, tangent bool, blend *%[1]s)",
		"updates k vectors of n elements. With d = ahead m + slope grad, x' = a x + f d + b replaces x;",
		"keep m + take grad replaces m or, if tangent, d + h x' + c x + e; and 0 replaces grad.",
		fmt.Sprintf("blend holds a, f, b, h, c and e, %d places each. m may be nil. It prefetches nothing.", maxPoints))
	u := newUpdateNEON(m)
	n, k, blend := m.Argument("n"), m.Argument("k"), m.Argument("blend")
	u.variants(func(label string) {
		m.Scope(func() {
			m.Label(label + "Point")
			c := m.Vecs(u.coefficients())
			for i, v := range c {
				m.Broadcast(neon.At(blend, m.Size()*maxPoints*i), v)
			}
			rowNEON(m, label, n, 2, u.pointers(), func(p neon.Part, _, disp int) { u.apply(p, c, disp) })
			m.Advance(m.Size(), blend)
			m.Emit("SUB", 1, k, k)
			m.Emit("CBNZ", k, label+"Point")
			m.Return()
		})
	})
}

// updateNEON is the arithmetic of a second pass.
type updateNEON struct {
	stepNEON
	keep, take, zero neon.Vec
	flag             neon.Int // whether tangent
	tangent          bool
}

func newUpdateNEON(m neon.Machine) *updateNEON {
	return &updateNEON{newStepNEON(m), m.Constant("keep"), m.Constant("take"), m.Zeros(1)[0], m.Argument("tangent"), false}
}

// variants writes the three variants of a second pass.
func (u *updateNEON) variants(write func(label string)) {
	u.Emit("CBZ", u.m, "plain")
	u.Emit("CBNZ", u.flag, "tangent")
	write("ambient")
	u.Label("tangent")
	u.tangent = true
	write("tangentOf")
	u.Label("plain")
	u.momentum, u.tangent = false, false
	write("plainOf")
}

// coefficients is the number of coefficients that the variant needs.
func (u *updateNEON) coefficients() int {
	if u.tangent {
		return 6
	}
	return 3
}

// apply updates the elements at a distance, with the coefficients c.
func (u *updateNEON) apply(p neon.Part, c []neon.Vec, disp int) {
	d, g, m, old, y := u.Vec(), u.Vec(), u.Vec(), u.Vec(), u.Vec()
	u.direction(p, disp, d, g, m)
	p.Load(neon.At(u.x, disp), old)
	p.Move(c[blendB], y)
	p.FMA(c[blendF], d, y)
	p.FMA(c[blendA], old, y)
	p.Store(y, neon.At(u.x, disp))
	switch {
	case u.tangent:
		p.Add(c[blendE], d, d)
		p.FMA(c[blendC], old, d)
		p.FMA(c[blendH], y, d)
		p.Store(d, neon.At(u.m, disp))
	case u.momentum:
		p.Mul(u.take, g, g)
		p.FMA(u.keep, m, g)
		p.Store(g, neon.At(u.m, disp))
	}
	p.Store(u.zero, neon.At(u.grad, disp))
}

// columnsNEON runs the body for some rows, stride elements apart, of several vectors of columns at a
// time, then of single vectors, then of single columns. Before the rows it runs begin and after them
// end; both get the address of the numbers that belong to the first of these columns, each of the given
// size.
func columnsNEON(s stepNEON, label string, together, size int, side neon.Int, begin, end func(p neon.Part, vectors int), body func(s stepNEON, p neon.Part, u, disp int)) {
	m := s.Machine
	m.Scope(func() {
		cols, rows, stride, left := m.Argument("cols"), m.Argument("rows"), m.Argument("stride"), m.Int()
		m.Emit("LSL", m.Shift(), stride, stride)
		base := s.pointers()
		each := func(name string, p neon.Part, vectors, elements int) {
			m.Loop(label+name, cols, vectors*elements, func() {
				m.Scope(func() {
					begin(p, vectors)
					at := s
					at.x, at.m, at.grad = m.Int(), m.Int(), m.Int()
					for i, r := range at.pointers() {
						m.Emit("MOVD", base[i], r)
					}
					m.Emit("MOVD", rows, left)
					m.Label(label + name + "Row")
					for u := range vectors {
						m.Scope(func() { body(at, p, u, u*p.Bytes()) })
					}
					for _, r := range at.pointers() {
						m.Emit("ADD", stride, r, r)
					}
					m.Emit("SUB", 1, left, left)
					m.Emit("CBNZ", left, label+name+"Row")
					end(p, vectors)
				})
				m.Advance(vectors*p.Bytes(), base...)
				m.Advance(vectors*elements*size, side)
			})
		}
		each("Many", neon.Part{Machine: m}, together, m.Lanes())
		each("Vector", neon.Part{Machine: m}, 1, m.Lanes())
		each("Element", neon.Part{Machine: m, One: true}, 1, 1)
		m.Return()
	})
}

// momentsOfColumnsNEON writes the first pass for columns.
func momentsOfColumnsNEON(f *neon.File, bits int) {
	m := f.Function(bits, "momentsOfColumns", "func(x, m, grad *%[1]s, rows, stride, cols int, ahead, slope %[1]s, centred bool, sums *float64)",
		fmt.Sprintf("adds the sums over some rows, stride elements apart, to the sums of cols columns, at most %d.", maxPoints),
		"There is at least one row.")
	s := newStepNEON(m)
	sums, centred := m.Argument("sums"), m.Argument("centred")
	variantsNEON(&s, centred, func(label string, count int) {
		var all [][]neon.Vec
		columnsNEON(s, label, 4, 8, sums,
			func(_ neon.Part, vectors int) { all = zerosNEON(m, vectors, count) },
			func(p neon.Part, _ int) {
				for i, s := range all {
					for j, v := range s {
						addWideNEON(p, v, sums, 8*(maxPoints*j+i*m.Lanes()))
					}
				}
			},
			func(s stepNEON, p neon.Part, u, disp int) {
				v, g, w := m.Vec(), m.Vec(), m.Vec()
				s.direction(p, disp, v, g, w)
				p.Load(neon.At(s.x, disp), w)
				accumulateNEON(p, w, v, all[u])
			})
	})
}

// addWideNEON adds v to the float64 numbers at an address. It overwrites v.
func addWideNEON(p neon.Part, v neon.Vec, to neon.Int, disp int) {
	d := neon.Part{Machine: p.Double(), One: p.One}
	p.Scope(func() {
		parts := []neon.Vec{v}
		if p.Bits == 32 {
			if !p.One {
				high := p.Vec()
				p.WidenHigh(v, high)
				parts = append(parts, high)
			}
			p.WidenLow(v, v)
		}
		old := p.Vec()
		for i, v := range parts {
			d.Load(neon.At(to, disp+i*neon.Bytes), old)
			d.Add(old, v, v)
			d.Store(v, neon.At(to, disp+i*neon.Bytes))
		}
	})
}

// applyToColumnsNEON writes the second pass for columns.
func applyToColumnsNEON(f *neon.File, bits int) {
	m := f.Function(bits, "applyToColumns", "func(x, m, grad *%[1]s, rows, stride, cols int, ahead, slope, keep, take %[1]s, tangent bool, blend *%[1]s)",
		fmt.Sprintf("is apply for some rows, stride elements apart, of cols columns, at most %d.", maxPoints))
	u := newUpdateNEON(m)
	blend := m.Argument("blend")
	u.variants(func(label string) {
		var c [][]neon.Vec
		columnsNEON(u.stepNEON, label, 2, m.Size(), blend,
			func(p neon.Part, vectors int) {
				c = make([][]neon.Vec, vectors)
				for i := range c {
					c[i] = m.Vecs(u.coefficients())
					for j, v := range c[i] {
						p.Load(neon.At(blend, m.Size()*(maxPoints*j+i*m.Lanes())), v)
					}
				}
			},
			func(neon.Part, int) {},
			func(s stepNEON, p neon.Part, i, disp int) {
				at := *u
				at.stepNEON = s
				at.apply(p, c[i], disp)
			})
	})
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"

	"github.com/kernelfold/kernelfold/internal/_gen/simd"
)

// apply writes the second pass.
func apply(m simd.Machine) {
	m.Function("apply", "func(x, m, grad *%[1]s, n, k, next int, ahead, slope, keep, take %[1]s, tangent bool, blend *%[1]s)",
		"updates k vectors of n elements. With d = ahead m + slope grad, x' = a x + f d + b replaces x;",
		"keep m + take grad replaces m or, if tangent, d + h x' + c x + e; and 0 replaces grad.",
		fmt.Sprintf("blend holds a, f, b, h, c and e, %d places each. m may be nil. Meanwhile it prefetches the", maxPoints),
		"elements of x that lie next elements further on.")
	x, n, k, blend, tangent := simd.Pointer("x"), simd.Pointer("n"), simd.Pointer("k"), simd.Pointer("blend"), GP8()
	d := newDirection(m)
	keep, take := m.Constant("keep"), m.Constant("take")
	Load(Param("tangent"), tangent)
	rest := restOf(m, n)
	size := GP64()
	MOVQ(n, size)
	IMUL3Q(U32(m.Size()), size, size)
	zero := m.Zeros(1)[0]
	next := simd.Pointer("next")
	IMUL3Q(U32(m.Size()), next, next)
	TESTQ(d.m, d.m)
	JZ(LabelRef("plain"))
	TESTB(tangent, tangent)
	JNZ(LabelRef("tangent"))
	variant := func(label string, momentum, tangent bool) {
		Label(label)
		d.momentum = momentum
		count := 3
		if tangent {
			count = 6
		}
		c := m.Vecs(count)
		for i := range c {
			m.Broadcast(Mem{Base: blend, Disp: m.Size() * maxPoints * i}, c[i])
		}
		row(m, label, n, rest, 2, func(p simd.Part, u int, at GPVirtual, disp int) {
			v, g, w := m.Vec(), m.Vec(), m.Vec()
			d.at(p, at, disp, v, g, w)
			old, y := m.Vec(), m.Vec()
			p.Load(simd.At(x, at, disp), old)
			if disp%line == 0 {
				far := GP64()
				LEAQ(simd.At(next, at, disp), far)
				PREFETCHT1(simd.At(x, far, 0))
			}
			blendPoint(p, c, old, v, y)
			p.Store(y, simd.At(x, at, disp))
			if momentum {
				if tangent {
					blendMomentum(p, c, old, y, v)
					p.Store(v, simd.At(d.m, at, disp))
				} else {
					p.Mul(take, g, g)
					p.FMA(keep, w, g)
					p.Store(g, simd.At(d.m, at, disp))
				}
			}
			p.Store(zero, simd.At(d.grad, at, disp))
		})
		ADDQ(U32(m.Size()), blend)
		ADDQ(size, x)
		d.advance(size)
		DECQ(k)
		JNZ(LabelRef(label))
		simd.End()
	}
	variant("ambient", true, false)
	variant("tangent", true, true)
	variant("plain", false, false)
}

// line is the size of a line of the cache, in bytes.
const line = 64

// blendPoint sets y to a x + f d + b.
func blendPoint(p simd.Part, c []VecVirtual, x, d, y VecVirtual) {
	p.Move(c[2], y)
	p.FMA(c[1], d, y)
	p.FMA(c[0], x, y)
}

// blendMomentum adds h y + c x + e to d.
func blendMomentum(p simd.Part, c []VecVirtual, x, y, d VecVirtual) {
	p.Add(c[5], d, d)
	p.FMA(c[4], x, d)
	p.FMA(c[3], y, d)
}

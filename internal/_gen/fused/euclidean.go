// SPDX-License-Identifier: Apache-2.0

package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"

	"github.com/kernelfold/kernelfold/internal/_gen/simd"
)

// flat writes the step of gradient descent.
func flat(m simd.Machine) {
	m.Function("flat", "func(x, m, grad *%[1]s, n int, ahead, slope, keep, take, shrink, rate %[1]s) float64",
		"sets x to shrink x - rate d, m to keep m + take grad and grad to 0, where",
		"d = ahead m + slope grad. It returns |d|^2. m may be nil.")
	x, n := simd.Pointer("x"), simd.Pointer("n")
	d := newDirection(m)
	keep, take := m.Constant("keep"), m.Constant("take")
	shrink, rate := m.Constant("shrink"), m.Constant("rate")
	rest, zero, sum := restOf(m, n), m.Zeros(1)[0], m.Zeros(2)
	TESTQ(d.m, d.m)
	JZ(LabelRef("plain"))
	for _, momentum := range []bool{true, false} {
		label := map[bool]string{true: "momentum", false: "plain"}[momentum]
		Label(label)
		d.momentum = momentum
		row(m, label, n, rest, 2, func(p simd.Part, u int, at GPVirtual, disp int) {
			v, g, w := m.Vec(), m.Vec(), m.Vec()
			d.at(p, at, disp, v, g, w)
			p.FMA(v, v, sum[u])
			if momentum {
				p.Mul(take, g, g)
				p.FMA(keep, w, g)
				p.Store(g, simd.At(d.m, at, disp))
			}
			p.Load(simd.At(x, at, disp), w)
			p.Mul(shrink, w, w)
			p.FNMA(rate, v, w)
			p.Store(w, simd.At(x, at, disp))
			p.Store(zero, simd.At(d.grad, at, disp))
		})
		m.Add(sum[1], sum[0], sum[0])
		total(m, sum[0])
		Store(sum[0].AsX(), ReturnIndex(0))
		simd.End()
	}
}

// adam writes the step of Adam.
func adam(m simd.Machine) {
	m.Function("adam", "func(x, m, s, largest, grad *%[1]s, n int, slope, beta1, rest1, beta2, rest2, scale1, scale2, eps, shrink, rate %[1]s) float64",
		"is Adam, with scale1 = 1/Correct1 and scale2 = 1/Correct2. largest may be nil.")
	x, first, second, largest, grad, n := simd.Pointer("x"), simd.Pointer("m"), simd.Pointer("s"), simd.Pointer("largest"), simd.Pointer("grad"), simd.Pointer("n")
	slope, beta1, rest1, beta2, rest2 := m.Constant("slope"), m.Constant("beta1"), m.Constant("rest1"), m.Constant("beta2"), m.Constant("rest2")
	scale1, scale2, eps, shrink, rate := m.Constant("scale1"), m.Constant("scale2"), m.Constant("eps"), m.Constant("shrink"), m.Constant("rate")
	rest, sum := restOf(m, n), m.Zeros(1)[0]
	TESTQ(largest, largest)
	JZ(LabelRef("plain"))
	for _, ams := range []bool{true, false} {
		label := map[bool]string{true: "ams", false: "plain"}[ams]
		Label(label)
		row(m, label, n, rest, 1, func(p simd.Part, _ int, at GPVirtual, _ int) {
			h, u := m.Vec(), m.Vec()
			p.Load(simd.At(grad, at, 0), h)
			p.Mul(slope, h, h)
			p.Load(simd.At(first, at, 0), u)
			p.Mul(beta1, u, u)
			p.FMA(rest1, h, u)
			p.Store(u, simd.At(first, at, 0))
			p.Mul(h, h, h)
			w := m.Vec()
			p.Load(simd.At(second, at, 0), w)
			p.Mul(beta2, w, w)
			p.FMA(rest2, h, w)
			p.Store(w, simd.At(second, at, 0))
			if ams {
				p.Load(simd.At(largest, at, 0), h)
				p.Max(w, h, w)
				p.Store(w, simd.At(largest, at, 0))
			}
			p.Mul(scale2, w, w)
			p.Sqrt(w, w)
			p.Add(eps, w, w)
			p.Mul(scale1, u, u)
			p.Div(w, u, u)
			p.Clear(u) // 0/0 where eps is 0
			p.FMA(u, u, sum)
			p.Load(simd.At(x, at, 0), h)
			p.Mul(shrink, h, h)
			p.FNMA(rate, u, h)
			p.Store(h, simd.At(x, at, 0))
			p.Zero(h)
			p.Store(h, simd.At(grad, at, 0))
		})
		total(m, sum)
		Store(sum.AsX(), ReturnIndex(0))
		simd.End()
	}
}

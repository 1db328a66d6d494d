// SPDX-License-Identifier: Apache-2.0

package main

import (
	. "github.com/mmcloughlin/avo/reg"

	"github.com/kernelfold/kernelfold/internal/_gen/simd"
)

func affine(m simd.Machine) {
	m.Function("affine", "func(dst, x *%[1]s, n int, a, b %[1]s)", "sets dst[i] to a x[i] + b.")
	dst, x, n, a, b, v := simd.Pointer("dst"), simd.Pointer("x"), simd.Pointer("n"), m.Constant("a"), m.Constant("b"), m.Vec()
	loop(m, n, func(p simd.Part, at GPVirtual) {
		p.Load(simd.At(x, at, 0), v)
		m.Mul(a, v, v)
		m.Add(b, v, v)
		p.Store(v, simd.At(dst, at, 0))
	})
	simd.End()
}

func affine2(m simd.Machine) {
	m.Function("affine2", "func(dst, x, y *%[1]s, n int, a, b, c %[1]s)", "sets dst[i] to a x[i] + b y[i] + c.")
	dst, x, y, n := simd.Pointer("dst"), simd.Pointer("x"), simd.Pointer("y"), simd.Pointer("n")
	a, b, c, v, w := m.Constant("a"), m.Constant("b"), m.Constant("c"), m.Vec(), m.Vec()
	loop(m, n, func(p simd.Part, at GPVirtual) {
		p.Load(simd.At(x, at, 0), v)
		p.Load(simd.At(y, at, 0), w)
		m.Mul(a, v, v)
		m.Mul(b, w, w)
		m.Add(w, v, v)
		m.Add(c, v, v)
		p.Store(v, simd.At(dst, at, 0))
	})
	simd.End()
}

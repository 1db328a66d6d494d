// SPDX-License-Identifier: Apache-2.0

package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/reg"

	"github.com/kernelfold/kernelfold/internal/_gen/simd"
)

func rectify(m simd.Machine) {
	m.Function("rectify", "func(dst, x *%[1]s, n int)", "sets dst[i] to max(x[i], 0), or to NaN if x[i] is NaN.")
	dst, x, n, zero, v := simd.Pointer("dst"), simd.Pointer("x"), simd.Pointer("n"), m.Zeros(1)[0], m.Vec()
	loop(m, n, func(p simd.Part, at GPVirtual) {
		p.Load(simd.At(x, at, 0), v)
		m.Max(v, zero, v)
		p.Store(v, simd.At(dst, at, 0))
	})
	simd.End()
}

func rectifyBack(m simd.Machine) {
	m.Function("rectifyBack", "func(dst, y, grad *%[1]s, n int)", "sets dst[i] to grad[i] where y[i] > 0, to 0 elsewhere.")
	dst, y, g, n := simd.Pointer("dst"), simd.Pointer("y"), simd.Pointer("grad"), simd.Pointer("n")
	zero, v, w := m.Zeros(1)[0], m.Vec(), m.Vec()
	loop(m, n, func(p simd.Part, at GPVirtual) {
		p.Load(simd.At(y, at, 0), v)
		p.Load(simd.At(g, at, 0), w)
		if m.Wide {
			k := K()
			m.Compare(simd.Above, zero, v, k)
			if m.Bits == 32 {
				VMOVAPS_Z(w, k, w)
			} else {
				VMOVAPD_Z(w, k, w)
			}
		} else {
			m.Compare(simd.Above, zero, v, v)
			m.And(v, w, w)
		}
		p.Store(w, simd.At(dst, at, 0))
	})
	simd.End()
}

func rectifyTo(m simd.Machine) {
	m.Function("rectifyTo", "func(dst, x *%[1]s, n int, top %[1]s)", "sets dst[i] to min(max(x[i], 0), top), or to NaN if x[i] is NaN.")
	dst, x, n, top, zero, v := simd.Pointer("dst"), simd.Pointer("x"), simd.Pointer("n"), m.Constant("top"), m.Zeros(1)[0], m.Vec()
	loop(m, n, func(p simd.Part, at GPVirtual) {
		p.Load(simd.At(x, at, 0), v)
		m.Max(v, zero, v)
		m.Min(v, top, v)
		p.Store(v, simd.At(dst, at, 0))
	})
	simd.End()
}

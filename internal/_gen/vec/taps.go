// SPDX-License-Identifier: Apache-2.0

package main

import (
	. "github.com/mmcloughlin/avo/reg"

	"github.com/kernelfold/kernelfold/internal/_gen/neon"
	"github.com/kernelfold/kernelfold/internal/_gen/simd"
)

const tapsDoc = "sets dst[i] to the sum of w[3u+v] xu[i+v] over u and v from 0 to 2, with each product and each sum rounded."

func taps(m simd.Machine) {
	m.Function("taps", "func(dst, x0, x1, x2, w *%[1]s, n int)", tapsDoc)
	dst, n := simd.Pointer("dst"), simd.Pointer("n")
	rows := []GPVirtual{simd.Pointer("x0"), simd.Pointer("x1"), simd.Pointer("x2")}
	w, weights := simd.Pointer("w"), m.Vecs(9)
	for k, v := range weights {
		m.Broadcast(simd.At(w, nil, k*m.Size()), v)
	}
	sum, v := m.Vec(), m.Vec()
	loop(m, n, func(p simd.Part, at GPVirtual) {
		for k, weight := range weights {
			to := v
			if k == 0 {
				to = sum
			}
			p.Load(simd.At(rows[k/3], at, k%3*m.Size()), to)
			m.Mul(weight, to, to)
			if k > 0 {
				m.Add(v, sum, sum)
			}
		}
		p.Store(sum, simd.At(dst, at, 0))
	})
	simd.End()
}

func tapsNEON(f *neon.File, bits int) {
	m := f.Function(bits, "taps", "func(dst, x0, x1, x2, w *%[1]s, n int)", tapsDoc)
	dst, n, w := m.Argument("dst"), m.Argument("n"), m.Argument("w")
	rows := []neon.Int{m.Argument("x0"), m.Argument("x1"), m.Argument("x2")}
	weights := m.Vecs(9)
	for k, v := range weights {
		m.Broadcast(neon.At(w, k*m.Size()), v)
	}
	eachVector(m, n, append([]neon.Int{dst}, rows...), func(disp int) {
		sum, v := m.Vec(), m.Vec()
		for k, weight := range weights {
			to := v
			if k == 0 {
				to = sum
			}
			m.Load(neon.At(rows[k/3], disp+k%3*m.Size()), to)
			m.Mul(weight, to, to)
			if k > 0 {
				m.Add(v, sum, sum)
			}
		}
		m.Store(sum, neon.At(dst, disp))
	})
	m.Return()
}

// SPDX-License-Identifier: Apache-2.0

package main

import "github.com/kernelfold/kernelfold/internal/_gen/neon"

// flatNEON writes the step of gradient descent.
func flatNEON(f *neon.File, bits int) {
	m := f.Function(bits, "flat", "func(x, m, grad *%[1]s, n int, ahead, slope, keep, take, shrink, rate %[1]s) float64",
		"sets x to shrink x - rate d, m to keep m + take grad and grad to 0, where",
		"d = ahead m + slope grad. It returns |d|^2. m may be nil.")
	s, n := newStepNEON(m), m.Argument("n")
	keep, take, shrink, rate := m.Constant("keep"), m.Constant("take"), m.Constant("shrink"), m.Constant("rate")
	zero, sum := m.Zeros(1)[0], zerosNEON(m, 4, 1)
	m.Emit("CBZ", s.m, "plain")
	for _, s.momentum = range []bool{true, false} {
		label := map[bool]string{true: "momentum", false: "plain"}[s.momentum]
		m.Label(label)
		rowNEON(m, label, n, len(sum), s.pointers(), func(p neon.Part, u, disp int) {
			v, g, w := m.Vec(), m.Vec(), m.Vec()
			s.direction(p, disp, v, g, w)
			p.FMA(v, v, sum[u][0])
			if s.momentum {
				p.Mul(take, g, g)
				p.FMA(keep, w, g)
				p.Store(g, neon.At(s.m, disp))
			}
			p.Load(neon.At(s.x, disp), w)
			p.Mul(shrink, w, w)
			p.FNMA(rate, v, w)
			p.Store(w, neon.At(s.x, disp))
			p.Store(zero, neon.At(s.grad, disp))
		})
		foldNEON(m, sum)
		totalNEON(m, sum[0][0])
		m.Double().Result(sum[0][0], "ret")
		m.Return()
	}
}

// adamNEON writes the step of Adam.
func adamNEON(f *neon.File, bits int) {
	m := f.Function(bits, "adam", "func(x, m, s, largest, grad *%[1]s, n int, slope, beta1, rest1, beta2, rest2, scale1, scale2, eps, shrink, rate %[1]s) float64",
		"is Adam, with scale1 = 1/Correct1 and scale2 = 1/Correct2. largest may be nil.")
	x, first, second, largest, grad, n := m.Argument("x"), m.Argument("m"), m.Argument("s"), m.Argument("largest"), m.Argument("grad"), m.Argument("n")
	slope, beta1, rest1, beta2, rest2 := m.Constant("slope"), m.Constant("beta1"), m.Constant("rest1"), m.Constant("beta2"), m.Constant("rest2")
	scale1, scale2, eps, shrink, rate := m.Constant("scale1"), m.Constant("scale2"), m.Constant("eps"), m.Constant("shrink"), m.Constant("rate")
	zero, sum := m.Zeros(1)[0], zerosNEON(m, 2, 1)
	m.Emit("CBZ", largest, "plain")
	for _, ams := range []bool{true, false} {
		label := map[bool]string{true: "ams", false: "plain"}[ams]
		pointers := []neon.Int{x, first, second, grad}
		if ams {
			pointers = append(pointers, largest)
		}
		m.Label(label)
		rowNEON(m, label, n, len(sum), pointers, func(p neon.Part, u, disp int) {
			h, v, w := m.Vec(), m.Vec(), m.Vec()
			p.Load(neon.At(grad, disp), h)
			p.Mul(slope, h, h)
			p.Load(neon.At(first, disp), v)
			p.Mul(beta1, v, v)
			p.FMA(rest1, h, v)
			p.Store(v, neon.At(first, disp))
			p.Mul(h, h, h)
			p.Load(neon.At(second, disp), w)
			p.Mul(beta2, w, w)
			p.FMA(rest2, h, w)
			p.Store(w, neon.At(second, disp))
			if ams {
				p.Load(neon.At(largest, disp), h)
				p.Max(h, w, w)
				p.Store(w, neon.At(largest, disp))
			}
			p.Mul(scale2, w, w)
			p.Sqrt(w, w)
			p.Add(eps, w, w)
			p.Mul(scale1, v, v)
			p.Div(w, v, v)
			p.Clear(v) // 0/0 where eps is 0
			p.FMA(v, v, sum[u][0])
			p.Load(neon.At(x, disp), h)
			p.Mul(shrink, h, h)
			p.FNMA(rate, v, h)
			p.Store(h, neon.At(x, disp))
			p.Store(zero, neon.At(grad, disp))
		})
		foldNEON(m, sum)
		totalNEON(m, sum[0][0])
		m.Double().Result(sum[0][0], "ret")
		m.Return()
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/kernelfold/kernelfold/internal/_gen/neon"
)

// lineVectors is the number of vectors of a line with NEON.
const lineVectors = line / neon.Bytes

// writeNEON writes the assembly for arm64.
func writeNEON() {
	f := neon.New("lanes")
	for _, bits := range neon.Machines() {
		productNEON(f, bits)
		symmetrizeNEON(f, bits)
		choleskyNEON(f, bits)
		solveNEON(f, bits)
		advanceNEON(f, bits)
		dotsNEON(f, bits)
		transposeNEON(f, bits)
	}
	framesNEON(f)
	f.Write("../../lanes/kernel_arm64.s", "../../lanes/stubs_arm64.go")
}

// linesNEON loads a number of lines as bytes.
func linesNEON(m neon.Machine, name string) neon.Int {
	r := m.Argument(name)
	m.Emit("LSL", 7, r, r)
	return r
}

// copiedNEON returns a register with the value of r.
func copiedNEON(m neon.Machine, r neon.Int) neon.Int {
	c := m.Int()
	m.Emit("MOVD", r, c)
	return c
}

// belowNEON runs the body n times; n may be 0.
func belowNEON(m neon.Machine, name string, n neon.Int, body func()) {
	m.Scope(func() {
		count := copiedNEON(m, n)
		m.Emit("CBZ", count, name+"Done")
		m.Label(name)
		body()
		m.Emit("SUB", 1, count, count)
		m.Emit("CBNZ", count, name)
		m.Label(name + "Done")
	})
}

// loadNEON loads n vectors from p on.
func loadNEON(m neon.Machine, p neon.Int, n int) []neon.Vec {
	v := m.Vecs(n)
	for i := range v {
		m.Load(neon.At(p, i*neon.Bytes), v[i])
	}
	return v
}

func storeNEON(m neon.Machine, v []neon.Vec, p neon.Int) {
	for i := range v {
		m.Store(v[i], neon.At(p, i*neon.Bytes))
	}
}

// productNEON sums all columns of C at once, for two or four vectors of a line at a time.
func productNEON(f *neon.File, bits int) {
	m := f.Function(bits, "product", "func(c, a, b *%[1]s, rows, cols, inner, cr, cc, ar, ac, br, bc int, alpha, beta %[1]s)",
		"sets C = alpha A B + beta C. Sizes are positive, cols is at most 8, strides are in lines. With",
		"beta = 0, C need not be initialised.")
	c, a, b, rows, cols, inner := m.Argument("c"), m.Argument("a"), m.Argument("b"), m.Argument("rows"), m.Argument("cols"), m.Argument("inner")
	cr, cc, ar, ac, br, bc := linesNEON(m, "cr"), linesNEON(m, "cc"), linesNEON(m, "ar"), linesNEON(m, "ac"), linesNEON(m, "br"), linesNEON(m, "bc")
	alpha, beta := m.Constant("alpha"), m.Constant("beta")
	parts, pc, pa, left, x, y, q, k := m.Int(), m.Int(), m.Int(), m.Int(), m.Int(), m.Int(), m.Int(), m.Int()
	m.Dispatch("cols", cols, 1, 8)
	for n := 1; n <= 8; n++ {
		label := func(s string) string { return fmt.Sprint(s, n) }
		together := 4
		if n > 6 {
			together = 2
		}
		m.Scope(func() {
			sums := make([][]neon.Vec, n)
			for j := range sums {
				sums[j] = m.Vecs(together)
			}
			v, w := m.Vecs(together), m.Vec()
			m.Label(label("cols"))
			m.Emit("MOVD", lineVectors/together, parts)
			m.Label(label("part"))
			m.Emit("MOVD", c, pc)
			m.Emit("MOVD", a, pa)
			m.Emit("MOVD", rows, left)
			m.Label(label("row"))
			for _, s := range sums {
				for _, r := range s {
					m.Zero(r)
				}
			}
			m.Emit("MOVD", pa, x)
			m.Emit("MOVD", b, y)
			m.Emit("MOVD", inner, k)
			m.Label(label("inner"))
			for u, r := range v {
				m.Load(neon.At(x, u*neon.Bytes), r)
			}
			m.Emit("MOVD", y, q)
			for j, s := range sums {
				for u, r := range s {
					m.Load(neon.At(q, u*neon.Bytes), w)
					m.FMA(w, v[u], r)
				}
				if j < n-1 {
					m.Emit("ADD", bc, q, q)
				}
			}
			m.Emit("ADD", ac, x, x)
			m.Emit("ADD", br, y, y)
			m.Emit("SUB", 1, k, k)
			m.Emit("CBNZ", k, label("inner"))
			for _, s := range sums {
				for _, r := range s {
					m.Mul(alpha, r, r)
				}
			}
			m.CompareZero(beta)
			m.Emit("BEQ", label("store"))
			m.Emit("MOVD", pc, q)
			for _, s := range sums {
				for u, r := range s {
					m.Load(neon.At(q, u*neon.Bytes), w)
					m.FMA(beta, w, r)
				}
				m.Emit("ADD", cc, q, q)
			}
			m.Label(label("store"))
			m.Emit("MOVD", pc, q)
			for _, s := range sums {
				storeNEON(m, s, q)
				m.Emit("ADD", cc, q, q)
			}
			m.Emit("ADD", cr, pc, pc)
			m.Emit("ADD", ar, pa, pa)
			m.Emit("SUB", 1, left, left)
			m.Emit("CBNZ", left, label("row"))
			m.Advance(together*neon.Bytes, c, a, b)
			m.Emit("SUB", 1, parts, parts)
			m.Emit("CBNZ", parts, label("part"))
			m.Return()
		})
	}
}

func symmetrizeNEON(f *neon.File, bits int) {
	m := f.Function(bits, "symmetrize", "func(s *%[1]s, q int, half %[1]s)",
		"sets the elements of S off its diagonal to those of half (S + S^T), where S has q x q lines.")
	s, count, row, half := m.Argument("s"), m.Argument("q"), linesNEON(m, "q"), m.Constant("half")
	across, down := m.Int(), m.Int()
	m.Emit("SUB", 1, count, count)
	m.Label("diagonal") // s is at (i, i), and count rows are below
	m.Emit("MOVD", s, across)
	m.Emit("MOVD", s, down)
	belowNEON(m, "below", count, func() {
		m.Advance(line, across)
		m.Emit("ADD", row, down, down)
		v, w := loadNEON(m, across, lineVectors), loadNEON(m, down, lineVectors)
		for i := range v {
			m.Add(w[i], v[i], v[i])
			m.Mul(half, v[i], v[i])
		}
		storeNEON(m, v, across)
		storeNEON(m, v, down)
	})
	m.Advance(line, s)
	m.Emit("ADD", row, s, s)
	m.Emit("SUBS", 1, count, count)
	m.Emit("BGT", "diagonal")
	m.Return()
}

// choleskyNEON works on four vectors of a line at a time.
func choleskyNEON(f *neon.File, bits int) {
	m := f.Function(bits, "cholesky", "func(gram *%[1]s, q int, tiny, one, limit %[1]s) uint32",
		"replaces the lower triangle of gram by L, gram = L L^T, with 1/l_ii in place of l_ii. It returns",
		"a bit mask of the lanes whose pivots are all above tiny gram_ii and whose trace is below limit.")
	const together = 4
	g, q, row := m.Argument("gram"), m.Argument("q"), linesNEON(m, "q")
	tiny, one, limit := m.Constant("tiny"), m.Constant("one"), m.Constant("limit")
	result, weight := m.Zeros(1)[0], m.Vec()
	lane := map[int][2]uint64{32: {1 | 2<<32, 4 | 8<<32}, 64: {1, 2}}[bits]
	parts, gi, i, pij, gj, j, x, y := m.Int(), m.Int(), m.Int(), m.Int(), m.Int(), m.Int(), m.Int(), m.Int()
	m.Words(lane[0], lane[1], weight, x) // the bit of each lane
	m.Emit("MOVD", lineVectors/together, parts)
	m.Label("part")
	good, trace, sum := m.Vecs(together), m.Vecs(together), m.Vecs(together)
	for u := range good {
		m.Ones(good[u])
		m.Zero(trace[u])
	}
	m.Emit("MOVD", g, gi)
	m.Emit("MOVD", 0, i)
	m.Label("row")
	m.Emit("MOVD", gi, pij)
	m.Emit("MOVD", g, gj)
	m.Emit("MOVD", 0, j)
	m.Label("across")
	m.Emit("CMP", i, j)
	m.Emit("BEQ", "diagonal")
	m.Emit("MOVD", gi, x)
	m.Emit("MOVD", gj, y)
	for u, s := range sum {
		m.Load(neon.At(pij, u*neon.Bytes), s)
	}
	belowNEON(m, "terms", j, func() {
		v, w := loadNEON(m, x, together), loadNEON(m, y, together)
		for u, s := range sum {
			m.FNMA(w[u], v[u], s)
		}
		m.Advance(line, x, y)
	})
	m.Scope(func() {
		for u, d := range loadNEON(m, y, together) {
			m.Mul(d, sum[u], sum[u])
		}
	})
	storeNEON(m, sum, pij)
	m.Advance(line, pij)
	m.Emit("ADD", row, gj, gj)
	m.Emit("ADD", 1, j, j)
	m.Emit("B", "across")

	m.Label("diagonal")
	least := m.Vecs(together)
	for u, d := range sum {
		m.Load(neon.At(pij, u*neon.Bytes), d)
		m.Add(d, trace[u], trace[u])
		m.Mul(tiny, d, least[u])
	}
	m.Emit("MOVD", gi, x)
	belowNEON(m, "squares", i, func() {
		for u, v := range loadNEON(m, x, together) {
			m.FNMA(v, v, sum[u])
		}
		m.Advance(line, x)
	})
	for u, d := range sum {
		m.Above(least[u], d, least[u])
		m.And(least[u], good[u], good[u])
		m.Sqrt(d, d)
		m.Div(d, one, d)
	}
	storeNEON(m, sum, pij)
	m.Emit("ADD", row, gi, gi)
	m.Emit("ADD", 1, i, i)
	m.Emit("CMP", q, i)
	m.Emit("BNE", "row")
	for u, t := range trace {
		m.Above(t, limit, t)
		m.And(t, good[u], good[u])
		m.And(weight, good[u], good[u])
		m.Or(good[u], result, result)
		m.ShiftLeft(m.Lanes(), weight, weight)
	}
	m.Advance(together*neon.Bytes, g)
	m.Emit("SUB", 1, parts, parts)
	m.Emit("CBNZ", parts, "part")
	m.Extract(result, 0, x)
	m.Extract(result, 1, y)
	m.Emit("ORR", y, x, x)
	if bits == 32 {
		m.Emit("ORR", fmt.Sprintf("%v>>32", x), x, x)
	}
	m.ResultInt(x, "ret")
	m.Return()
}

func solveNEON(f *neon.File, bits int) {
	m := f.Function(bits, "solve", "func(y, l *%[1]s, rows, q, yr, yc int)",
		"sets Y = Y L^-T, where Y has rows x q lines and L is the result of cholesky.")
	y, l, rows, q, row, yr, yc := m.Argument("y"), m.Argument("l"), m.Argument("rows"), m.Argument("q"), linesNEON(m, "q"), linesNEON(m, "yr"), linesNEON(m, "yc")
	p, lj, j, x, z := m.Int(), m.Int(), m.Int(), m.Int(), m.Int()
	sum := m.Vecs(lineVectors)
	m.Label("row")
	m.Emit("MOVD", y, p)
	m.Emit("MOVD", l, lj)
	m.Emit("MOVD", 0, j)
	m.Label("across")
	for u, s := range sum {
		m.Load(neon.At(p, u*neon.Bytes), s)
	}
	m.Emit("MOVD", y, x)
	m.Emit("MOVD", lj, z)
	belowNEON(m, "terms", j, func() {
		v, w := loadNEON(m, x, lineVectors), loadNEON(m, z, lineVectors)
		for u, s := range sum {
			m.FNMA(w[u], v[u], s)
		}
		m.Emit("ADD", yc, x, x)
		m.Advance(line, z)
	})
	m.Scope(func() {
		for u, d := range loadNEON(m, z, lineVectors) {
			m.Mul(d, sum[u], sum[u])
		}
	})
	storeNEON(m, sum, p)
	m.Emit("ADD", yc, p, p)
	m.Emit("ADD", row, lj, lj)
	m.Emit("ADD", 1, j, j)
	m.Emit("CMP", q, j)
	m.Emit("BNE", "across")
	m.Emit("ADD", yr, y, y)
	m.Emit("SUB", 1, rows, rows)
	m.Emit("CBNZ", rows, "row")
	m.Return()
}

func advanceNEON(f *neon.File, bits int) {
	m := f.Function(bits, "advance", "func(y, x, t, v *%[1]s, n int)",
		"sets Y = X + t V, where t is one line and the others have n > 0 lines.")
	y, x, from, v, n := m.Argument("y"), m.Argument("x"), m.Argument("t"), m.Argument("v"), m.Argument("n")
	t := loadNEON(m, from, lineVectors)
	m.Label("line")
	s, w := loadNEON(m, x, lineVectors), loadNEON(m, v, lineVectors)
	for i := range s {
		m.FMA(w[i], t[i], s[i])
	}
	storeNEON(m, s, y)
	m.Advance(line, x, v, y)
	m.Emit("SUB", 1, n, n)
	m.Emit("CBNZ", n, "line")
	m.Return()
}

func dotsNEON(f *neon.File, bits int) {
	m := f.Function(bits, "dots", "func(out *float64, u, v *%[1]s, n int)",
		"sets out, with one number per lane, to the sum of the n > 0 lines of u times those of v.")
	d := m.Double()
	out, u, v, n := m.Argument("out"), m.Argument("u"), m.Argument("v"), m.Argument("n")
	sum := m.Zeros(lineVectors * 64 / bits)
	m.Label("line")
	for i := range lineVectors {
		m.Scope(func() {
			a, b, high := m.Vec(), m.Vec(), m.Vec()
			m.Load(neon.At(u, i*neon.Bytes), a)
			m.Load(neon.At(v, i*neon.Bytes), b)
			if bits == 64 {
				d.FMA(b, a, sum[i])
				return
			}
			other := m.Vec()
			m.WidenHigh(a, high)
			m.WidenHigh(b, other)
			d.FMA(other, high, sum[2*i+1])
			m.WidenLow(a, a)
			m.WidenLow(b, b)
			d.FMA(b, a, sum[2*i])
		})
	}
	m.Advance(line, u, v)
	m.Emit("SUB", 1, n, n)
	m.Emit("CBNZ", n, "line")
	storeNEON(d, sum, out)
	m.Return()
}

// transposeNEON works in square tiles. The last tile of a row or column of tiles overlaps the one
// before it, so that it is whole; a matrix narrower than a tile is copied by elements.
func transposeNEON(f *neon.File, bits int) {
	m := f.Function(bits, "transpose", "func(dst, src *%[1]s, rows, cols int)",
		"sets dst to the transpose of the row-major rows x cols matrix src. rows and cols are positive.")
	t := m.Lanes()
	dst, src, rows, cols := m.Argument("dst"), m.Argument("src"), m.Argument("rows"), m.Argument("cols")
	fromRow, toRow := m.Int(), m.Int()
	m.Emit("LSL", m.Shift(), cols, fromRow)
	m.Emit("LSL", m.Shift(), rows, toRow)
	i, j, p, q, last := m.Int(), m.Int(), m.Int(), m.Int(), m.Int()
	for _, n := range []neon.Int{rows, cols} {
		m.Emit("CMP", t, n)
		m.Emit("BLT", "narrow")
	}
	// next moves at on to the next tile, or back to the last whole one, and jumps to again unless all
	// n are done.
	next := func(at, n neon.Int, again string) {
		m.Emit("ADD", t, at, at)
		m.Emit("CMP", n, at)
		m.Emit("BGE", again+"Done")
		m.Emit("SUB", t, n, last)
		m.Emit("CMP", last, at)
		m.Emit("CSEL", "GT", last, at, at)
		m.Emit("B", again)
		m.Label(again + "Done")
	}
	v, w := m.Vecs(t), m.Vecs(t)
	m.Emit("MOVD", 0, i)
	m.Label("down")
	m.Emit("MOVD", 0, j)
	m.Label("right")
	m.Emit("MUL", fromRow, i, p)
	m.Emit("ADD", src, p, p)
	m.Emit("ADD", fmt.Sprintf("%v<<%d", j, m.Shift()), p, p)
	m.Emit("MUL", toRow, j, q)
	m.Emit("ADD", dst, q, q)
	m.Emit("ADD", fmt.Sprintf("%v<<%d", i, m.Shift()), q, q)
	for _, r := range v {
		m.Load(neon.At(p, 0), r)
		m.Emit("ADD", fromRow, p, p)
	}
	for _, r := range m.Transposed(v, w) {
		m.Store(r, neon.At(q, 0))
		m.Emit("ADD", toRow, q, q)
	}
	next(j, cols, "right")
	next(i, rows, "down")
	m.Return()

	one := neon.Part{Machine: m, One: true}
	m.Label("narrow")
	m.Emit("MOVD", dst, q)
	m.Emit("MOVD", cols, j)
	m.Label("element")
	one.Load(neon.At(src, 0), v[0])
	one.Store(v[0], neon.At(q, 0))
	m.Advance(m.Size(), src)
	m.Emit("ADD", toRow, q, q)
	m.Emit("SUB", 1, j, j)
	m.Emit("CBNZ", j, "element")
	m.Advance(m.Size(), dst)
	m.Emit("SUB", 1, rows, rows)
	m.Emit("CBNZ", rows, "narrow")
	m.Return()
}

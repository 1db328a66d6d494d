// SPDX-License-Identifier: Apache-2.0

// Command lanes writes the assembly of internal/lanes, for amd64 and for arm64: the operations on
// matrices of all lanes, for each precision and level.
package main

//go:generate go run . -out ../../lanes/kernel_amd64.s -stubs ../../lanes/stubs_amd64.go -pkg lanes

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"

	"github.com/kernelfold/kernelfold/internal/_gen/dispatch"
	"github.com/kernelfold/kernelfold/internal/_gen/simd"
)

func main() {
	ConstraintExpr("amd64,!noasm")
	for _, bits := range []int{32, 64} {
		for _, wide := range []bool{false, true} {
			m := machine{bits, wide}
			product(m)
			symmetrize(m)
			cholesky(m)
			solve(m)
			advance(m)
			dots(m)
			transpose(m)
		}
	}
	for _, wide := range []bool{false, true} {
		frames(simd.Machine{Bits: 32, Wide: wide})
	}
	simd.Write()
	writeNEON()
	dispatch.Write("../../lanes")
}

// product: the line of c at (i, j) is alpha times the sum over k of a's at (i, k)
// times b's at (k, j), plus beta times what it was. All columns of c, at most eight, are
// summed at once, so that a vector of a is read once a row.
func product(m machine) {
	m.start("product", "(c, a, b *%s, rows, cols, inner, cr, cc, ar, ac, br, bc int, alpha, beta %s)",
		"sets C = alpha A B + beta C. Sizes are positive, cols is at most 8, strides are in lines. With beta = 0, C need not be initialised.")
	alpha, beta := m.spread("alpha"), m.spread("beta")
	fresh, none, keep := GP64(), XMM(), label()
	XORQ(fresh, fresh)
	VXORPS(none, none, none)
	pick(m, VUCOMISS, VUCOMISD)(none, beta.AsX())
	JNE(LabelRef(keep))
	JP(LabelRef(keep))
	INCQ(fresh)
	Label(keep)
	cols, out := load("cols"), label()
	for n := 8; n > 0; n-- {
		next := label()
		CMPQ(cols, Imm(uint64(n)))
		JNE(LabelRef(next))
		m.columns(n, alpha, beta, fresh)
		JMP(LabelRef(out))
		Label(next)
	}
	Label(out)
	end()
}

// columns is the product where c has n columns.
func (m machine) columns(n int, alpha, beta VecVirtual, fresh Register) {
	part, top := GP64(), label()
	XORQ(part, part)
	Label(top)
	pc, pa, rows := load("c"), load("a"), load("rows")
	ADDQ(part, pc)
	ADDQ(part, pa)
	times(rows, func() {
		sum := make([]VecVirtual, n)
		for j := range sum {
			sum[j] = m.vector()
			m.zero(sum[j])
		}
		x, y := copied(pa), load("b")
		ADDQ(part, y)
		inner, ac, br, bc := load("inner"), lines("ac"), lines("br"), lines("bc")
		times(inner, func() {
			v := m.vector()
			m.move(Mem{Base: x}, v)
			for j, at := range strided(y, bc, n) {
				m.fma(at, v, sum[j])
			}
			ADDQ(ac, x)
			ADDQ(br, y)
		})
		to := strided(pc, lines("cc"), n)
		for _, s := range sum {
			m.mul(alpha, s, s)
		}
		store := label()
		TESTQ(fresh, fresh)
		JNZ(LabelRef(store))
		for j, s := range sum {
			m.fma(to[j], beta, s)
		}
		Label(store)
		for j, s := range sum {
			m.move(s, to[j])
		}
		ADDQ(lines("cr"), pc)
		ADDQ(lines("ar"), pa)
	})
	ADDQ(U32(m.bytes()), part)
	CMPQ(part, U32(line))
	JNE(LabelRef(top))
}

// strided returns the n addresses from p on in steps of by.
func strided(p, by Register, n int) (at []Mem) {
	for j := range n {
		if j > 0 && j%3 == 0 {
			q := GP64()
			LEAQ(Mem{Base: p, Index: by, Scale: 2}, q)
			ADDQ(by, q)
			p = q
		}
		address := Mem{Base: p}
		if j%3 > 0 {
			address.Index, address.Scale = by, uint8(j%3)
		}
		at = append(at, address)
	}
	return at
}

// symmetrize: the lines at (i, j) and (j, i) become half their sum.
func symmetrize(m machine) {
	m.start("symmetrize", "(s *%s, q int, half %s)", "sets the elements of S off its diagonal to those of half (S + S^T), where S has q x q lines.")
	s, row, half := load("s"), lines("q"), m.spread("half")
	count, out := load("q"), label()
	DECQ(count)
	JLE(LabelRef(out))
	top := label()
	Label(top) // s is at (i, i), and count rows are below
	across, down := copied(s), copied(s)
	below(count, func() {
		ADDQ(Imm(line), across)
		ADDQ(row, down)
		for i, v := range m.loadLine(across) {
			m.add(m.part(down, i), v, v)
			m.mul(half, v, v)
			m.move(v, m.part(across, i))
			m.move(v, m.part(down, i))
		}
	})
	ADDQ(Imm(line), s)
	ADDQ(row, s)
	DECQ(count)
	JNZ(LabelRef(top))
	Label(out)
	end()
}

// cholesky: row by row, l_ij = (g_ij - sum l_ik l_jk) / l_jj. The diagonal keeps
// 1/l_ii, so that nothing is divided twice.
func cholesky(m machine) {
	m.start("cholesky", "(gram *%s, q int, tiny, one, limit %s) uint32",
		"replaces the lower triangle of gram by L, gram = L L^T, with 1/l_ii in place of l_ii. It returns a bit mask of the lanes whose pivots are all above tiny gram_ii and whose trace is below limit.")
	g, row, result := load("gram"), lines("q"), GP32()
	tiny, one, limit := m.spread("tiny"), m.spread("one"), m.spread("limit")
	XORL(result, result)
	for part := range m.parts() {
		good, trace := m.flags(), m.vector()
		m.zero(trace)
		gi, i := copied(g), GP64()
		XORQ(i, i)
		top := label()
		Label(top)
		pij, gj, j := copied(gi), copied(g), GP64()
		XORQ(j, j)
		across, diagonal := label(), label()
		Label(across)
		CMPQ(j, i)
		JE(LabelRef(diagonal))
		sum, v := m.vector(), m.vector()
		x, y := copied(gi), copied(gj)
		m.move(m.part(pij, part), sum)
		below(j, func() {
			m.move(m.part(x, part), v)
			m.fnma(m.part(y, part), v, sum)
			ADDQ(Imm(line), x)
			ADDQ(Imm(line), y)
		})
		m.mul(m.part(y, part), sum, sum)
		m.move(sum, m.part(pij, part))
		ADDQ(Imm(line), pij)
		ADDQ(row, gj)
		INCQ(j)
		JMP(LabelRef(across))

		Label(diagonal)
		d, least := m.vector(), m.vector()
		m.move(m.part(pij, part), d)
		m.add(d, trace, trace)
		m.mul(tiny, d, least)
		z := copied(gi)
		below(i, func() {
			m.move(m.part(z, part), v)
			m.fnma(v, v, d)
			ADDQ(Imm(line), z)
		})
		m.above(d, least, good)
		m.sqrt(d, d)
		m.div(d, one, d)
		m.move(d, m.part(pij, part))
		ADDQ(row, gi)
		INCQ(i)
		CMPQ(i, load("q"))
		JNE(LabelRef(top))
		m.above(limit, trace, good)
		bits := m.bitsOf(good)
		SHLL(U8(part*m.bytes()/m.size()), bits)
		ORL(bits, result)
	}
	Store(result, ReturnIndex(0))
	end()
}

// solve: row by row, y_ij = (y_ij - sum y_ik l_jk) / l_jj.
func solve(m machine) {
	m.start("solve", "(y, l *%s, rows, q, yr, yc int)", "sets Y = Y L^-T, where Y has rows x q lines and L is the result of cholesky.")
	y, l, rows, row, yr, yc := load("y"), load("l"), load("rows"), lines("q"), lines("yr"), lines("yc")
	times(rows, func() {
		p, lj, j := copied(y), copied(l), GP64()
		XORQ(j, j)
		top := label()
		Label(top)
		sum := m.loadLine(p)
		x, z := copied(y), copied(lj)
		below(j, func() {
			for i, v := range m.loadLine(x) {
				m.fnma(m.part(z, i), v, sum[i])
			}
			ADDQ(yc, x)
			ADDQ(Imm(line), z)
		})
		for i, s := range sum {
			m.mul(m.part(z, i), s, s)
		}
		m.storeLine(sum, p)
		ADDQ(yc, p)
		ADDQ(row, lj)
		INCQ(j)
		q := load("q")
		CMPQ(j, q)
		JNE(LabelRef(top))
		ADDQ(yr, y)
	})
	end()
}

// advance adds a line of factors times a matrix.
func advance(m machine) {
	m.start("advance", "(y, x, t, v *%s, n int)", "sets Y = X + t V, where t is one line and the others have n > 0 lines.")
	y, x, v, n := load("y"), load("x"), load("v"), load("n")
	t := m.loadLine(load("t"))
	times(n, func() {
		for i, s := range m.loadLine(x) {
			m.fma(m.part(v, i), t[i], s)
			m.move(s, m.part(y, i))
		}
		for _, p := range []GPVirtual{x, v, y} {
			ADDQ(Imm(line), p)
		}
	})
	end()
}

// dots sums in float64.
func dots(m machine) {
	m.start("dots", "(out *float64, u, v *%s, n int)", "sets out, with one number per lane, to the sum of the n > 0 lines of u times those of v.")
	out, u, v, n := load("out"), load("u"), load("v"), load("n")
	double := machine{64, m.wide}
	sum := make([]VecVirtual, line/m.size()*8/m.bytes())
	for i := range sum {
		sum[i] = m.vector()
		double.zero(sum[i])
	}
	times(n, func() {
		a, b := m.vector(), m.vector()
		for i, s := range sum {
			at := func(p Register) Mem { return Mem{Base: p, Disp: i * m.bytes() * m.bits / 64} }
			if m.bits == 32 {
				VCVTPS2PD(at(u), a)
				VCVTPS2PD(at(v), b)
				VFMADD231PD(a, b, s)
			} else {
				VMOVUPD(at(u), a)
				VFMADD231PD(at(v), a, s)
			}
		}
		ADDQ(Imm(line), u)
		ADDQ(Imm(line), v)
	})
	for i, s := range sum {
		VMOVUPD(s, Mem{Base: out, Disp: i * m.bytes()})
	}
	end()
}

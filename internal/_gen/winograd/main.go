// SPDX-License-Identifier: Apache-2.0

// Command winograd writes the assembly of internal/winograd: a transform of blocks of vectors for
// each of the five matrices.
package main

//go:generate go run . -out ../../winograd/kernels_amd64.s -stubs ../../winograd/stubs_amd64.go -pkg winograd

import (
	"fmt"
	"math"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"

	"github.com/kernelfold/kernelfold/internal/_gen/simd"
)

func main() {
	ConstraintExpr("amd64,!noasm")
	for _, m := range []simd.Machine{{Bits: 32}, {Bits: 32, Wide: true}} {
		for _, l := range lines() {
			l.write(m)
		}
	}
	simd.Write()
}

// line is a map of the columns of a block, and then of its rows.
type line struct {
	name, formula string
	from, to      int
	constants     []float64
	// do maps x to the results, in order. It may overwrite x. c are the constants.
	do func(m simd.Machine, c, x []VecVirtual) []VecVirtual
}

// The points of interpolation, and the polynomials at their own points, as in internal/winograd.
const (
	p, q = 0.75, 1.5
	at0  = p * p * q * q
	atP  = 2 * p * p * (p*p - q*q)
	atQ  = 2 * q * q * (q*q - p*p)
)

func lines() []line {
	return []line{
		{"image", "V = B^T d B", 6, 6, []float64{p*p + q*q, p * p * q * q, p * p, q * q, p, q}, image},
		{"filter", "U = G g G^T", 3, 6, []float64{1 / at0, 1 / atP, p * p / atP, p / atP, 1 / atQ, q * q / atQ, q / atQ}, filter},
		{"result", "Y = A^T M A", 6, 4, []float64{p, p * p, p * p * p, q, q * q, q * q * q}, result},
		{"resultBack", "M = A Y A^T", 4, 6, []float64{p, p * p, p * p * p, q, q * q, q * q * q}, resultBack},
		{"filterBack", "g = G^T U G", 6, 3, []float64{1 / at0, 1 / atP, p * p / atP, p / atP, 1 / atQ, q * q / atQ, q / atQ}, filterBack},
	}
}

// plusMinus returns a + c b and a - c b. It overwrites a.
func plusMinus(m simd.Machine, a, b, c VecVirtual) (plus, minus VecVirtual) {
	minus = m.Vec()
	m.Move(a, minus)
	m.FMA(c, b, a)
	m.FNMA(c, b, minus)
	return a, minus
}

// sumAndDifference returns a + b and a - b. It overwrites a.
func sumAndDifference(m simd.Machine, a, b VecVirtual) (sum, difference VecVirtual) {
	difference = m.Vec()
	m.Sub(b, a, difference)
	m.Add(b, a, a)
	return a, difference
}

func moved(m simd.Machine, x VecVirtual) VecVirtual {
	v := m.Vec()
	m.Move(x, v)
	return v
}

func times(m simd.Machine, a, b VecVirtual) VecVirtual {
	v := m.Vec()
	m.Mul(a, b, v)
	return v
}

func image(m simd.Machine, c, x []VecVirtual) []VecVirtual {
	sum, product, pp, qq, p, q := c[0], c[1], c[2], c[3], c[4], c[5]
	first := moved(m, x[4])
	m.FNMA(sum, x[2], first)
	m.FMA(product, x[0], first)
	m.FNMA(sum, x[3], x[5])
	m.FMA(product, x[1], x[5])
	even, odd := moved(m, x[4]), moved(m, x[3])
	m.FNMA(qq, x[2], even)
	m.FNMA(qq, x[1], odd)
	m.FNMA(pp, x[2], x[4])
	m.FNMA(pp, x[1], x[3])
	p1, p2 := plusMinus(m, even, odd, p)
	q1, q2 := plusMinus(m, x[4], x[3], q)
	return []VecVirtual{first, p1, p2, q1, q2, x[5]}
}

func filter(m simd.Machine, c, x []VecVirtual) []VecVirtual {
	all := []VecVirtual{times(m, c[0], x[0])}
	for i := 1; i < len(c); i += 3 {
		even, minus, odd := times(m, c[i], x[0]), m.Vec(), times(m, c[i+2], x[1])
		m.FMA(c[i+1], x[2], even)
		m.Sub(odd, even, minus)
		m.Add(odd, even, even)
		all = append(all, even, minus)
	}
	return append(all, x[2])
}

func result(m simd.Machine, c, x []VecVirtual) []VecVirtual {
	sumP, difP := sumAndDifference(m, x[1], x[2])
	sumQ, difQ := sumAndDifference(m, x[3], x[4])
	m.Add(sumP, x[0], x[0])
	m.Add(sumQ, x[0], x[0])
	m.FMA(c[2], difP, x[5])
	m.FMA(c[5], difQ, x[5])
	m.Mul(c[0], difP, difP)
	m.FMA(c[3], difQ, difP)
	m.Mul(c[1], sumP, sumP)
	m.FMA(c[4], sumQ, sumP)
	return []VecVirtual{x[0], difP, sumP, x[5]}
}

func resultBack(m simd.Machine, c, x []VecVirtual) []VecVirtual {
	all := []VecVirtual{x[0]}
	for i := 0; i < len(c); i += 3 {
		even, minus, odd := moved(m, x[0]), m.Vec(), times(m, c[i], x[1])
		m.FMA(c[i+1], x[2], even)
		m.FMA(c[i+2], x[3], odd)
		m.Sub(odd, even, minus)
		m.Add(odd, even, even)
		all = append(all, even, minus)
	}
	return append(all, x[3])
}

func filterBack(m simd.Machine, c, x []VecVirtual) []VecVirtual {
	sumP, difP := sumAndDifference(m, x[1], x[2])
	sumQ, difQ := sumAndDifference(m, x[3], x[4])
	m.Mul(c[0], x[0], x[0])
	m.FMA(c[1], sumP, x[0])
	m.FMA(c[4], sumQ, x[0])
	m.FMA(c[2], sumP, x[5])
	m.FMA(c[5], sumQ, x[5])
	m.Mul(c[3], difP, difP)
	m.FMA(c[6], difQ, difP)
	return []VecVirtual{x[0], difP, x[5]}
}

func (l line) write(m simd.Machine) {
	name := l.name + m.Suffix()
	TEXT(name, attr.Attribute(0), "func(dst *float32, toNext, toRow, toCol int, src *float32, fromNext, fromRow, fromCol int, blocks, n int)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s sets %s, from %d x %[3]d to %d x %[4]d vectors of n elements, a multiple of 16,", name, l.formula, l.from, l.to),
		"for at least one block. Element (i, j) of block b begins at b*next + i*row + j*col.")
	dst, src := simd.Pointer("dst"), simd.Pointer("src")
	bytes := func(name string) GPVirtual {
		d := simd.Pointer(name)
		SHLQ(U8(2), d)
		return d
	}
	down, across, toDown, toAcross := bytes("fromRow"), bytes("fromCol"), bytes("toRow"), bytes("toCol")
	blocks := simd.Pointer("blocks")
	c := make([]VecVirtual, len(l.constants))
	table := l.table()
	for i := range c {
		c[i] = m.Vec()
		m.Broadcast(table.Offset(4*i), c[i])
	}
	// Columns that are mapped wait on the stack, aligned to vectors.
	half := GP64()
	LEAQ(AllocLocal(l.to*l.from*m.Bytes()+m.Bytes()), half)
	ADDQ(U32(m.Bytes()-1), half)
	ANDQ(I32(-m.Bytes()), half)
	waiting := func(i, j int) Mem { return Mem{Base: half, Disp: (i*l.from + j) * m.Bytes()} }
	even, odd := GP64(), GP64() // the elements of a line with even and with odd numbers
	in := func(i int, step GPVirtual) Mem {
		base := even
		if i%2 == 1 {
			base = odd
		}
		if i < 2 {
			return Mem{Base: base}
		}
		return Mem{Base: base, Index: step, Scale: uint8(i / 2 * 2)}
	}
	left := GP64()

	Label("block")
	Load(Param("n"), left)
	Label("vector")
	MOVQ(src, even)
	LEAQ(Mem{Base: src, Index: down, Scale: 1}, odd)
	for j := range l.from {
		x := m.Vecs(l.from)
		for i := range x {
			m.Load(in(i, down), x[i])
		}
		for i, v := range l.do(m, c, x) {
			m.Store(v, waiting(i, j))
		}
		if j < l.from-1 {
			ADDQ(across, even)
			ADDQ(across, odd)
		}
	}
	MOVQ(dst, even)
	LEAQ(Mem{Base: dst, Index: toAcross, Scale: 1}, odd)
	for i := range l.to {
		x := m.Vecs(l.from)
		for j := range x {
			m.Load(waiting(i, j), x[j])
		}
		for j, v := range l.do(m, c, x) {
			m.Store(v, in(j, toAcross))
		}
		if i < l.to-1 {
			ADDQ(toDown, even)
			ADDQ(toDown, odd)
		}
	}
	ADDQ(U32(m.Bytes()), src)
	ADDQ(U32(m.Bytes()), dst)
	SUBQ(U32(m.Lanes()), left)
	JNZ(LabelRef("vector"))
	// To the next block, from the end of this one's first vector.
	for _, end := range []struct {
		at   GPVirtual
		next string
	}{{src, "fromNext"}, {dst, "toNext"}} {
		Load(Param(end.next), even)
		Load(Param("n"), odd)
		SUBQ(odd, even)
		LEAQ(Mem{Base: end.at, Index: even, Scale: 4}, end.at)
	}
	DECQ(blocks)
	JNZ(LabelRef("block"))
	simd.End()
}

var tables = map[string]Mem{}

// table returns the constants in memory.
func (l line) table() Mem {
	t, ok := tables[l.name]
	if !ok {
		t = GLOBL(l.name+"Constants", attr.RODATA|attr.NOPTR)
		for i, v := range l.constants {
			DATA(4*i, U32(math.Float32bits(float32(v))))
		}
		tables[l.name] = t
	}
	return t
}

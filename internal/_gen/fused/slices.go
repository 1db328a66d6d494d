// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"

	"github.com/kernelfold/kernelfold/internal/_gen/simd"
)

// Points of 3 x 3 are shorter than a vector register. A kernel processes as many points at a time as
// a register has lanes, in float32, and they stay in the first-level cache for their whole step.

const nine = 9

// Memory is prefetched far groups ahead while more than many groups are left. A smaller batch is in
// a cache already.
const (
	far  = 10
	many = 256
)

// The rows of a state, of sixteen places of 32 bits each, after the rows of terms.
const (
	ahead = long + 1 + iota
	slope
	keep
	take
	directs // of float64: two rows
	_
	lengths // of float64: two rows
	_
	elements // of d
	mixed    = elements + nine
)

// group is the state of the kernel for such points.
type group struct {
	blender
	layout *simd.Nine
	spread Register // table of the lanes that hold the coefficients of each element's point
}

func newGroup(b blender) *group {
	g := &group{b, simd.NewNine(b.Machine), GP64()}
	spread := GLOBL("spread"+b.Suffix(), attr.RODATA|attr.NOPTR)
	for i := range nine * b.Lanes() {
		DATA(4*i, U32(g.layout.Place(i/nine)))
	}
	LEAQ(spread, g.spread)
	return g
}

// register loads o into a register unless it is one.
func (g *group) register(o Op) VecVirtual {
	if v, ok := o.(VecVirtual); ok {
		return v
	}
	v := g.Vec()
	g.Load(o, v)
	return v
}

// kept returns v or, with AVX2, which has few registers, its copy in row i of the state.
func (g *group) kept(v VecVirtual, i int) Op {
	if g.Wide {
		return v
	}
	g.Store(v, g.term(i))
	return g.term(i)
}

// constant returns row i of the state, with AVX-512 in a register.
func (g *group) constant(i int) Op {
	if g.Wide {
		return g.register(g.term(i))
	}
	return g.term(i)
}

const stepOfNineSignature = "func(x, m, grad *%[1]s, k int, terms, state *%[1]s, tangent bool) int"

// stepOfNineDoc describes the function, for a number of points in a group.
func stepOfNineDoc(points int) []string {
	return []string{
		fmt.Sprintf("makes the step of k > 0 groups of %d vectors of 9 elements. It stops after a group with a", points),
		"|t d|^2 > r^2 and returns the number of groups that it has moved. It adds to the results in state.",
	}
}

// constantRow reports whether row i of a state holds a constant of the step and not a result.
func constantRow(i int) bool { return i < direct || i > long && i <= take }

// stepOfNine writes the whole step for points of 9 elements. The sums of a group are computed before
// the update of the group before it, which hides the latency of the coefficients.
func stepOfNine(m simd.Machine) {
	m.Function("stepOfNine", stepOfNineSignature, stepOfNineDoc(m.Lanes())...)
	x, mom, grad, left := simd.Pointer("x"), simd.Pointer("m"), simd.Pointer("grad"), simd.Pointer("k")
	g := newGroup(blender{m, simd.Pointer("state")})
	terms, v := simd.Pointer("terms"), g.Vec()
	for i := range take + 1 {
		if constantRow(i) {
			g.Broadcast(Mem{Base: terms, Disp: 4 * i}, v)
			g.Store(v, g.term(i))
		}
	}
	size := nine * g.Bytes()
	at, done, long, bits := GP64(), GP64(), GP64(), GP64()
	MOVQ(I32(-size), at)
	XORQ(done, done)
	ahead, slope, keep, take := g.constant(ahead), g.constant(slope), g.constant(keep), g.constant(take)
	// direction returns d, m and the gradient.
	direction := func(disp int) (d, m, v VecVirtual) {
		d, m, v = g.Vec(), g.Vec(), g.Vec()
		g.Load(simd.At(grad, at, disp), v)
		g.Mul(slope, v, d)
		g.Load(simd.At(mom, at, disp), m)
		g.FMA(ahead, m, d)
		return d, m, v
	}
	// apply updates the group.
	apply := func(centred, tangent bool) {
		zero := g.Zeros(1)[0]
		var blend [6]Op
		for j := range blend {
			if (centred || j != blendB && j != blendE) && (tangent || j < blendH) {
				blend[j] = g.constant(mixed + j)
			}
		}
		for disp := 0; disp < size; disp += g.Bytes() {
			lanes := g.register(Mem{Base: g.spread, Disp: disp})
			own := func(j int) VecVirtual {
				c := g.Vec()
				VPERMPS(blend[j], lanes, c)
				return c
			}
			d, m, v := direction(disp)
			old, y := g.register(simd.At(x, at, disp)), own(blendA)
			g.Mul(old, y, y)
			g.FMA(own(blendF), d, y)
			if centred {
				g.Add(own(blendB), y, y)
			}
			g.Store(y, simd.At(x, at, disp))
			if tangent {
				g.FMA(own(blendC), old, d)
				g.FMA(own(blendH), y, d)
				if centred {
					g.Add(own(blendE), d, d)
				}
			} else {
				g.Mul(take, v, d)
				g.FMA(keep, m, d)
			}
			g.Store(d, simd.At(mom, at, disp))
			g.Store(zero, simd.At(grad, at, disp)) // after m, which may be the same array
		}
	}
	MOVQ(g.term(inverseN), bits)
	TESTQ(bits, bits)
	JNZ(LabelRef("centred"))
	variant := func(label string, centred bool) {
		Label(label)
		TESTQ(left, left)
		JZ(LabelRef(label + "Apply"))
		CMPQ(left, U32(many))
		JLE(LabelRef(label + "Near"))
		for disp := 0; disp < size; disp += 64 {
			for _, p := range []Register{x, mom, grad} {
				PREFETCHT0(simd.At(p, at, (far+1)*size+disp))
			}
		}
		Label(label + "Near")
		s := g.sums(func(i int) VecVirtual { d, _, _ := direction(size + i*g.Bytes()); return d },
			func(i int) VecVirtual { return g.register(simd.At(x, at, size+i*g.Bytes())) }, centred)
		TESTQ(at, at)
		JS(LabelRef(label + "Solve"))
		Label(label + "Apply")
		flag := GP8()
		Load(Param("tangent"), flag)
		TESTB(flag, flag)
		JNZ(LabelRef(label + "Tangent"))
		apply(centred, false)
		JMP(LabelRef(label + "Next"))
		Label(label + "Tangent")
		apply(centred, true)
		Label(label + "Next")
		INCQ(done)
		TESTQ(long, long)
		JNZ(LabelRef("out"))
		TESTQ(left, left)
		JZ(LabelRef("out"))
		Label(label + "Solve")
		o := solved(g.blender, label+"Straight", s)
		g.long(o, long)
		g.total(o.direct, directs)
		g.total(o.length, lengths)
		for i, v := range o.blend {
			if v != nil {
				g.Store(v, g.term(mixed+i))
			}
		}
		ADDQ(U32(size), at)
		DECQ(left)
		JMP(LabelRef(label))
	}
	variant("uncentred", false)
	variant("centred", true)
	Label("out")
	Store(done, ReturnIndex(0))
	simd.End()
}

// sums returns the sums of the points of a group. d and x return vector i of the group.
func (g *group) sums(d, x func(i int) VecVirtual, centred bool) sums {
	load := func(f func(i int) VecVirtual) (v [nine]VecVirtual) {
		for i := range v {
			v[i] = f(i)
		}
		return g.layout.Elements(v)
	}
	// add adds a b to a sum, or sets it if e = 0.
	add := func(e int, a VecVirtual, b Op, sum VecVirtual) {
		if e == 0 {
			g.Mul(b, a, sum)
		} else {
			g.FMA(b, a, sum)
		}
	}
	plus := func(e int, a, sum VecVirtual) {
		if e == 0 {
			g.Move(a, sum)
		} else {
			g.Add(a, sum, sum)
		}
	}
	s := sums{xx: g.Vec(), xd: g.Vec(), dd: g.Vec()}
	if centred {
		s.x, s.d = g.Vec(), g.Vec()
	}
	var ds [nine]Op
	for e, a := range load(d) {
		add(e, a, a, s.dd)
		if centred {
			plus(e, a, s.d)
		}
		ds[e] = g.kept(a, elements+e)
	}
	for e, a := range load(x) {
		add(e, a, a, s.xx)
		add(e, a, ds[e], s.xd)
		if centred {
			plus(e, a, s.x)
		}
	}
	return s
}

// long stores |t d|^2/r^2 in its row, and sets bits for the points where it is above 1.
func (g *group) long(o solution, bits GPVirtual) {
	g.Mul(g.term(inverseSquare), o.long, o.long)
	g.Store(o.long, g.term(long))
	if g.Wide {
		above := K()
		g.Compare(simd.Above, g.term(one), o.long, above)
		KMOVW(above, bits.As32())
	} else {
		g.Compare(simd.Above, g.term(one), o.long, o.long)
		VMOVMSKPS(o.long, bits.As32())
	}
}

// total adds v to the float64 numbers that begin in row i.
func (g *group) total(v VecVirtual, i int) {
	d := g.Double()
	low, high := d.Vec(), d.Vec()
	g.Upper(v, high)
	VCVTPS2PD(d.Lower(v), low)
	VCVTPS2PD(d.Lower(high), high)
	for j, v := range []VecVirtual{low, high} {
		to := g.term(i).Offset(j * g.Bytes())
		d.Add(to, v, v)
		d.Store(v, to)
	}
}

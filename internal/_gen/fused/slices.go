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
	longs                          // |t d|^2/r^2 of the vectors of each point of the last group: three rows
	elements     = longs + 3       // of d
	points       = elements + nine // of x
	coefficients = points          // or the coefficients
)

// sliceKernel is a kernel for points of 9 elements.
type sliceKernel struct {
	name, of string
	write    func(*slices)
	vectors  int // of a point: element e belongs to vector e mod vectors
}

var sliceKernels = []sliceKernel{
	{"stepOfNine", "vectors of 9 elements", (*slices).nines, 1},
	{"stepOfThrees", "3 x 3 matrices, whose columns are the vectors", (*slices).threes, 3},
}

const stepOfNineSignature = "func(x, m, grad, rates *%[1]s, order *int32, listed, k int, terms, state *%[1]s, tangent bool) int"

// doc describes the function, for a number of points in a group.
func (s sliceKernel) doc(points int) []string {
	return []string{
		fmt.Sprintf("makes the step of k > 0 groups of %d %s. It stops after a group", points, s.of),
		"with a |t d|^2 > r^2 and returns the number of groups that it has moved. It adds to the results in state.",
		"Point i of m is point order[i] of x and grad, or point i if order is nil. More than the points that move may be listed in order.",
		"m may be nil. rates has the rates of the points of each group, in the order of the lanes, or is nil for that of the terms. With rates,",
		"the sum of |v|^2 is not that of the directions.",
	}
}

// constantRow reports whether row i of a state holds a constant of the step and not a result.
func constantRow(i int) bool { return i < direct || i > long && i <= take }

// slices is the state of a kernel, and which of its loops is written.
type slices struct {
	blender
	layout                   *simd.Nine
	spread                   Register // table of the lanes that hold the coefficients of each element's point
	x, m, grad, order        Register
	at, left, done           GPVirtual // at is the distance of the group under way in bytes
	far                      GPVirtual // the points of that group with a |t d|^2 > r^2, as bits
	ahead, slope, keep, take Op
	label                    string
	scattered, centred       bool
}

// lanes prepares the table spread.
func (l *slices) lanes() {
	table := GLOBL("spread"+l.Suffix(), attr.RODATA|attr.NOPTR)
	for i := range nine * l.Lanes() {
		DATA(4*i, U32(l.layout.Place(i/nine)))
	}
	l.spread = GP64()
	LEAQ(table, l.spread)
}

// constant returns row i of the state, with AVX-512 in a register.
func (l *slices) constant(i int) Op {
	if l.Wide {
		return l.Register(l.term(i))
	}
	return l.term(i)
}

// kept returns v or, with AVX2, which has few registers, its copy in row i of the state.
func (l *slices) kept(v VecVirtual, i int) Op {
	if l.Wide {
		return v
	}
	l.Store(v, l.term(i))
	return l.term(i)
}

// change writes v to where an element is kept.
func (l *slices) change(v VecVirtual, kept Op) {
	switch {
	case !l.Wide:
		l.Store(v, kept)
	case kept != Op(v):
		l.Move(v, kept)
	}
}

// sliceStep writes a kernel: a loop for each kind of step.
func sliceStep(m simd.Machine, s sliceKernel) {
	m.Function(s.name, stepOfNineSignature, s.doc(m.Lanes())...)
	x, mom, grad, order, left := simd.Pointer("x"), simd.Pointer("m"), simd.Pointer("grad"), simd.Pointer("order"), simd.Pointer("k")
	l := &slices{blender: blender{m, simd.Pointer("state")}, layout: simd.NewNine(m), x: x, m: mom, grad: grad, order: order, left: left}
	if s.vectors == 1 {
		l.lanes()
	}
	terms, v := simd.Pointer("terms"), m.Vec()
	for i := range take + 1 {
		if constantRow(i) {
			m.Broadcast(Mem{Base: terms, Disp: 4 * i}, v)
			m.Store(v, l.term(i))
		}
	}
	l.at, l.done, l.far = GP64(), GP64(), GP64()
	centred := GP64()
	XORQ(l.at, l.at)
	XORQ(l.done, l.done)
	MOVQ(l.term(inverseN), centred)
	// either writes both branches.
	either := func(flag Register, on *bool, name string, write func(name string)) {
		TESTQ(flag, flag)
		JNZ(LabelRef(name + "With"))
		*on = false
		write(name + "Without")
		Label(name + "With")
		*on = true
		write(name + "With")
	}
	either(l.order, &l.scattered, "order", func(name string) {
		either(centred, &l.centred, name, func(name string) {
			l.label = name
			s.write(l)
			JMP(LabelRef("out"))
		})
	})
	Label("out")
	Store(l.done, ReturnIndex(0))
	simd.End()
}

// rows returns the scattered points of an array.
func (l *slices) rows(p Register) simd.Rows { return simd.RowsOf(p, l.order) }

// move moves the place by a number of groups.
func (l *slices) move(by int) {
	ADDQ(I32(int32(by*nine*l.Bytes())), l.at)
	if l.scattered {
		ADDQ(I32(int32(by*4*l.Lanes())), l.order)
	}
}

// load returns the vector of an array at a distance from the group under way.
func (l *slices) load(p Register, disp int) VecVirtual {
	v := l.Vec()
	l.Load(simd.At(p, l.at, disp), v)
	return v
}

// group returns the vectors of an array at a distance from the group under way.
func (l *slices) group(p Register, disp int) (v [nine]VecVirtual) {
	for i := range v {
		v[i] = l.load(p, disp+i*l.Bytes())
	}
	return v
}

// elements returns the elements of d, which are kept, and of x, at a distance from the group under way.
func (l *slices) elements(disp int) (d [nine]Op, x [nine]VecVirtual) {
	d = l.mixed(l.label, disp, l.slope, l.ahead)
	if l.scattered {
		return d, l.layout.LoadRows(l.rows(l.x))
	}
	return d, l.layout.Elements(l.group(l.x, disp))
}

// mixed returns the elements of a g + b m, which are kept.
func (l *slices) mixed(label string, disp int, a, b Op) (d [nine]Op) {
	scaled := func(v [nine]VecVirtual) [nine]VecVirtual {
		for _, v := range v {
			l.Mul(a, v, v)
		}
		return v
	}
	if l.scattered {
		d = l.keep9(scaled(l.layout.LoadRows(l.rows(l.grad))), elements)
		l.withMomentum(label, func() {
			for e, m := range l.layout.Elements(l.group(l.m, disp)) {
				v := l.Register(d[e])
				l.FMA(b, m, v)
				l.change(v, d[e])
			}
		})
		return d
	}
	v := scaled(l.group(l.grad, disp))
	l.withMomentum(label, func() {
		for i, v := range v {
			l.FMA(b, l.load(l.m, disp+i*l.Bytes()), v)
		}
	})
	return l.keep9(l.layout.Elements(v), elements)
}

// keep9 keeps elements in the rows of the state from i on.
func (l *slices) keep9(v [nine]VecVirtual, i int) (kept [nine]Op) {
	for e, v := range v {
		kept[e] = l.kept(v, i+e)
	}
	return kept
}

// store stores the vectors of an array of points that lie together.
func (l *slices) store(v [nine]VecVirtual, p Register) {
	for i, v := range v {
		l.Store(v, simd.At(p, l.at, i*l.Bytes()))
	}
}

// registers returns elements in registers.
func (l *slices) registers(kept [nine]Op) (v [nine]VecVirtual) {
	for e, o := range kept {
		v[e] = l.Register(o)
	}
	return v
}

// tangents writes two bodies, for tangent momentum and for ambient.
func (l *slices) tangents(label string, write func(tangent bool)) {
	flag := GP8()
	Load(Param("tangent"), flag)
	TESTB(flag, flag)
	JZ(LabelRef(label + "Ambient"))
	write(true)
	JMP(LabelRef(label + "Written"))
	Label(label + "Ambient")
	write(false)
	Label(label + "Written")
}

// withMomentum writes a body for steps with momentum.
func (l *slices) withMomentum(label string, write func()) {
	TESTQ(l.m, l.m)
	JZ(LabelRef(label + "Without"))
	write()
	Label(label + "Without")
}

// nines writes the loop for points that are one vector.
func (l *slices) nines() {
	if l.scattered {
		l.separate(1)
	} else {
		l.overlapped()
	}
}

// threes writes the loop for points of three vectors.
func (l *slices) threes() { l.separate(3) }

// separate writes the loop for points of a number of vectors, which makes the whole step of a group before the next.
func (l *slices) separate(vectors int) {
	l.ahead, l.slope, l.keep, l.take = l.term(ahead), l.term(slope), l.term(keep), l.term(take)
	Label(l.label + "Loop")
	l.prefetch()
	d, old := l.elements(0)
	x := l.keep9(old, points)
	l.ownRates(l.label)
	XORQ(l.far, l.far)
	for j := range vectors {
		label := fmt.Sprint(l.label, j)
		var own [2][]Op
		for e := j; e < nine; e += vectors {
			own[0], own[1] = append(own[0], d[e]), append(own[1], x[e])
		}
		blend := l.solved(label, l.sums(own[0], own[1]), j)
		l.tangents(label, func(tangent bool) { l.update(own[1], own[0], blend, tangent) })
	}
	if l.scattered {
		l.layout.StoreRows(x, l.rows(l.x))
	} else {
		l.store(l.layout.Points(l.registers(x)), l.x)
	}
	l.withMomentum(l.label+"Next", func() {
		l.tangents(l.label, func(tangent bool) {
			next := d
			if !tangent {
				next = l.mixed(l.label+"Ambient", 0, l.take, l.keep)
			}
			l.store(l.layout.Points(l.registers(next)), l.m)
		})
	})
	if !l.scattered {
		var zeros [nine]VecVirtual
		zero := l.Zeros(1)[0]
		for i := range zeros {
			zeros[i] = zero
		}
		l.store(zeros, l.grad)
	}
	l.move(1)
	INCQ(l.done)
	TESTQ(l.far, l.far)
	JNZ(LabelRef("out"))
	DECQ(l.left)
	JNZ(LabelRef(l.label + "Loop"))
}

// update replaces elements of x by y and, if tangent, those of d by the momentum.
func (l *slices) update(x, d []Op, blend [6]VecVirtual, tangent bool) {
	for e := range x {
		old, v, y := l.Register(x[e]), l.Register(d[e]), l.Vec()
		l.Mul(blend[blendA], old, y)
		l.FMA(blend[blendF], v, y)
		if l.centred {
			l.Add(blend[blendB], y, y)
		}
		if tangent {
			l.FMA(blend[blendC], old, v)
			l.FMA(blend[blendH], y, v)
			if l.centred {
				l.Add(blend[blendE], v, v)
			}
			l.change(v, d[e])
		}
		l.change(y, x[e])
	}
}

// overlapped writes the loop for points that are one vector and lie together. The sums of a group are computed before
// the update of the group before it, which hides the latency of the coefficients.
func (l *slices) overlapped() {
	l.ahead, l.slope, l.keep, l.take = l.constant(ahead), l.constant(slope), l.constant(keep), l.constant(take)
	l.move(-1)
	Label(l.label + "Loop")
	TESTQ(l.left, l.left)
	JZ(LabelRef(l.label + "Apply"))
	l.prefetch()
	d, x := l.elements(nine * l.Bytes())
	var xs []Op
	for _, v := range x {
		xs = append(xs, v)
	}
	s := l.sums(d[:], xs)
	TESTQ(l.at, l.at)
	JS(LabelRef(l.label + "Solve"))
	Label(l.label + "Apply")
	TESTQ(l.m, l.m)
	JNZ(LabelRef(l.label + "Momentum"))
	l.apply(false, false)
	JMP(LabelRef(l.label + "Applied"))
	Label(l.label + "Momentum")
	l.tangents(l.label, func(tangent bool) { l.apply(true, tangent) })
	Label(l.label + "Applied")
	INCQ(l.done)
	TESTQ(l.far, l.far)
	JNZ(LabelRef("out"))
	TESTQ(l.left, l.left)
	JZ(LabelRef("out"))
	Label(l.label + "Solve")
	l.ownRates(l.label)
	XORQ(l.far, l.far)
	for i, v := range l.solved(l.label, s, 0) {
		if v != nil {
			l.Store(v, l.term(coefficients+i))
		}
	}
	l.move(1)
	DECQ(l.left)
	JMP(LabelRef(l.label + "Loop"))
}

// prefetch fetches a group that is far ahead.
func (l *slices) prefetch() {
	if l.scattered {
		l.layout.Prefetch(l.label, l.order, l.x, l.grad)
		return
	}
	CMPQ(l.left, U32(many))
	JLE(LabelRef(l.label + "Near"))
	size := nine * l.Bytes()
	for disp := 0; disp < size; disp += 64 {
		for _, p := range []Register{l.x, l.grad, l.m} {
			PREFETCHT0(simd.At(p, l.at, (far+1)*size+disp)) // of nothing without m
		}
	}
	Label(l.label + "Near")
}

// apply updates the group, vector by vector of memory.
func (l *slices) apply(momentum, tangent bool) {
	zero := l.Zeros(1)[0]
	var blend [6]Op
	for j := range blend {
		if (l.centred || j != blendB && j != blendE) && (tangent || j < blendH) {
			blend[j] = l.constant(coefficients + j)
		}
	}
	for disp := 0; disp < nine*l.Bytes(); disp += l.Bytes() {
		lanes := l.Register(Mem{Base: l.spread, Disp: disp})
		own := func(j int) VecVirtual {
			c := l.Vec()
			VPERMPS(blend[j], lanes, c)
			return c
		}
		v, d, m := l.load(l.grad, disp), l.Vec(), VecVirtual(nil)
		l.Mul(l.slope, v, d)
		if momentum {
			m = l.load(l.m, disp)
			l.FMA(l.ahead, m, d)
		}
		old, y := l.load(l.x, disp), own(blendA)
		l.Mul(old, y, y)
		l.FMA(own(blendF), d, y)
		if l.centred {
			l.Add(own(blendB), y, y)
		}
		l.Store(y, simd.At(l.x, l.at, disp))
		switch {
		case tangent:
			l.FMA(own(blendC), old, d)
			l.FMA(own(blendH), y, d)
			if l.centred {
				l.Add(own(blendE), d, d)
			}
			l.Store(d, simd.At(l.m, l.at, disp))
		case momentum:
			l.Mul(l.take, v, d)
			l.FMA(l.keep, m, d)
			l.Store(d, simd.At(l.m, l.at, disp))
		}
		l.Store(zero, simd.At(l.grad, l.at, disp))
	}
}

// sums returns the sums over the elements of a vector.
func (l *slices) sums(d, x []Op) sums {
	// add adds a b to a sum, or sets it if e = 0.
	add := func(e int, a, b, sum VecVirtual) {
		if e == 0 {
			l.Mul(b, a, sum)
		} else {
			l.FMA(b, a, sum)
		}
	}
	plus := func(e int, a, sum VecVirtual) {
		if e == 0 {
			l.Move(a, sum)
		} else {
			l.Add(a, sum, sum)
		}
	}
	s := sums{xx: l.Vec(), xd: l.Vec(), dd: l.Vec()}
	if l.centred {
		s.x, s.d = l.Vec(), l.Vec()
	}
	for e := range x {
		a, b := l.Register(x[e]), l.Register(d[e])
		add(e, a, a, s.xx)
		add(e, a, b, s.xd)
		add(e, b, b, s.dd)
		if l.centred {
			plus(e, a, s.x)
			plus(e, b, s.d)
		}
	}
	return s
}

// ownRates replaces the rate by those of the points of the next group, if they have some.
func (l *slices) ownRates(label string) {
	rates, v := GP64(), l.Vec()
	MOVQ(simd.Argument("rates"), rates)
	TESTQ(rates, rates)
	JZ(LabelRef(label + "OneRate"))
	l.Load(Mem{Base: rates}, v)
	l.Store(v, l.term(rate))
	ADDQ(U32(l.Bytes()), simd.Argument("rates"))
	Label(label + "OneRate")
}

// solved returns the coefficients of vector j of each point. It adds to the results, and the bits of those with a |t d|^2 > r^2 to far.
func (l *slices) solved(label string, s sums, j int) [6]VecVirtual {
	o := solved(l.blender, label+"Straight", s)
	l.Mul(l.term(inverseSquare), o.long, o.long)
	l.Store(o.long, l.term(longs+j))
	bits := GP64()
	if l.Wide {
		above := K()
		l.Compare(simd.Above, l.term(one), o.long, above)
		KMOVW(above, bits.As32())
	} else {
		l.Compare(simd.Above, l.term(one), o.long, o.long)
		VMOVMSKPS(o.long, bits.As32())
	}
	ORQ(bits, l.far)
	l.total(o.direct, directs)
	l.total(o.length, lengths)
	return o.blend
}

// total adds v to the float64 numbers that begin in row i.
func (l *slices) total(v VecVirtual, i int) {
	d := l.Double()
	low, high := d.Vec(), d.Vec()
	l.Upper(v, high)
	VCVTPS2PD(d.Lower(v), low)
	VCVTPS2PD(d.Lower(high), high)
	for j, v := range []VecVirtual{low, high} {
		to := l.term(i).Offset(j * l.Bytes())
		d.Add(to, v, v)
		d.Store(v, to)
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"

	"github.com/kernelfold/kernelfold/internal/_gen/simd"
)

// nine is a 3 x 3 matrix of all lanes, in row-major order.
type nine [9]Op

// at is the index of element (i, j).
func at(i, j int) int { return 3*i + j }

// The coefficients of a step, in the order of their row.
const (
	keep = iota
	take
	ahead
	slope
	back        // -Rate
	whole       // 1/r^2
	halved      // 1/(2 r^2)
	tiny        // the smallest pivot, relative to its diagonal element
	limit       // of the trace
	half        // 0.5
	threeHalves // 1.5
	unit        // 1
	root        // the radius
	two         // 2
)

// The rows of the state, of 64 bytes each.
const (
	coefficients = 0
	directions   = 1 // of float64: two rows
	lengths      = 3 // of float64: two rows
	steps        = 5
	points       = 6 // a matrix
	vectors      = points + 9
)

// framer holds the registers of the kernel for 3 x 3 frames.
type framer struct {
	simd.Machine
	x, m, g, order, state Register
	layout                *simd.Nine
	scattered             bool
}

func (f framer) row(i int) Mem         { return Mem{Base: f.state, Disp: 64 * i} }
func (f framer) coefficient(i int) Mem { return f.row(coefficients).Offset(4 * i) }

func (f framer) spread(i int) VecVirtual {
	v := f.Vec()
	f.Broadcast(f.coefficient(i), v)
	return v
}

// place is vector i of a block.
func (f framer) place(p Register, i int) Mem { return Mem{Base: p, Disp: f.Bytes() * i} }

func (f framer) registers(a nine) (v [9]VecVirtual) {
	for i, o := range a {
		v[i] = f.Register(o)
	}
	return v
}

// kept returns the matrix or, with AVX2, which has few registers, its copy from row i of the state on.
func (f framer) kept(v [9]VecVirtual, i int) (a nine) {
	for e, r := range v {
		a[e] = r
		if !f.Wide {
			a[e] = f.row(i + e)
			f.Store(r, a[e])
		}
	}
	return a
}

// changed writes v to the home of an element of a matrix.
func (f framer) changed(v VecVirtual, home Op) {
	if home != Op(v) {
		f.Store(v, home)
	}
}

// scale multiplies v by a coefficient.
func (f framer) scale(v VecVirtual, by int) {
	if f.Wide {
		VMULPS_BCST(f.coefficient(by), v, v)
	} else {
		f.Mul(f.spread(by), v, v)
	}
}

// group returns the vectors of a block.
func (f framer) group(p Register) (v [9]VecVirtual) {
	for i := range v {
		v[i] = f.Vec()
		f.Load(f.place(p, i), v[i])
	}
	return v
}

// rows returns the scattered frames of an array.
func (f framer) rows(p Register) simd.Rows { return simd.RowsOf(p, f.order) }

// mixed returns the elements of a m + b g for coefficients a and b.
func (f framer) mixed(label string, a, b int) [9]VecVirtual {
	if f.scattered {
		v, q := f.layout.LoadRows(f.rows(f.g)), f.spread(b)
		for _, v := range v {
			f.Mul(q, v, v)
		}
		sum := f.kept(v, vectors)
		f.withMomentum(label, func() {
			p := f.spread(a)
			for e, m := range f.layout.Elements(f.group(f.m)) {
				v := f.Register(sum[e])
				f.FMA(p, m, v)
				f.changed(v, sum[e])
			}
		})
		return f.registers(sum)
	}
	return f.layout.Elements(f.blended(label, a, b))
}

// blended returns the vectors of a m + b g of frames that lie together.
func (f framer) blended(label string, a, b int) [9]VecVirtual {
	v, q := f.group(f.g), f.spread(b)
	for _, v := range v {
		f.Mul(q, v, v)
	}
	f.withMomentum(label, func() {
		p := f.spread(a)
		for i, v := range v {
			f.FMA(f.place(f.m, i), p, v)
		}
	})
	return v
}

// store stores the vectors of a block.
func (f framer) store(p Register, v [9]VecVirtual) {
	for i, v := range v {
		f.Store(v, f.place(p, i))
	}
}

const framesSignature = "func(x, m, slopes, steps *%[1]s, order *int32, listed, blocks int, state *%[1]s, geometric, tangent, transported bool) int"

// framesDoc describes the function, for a number of frames in a block.
func framesDoc(frames int) []string {
	return []string{
		fmt.Sprintf("makes the step for blocks > 0 blocks of %d frames of 3 x 3. It returns the number", frames),
		"of blocks before the first that holds a frame whose pivots are too small or whose trace is too",
		"large; that block and those after it do not change. m, which may be nil, becomes v if tangent, its projection at",
		"the next x if also transported. Frame i of m is frame order[i] of x and slopes; then slopes stay. If order is nil,",
		"it is frame i of all three, and slopes are cleared. steps has -Rate times a factor for the frames of each block, in the order of the",
		"lanes, or is nil for -Rate alone; with it the sum of |v|^2 is not that of the directions.",
	}
}

// frames writes a whole step for as many 3 x 3 matrices at a time as a vector has lanes.
func frames(m simd.Machine) {
	m.Function("frames", framesSignature, framesDoc(m.Lanes())...)
	f := framer{Machine: m, x: load("x"), m: load("m"), g: load("slopes"), order: load("order"), state: load("state"), layout: simd.NewNine(m)}
	blocks, done := load("blocks"), GP64()
	XORQ(done, done)
	TESTQ(f.order, f.order)
	JNZ(LabelRef("scattered"))
	f.loop("together", blocks, done)
	Label("scattered")
	f.scattered = true
	f.loop("apart", blocks, done)
	Label("out")
	Store(done, ReturnIndex(0))
	simd.End()
}

// loop writes the loop over blocks, for frames that lie together or are scattered.
func (f framer) loop(label string, blocks, done GPVirtual) {
	Label(label)
	var own [9]VecVirtual
	if f.scattered {
		f.layout.Prefetch(label, f.order, f.x, f.g)
		own = f.layout.LoadRows(f.rows(f.x))
	} else {
		own = f.layout.Elements(f.group(f.x))
	}
	y := f.kept(own, points)
	d := f.mixed(label+"Direction", ahead, slope)
	f.tangentProject(y, d)
	low, high := f.squares(d)
	v := f.kept(d, vectors)
	t := f.spread(back)
	f.ownSteps(label, t)
	f.when("geometric", func() { f.shorten(t, low, high) })
	for i := range y {
		e := f.Register(y[i])
		f.FMA(v[i], t, e)
		f.changed(e, y[i])
	}
	l := f.factor(y, "out")
	f.sum(t, low, high)
	f.solve(y, l)

	f.when("transported", func() {
		d := f.registers(v)
		f.tangentProject(y, d)
		for i := range d {
			f.changed(d[i], v[i])
		}
	})
	if f.scattered {
		f.layout.StoreRows(y, f.rows(f.x))
	} else {
		f.store(f.x, f.layout.Points(f.registers(y)))
	}
	f.withMomentum(label+"Next", func() {
		flag := GP8()
		Load(Param("tangent"), flag)
		TESTB(flag, flag)
		JZ(LabelRef(label + "Ambient"))
		f.store(f.m, f.layout.Points(f.registers(v)))
		JMP(LabelRef(label + "Stored"))
		Label(label + "Ambient")
		if f.scattered {
			f.store(f.m, f.layout.Points(f.mixed(label+"Momentum", keep, take)))
		} else {
			f.store(f.m, f.blended(label+"Momentum", keep, take))
		}
		Label(label + "Stored")
		ADDQ(U32(9*f.Bytes()), f.m)
	})
	if f.scattered {
		ADDQ(U32(4*f.Lanes()), f.order)
	} else {
		zero := f.Zeros(1)[0]
		for i := range y {
			f.Store(zero, f.place(f.g, i))
		}
		ADDQ(U32(9*f.Bytes()), f.x)
		ADDQ(U32(9*f.Bytes()), f.g)
	}
	INCQ(done)
	DECQ(blocks)
	JNZ(LabelRef(label))
	JMP(LabelRef("out"))
}

// ownSteps sets t to the steps of the frames of the next block, if they have some.
func (f framer) ownSteps(label string, t VecVirtual) {
	steps := GP64()
	MOVQ(simd.Argument("steps"), steps)
	TESTQ(steps, steps)
	JZ(LabelRef(label + "OneStep"))
	f.Load(Mem{Base: steps}, t)
	ADDQ(U32(f.Bytes()), simd.Argument("steps"))
	Label(label + "OneStep")
}

// withMomentum writes a body for steps with momentum.
func (f framer) withMomentum(label string, body func()) {
	TESTQ(f.m, f.m)
	JZ(LabelRef(label + "Without"))
	body()
	Label(label + "Without")
}

// when writes body so that it runs if a parameter is true.
func (f framer) when(name string, body func()) {
	flag, past := GP8(), label()
	Load(Param(name), flag)
	TESTB(flag, flag)
	JZ(LabelRef(past))
	body()
	Label(past)
}

// tangentProject: v <- v - x sym(x^T v) / r^2.
func (f framer) tangentProject(x nine, v [9]VecVirtual) {
	var s [3][3]VecVirtual
	for j := range 3 {
		for k := j; k < 3; k++ {
			sum := f.Vec()
			f.Mul(x[at(0, j)], v[at(0, k)], sum)
			for i := range 3 {
				if i > 0 {
					f.FMA(x[at(i, j)], v[at(i, k)], sum)
				}
				if j != k {
					f.FMA(x[at(i, k)], v[at(i, j)], sum)
				}
			}
			if j == k {
				f.scale(sum, whole)
			} else {
				f.scale(sum, halved)
			}
			s[j][k], s[k][j] = sum, sum
		}
	}
	for i := range 3 {
		for j := range 3 {
			for k := range 3 {
				f.FNMA(x[at(i, k)], s[k][j], v[at(i, j)])
			}
		}
	}
}

// squares returns |v|^2 in float64, for the first half of the lanes and for the others.
func (f framer) squares(v [9]VecVirtual) (low, high VecVirtual) {
	d := f.Double()
	low, high = f.Vec(), f.Vec()
	for i, w := range v {
		a, b := f.halves(w)
		if i == 0 {
			d.Mul(a, a, low)
			d.Mul(b, b, high)
			continue
		}
		d.FMA(a, a, low)
		d.FMA(b, b, high)
	}
	return low, high
}

// halves converts v to float64.
func (f framer) halves(v VecVirtual) (low, high VecVirtual) {
	low, high = f.Vec(), f.Vec()
	f.Upper(v, high)
	VCVTPS2PD(f.Lower(v), low)
	VCVTPS2PD(f.Lower(high), high)
	return low, high
}

// joined is the inverse of halves.
func (f framer) joined(low, high VecVirtual) VecVirtual {
	v, w := f.Vec(), f.Vec()
	f.Zero(v) // or avo takes v, of which the conversion writes half, for alive from the start of the loop on
	if f.Wide {
		VCVTPD2PS(low, f.Lower(v))
		VCVTPD2PS(high, f.Lower(w))
		VINSERTF64X4(Imm(1), f.Lower(w), v, v)
	} else {
		VCVTPD2PSY(low, f.Lower(v))
		VCVTPD2PSY(high, f.Lower(w))
		VINSERTF128(Imm(1), f.Lower(w), v, v)
	}
	return v
}

// shorten divides t by g_t, which is max(1, r (2 + r)) for r = |v| over the root of the curvature.
func (f framer) shorten(t, low, high VecVirtual) {
	r, a := f.joined(low, high), f.Vec()
	f.Sqrt(r, r)
	f.scale(r, root)
	f.Add(f.spread(two), r, a)
	f.Mul(r, a, a)
	f.Max(f.spread(unit), a, a)
	f.Div(a, t, t)
}

// sum adds |v|^2 and |t v|^2 to the sums, and keeps the t nearest to 0.
func (f framer) sum(t, low, high VecVirtual) {
	d := f.Double()
	a, b := f.halves(t)
	for i, v := range []VecVirtual{low, high} {
		w := []VecVirtual{a, b}[i]
		d.Mul(w, w, w)
		d.Mul(v, w, w)
		for which, term := range [...]VecVirtual{v, w} {
			to := f.row([...]int{directions, lengths}[which]).Offset(i * f.Bytes())
			d.Add(to, term, term)
			d.Store(term, to)
		}
	}
	f.Max(f.row(steps), t, t)
	f.Store(t, f.row(steps))
}

// factor returns L for y^T y / r^2 = L L^T, with 1/l_ii in place of l_ii. It jumps to out if a pivot
// is too small or a trace too large in any lane.
func (f framer) factor(y nine, out string) (l [3][3]VecVirtual) {
	for i := range 3 {
		row := [3]VecVirtual{f.Register(y[at(i, 0)]), f.Register(y[at(i, 1)]), f.Register(y[at(i, 2)])}
		for j := range 3 {
			for k := range j + 1 {
				if i == 0 {
					l[j][k] = f.Vec()
					f.Mul(row[j], row[k], l[j][k])
				} else {
					f.FMA(row[j], row[k], l[j][k])
				}
				if i == 2 {
					f.scale(l[j][k], whole)
				}
			}
		}
	}
	trace, good := f.Vec(), GP32()
	f.Add(l[0][0], l[1][1], trace)
	f.Add(l[2][2], trace, trace)
	MOVL(U32(1<<f.Lanes()-1), good) // a bit for each lane
	f.above(trace, f.spread(limit), good)
	for j := range 3 {
		pivot, least := l[j][j], f.spread(tiny)
		f.Mul(pivot, least, least)
		for k := range j {
			f.FNMA(l[j][k], l[j][k], pivot)
		}
		f.above(least, pivot, good)
		inverse := f.inverseRoot(pivot)
		l[j][j] = inverse
		for i := j + 1; i < 3; i++ {
			for k := range j {
				f.FNMA(l[i][k], l[j][k], l[i][j])
			}
			f.Mul(inverse, l[i][j], l[i][j])
		}
	}
	CMPL(good, U32(1<<f.Lanes()-1))
	JNE(LabelRef(out))
	return l
}

// above clears the bits of the lanes in which x is not above b.
func (f framer) above(b, x VecVirtual, bits GPVirtual) {
	these := GP32()
	if f.Wide {
		k := K()
		f.Compare(simd.Above, b, x, k)
		KMOVW(k, these)
	} else {
		v := f.Vec()
		f.Compare(simd.Above, b, x, v)
		VMOVMSKPS(v, these)
	}
	ANDL(these, bits)
}

// solve: y <- y L^-T, row by row.
func (f framer) solve(y nine, l [3][3]VecVirtual) {
	for i := range 3 {
		var row [3]VecVirtual
		for j := range row {
			row[j] = f.Register(y[at(i, j)])
			for k := range j {
				f.FNMA(row[k], l[j][k], row[j])
			}
			f.Mul(l[j][j], row[j], row[j])
			f.changed(row[j], y[at(i, j)])
		}
	}
}

// inverseRoot returns 1/sqrt(x), by an estimate of 14 bits with AVX-512 and of 12 with AVX2, and
// Newton steps, z (1.5 - 0.5 x z^2).
func (f framer) inverseRoot(x VecVirtual) VecVirtual {
	z, h := f.Vec(), f.spread(half)
	newton := 1
	if f.Wide {
		VRSQRT14PS(x, z)
	} else {
		VRSQRTPS(x, z)
		newton = 2
	}
	f.Mul(x, h, h)
	for range newton {
		w, onePointFive := f.Vec(), f.spread(threeHalves)
		f.Mul(h, z, w)
		f.FNMA(w, z, onePointFive)
		f.Mul(onePointFive, z, z)
	}
	return z
}

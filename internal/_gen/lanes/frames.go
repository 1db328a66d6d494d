// SPDX-License-Identifier: Apache-2.0

package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"

	"github.com/kernelfold/kernelfold/internal/_gen/simd"
)

// nine is a 3 x 3 matrix of 16 lanes, in row-major order.
type nine [9]VecVirtual

// at is the index of element (i, j).
func at(i, j int) int { return 3*i + j }

// The coefficients of a step, in the order of their array.
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

// Where the sums are, in bytes.
const (
	directions = 0
	lengths    = 128
	steps      = 256
)

// framer holds the registers of the kernel for 3 x 3 frames.
type framer struct {
	x, m, g, c, sums Register
	layout           *simd.Nine
}

func (f framer) coefficient(i int) Mem { return Mem{Base: f.c, Disp: 4 * i} }

func (f framer) spread(i int) VecVirtual {
	v := ZMM()
	VBROADCASTSS(f.coefficient(i), v)
	return v
}

func place(p Register, i int) Mem { return Mem{Base: p, Disp: 64 * i} }

// mixed returns a m + b g for coefficients a and b.
func (f framer) mixed(i, a, b int) VecVirtual {
	v, w := ZMM(), ZMM()
	VMULPS_BCST(f.coefficient(a), first(place(f.m, i)), v)
	VMOVUPS(place(f.g, i), w)
	VFMADD231PS_BCST(f.coefficient(b), w, v)
	return v
}

// frames writes a whole step for 3 x 3 matrices in registers, 16 at a time.
func frames() {
	TEXT("frames32AVX512", NOSPLIT, "func(x, m, slopes *float32, blocks int, c *float32, sums *float64, geometric, tangent, late int) int")
	Pragma("noescape")
	Doc(wrapped("frames32AVX512 makes the step for blocks > 0 blocks of 16 frames of 3 x 3. It returns the number of blocks before the first that holds a frame whose pivots are too small or whose trace is too large; that block and those after it do not change.")...)
	f := framer{x: load("x"), m: load("m"), g: load("slopes"), c: load("c"), sums: load("sums"), layout: simd.NewNine(simd.Machine{Bits: 32, Wide: true})}
	blocks, done := load("blocks"), GP64()
	XORQ(done, done)
	top, out := label(), label()
	Label(top)

	var v, y nine
	for i := range v {
		v[i] = f.mixed(i, ahead, slope)
	}
	v = f.layout.Elements(v)
	for i := range y {
		y[i] = first(place(f.x, i))
	}
	y = f.layout.Elements(y)
	f.tangentProject(y, v)
	low, high := f.squares(v)
	t := f.spread(back)
	branch("geometric", func() { f.shorten(t, low, high) })
	for i := range y {
		VFMADD231PS(t, v[i], y[i])
	}
	f.orthonormalize(y, out)
	f.sum(t, low, high)

	moved := label()
	late := load("late")
	TESTQ(late, late)
	JNZ(LabelRef(moved))
	branch("tangent", func() { f.tangentProject(y, v) })
	Label(moved)
	y = f.layout.Points(y)
	for i := range y {
		VMOVUPS(y[i], place(f.x, i))
	}
	ambient, next := label(), label()
	flag := load("tangent")
	TESTQ(flag, flag)
	JZ(LabelRef(ambient))
	for i, u := range f.layout.Points(v) {
		VMOVUPS(u, place(f.m, i))
	}
	JMP(LabelRef(next))
	Label(ambient)
	for i := range y {
		VMOVUPS(f.mixed(i, keep, take), place(f.m, i))
	}
	Label(next)
	zero := ZMM()
	VXORPS(zero, zero, zero)
	for i := range y {
		VMOVUPS(zero, place(f.g, i)) // after m, which may be g
	}
	for _, p := range []Register{f.x, f.m, f.g} {
		ADDQ(U32(9*64), p)
	}
	INCQ(done)
	DECQ(blocks)
	JNZ(LabelRef(top))
	Label(out)
	Store(done, ReturnIndex(0))
	end()
}

// branch writes body so that it runs if a parameter is not 0.
func branch(name string, body func()) {
	flag, past := load(name), label()
	TESTQ(flag, flag)
	JZ(LabelRef(past))
	body()
	Label(past)
}

// tangentProject: v <- v - x sym(x^T v) / r^2.
func (f framer) tangentProject(x, v nine) {
	var s [3][3]VecVirtual
	for j := range 3 {
		for k := j; k < 3; k++ {
			sum := ZMM()
			VMULPS(x[at(0, j)], v[at(0, k)], sum)
			for i := range 3 {
				if i > 0 {
					VFMADD231PS(x[at(i, j)], v[at(i, k)], sum)
				}
				if j != k {
					VFMADD231PS(x[at(i, k)], v[at(i, j)], sum)
				}
			}
			by := whole
			if j != k {
				by = halved
			}
			VMULPS_BCST(f.coefficient(by), sum, sum)
			s[j][k], s[k][j] = sum, sum
		}
	}
	for i := range 3 {
		for j := range 3 {
			for k := range 3 {
				VFNMADD231PS(x[at(i, k)], s[k][j], v[at(i, j)])
			}
		}
	}
}

// squares returns |v|^2 in float64, for the first eight lanes and for the others.
func (f framer) squares(v nine) (low, high VecVirtual) {
	low, high = ZMM(), ZMM()
	for i, w := range v {
		a, b := halves64(w)
		if i == 0 {
			VMULPD(a, a, low)
			VMULPD(b, b, high)
			continue
		}
		VFMADD231PD(a, a, low)
		VFMADD231PD(b, b, high)
	}
	return low, high
}

// halves64 converts v to float64.
func halves64(v VecVirtual) (low, high VecVirtual) {
	low, high = ZMM(), ZMM()
	VEXTRACTF64X4(Imm(1), v, high.AsY())
	VCVTPS2PD(v.AsY(), low)
	VCVTPS2PD(high.AsY(), high)
	return low, high
}

// shorten divides t by g_t, which is max(1, r (2 + r)) for r = |v| over the root of the curvature.
func (f framer) shorten(t, low, high VecVirtual) {
	r, a := ZMM(), ZMM()
	VCVTPD2PS(low, r.AsY())
	VCVTPD2PS(high, a.AsY())
	VINSERTF64X4(Imm(1), a.AsY(), r, r)
	VSQRTPS(r, r)
	VMULPS_BCST(f.coefficient(root), r, r)
	VADDPS_BCST(f.coefficient(two), r, a)
	VMULPS(r, a, a)
	VMAXPS_BCST(f.coefficient(unit), a, a)
	VDIVPS(a, t, t)
}

// sum adds |v|^2 and |t v|^2 to the sums, and keeps the t nearest to 0.
func (f framer) sum(t, low, high VecVirtual) {
	a, b := halves64(t)
	for i, v := range []VecVirtual{low, high} {
		w := []VecVirtual{a, b}[i]
		VMULPD(w, w, w)
		VMULPD(v, w, w)
		VADDPD(Mem{Base: f.sums, Disp: directions + 64*i}, v, v)
		VADDPD(Mem{Base: f.sums, Disp: lengths + 64*i}, w, w)
		VMOVUPD(v, Mem{Base: f.sums, Disp: directions + 64*i})
		VMOVUPD(w, Mem{Base: f.sums, Disp: lengths + 64*i})
	}
	VMAXPS(Mem{Base: f.sums, Disp: steps}, t, t)
	VMOVUPS(t, Mem{Base: f.sums, Disp: steps})
}

// orthonormalize: y <- r times the Q of y = Q R, by y^T y / r^2 = L L^T. It jumps to out if a pivot
// is too small or a trace too large in any lane.
func (f framer) orthonormalize(y nine, out string) {
	var l [3][3]VecVirtual
	scale := f.spread(whole)
	for j := range 3 {
		for k := range j + 1 {
			sum := ZMM()
			VMULPS(y[at(0, j)], y[at(0, k)], sum)
			for i := 1; i < 3; i++ {
				VFMADD231PS(y[at(i, j)], y[at(i, k)], sum)
			}
			VMULPS(scale, sum, sum)
			l[j][k] = sum
		}
	}
	good, trace := K(), ZMM()
	VADDPS(l[0][0], l[1][1], trace)
	VADDPS(l[2][2], trace, trace)
	VCMPPS_BCST(U8(lessThan), f.coefficient(limit), trace, good)
	for j := range 3 {
		pivot, least := l[j][j], ZMM()
		VMULPS_BCST(f.coefficient(tiny), pivot, least)
		for k := range j {
			VFNMADD231PS(l[j][k], l[j][k], pivot)
		}
		VCMPPS(U8(greater), least, pivot, good, good)
		inverse := inverseRoot(pivot, f.spread(half), f.spread(threeHalves))
		l[j][j] = inverse
		for i := j + 1; i < 3; i++ {
			for k := range j {
				VFNMADD231PS(l[i][k], l[j][k], l[i][j])
			}
			VMULPS(inverse, l[i][j], l[i][j])
		}
	}
	KORTESTW(good, good)
	JCC(LabelRef(out))
	for i := range 3 { // y <- y L^-T
		for j := range 3 {
			for k := range j {
				VFNMADD231PS(y[at(i, k)], l[j][k], y[at(i, j)])
			}
			VMULPS(l[j][j], y[at(i, j)], y[at(i, j)])
		}
	}
}

func first(m Mem) VecVirtual {
	v := ZMM()
	VMOVUPS(m, v)
	return v
}

// inverseRoot returns 1/sqrt(x), by an estimate of 14 bits and a Newton step,
// z (1.5 - 0.5 x z^2).
func inverseRoot(x, half, onePointFive VecVirtual) VecVirtual {
	z, w := ZMM(), ZMM()
	VRSQRT14PS(x, z)
	VMULPS(x, half, w)
	VMULPS(z, w, w)
	VFNMADD213PS(onePointFive, z, w)
	VMULPS(w, z, z)
	return z
}

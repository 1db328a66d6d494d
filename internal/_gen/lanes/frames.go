// SPDX-License-Identifier: Apache-2.0

package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// nine is a 3 x 3 matrix of 16 lanes, in row-major order.
type nine [9]VecVirtual

// at is the place of element (i, j).
func at(i, j int) int { return 3*i + j }

// The coefficients of a step, in the order of their array.
const (
	keep = iota
	take
	ahead
	slope
	forth
	whole
	halved
	tiny
	limit
	half
	onePointFive
)

// frames is a whole step for 3 x 3 matrices in registers, 16 at a time.
func frames() {
	TEXT("frames32AVX512", NOSPLIT, "func(x, m, slopes *float32, blocks int, c *float32, sums *float64) int")
	Pragma("noescape")
	Doc("frames32AVX512 makes the step for blocks > 0 times 16 frames of 3 x 3, and returns the number of blocks before the first with a frame whose pivots are too small or whose trace is too large. That block and those after it are left alone.")
	x, m, g, blocks, c, sums := load("x"), load("m"), load("slopes"), load("blocks"), load("c"), load("sums")
	masks := barrelMasks()
	done := GP64()
	XORQ(done, done)
	top, out := label(), label()
	Label(top)

	one := func(i int) VecVirtual { // a coefficient
		v := ZMM()
		VBROADCASTSS(Mem{Base: c, Disp: 4 * i}, v)
		return v
	}
	place := func(p Register, i int) Mem { return Mem{Base: p, Disp: 64 * i} }
	mixed := func(i, a, b int) VecVirtual { // a m + b g
		v, w := ZMM(), ZMM()
		VMULPS_BCST(Mem{Base: c, Disp: 4 * a}, first(place(m, i)), v)
		VMOVUPS(place(g, i), w)
		VFMADD231PS_BCST(Mem{Base: c, Disp: 4 * b}, w, v)
		return v
	}

	var d, y nine
	for i := range d {
		d[i] = mixed(i, ahead, slope)
	}
	d = toLanes(d, masks)
	for i := range y {
		y[i] = ZMM()
		VMOVUPS(place(x, i), y[i])
	}
	y = toLanes(y, masks)

	// s = sym(x^T d) / r^2
	var s [3][3]VecVirtual
	for j := range 3 {
		for k := j; k < 3; k++ {
			v := ZMM()
			VMULPS(y[at(0, j)], d[at(0, k)], v)
			for i := range 3 {
				if i > 0 {
					VFMADD231PS(y[at(i, j)], d[at(i, k)], v)
				}
				if j != k {
					VFMADD231PS(y[at(i, k)], d[at(i, j)], v)
				}
			}
			by := whole
			if j != k {
				by = halved
			}
			VMULPS_BCST(Mem{Base: c, Disp: 4 * by}, v, v)
			s[j][k], s[k][j] = v, v
		}
	}
	// v = d - x s in place of d, then y = x - t v in place of x
	low, high := ZMM(), ZMM()
	VXORPD(low, low, low)
	VXORPD(high, high, high)
	t := one(forth)
	for i := range 3 {
		for j := range 3 {
			for k := range 3 {
				VFNMADD231PS(y[at(i, k)], s[k][j], d[at(i, j)])
			}
		}
		for j := range 3 {
			v := d[at(i, j)]
			VFMADD231PS(t, v, y[at(i, j)])
			a, b := ZMM(), ZMM()
			VEXTRACTF64X4(Imm(1), v, b.AsY())
			VCVTPS2PD(v.AsY(), a)
			VCVTPS2PD(b.AsY(), b)
			VFMADD231PD(a, a, low)
			VFMADD231PD(b, b, high)
		}
	}

	// g = y^T y / r^2 = l l^T, and 1/l_jj, one column after the other
	var gram [3][3]VecVirtual
	scale := one(whole)
	for j := range 3 {
		for k := range j + 1 {
			v := ZMM()
			VMULPS(y[at(0, j)], y[at(0, k)], v)
			for i := 1; i < 3; i++ {
				VFMADD231PS(y[at(i, j)], y[at(i, k)], v)
			}
			VMULPS(scale, v, v)
			gram[j][k] = v
		}
	}
	good := K()
	trace := ZMM()
	VADDPS(gram[0][0], gram[1][1], trace)
	VADDPS(gram[2][2], trace, trace)
	VCMPPS_BCST(U8(lessThan), Mem{Base: c, Disp: 4 * limit}, trace, good)
	for j := range 3 {
		pivot, least := gram[j][j], ZMM()
		VMULPS_BCST(Mem{Base: c, Disp: 4 * tiny}, pivot, least)
		for k := range j {
			VFNMADD231PS(gram[j][k], gram[j][k], pivot)
		}
		VCMPPS(U8(greater), least, pivot, good, good)
		inverse := inverseRoot(pivot, one(half), one(onePointFive))
		gram[j][j] = inverse
		for l := j + 1; l < 3; l++ {
			for k := range j {
				VFNMADD231PS(gram[l][k], gram[j][k], gram[l][j])
			}
			VMULPS(inverse, gram[l][j], gram[l][j])
		}
	}
	KORTESTW(good, good)
	JCC(LabelRef(out))
	for i := range 3 { // y <- y l^-T
		for j := range 3 {
			for k := range j {
				VFNMADD231PS(y[at(i, k)], gram[j][k], y[at(i, j)])
			}
			VMULPS(gram[j][j], y[at(i, j)], y[at(i, j)])
		}
	}

	VADDPD(Mem{Base: sums}, low, low)
	VADDPD(Mem{Base: sums, Disp: 64}, high, high)
	VMOVUPD(low, Mem{Base: sums})
	VMOVUPD(high, Mem{Base: sums, Disp: 64})
	y = fromLanes(y, masks)
	zero := ZMM()
	VXORPS(zero, zero, zero)
	for i := range y {
		VMOVUPS(y[i], place(x, i))
		VMOVUPS(mixed(i, keep, take), place(m, i))
		VMOVUPS(zero, place(g, i)) // after m, which may be g
	}
	for _, p := range []Register{x, m, g} {
		ADDQ(U32(9*64), p)
	}
	INCQ(done)
	DECQ(blocks)
	JNZ(LabelRef(top))
	Label(out)
	Store(done, ReturnIndex(0))
	end()
}

func first(m Mem) VecVirtual {
	v := ZMM()
	VMOVUPS(m, v)
	return v
}

// inverseRoot is 1/sqrt(x) by an estimate to 14 bits and a step of Newton,
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

// Nine vectors of 16 numbers hold 16 matrices, one after the other. Element e of
// matrix l is number p = 9 l + e mod 16 of vector r, 16 r + p = 9 l + e, and so
// r = 4 (e - p) mod 9. Turning number p of all vectors by 5 p mod 9 vectors leaves
// element e of all matrices in vector 4 e mod 9, and turning the numbers of that by e
// leaves matrix l at 9 l mod 16, whatever e is. The first is four rounds, a bit of
// 5 p mod 9 each.

func barrelMasks() (masks [4]Register) {
	for b := range masks {
		bits := 0
		for p := range 16 {
			bits |= 5 * p % 9 >> b & 1 << p
		}
		r, k := GP32(), K()
		MOVL(U32(bits), r)
		KMOVW(r, k)
		masks[b] = k
	}
	return masks
}

// barrel turns number p of all vectors by 5 p mod 9 vectors, or back. Each bit goes once
// around all nine.
func barrel(v nine, masks [4]Register, back bool) nine {
	for b, k := range masks {
		by := 1 << b
		if back {
			by = 9 - by
		}
		first := ZMM()
		VMOVAPS(v[0], first)
		for n := range v {
			from := v[(n+1)*by%9]
			if n == 8 {
				from = first
			}
			VMOVAPS(from, k, v[n*by%9])
		}
	}
	return v
}

func turned(v VecVirtual, by int) VecVirtual {
	if by%16 == 0 {
		return v
	}
	w := ZMM()
	VALIGND(U8(by), v, v, w)
	return w
}

func toLanes(v nine, masks [4]Register) (lanes nine) {
	v = barrel(v, masks, false)
	for e := range lanes {
		lanes[e] = turned(v[4*e%9], e)
	}
	return lanes
}

func fromLanes(lanes nine, masks [4]Register) (v nine) {
	for e := range lanes {
		v[4*e%9] = turned(lanes[e], 16-e)
	}
	return barrel(v, masks, true)
}

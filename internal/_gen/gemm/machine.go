// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// float is a precision, in bits.
type float struct{ bits int }

func (f float) size() int    { return f.bits / 8 }
func (f float) name() string { return fmt.Sprint("float", f.bits) }
func (f float) shift() Op    { return U8(pick(f, 2, 3)) } // to bytes

// pick returns the instruction for the precision.
func pick[F any](f float, single, double F) F {
	if f.bits == 32 {
		return single
	}
	return double
}

// machine is an instruction set at a precision. A tile is as wide as two of its vectors.
type machine interface {
	float() float
	suffix() string // of the names of functions
	lanes() int     // elements of a vector
	height() int    // rows of the highest tile

	vector(i int) VecPhysical
	lower(v VecPhysical) VecPhysical // its lower half
	zero(v VecPhysical)
	broadcast(from Mem, v VecPhysical)
	scale(by, v VecPhysical)
	fma(x, y, sum VecPhysical)
	addFrom(from Mem, v VecPhysical)
	insert(from Mem, v VecPhysical) // loads its upper half

	// masks prepares masks for vectors 0 and 1 of a row of cols elements. It overwrites cols, R13
	// and, with AVX2, the last three vectors.
	masks(cols GPPhysical)
	masksCost() bool                           // whether masked stores are slower than whole ones
	loadMasked(i int, from Mem, v VecPhysical) // zeros beyond
	addMasked(i int, from Mem, v VecPhysical)
	storeMasked(i int, v VecPhysical, to Mem)
}

var zmm = [32]VecPhysical{Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15,
	Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23, Z24, Z25, Z26, Z27, Z28, Z29, Z30, Z31}

// avx512 has room for 14 rows of two sums, two vectors of B and two of A.
type avx512 struct{ f float }

func (m avx512) float() float   { return m.f }
func (m avx512) suffix() string { return fmt.Sprint(m.f.bits, "AVX512") }
func (m avx512) lanes() int     { return 512 / m.f.bits }
func (m avx512) height() int    { return 14 }

func (m avx512) vector(i int) VecPhysical          { return zmm[i] }
func (m avx512) lower(v VecPhysical) VecPhysical   { return v.AsY().(VecPhysical) }
func (m avx512) zero(v VecPhysical)                { VPXORQ(v, v, v) }
func (m avx512) broadcast(from Mem, v VecPhysical) { pick(m.f, VBROADCASTSS, VBROADCASTSD)(from, v) }
func (m avx512) scale(by, v VecPhysical)           { pick(m.f, VMULPS, VMULPD)(by, v, v) }
func (m avx512) fma(x, y, sum VecPhysical)         { pick(m.f, VFMADD231PS, VFMADD231PD)(x, y, sum) }
func (m avx512) addFrom(from Mem, v VecPhysical)   { pick(m.f, VADDPS, VADDPD)(from, v, v) }
func (m avx512) insert(from Mem, v VecPhysical)    { VINSERTF64X4(Imm(1), from, v, v) }

func (m avx512) masksCost() bool { return false }

func (m avx512) masks(cols GPPhysical) {
	ones := R13
	MOVQ(I64(-1), ones)
	BZHIQ(cols, ones, ones)
	KMOVW(ones.As32(), K1)
	SHRQ(U8(m.lanes()), ones)
	KMOVW(ones.As32(), K2)
}

var opmasks = [2]Register{K1, K2}

func (m avx512) loadMasked(i int, from Mem, v VecPhysical) {
	pick(m.f, VMOVUPS_Z, VMOVUPD_Z)(from, opmasks[i], v)
}
func (m avx512) addMasked(i int, from Mem, v VecPhysical) {
	pick(m.f, VADDPS, VADDPD)(from, v, opmasks[i], v)
}
func (m avx512) storeMasked(i int, v VecPhysical, to Mem) {
	pick(m.f, VMOVUPS, VMOVUPD)(v, opmasks[i], to)
}

// avx2 has room for 6 rows of two sums, two vectors of B and two of A.
type avx2 struct{ f float }

func (m avx2) float() float   { return m.f }
func (m avx2) suffix() string { return fmt.Sprint(m.f.bits, "AVX2") }
func (m avx2) lanes() int     { return 256 / m.f.bits }
func (m avx2) height() int    { return 6 }

func (m avx2) vector(i int) VecPhysical          { return zmm[i].AsY().(VecPhysical) }
func (m avx2) lower(v VecPhysical) VecPhysical   { return v.AsX().(VecPhysical) }
func (m avx2) zero(v VecPhysical)                { VXORPS(v, v, v) }
func (m avx2) broadcast(from Mem, v VecPhysical) { pick(m.f, VBROADCASTSS, VBROADCASTSD)(from, v) }
func (m avx2) scale(by, v VecPhysical)           { pick(m.f, VMULPS, VMULPD)(by, v, v) }
func (m avx2) fma(x, y, sum VecPhysical)         { pick(m.f, VFMADD231PS, VFMADD231PD)(x, y, sum) }
func (m avx2) addFrom(from Mem, v VecPhysical)   { pick(m.f, VADDPS, VADDPD)(from, v, v) }
func (m avx2) insert(from Mem, v VecPhysical)    { VINSERTF128(Imm(1), from, v, v) }

func (m avx2) masksCost() bool { return true }

// masks reads the masks from a table of ones and zeros, each as wide as a tile.
func (m avx2) masks(cols GPPhysical) {
	width, start := 64, R13
	LEAQ(onesThenZeros, start)
	SHLQ(m.f.shift(), cols)
	SUBQ(cols, start)
	VMOVUPS(Mem{Base: start, Disp: width}, m.mask(0))
	VMOVUPS(Mem{Base: start, Disp: width + 32}, m.mask(1))
}

var onesThenZeros Mem

func declareTables() {
	onesThenZeros = GLOBL("onesThenZeros", RODATA|NOPTR)
	for i := range 16 {
		v := U64(0)
		if i < 8 {
			v = ^v
		}
		DATA(8*i, v)
	}
}

func (m avx2) mask(i int) VecPhysical { return m.vector(13 + i) }
func (m avx2) tmp() VecPhysical       { return m.vector(15) }

func (m avx2) loadMasked(i int, from Mem, v VecPhysical) {
	pick(m.f, VMASKMOVPS, VMASKMOVPD)(from, m.mask(i), v)
}
func (m avx2) addMasked(i int, from Mem, v VecPhysical) {
	m.loadMasked(i, from, m.tmp())
	pick(m.f, VADDPS, VADDPD)(m.tmp(), v, v)
}
func (m avx2) storeMasked(i int, v VecPhysical, to Mem) {
	pick(m.f, VMASKMOVPS, VMASKMOVPD)(v, m.mask(i), to)
}

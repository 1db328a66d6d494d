// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// line is the size of an element of all lanes, in bytes.
const line = 128

// machine is a set of instructions at a precision.
type machine struct {
	bits int  // of a number
	wide bool // AVX-512, else AVX2
}

func (m machine) name(f string) string {
	if m.wide {
		return fmt.Sprint(f, m.bits, "AVX512")
	}
	return fmt.Sprint(f, m.bits, "AVX2")
}

func (m machine) number() string { return fmt.Sprint("float", m.bits) }
func (m machine) size() int      { return m.bits / 8 }

// bytes is the size of a vector, and parts is how many make up a line.
func (m machine) bytes() int {
	if m.wide {
		return 64
	}
	return 32
}
func (m machine) parts() int { return line / m.bytes() }

func (m machine) vector() VecVirtual {
	if m.wide {
		return ZMM()
	}
	return YMM()
}

// pick returns the instruction for the precision.
func pick[F any](m machine, single, double F) F {
	if m.bits == 32 {
		return single
	}
	return double
}

func (m machine) move(from, to Op)  { pick(m, VMOVUPS, VMOVUPD)(from, to) }
func (m machine) add(x, y, to Op)   { pick(m, VADDPS, VADDPD)(x, y, to) }
func (m machine) mul(x, y, to Op)   { pick(m, VMULPS, VMULPD)(x, y, to) }
func (m machine) fma(x, y, sum Op)  { pick(m, VFMADD231PS, VFMADD231PD)(x, y, sum) }
func (m machine) fnma(x, y, sum Op) { pick(m, VFNMADD231PS, VFNMADD231PD)(x, y, sum) }
func (m machine) sqrt(x, to Op)     { pick(m, VSQRTPS, VSQRTPD)(x, to) }
func (m machine) div(by, x, to Op)  { pick(m, VDIVPS, VDIVPD)(by, x, to) }
func (m machine) zero(v VecVirtual) { pick(m, VXORPS, VXORPD)(v, v, v) }

// spread broadcasts a parameter.
func (m machine) spread(name string) VecVirtual {
	v, x := m.vector(), XMM()
	Load(Param(name), x)
	pick(m, VBROADCASTSS, VBROADCASTSD)(x, v)
	return v
}

// vectors are those of a line.
func (m machine) vectors() []VecVirtual {
	v := make([]VecVirtual, m.parts())
	for i := range v {
		v[i] = m.vector()
	}
	return v
}

// part is the i-th vector of the line at p.
func (m machine) part(p Register, i int) Mem { return Mem{Base: p, Disp: i * m.bytes()} }

func (m machine) loadLine(p Register) []VecVirtual {
	v := m.vectors()
	for i := range v {
		m.move(m.part(p, i), v[i])
	}
	return v
}

func (m machine) storeLine(v []VecVirtual, p Register) {
	for i := range v {
		m.move(v[i], m.part(p, i))
	}
}

// start begins a function with the given parameters and result, where %s stands for the precision.
func (m machine) start(name, signature, doc string) {
	TEXT(m.name(name), NOSPLIT, strings.ReplaceAll("func"+signature, "%s", m.number()))
	Pragma("noescape")
	Doc(wrapped(m.name(name) + " " + doc)...)
}

// wrapped cuts a comment into lines of about 100 columns.
func wrapped(text string) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > 97 {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

func end() {
	VZEROUPPER()
	RET()
}

func load(name string) GPVirtual { return Load(Param(name), GP64()).(GPVirtual) }

// lines loads a number of lines as bytes.
func lines(name string) GPVirtual {
	r := load(name)
	SHLQ(U8(7), r)
	return r
}

func copied(r Register) GPVirtual {
	c := GP64()
	MOVQ(r, c)
	return c
}

var labels int

func label() string {
	labels++
	return fmt.Sprint("l", labels)
}

// times repeats body n times, n > 0, where n is lost.
func times(n GPVirtual, body func()) {
	top := label()
	Label(top)
	body()
	DECQ(n)
	JNZ(LabelRef(top))
}

// below runs body n times; n may be 0.
func below(n Register, body func()) {
	count, out := copied(n), label()
	TESTQ(count, count)
	JZ(LabelRef(out))
	times(count, body)
	Label(out)
}

// flags say for each lane of a vector whether something holds, which it does at first.
func (m machine) flags() Register {
	if m.wide {
		k := K()
		KXNORW(k, k, k)
		return k
	}
	v := m.vector()
	VPCMPEQD(v, v, v)
	return v
}

// Comparisons, false for NaN.
const (
	lessThan = 0x11
	greater  = 0x1e
)

// above clears the flags of the lanes where x > y does not hold.
func (m machine) above(x, y VecVirtual, flags Register) {
	if m.wide {
		pick(m, VCMPPS, VCMPPD)(U8(greater), y, x, flags, flags)
		return
	}
	t := m.vector()
	pick(m, VCMPPS, VCMPPD)(U8(greater), y, x, t)
	VANDPS(t, flags, flags)
}

func (m machine) bitsOf(flags Register) GPVirtual {
	b := GP32()
	if m.wide {
		KMOVW(flags, b)
		return b
	}
	pick(m, VMOVMSKPS, VMOVMSKPD)(flags, b)
	return b
}

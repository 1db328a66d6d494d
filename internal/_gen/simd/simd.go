// SPDX-License-Identifier: Apache-2.0

// Package simd gives common names to the instructions of AVX2 and AVX-512 at both precisions, so
// that one generator writes all four kernels. Operands are in the order of Go's assembler: the
// destination comes last.
package simd

import (
	"flag"
	"fmt"
	"log"
	"os"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Machine is an instruction set at a precision.
type Machine struct {
	Bits int  // 32 or 64
	Wide bool // AVX-512
}

// Machines returns all four machines.
func Machines() []Machine {
	return []Machine{{32, false}, {32, true}, {64, false}, {64, true}}
}

// Type is the name of Go's type.
func (m Machine) Type() string { return fmt.Sprint("float", m.Bits) }

// Suffix ends the names of functions.
func (m Machine) Suffix() string {
	if m.Wide {
		return fmt.Sprint(m.Bits, "AVX512")
	}
	return fmt.Sprint(m.Bits, "AVX2")
}

// Size is the size of an element in bytes.
func (m Machine) Size() int { return m.Bits / 8 }

// Bytes is the size of a vector.
func (m Machine) Bytes() int {
	if m.Wide {
		return 64
	}
	return 32
}

// Lanes is the number of elements of a vector.
func (m Machine) Lanes() int { return m.Bytes() / m.Size() }

// Double is the machine at 64 bits.
func (m Machine) Double() Machine { return Machine{64, m.Wide} }

// Vec returns a register for a vector.
func (m Machine) Vec() VecVirtual {
	if m.Wide {
		return ZMM()
	}
	return YMM()
}

// Vecs returns n such registers.
func (m Machine) Vecs(n int) []VecVirtual {
	v := make([]VecVirtual, n)
	for i := range v {
		v[i] = m.Vec()
	}
	return v
}

// Zeros returns n such registers, set to 0.
func (m Machine) Zeros(n int) []VecVirtual {
	v := m.Vecs(n)
	for i := range v {
		m.Zero(v[i])
	}
	return v
}

// Constant returns a register with the argument of the given name in all lanes.
func (m Machine) Constant(name string) VecVirtual {
	v := m.Vec()
	m.Broadcast(Argument(name), v)
	return v
}

// Register loads o into a register unless it is one.
func (m Machine) Register(o Op) VecVirtual {
	if v, ok := o.(VecVirtual); ok {
		return v
	}
	v := m.Vec()
	m.Load(o, v)
	return v
}

// Argument returns the address of the argument of the given name.
func Argument(name string) Mem {
	p, err := Param(name).Resolve()
	if err != nil {
		log.Fatal(err)
	}
	return p.Addr
}

// Pointer loads the 64-bit argument of the given name into a register.
func Pointer(name string) GPVirtual { return Load(Param(name), GP64()).(GPVirtual) }

// Function begins a function. %[1]s in its signature stands for the precision.
func (m Machine) Function(name, signature string, doc ...string) {
	TEXT(name+m.Suffix(), attr.NOSPLIT, fmt.Sprintf(signature, m.Type()))
	Pragma("noescape")
	doc[0] = name + m.Suffix() + " " + doc[0]
	Doc(doc...)
}

// End ends a function.
func End() {
	VZEROUPPER()
	RET()
}

type op = func(...Op)

func (m Machine) pick(single, double op) op {
	if m.Bits == 32 {
		return single
	}
	return double
}

func (m Machine) Load(from, v Op)             { m.pick(VMOVUPS, VMOVUPD)(from, v) }
func (m Machine) Store(v, to Op)              { m.pick(VMOVUPS, VMOVUPD)(v, to) }
func (m Machine) Move(a, b Op)                { m.pick(VMOVAPS, VMOVAPD)(a, b) }
func (m Machine) Zero(v Op)                   { m.Xor(v, v, v) }
func (m Machine) Broadcast(from, v Op)        { m.pick(VBROADCASTSS, VBROADCASTSD)(from, v) }
func (m Machine) Add(b, a, v Op)              { m.pick(VADDPS, VADDPD)(b, a, v) }
func (m Machine) Sub(b, a, v Op)              { m.pick(VSUBPS, VSUBPD)(b, a, v) } // a - b
func (m Machine) Mul(b, a, v Op)              { m.pick(VMULPS, VMULPD)(b, a, v) }
func (m Machine) Div(b, a, v Op)              { m.pick(VDIVPS, VDIVPD)(b, a, v) } // a/b
func (m Machine) Sqrt(a, v Op)                { m.pick(VSQRTPS, VSQRTPD)(a, v) }
func (m Machine) Max(b, a, v Op)              { m.pick(VMAXPS, VMAXPD)(b, a, v) } // b if one is NaN
func (m Machine) Min(b, a, v Op)              { m.pick(VMINPS, VMINPD)(b, a, v) } // b if one is NaN
func (m Machine) And(b, a, v Op)              { m.pick(VANDPS, VANDPD)(b, a, v) }
func (m Machine) AndNot(b, a, v Op)           { m.pick(VANDNPS, VANDNPD)(b, a, v) } // b and not a
func (m Machine) Or(b, a, v Op)               { m.pick(VORPS, VORPD)(b, a, v) }
func (m Machine) Xor(b, a, v Op)              { m.pick(VXORPS, VXORPD)(b, a, v) }
func (m Machine) FMA(b, a, v Op)              { m.pick(VFMADD231PS, VFMADD231PD)(b, a, v) }   // v += a b
func (m Machine) FNMA(b, a, v Op)             { m.pick(VFNMADD231PS, VFNMADD231PD)(b, a, v) } // v -= a b
func (m Machine) UnpackLow(b, a, v Op)        { m.pick(VUNPCKLPS, VUNPCKLPD)(b, a, v) }
func (m Machine) UnpackHigh(b, a, v Op)       { m.pick(VUNPCKHPS, VUNPCKHPD)(b, a, v) }
func (m Machine) Compare(how int, b, a, v Op) { m.pick(VCMPPS, VCMPPD)(Imm(uint64(how)), b, a, v) }

// Blend sets v to the given lanes of b and the others of a. It is for AVX2.
func (m Machine) Blend(lanes int, b, a, v Op) {
	if m.Bits == 32 {
		VBLENDPS(Imm(uint64(lanes)), b, a, v)
	} else {
		VBLENDPD(Imm(uint64(lanes)), b, a, v)
	}
}

// How to compare.
const (
	Same      = 0
	Unordered = 3
	Above     = 30 // false where there is a NaN
)

// AddScalar adds the first elements.
func (m Machine) AddScalar(b, a, v Op) { m.pick(VADDSS, VADDSD)(b, a, v) }

// LoadMasked loads the lanes of the mask and sets the others to 0.
func (m Machine) LoadMasked(k Mask, from, v Op) {
	if m.Wide {
		if m.Bits == 32 {
			VMOVUPS_Z(from, k, v)
		} else {
			VMOVUPD_Z(from, k, v)
		}
		return
	}
	if m.Bits == 32 {
		VMASKMOVPS(from, k, v)
	} else {
		VMASKMOVPD(from, k, v)
	}
}

// StoreMasked stores the lanes of the mask only.
func (m Machine) StoreMasked(k Mask, v, to Op) {
	switch {
	case m.Wide:
		m.pick(VMOVUPS, VMOVUPD)(v, k, to)
	case m.Bits == 32:
		VMASKMOVPS(v, k, to)
	default:
		VMASKMOVPD(v, k, to)
	}
}

// Keep sets the lanes outside the mask to 0.
func (m Machine) Keep(k Mask, v Op) {
	switch {
	case !m.Wide:
		m.And(k, v, v)
	case m.Bits == 32:
		VMOVAPS_Z(v, k, v)
	default:
		VMOVAPD_Z(v, k, v)
	}
}

// Mask selects lanes. It is an opmask register or, with AVX2, a vector.
type Mask Op

// First returns the mask of the first n lanes, or of all lanes if n is larger.
func (m Machine) First(n GPVirtual) Mask {
	if m.Wide {
		ones, k := GP64(), K()
		MOVQ(I32(-1), ones)
		BZHIQ(n, ones, ones)
		KMOVW(ones.As32(), k)
		return k
	}
	table, v := GP64(), m.Vec()
	LEAQ(onesThenZeros(), table)
	left := GP64()
	MOVQ(I32(int32(m.Lanes())), left)
	CMPQ(n, left)
	CMOVQLT(n, left)
	NEGQ(left)
	VMOVUPS(Mem{Base: table, Index: left, Scale: uint8(m.Size()), Disp: 32}, v)
	return v
}

var table *Mem

func onesThenZeros() Mem {
	if table == nil {
		t := GLOBL("onesThenZeros", attr.RODATA|attr.NOPTR)
		for i := range 8 {
			v := U64(0)
			if i < 4 {
				v = ^v
			}
			DATA(8*i, v)
		}
		table = &t
	}
	return *table
}

// Lower returns the lower half of a vector.
func (m Machine) Lower(v VecVirtual) VecVirtual {
	if m.Wide {
		return v.AsY().(VecVirtual)
	}
	return v.AsX().(VecVirtual)
}

// Upper copies the upper half of v into the lower half of w.
func (m Machine) Upper(v, w VecVirtual) {
	if m.Wide {
		VEXTRACTF64X4(Imm(1), v, w.AsY())
	} else {
		VEXTRACTF128(Imm(1), v, w.AsX())
	}
}

// Total sums the 64-bit elements of v and leaves the sum in the first element. It overwrites tmp.
func (m Machine) Total(v, tmp VecVirtual) {
	if m.Wide {
		VEXTRACTF64X4(Imm(1), v, tmp.AsY())
		VADDPD(tmp.AsY(), v.AsY(), v.AsY())
	}
	VEXTRACTF128(Imm(1), v.AsY(), tmp.AsX())
	VADDPD(tmp.AsX(), v.AsX(), v.AsX())
	VUNPCKHPD(v.AsX(), v.AsX(), tmp.AsX())
	VADDSD(tmp.AsX(), v.AsX(), v.AsX())
}

// At returns the address p + index + disp, in bytes.
func At(p, index Register, disp int) Mem {
	return Mem{Base: p, Index: index, Scale: 1, Disp: disp}
}

// Write writes the files named on the command line, with the licence line on top.
func Write() {
	Generate()
	for _, name := range []string{"out", "stubs"} {
		file := flag.Lookup(name).Value.String()
		text, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(file, append([]byte("// SPDX-License-Identifier: Apache-2.0\n\n"), text...), 0o644)
		}
		if err != nil {
			log.Fatal(err)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package neon

import (
	"fmt"
	"log"
	"math"
)

// Machine is the function being written, at a precision.
type Machine struct {
	*File
	Bits int // 32 or 64
}

// Machines returns the precisions.
func Machines() []int { return []int{32, 64} }

// Size is the size of an element in bytes.
func (m Machine) Size() int { return m.Bits / 8 }

// Bytes is the size of a vector.
const Bytes = 16

// Lanes is the number of elements of a vector.
func (m Machine) Lanes() int { return Bytes / m.Size() }

// Shift turns elements into bytes.
func (m Machine) Shift() int { return pick(m, 2, 3) }

// Double is the machine at 64 bits.
func (m Machine) Double() Machine { return Machine{m.File, 64} }

func pick[T any](m Machine, single, double T) T {
	if m.Bits == 32 {
		return single
	}
	return double
}

// Int is a general register.
type Int int

// R18 belongs to the platform, R27 and above to Go.
var ints = []Int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 19, 20, 21, 22, 23, 24, 25, 26}

func (r Int) String() string { return fmt.Sprint("R", int(r)) }

// Vec is a vector register.
type Vec int

func (v Vec) all(m Machine) string { return fmt.Sprint("V", int(v), pick(m, ".S4", ".D2")) }
func (v Vec) bytes() string        { return fmt.Sprint("V", int(v), ".B16") }

// Lane is an element of a vector.
func (m Machine) Lane(v Vec, i int) string {
	return fmt.Sprintf("V%d.%s[%d]", int(v), pick(m, "S", "D"), i)
}

// scalar is the lowest element, as a floating-point register.
func (v Vec) scalar() string { return fmt.Sprint("F", int(v)) }

// Int takes a general register.
func (f *File) Int() Int {
	if f.ints == len(ints) {
		log.Fatalf("%s needs more registers", f.name)
	}
	f.ints++
	return ints[f.ints-1]
}

// Vec takes a vector register.
func (f *File) Vec() Vec {
	if f.vecs == 32 {
		log.Fatalf("%s needs more vector registers", f.name)
	}
	f.vecs++
	return Vec(f.vecs - 1)
}

// Vecs takes n vector registers.
func (f *File) Vecs(n int) []Vec {
	v := make([]Vec, n)
	for i := range v {
		v[i] = f.Vec()
	}
	return v
}

// Scope gives back the registers that the body takes.
func (f *File) Scope(body func()) {
	ints, vecs := f.ints, f.vecs
	body()
	f.ints, f.vecs = ints, vecs
}

// Argument loads an argument, which is no floating-point number, into a register.
func (f *File) Argument(name string) Int {
	r := f.Int()
	f.Reload(name, r)
	return r
}

// Reload loads an argument, which is no floating-point number, into r.
func (f *File) Reload(name string, r Int) {
	op := "MOVD"
	if f.slots[name].kind == "bool" {
		op = "MOVBU"
	}
	f.Emit(op, f.argument(name), r)
}

// Constant returns a register with a floating-point argument in all lanes.
func (m Machine) Constant(name string) Vec {
	v := m.Vec()
	m.Broadcast(m.argument(name), v)
	return v
}

// Broadcast loads one number into all lanes.
func (m Machine) Broadcast(from string, v Vec) {
	Part{m, true}.Load(from, v)
	m.Emit("VDUP", m.Lane(v, 0), v.all(m))
}

// Table returns registers with the numbers of a table, each in all lanes.
func (m Machine) Table(name string, numbers []float64) []Vec {
	fmt.Fprintf(&m.asm, "\n")
	for i, x := range numbers {
		bits := math.Float64bits(x)
		if m.Bits == 32 {
			bits = uint64(math.Float32bits(float32(x)))
		}
		fmt.Fprintf(&m.asm, "DATA %s<>+%d(SB)/%d, $0x%0*x\n", name, i*m.Size(), m.Size(), 2*m.Size(), bits)
	}
	fmt.Fprintf(&m.asm, "GLOBL %s<>(SB), RODATA|NOPTR, $%d\n", name, len(numbers)*m.Size())
	v := m.Vecs(len(numbers))
	m.Scope(func() {
		from := m.Int()
		m.Emit("MOVD", fmt.Sprintf("$%s<>(SB)", name), from)
		for i := range v {
			m.Broadcast(At(from, i*m.Size()), v[i])
		}
	})
	return v
}

// Result stores the first element of v as a result.
func (m Machine) Result(v Vec, name string) {
	m.Emit(pick(m, "FMOVS", "FMOVD"), v.scalar(), m.argument(name))
}

// ResultInt stores r as a result.
func (m Machine) ResultInt(r Int, name string) {
	op := "MOVD"
	if m.slots[name].kind == "uint32" {
		op = "MOVW"
	}
	m.Emit(op, r, m.argument(name))
}

// At is an address: a register and a distance in bytes.
func At(r Int, disp int) string {
	if disp == 0 {
		return fmt.Sprintf("(%v)", r)
	}
	return fmt.Sprintf("%d(%v)", disp, r)
}

// Part is a machine that touches memory for a whole vector, or for one element alone. The other
// lanes then become 0.
type Part struct {
	Machine
	One bool
}

// Bytes is the size of what is touched.
func (p Part) Bytes() int {
	if p.One {
		return p.Size()
	}
	return Bytes
}

func (p Part) move() string {
	if p.One {
		return pick(p.Machine, "FMOVS", "FMOVD")
	}
	return "FMOVQ"
}

// Load loads the part.
func (p Part) Load(from string, v Vec) { p.Emit(p.move(), from, v.scalar()) }

// Store stores the part.
func (p Part) Store(v Vec, to string) { p.Emit(p.move(), v.scalar(), to) }

// Clear sets the lanes outside the part to 0.
func (p Part) Clear(v Vec) {
	if p.One {
		p.Emit(p.move(), v.scalar(), v.scalar())
	}
}

// Load loads a vector.
func (m Machine) Load(from string, v Vec) { Part{m, false}.Load(from, v) }

// Store stores a vector.
func (m Machine) Store(v Vec, to string) { Part{m, false}.Store(v, to) }

// LoadBytes loads 4 or 8 bytes and sets the rest of the vector to 0.
func (f *File) LoadBytes(n int, from string, v Vec) {
	f.Emit(map[int]string{4: "FMOVS", 8: "FMOVD", 16: "FMOVQ"}[n], from, v.scalar())
}

// StoreBytes stores the first 4 or 8 bytes.
func (f *File) StoreBytes(n int, v Vec, to string) {
	f.Emit(map[int]string{4: "FMOVS", 8: "FMOVD", 16: "FMOVQ"}[n], v.scalar(), to)
}

// Zero sets v to 0.
func (f *File) Zero(v Vec) { f.Emit("VEOR", v.bytes(), v.bytes(), v.bytes()) }

// Zeros takes n vector registers and sets them to 0.
func (f *File) Zeros(n int) []Vec {
	v := f.Vecs(n)
	for i := range v {
		f.Zero(v[i])
	}
	return v
}

// Move copies a to v.
func (f *File) Move(a, v Vec) { f.Emit("VMOV", a.bytes(), v.bytes()) }

// And sets v to the bits that a and b have.
func (f *File) And(b, a, v Vec) { f.Emit("VAND", b.bytes(), a.bytes(), v.bytes()) }

// Or sets v to the bits that a or b has.
func (f *File) Or(b, a, v Vec) { f.Emit("VORR", b.bytes(), a.bytes(), v.bytes()) }

// Ones sets all bits of v.
func (f *File) Ones(v Vec) { f.Emit("VCMEQ", v.bytes(), v.bytes(), v.bytes()) }

// Words sets the halves of v. It overwrites tmp.
func (f *File) Words(low, high uint64, v Vec, tmp Int) {
	for i, w := range []uint64{low, high} {
		f.Emit("MOVD", fmt.Sprintf("$0x%x", w), tmp)
		f.Emit("VMOV", tmp, fmt.Sprintf("V%d.D[%d]", int(v), i))
	}
}

// Extract copies half i of v to r.
func (f *File) Extract(v Vec, i int, r Int) {
	f.Emit("VMOV", fmt.Sprintf("V%d.D[%d]", int(v), i), r)
}

// ShiftLeft shifts the bits of each lane.
func (m Machine) ShiftLeft(by int, a, v Vec) { m.Emit("VSHL", by, a.all(m), v.all(m)) }

// CompareZero compares the first element with 0.
func (m Machine) CompareZero(v Vec) { m.Emit(pick(m, "FCMPS", "FCMPD"), "$(0.0)", v.scalar()) }

// InsertElse sets v to a where the bits of the mask are 0.
func (f *File) InsertElse(mask, a, v Vec) { f.Emit("VBIF", mask.bytes(), a.bytes(), v.bytes()) }

// FMA adds a b to v.
func (m Machine) FMA(b, a, v Vec) { m.Emit("VFMLA", b.all(m), a.all(m), v.all(m)) }

// FNMA subtracts a b from v.
func (m Machine) FNMA(b, a, v Vec) { m.Emit("VFMLS", b.all(m), a.all(m), v.all(m)) }

// Zip1 and Zip2 interleave the lower and the upper halves of a and b.
func (m Machine) Zip1(b, a, v Vec) { m.Emit("VZIP1", b.all(m), a.all(m), v.all(m)) }
func (m Machine) Zip2(b, a, v Vec) { m.Emit("VZIP2", b.all(m), a.all(m), v.all(m)) }

// Transposed returns the columns of the square matrix whose rows are v. It overwrites v and w.
func (m Machine) Transposed(v, w []Vec) []Vec {
	if m.Bits == 64 {
		m.Zip1(v[1], v[0], w[0])
		m.Zip2(v[1], v[0], w[1])
		return w
	}
	for i := range 2 { // rows 0 and 2, and rows 1 and 3, are interleaved, and then the results
		m.Zip1(v[i+2], v[i], w[2*i])
		m.Zip2(v[i+2], v[i], w[2*i+1])
	}
	for i := range 2 {
		m.Zip1(w[i+2], w[i], v[2*i])
		m.Zip2(w[i+2], w[i], v[2*i+1])
	}
	return v
}

// LoadPairs loads pairs and separates the first elements from the second.
func (m Machine) LoadPairs(from Int, firsts, seconds Vec) {
	m.Emit("VLD2.P", fmt.Sprintf("32(%v)", from), fmt.Sprintf("[%s, %s]", firsts.all(m), seconds.all(m)))
}

// StorePairs is the inverse of LoadPairs.
func (m Machine) StorePairs(firsts, seconds Vec, to Int) {
	m.Emit("VST2.P", fmt.Sprintf("[%s, %s]", firsts.all(m), seconds.all(m)), fmt.Sprintf("32(%v)", to))
}

// word writes an instruction that Go's assembler has no name for.
func (f *File) word(code uint32, text string, operands ...any) {
	fmt.Fprintf(&f.body, "\tWORD\t$0x%08X // %s\n", code, fmt.Sprintf(text, operands...))
}

// three writes an instruction with three vectors of floating-point numbers.
func (m Machine) three(name string, code uint32, b, a, v Vec) {
	t := pick(m, "4S", "2D")
	m.word(0x40000000|code|uint32(m.Bits/64)<<22|uint32(b)<<16|uint32(a)<<5|uint32(v),
		"%s V%d.%s, V%d.%s, V%d.%s", name, int(v), t, int(a), t, int(b), t)
}

func (m Machine) Add(b, a, v Vec)     { m.three("FADD", 0x0E20D400, b, a, v) }
func (m Machine) Sub(b, a, v Vec)     { m.three("FSUB", 0x0EA0D400, b, a, v) } // a - b
func (m Machine) Mul(b, a, v Vec)     { m.three("FMUL", 0x2E20DC00, b, a, v) }
func (m Machine) Div(b, a, v Vec)     { m.three("FDIV", 0x2E20FC00, b, a, v) } // a/b
func (m Machine) Max(b, a, v Vec)     { m.three("FMAX", 0x0E20F400, b, a, v) } // NaN if one is NaN
func (m Machine) Min(b, a, v Vec)     { m.three("FMIN", 0x0EA0F400, b, a, v) } // NaN if one is NaN
func (m Machine) Same(b, a, v Vec)    { m.three("FCMEQ", 0x0E20E400, b, a, v) }
func (m Machine) Above(b, a, v Vec)   { m.three("FCMGT", 0x2EA0E400, b, a, v) } // a > b
func (m Machine) AddPair(b, a, v Vec) { m.three("FADDP", 0x2E20D400, b, a, v) }
func (m Machine) MaxPair(b, a, v Vec) { m.three("FMAXP", 0x2E20F400, b, a, v) }

// AndNot sets v to the bits of a that b has not.
func (f *File) AndNot(b, a, v Vec) {
	f.word(0x4E601C00|uint32(b)<<16|uint32(a)<<5|uint32(v), "BIC V%d.16B, V%d.16B, V%d.16B", int(v), int(a), int(b))
}

// two writes an instruction with two vectors of floating-point numbers.
func (m Machine) two(name string, code uint32, a, v Vec) {
	t := pick(m, "4S", "2D")
	m.word(0x40000000|code|uint32(m.Bits/64)<<22|uint32(a)<<5|uint32(v), "%s V%d.%s, V%d.%s", name, int(v), t, int(a), t)
}

func (m Machine) Abs(a, v Vec)  { m.two("FABS", 0x0EA0F800, a, v) }
func (m Machine) Neg(a, v Vec)  { m.two("FNEG", 0x2EA0F800, a, v) }
func (m Machine) Sqrt(a, v Vec) { m.two("FSQRT", 0x2EA1F800, a, v) }

// lane writes an instruction with two vectors and lane i of b.
func (m Machine) lane(name string, code uint32, b Vec, i int, a, v Vec) {
	h, l := i, 0
	if m.Bits == 32 {
		h, l = i>>1, i&1
	}
	t := pick(m, "4S", "2D")
	m.word(code|uint32(m.Bits/64)<<22|uint32(l)<<21|uint32(b)<<16|uint32(h)<<11|uint32(a)<<5|uint32(v),
		"%s V%d.%s, V%d.%s, V%d.%s[%d]", name, int(v), t, int(a), t, int(b), t[1:], i)
}

// With lane i of b: FMALane adds the products with a to v, FNMALane subtracts them.
func (m Machine) FMALane(b Vec, i int, a, v Vec)  { m.lane("FMLA", 0x4F801000, b, i, a, v) }
func (m Machine) FNMALane(b Vec, i int, a, v Vec) { m.lane("FMLS", 0x4F805000, b, i, a, v) }
func (m Machine) MulLane(b Vec, i int, a, v Vec)  { m.lane("FMUL", 0x4F809000, b, i, a, v) }

// WidenLow and WidenHigh convert one half of a vector of float32 to float64.
func (f *File) WidenLow(a, v Vec) {
	f.word(0x0E617800|uint32(a)<<5|uint32(v), "FCVTL V%d.2D, V%d.2S", int(v), int(a))
}
func (f *File) WidenHigh(a, v Vec) {
	f.word(0x4E617800|uint32(a)<<5|uint32(v), "FCVTL2 V%d.2D, V%d.4S", int(v), int(a))
}

// Narrow converts a vector of float64 to float32, in the lower half.
func (f *File) Narrow(a, v Vec) {
	f.word(0x0E616800|uint32(a)<<5|uint32(v), "FCVTN V%d.2S, V%d.2D", int(v), int(a))
}

// Dispatch jumps to the code for n, from low to high, whose label begins with the given name.
func (m Machine) Dispatch(name string, n Int, low, high int) {
	if low == high {
		m.Emit("B", fmt.Sprint(name, low))
		return
	}
	mid := (low + high + 1) / 2
	above := fmt.Sprintf("%sFrom%dto%d", name, mid, high)
	m.Emit("CMP", mid, n)
	m.Emit("BGE", above)
	m.Dispatch(name, n, low, mid-1)
	m.Label(above)
	m.Dispatch(name, n, mid, high)
}

// NarrowHigh is Narrow to the upper half; the lower half stays.
func (f *File) NarrowHigh(a, v Vec) {
	f.word(0x4E616800|uint32(a)<<5|uint32(v), "FCVTN2 V%d.4S, V%d.2D", int(v), int(a))
}

// Loop runs the body while n, a number of elements, is at least that of several vectors; n loses
// these elements each time.
func (m Machine) Loop(label string, n Int, elements int, body func()) {
	m.Emit("SUBS", elements, n, n)
	m.Emit("BLT", label+"Done")
	m.Label(label)
	body()
	m.Emit("SUBS", elements, n, n)
	m.Emit("BGE", label)
	m.Label(label + "Done")
	m.Emit("ADD", elements, n, n)
}

// Advance adds a number of bytes to pointers.
func (f *File) Advance(by int, pointers ...Int) {
	for _, p := range pointers {
		f.Emit("ADD", by, p, p)
	}
}

// SPDX-License-Identifier: Apache-2.0

//go:build !noasm

package lanes

import (
	"unsafe"

	"github.com/kernelfold/kernelfold/internal/cpu"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// variant is a precision and an instruction set, as in the names of the kernels.
type variant int

const (
	portable variant = iota
	of32AVX2
	of64AVX2
	of32AVX512
	of64AVX512
)

// choose returns the variant for T and the instructions in use.
func choose[T vec.Float]() variant {
	v := portable
	switch {
	case cpu.Use >= cpu.AVX512:
		v = of32AVX512
	case cpu.Use >= cpu.AVX2:
		v = of32AVX2
	default:
		return portable
	}
	if Width[T]() < mostLanes {
		v++
	}
	return v
}

func f32[T vec.Float](x []T) *float32 { return (*float32)(unsafe.Pointer(&x[0])) }
func f64[T vec.Float](x []T) *float64 { return (*float64)(unsafe.Pointer(&x[0])) }

func transpose[T vec.Float](dst, src []T, rows, cols int) {
	switch choose[T]() {
	case portable:
		transposePortable(dst, src, rows, cols)
	case of32AVX2:
		transpose32AVX2(f32(dst), f32(src), rows, cols)
	case of64AVX2:
		transpose64AVX2(f64(dst), f64(src), rows, cols)
	case of32AVX512:
		transpose32AVX512(f32(dst), f32(src), rows, cols)
	case of64AVX512:
		transpose64AVX512(f64(dst), f64(src), rows, cols)
	}
}

func product[T vec.Float](c Mat[T], alpha T, a, b Mat[T], beta T) {
	switch choose[T]() {
	case portable:
		productPortable(c, alpha, a, b, beta)
	case of32AVX2:
		product32AVX2(f32(c.Data), f32(a.Data), f32(b.Data), c.R, c.C, a.C, c.RS, c.CS, a.RS, a.CS, b.RS, b.CS, float32(alpha), float32(beta))
	case of64AVX2:
		product64AVX2(f64(c.Data), f64(a.Data), f64(b.Data), c.R, c.C, a.C, c.RS, c.CS, a.RS, a.CS, b.RS, b.CS, float64(alpha), float64(beta))
	case of32AVX512:
		product32AVX512(f32(c.Data), f32(a.Data), f32(b.Data), c.R, c.C, a.C, c.RS, c.CS, a.RS, a.CS, b.RS, b.CS, float32(alpha), float32(beta))
	case of64AVX512:
		product64AVX512(f64(c.Data), f64(a.Data), f64(b.Data), c.R, c.C, a.C, c.RS, c.CS, a.RS, a.CS, b.RS, b.CS, float64(alpha), float64(beta))
	}
}

func symmetrize[T vec.Float](s []T, q int) {
	switch choose[T]() {
	case portable:
		symmetrizePortable(s, q)
	case of32AVX2:
		symmetrize32AVX2(f32(s), q, 0.5)
	case of64AVX2:
		symmetrize64AVX2(f64(s), q, 0.5)
	case of32AVX512:
		symmetrize32AVX512(f32(s), q, 0.5)
	case of64AVX512:
		symmetrize64AVX512(f64(s), q, 0.5)
	}
}

func cholesky[T vec.Float](g []T, q int, tiny, limit T) uint32 {
	switch choose[T]() {
	case of32AVX2:
		return cholesky32AVX2(f32(g), q, float32(tiny), 1, float32(limit))
	case of64AVX2:
		return cholesky64AVX2(f64(g), q, float64(tiny), 1, float64(limit))
	case of32AVX512:
		return cholesky32AVX512(f32(g), q, float32(tiny), 1, float32(limit))
	case of64AVX512:
		return cholesky64AVX512(f64(g), q, float64(tiny), 1, float64(limit))
	}
	return choleskyPortable(g, q, tiny, limit)
}

func solve[T vec.Float](y Mat[T], l []T) {
	switch choose[T]() {
	case portable:
		solvePortable(y, l)
	case of32AVX2:
		solve32AVX2(f32(y.Data), f32(l), y.R, y.C, y.RS, y.CS)
	case of64AVX2:
		solve64AVX2(f64(y.Data), f64(l), y.R, y.C, y.RS, y.CS)
	case of32AVX512:
		solve32AVX512(f32(y.Data), f32(l), y.R, y.C, y.RS, y.CS)
	case of64AVX512:
		solve64AVX512(f64(y.Data), f64(l), y.R, y.C, y.RS, y.CS)
	}
}

func advance[T vec.Float](y, x, t, v []T) {
	n := len(y) / len(t)
	switch choose[T]() {
	case portable:
		advancePortable(y, x, t, v)
	case of32AVX2:
		advance32AVX2(f32(y), f32(x), f32(t), f32(v), n)
	case of64AVX2:
		advance64AVX2(f64(y), f64(x), f64(t), f64(v), n)
	case of32AVX512:
		advance32AVX512(f32(y), f32(x), f32(t), f32(v), n)
	case of64AVX512:
		advance64AVX512(f64(y), f64(x), f64(t), f64(v), n)
	}
}

func dots[T vec.Float](out []float64, u, v []T) {
	n := len(u) / len(out)
	switch choose[T]() {
	case portable:
		dotsPortable(out, u, v)
	case of32AVX2:
		dots32AVX2(&out[0], f32(u), f32(v), n)
	case of64AVX2:
		dots64AVX2(&out[0], f64(u), f64(v), n)
	case of32AVX512:
		dots32AVX512(&out[0], f32(u), f32(v), n)
	case of64AVX512:
		dots64AVX512(&out[0], f64(u), f64(v), n)
	}
}

// frames returns the kernel for steps of frames, and how many it moves at a time.
func frames() (kernel framesKernel, group int) {
	switch {
	case cpu.Use >= cpu.AVX512:
		return frames32AVX512, 16
	case cpu.Use >= cpu.AVX2:
		return frames32AVX2, 8
	}
	return nil, 0
}

// SPDX-License-Identifier: Apache-2.0

package fused

import (
	"math"
	"unsafe"

	"github.com/kernelfold/kernelfold/internal/cpu"
	"github.com/kernelfold/kernelfold/internal/descent"
)

// nine is the number of elements of a 3 x 3 slice. Such points are shorter than a vector register,
// so a kernel processes as many points at a time as a register has lanes.
const nine = 9

// nineStep holds the constants of a step in the layout that the kernel for points of 9 elements
// reads.
type nineStep struct {
	terms                    [terms]float32
	ahead, slope, keep, take float32
}

// nineState is the workspace of that kernel, with sixteen places in each row.
type nineState struct {
	_                 [direction][16]float32
	_                 [2][16]float32
	factor            [16]float32 // largest g_t
	long              [16]float32 // |t d|^2/r^2 of the last group
	_                 [4][16]float32
	direction, length [16]float64
	_                 [nine + 6][16]float32
	failed            int // index of the first point that could not move, or -1
}

// floats views the whole of the state.
func (r *nineState) floats() []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(r)), int(unsafe.Sizeof(*r))/4)
}

// spheresOfNine makes the step for points of 9 elements in float32, with a kernel that processes as
// many points at a time as a vector has lanes.
func spheresOfNine(x, m, g []float32, o Sphere, s descent.Step) (p descent.Progress, failed int) {
	lanes := cpu.Use.Bytes() / 4
	if m == nil { // pass g in its place, with coefficients of 0
		m, s.Ahead, s.Keep, s.Take, s.Tangent = g, 0, 0, 0, false
	}
	n := nineStep{ahead: float32(s.Ahead), slope: float32(s.Slope), keep: float32(s.Keep), take: float32(s.Take)}
	for i, v := range o.terms(s, nine) {
		n.terms[i] = float32(v)
	}
	r := nineState{failed: -1}
	size := nine * lanes
	whole := len(x) - len(x)%size
	r.step(x[:whole], m[:whole], g[:whole], &n, 0, o, s, lanes)
	if whole < len(x) { // fill up the last group with copies of one point, with gradient 0
		var all [3][16 * nine]float32
		for i, v := range [...][]float32{x, m, g} {
			copy(all[i][:], v[whole:])
		}
		for at := len(x) - whole; at < size; at += nine {
			copy(all[0][at:], x[whole:whole+nine])
		}
		r.step(all[0][:size], all[1][:size], all[2][:size], &n, whole/nine, o, s, lanes)
		for i, v := range [...][]float32{x, m, g} {
			copy(v[whole:], all[i][:])
		}
	}
	p.Factor = 1
	for i := range lanes {
		p = p.Plus(descent.Progress{Direction: r.direction[i], Length: r.length[i], Factor: float64(r.factor[i])})
	}
	return p, r.failed
}

// step makes the step for whole groups of points. at is the index of the first point. After a long
// step a point is normalised again, because of rounding.
func (r *nineState) step(x, m, g []float32, n *nineStep, at int, o Sphere, s descent.Step, lanes int) {
	size := nine * lanes
	for len(x) > 0 {
		groups, _ := stepOfNineKernel(x, m, g, len(x)/size, n.terms[:], r.floats(), s.Tangent)
		done := size * groups
		last := x[done-size : done]
		for i := range lanes {
			if !(r.long[i] > 1) {
				continue
			}
			l := i * nine % lanes // the point that lane i belongs to
			if p := last[l*nine : (l+1)*nine]; !math.IsInf(float64(r.long[i]), 1) {
				renormalise(p, o)
			} else if k := at + (done-size)/nine + l; r.failed < 0 || k < r.failed {
				r.failed = k
			}
		}
		x, m, g, at = x[done:], m[done:], g[done:], at+done/nine
	}
}

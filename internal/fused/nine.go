// SPDX-License-Identifier: Apache-2.0

package fused

import (
	"math"

	"github.com/kernelfold/kernelfold/internal/descent"
)

// nine is how many elements a 3 x 3 slice has. Such points are too short for a vector of
// the machine each, and are taken as many at a time as one has numbers.
const nine = 9

// nineStep is a step as a kernel for points of 9 elements knows it.
type nineStep struct {
	terms                    [terms]float32
	ahead, slope, keep, take float32
}

// room is what such a kernel has to work with, of sixteen places each.
type room struct {
	_                 [direction][16]float32
	_                 [2][16]float32
	factor            [16]float32 // largest g_t
	long              [16]float32 // |t d|^2/r^2 of the last group
	_                 [4][16]float32
	direction, length [16]float64
	_                 [nine + 6][16]float32
	lost              int // the first point that has no step, or -1
}

// spheresOfNine makes the step in float32, where there is a kernel for so many points at
// a time.
func spheresOfNine(x, m, g []float32, o Sphere, s descent.Step, lanes int) (p descent.Progress, lost int) {
	if m == nil { // g stands in for it
		m, s.Ahead, s.Keep, s.Take, s.Tangent = g, 0, 0, 0, false
	}
	n := nineStep{ahead: float32(s.Ahead), slope: float32(s.Slope), keep: float32(s.Keep), take: float32(s.Take)}
	for i, v := range o.terms(s, nine) {
		n.terms[i] = float32(v)
	}
	r := room{lost: -1}
	size := nine * lanes
	whole := len(x) - len(x)%size
	r.step(x[:whole], m[:whole], g[:whole], &n, 0, o, s, lanes)
	if whole < len(x) { // beside copies of the first point that stay where they are
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
	return p, r.lost
}

// step makes the step for whole groups of points, of which the first is the at-th. Rounding
// asks for another normalisation where the step is long.
func (r *room) step(x, m, g []float32, n *nineStep, at int, o Sphere, s descent.Step, lanes int) {
	size := nine * lanes
	for len(x) > 0 {
		done := size * stepOfNine(x, m, g, lanes, n, r, s.Tangent)
		last := x[done-size : done]
		for i := range lanes {
			if !(r.long[i] > 1) {
				continue
			}
			l := i * nine % lanes // the order in a group
			if p := last[l*nine : (l+1)*nine]; !math.IsInf(float64(r.long[i]), 1) {
				settle(p, o)
			} else if k := at + (done-size)/nine + l; r.lost < 0 || k < r.lost {
				r.lost = k
			}
		}
		x, m, g, at = x[done:], m[done:], g[done:], at+done/nine
	}
}

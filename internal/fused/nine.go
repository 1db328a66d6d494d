// SPDX-License-Identifier: Apache-2.0

package fused

import (
	"github.com/kernelfold/kernelfold/internal/vec"
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
}

// spheresOfNine makes the step in float32, where there is a kernel for so many points at
// a time.
func spheresOfNine(x, m, g []float32, s Step, lanes int) Moved {
	if m == nil { // g stands in for it
		m, s.Ahead, s.Keep, s.Take, s.Tangent = g, 0, 0, 0, false
	}
	n := nineStep{ahead: float32(s.Ahead), slope: float32(s.Slope), keep: float32(s.Keep), take: float32(s.Take)}
	for i, v := range s.terms(nine) {
		n.terms[i] = float32(v)
	}
	var r room
	size := nine * lanes
	whole := len(x) - len(x)%size
	r.step(x[:whole], m[:whole], g[:whole], &n, s, lanes)
	if whole < len(x) { // beside zeros
		var all [3][16 * nine]float32
		for i, v := range [...][]float32{x, m, g} {
			copy(all[i][:], v[whole:])
		}
		r.step(all[0][:size], all[1][:size], all[2][:size], &n, s, lanes)
		for i, v := range [...][]float32{x, m, g} {
			copy(v[whole:], all[i][:])
		}
	}
	moved := Moved{Factor: 1}
	for i := range lanes {
		moved = moved.plus(Moved{r.direction[i], r.length[i], float64(r.factor[i])})
	}
	return moved
}

// step makes the step for whole groups of points. Rounding asks for another normalisation
// where the step is long.
func (r *room) step(x, m, g []float32, n *nineStep, s Step, lanes int) {
	size := nine * lanes
	for len(x) > 0 {
		done := size * stepOfNine(x, m, g, lanes, n, r, s.Tangent)
		last := x[done-size : done]
		for i := range lanes {
			if !(r.long[i] > 1) {
				continue
			}
			l := i * nine % lanes // the order in a group
			p := last[l*nine : (l+1)*nine]
			vec.Scale(p, s.Radius/vec.Norm(p), p)
		}
		x, m, g = x[done:], m[done:], g[done:]
	}
}

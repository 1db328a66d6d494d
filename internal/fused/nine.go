// SPDX-License-Identifier: Apache-2.0

package fused

import (
	"github.com/kernelfold/kernelfold/internal/vec"
)

// nine is how many elements a 3 x 3 slice has. Such points are too short for a vector of
// the machine each, and are taken as many at a time as one has numbers.
const nine = 9

// room is what a kernel for points of 9 elements knows of a step, has to work with, and
// leaves, each in sixteen places.
type room struct {
	terms                    [terms][16]float32 // long is |t d|^2/r^2 of the last group
	ahead, slope, keep, take [16]float32
	direction, length        [16]float64
	_                        [nine + 6][16]float32
}

// spheresOfNine makes the step in float32, where there is a kernel for so many points at
// a time.
func spheresOfNine(x, m, g []float32, s Step, lanes int) Moved {
	if m == nil { // g stands in for it
		m, s.Ahead, s.Keep, s.Take, s.Tangent = g, 0, 0, 0, false
	}
	var r room
	for i, v := range s.terms(nine) {
		fill(&r.terms[i], v)
	}
	fill(&r.ahead, s.Ahead)
	fill(&r.slope, s.Slope)
	fill(&r.keep, s.Keep)
	fill(&r.take, s.Take)
	size := nine * lanes
	whole := len(x) - len(x)%size
	r.step(x[:whole], m[:whole], g[:whole], s, lanes)
	if whole < len(x) { // beside zeros
		var all [3][16 * nine]float32
		for i, v := range [...][]float32{x, m, g} {
			copy(all[i][:], v[whole:])
		}
		r.step(all[0][:size], all[1][:size], all[2][:size], s, lanes)
		for i, v := range [...][]float32{x, m, g} {
			copy(v[whole:], all[i][:])
		}
	}
	moved := Moved{}
	for i := range lanes {
		moved = moved.plus(Moved{r.direction[i], r.length[i], float64(r.terms[factor][i])})
	}
	return moved
}

func fill(places *[16]float32, v float64) {
	for i := range places {
		places[i] = float32(v)
	}
}

// step makes the step for whole groups of points. Rounding asks for another normalisation
// where the step is long.
func (r *room) step(x, m, g []float32, s Step, lanes int) {
	size := nine * lanes
	for len(x) > 0 {
		done := size * stepOfNine(x, m, g, lanes, r, s.Tangent)
		last := x[done-size : done]
		for i := range lanes {
			if !(r.terms[long][i] > 1) {
				continue
			}
			l := i * nine % lanes // the order in a group
			p := last[l*nine : (l+1)*nine]
			vec.Scale(p, s.Radius/vec.Norm(p), p)
		}
		x, m, g = x[done:], m[done:], g[done:]
	}
}

// SPDX-License-Identifier: Apache-2.0

package fused

import (
	"github.com/kernelfold/kernelfold/internal/descent"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// chunk is the number of elements that are summed in their own precision, in the lanes of a
// vector, before the sums are added up in float64.
const chunk = 1 << 12

// Flat makes the step in Euclidean space:
//
//	x <- Shrink x - Rate d,  d = Ahead m + Slope g,  m <- Keep m + Take g,  g <- 0.
func Flat[T vec.Float](x, m, g []T, s descent.Step, shrink float64) descent.Progress {
	square := 0.0
	for from := 0; from < len(x); from += chunk {
		to := min(from+chunk, len(x))
		square += flat(x[from:to], part(m, from, to), g[from:to], s, shrink)
	}
	return descent.Progress{Direction: square, Length: s.Rate * s.Rate * square, Factor: 1}
}

// flat makes the step and returns |d|^2.
func flat[T vec.Float](x, m, g []T, s descent.Step, shrink float64) float64 {
	square, done := flatKernel(x, m, g, len(x), T(s.Ahead), T(s.Slope), T(s.Keep), T(s.Take), T(shrink), T(s.Rate))
	if done {
		return square
	}
	p, q, keep, take := T(s.Ahead), T(s.Slope), T(s.Keep), T(s.Take)
	a, f := T(shrink), T(s.Rate)
	for i, v := range x {
		d := q * g[i]
		if m != nil {
			d += p * m[i]
			m[i] = keep*m[i] + take*g[i]
		}
		square += float64(d) * float64(d)
		x[i], g[i] = a*v-f*d, 0
	}
	return square
}

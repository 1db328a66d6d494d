// SPDX-License-Identifier: Apache-2.0

package fused

import (
	"math"

	"github.com/kernelfold/kernelfold/internal/vec"
)

// AdamStep is a step of Adam in Euclidean space (Kingma, Ba 2015), element by element:
//
//	m <- Beta1 m + (1-Beta1) g',  s <- Beta2 s + (1-Beta2) g'^2,  g' = Slope g
//	x <- Shrink x - Rate m/Correct1 / (sqrt(s/Correct2) + Eps),  g <- 0.
//
// With AMSGrad, the largest s so far takes the place of s in the last line.
type AdamStep struct {
	Beta1, Beta2, Eps, Slope, Shrink, Rate, Correct1, Correct2 float64
}

// Adam makes the step and returns the squared norm of the step for a Rate of 1. largest holds the
// largest s so far, for AMSGrad; it is nil otherwise.
func Adam[T vec.Float](x, m, s, largest, g []T, a AdamStep) float64 {
	total := 0.0
	for from := 0; from < len(x); from += chunk {
		to := min(from+chunk, len(x))
		total += adam(x[from:to], m[from:to], s[from:to], part(largest, from, to), g[from:to], a)
	}
	return total
}

func adam[T vec.Float](x, m, s, largest, g []T, a AdamStep) float64 {
	b1, c1, b2, c2 := T(a.Beta1), T(1-a.Beta1), T(a.Beta2), T(1-a.Beta2)
	i1, i2, eps, slope := T(1/a.Correct1), T(1/a.Correct2), T(a.Eps), T(a.Slope)
	shrink, rate := T(a.Shrink), T(a.Rate)
	total, done := adamKernel(x, m, s, largest, g, len(x), slope, b1, c1, b2, c2, i1, i2, eps, shrink, rate)
	if done {
		return total
	}
	for i, v := range x {
		h := slope * g[i]
		m[i] = b1*m[i] + c1*h
		s[i] = b2*s[i] + c2*h*h
		top := s[i]
		if largest != nil {
			top = max(top, largest[i])
			largest[i] = top
		}
		d := i1 * m[i] / (T(math.Sqrt(float64(i2*top))) + eps)
		x[i] = shrink*v - rate*d
		g[i] = 0
		total += float64(d) * float64(d)
	}
	return total
}

// SPDX-License-Identifier: Apache-2.0

package fused

import (
	"math"

	"github.com/kernelfold/kernelfold/internal/scratch"
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
	c := moments[T]{
		beta1: T(a.Beta1), rest1: T(1 - a.Beta1), beta2: T(a.Beta2), rest2: T(1 - a.Beta2),
		scale1: T(1 / a.Correct1), scale2: T(1 / a.Correct2), eps: T(a.Eps), slope: T(a.Slope), shrink: T(a.Shrink), rate: T(a.Rate),
	}
	total := 0.0
	for from := 0; from < len(x); from += chunk {
		to := min(from+chunk, len(x))
		total += c.advance(x[from:to], m[from:to], s[from:to], part(largest, from, to), g[from:to])
	}
	return total
}

// AdagradStep is a step of Adagrad (Duchi, Hazan, Singer 2011), where Keep and Take are 1, or of
// RMSProp, where they add up to 1, in Euclidean space, element by element:
//
//	s <- Keep s + Take g'^2,  g' = Slope g
//	x <- Shrink x - Rate g' / (sqrt(s) + Eps),  g <- 0.
type AdagradStep struct {
	Keep, Take, Eps, Slope, Shrink, Rate float64
}

// Adagrad makes the step and returns the squared norm of the step for a Rate of 1.
func Adagrad[T vec.Float](x, s, g []T, a AdagradStep) float64 {
	c := moments[T]{
		rest1: 1, beta2: T(a.Keep), rest2: T(a.Take), scale1: 1, scale2: 1,
		eps: T(a.Eps), slope: T(a.Slope), shrink: T(a.Shrink), rate: T(a.Rate),
	}
	m := scratch.Get[T](min(chunk, len(x))) // a first moment without memory, small enough for the cache
	defer scratch.Put(m)
	clear(m)
	total := 0.0
	for from := 0; from < len(x); from += chunk {
		to := min(from+chunk, len(x))
		total += c.advance(x[from:to], m[:to-from], s[from:to], nil, g[from:to])
	}
	return total
}

// moments are the coefficients of a step with a first and a second moment.
type moments[T vec.Float] struct {
	beta1, rest1, beta2, rest2, scale1, scale2, eps, slope, shrink, rate T
}

func (c moments[T]) advance(x, m, s, largest, g []T) float64 {
	total, done := adamKernel(x, m, s, largest, g, len(x), c.slope, c.beta1, c.rest1, c.beta2, c.rest2, c.scale1, c.scale2, c.eps, c.shrink, c.rate)
	if done {
		return total
	}
	for i, v := range x {
		h := c.slope * g[i]
		m[i] = c.beta1*m[i] + c.rest1*h
		s[i] = c.beta2*s[i] + c.rest2*h*h
		top := s[i]
		if largest != nil {
			top = max(top, largest[i])
			largest[i] = top
		}
		d := c.scale1 * m[i] / (T(math.Sqrt(float64(c.scale2*top))) + c.eps)
		x[i] = c.shrink*v - c.rate*d
		g[i] = 0
		total += float64(d) * float64(d)
	}
	return total
}

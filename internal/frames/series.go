// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// mostTerms is the highest degree of the series.
const mostTerms = 6

// SeriesDegree returns how many terms after the first (I + E)^(-1/2) needs, |E| = e, for the defect of y (I + E)^(-1/2)
// to be below tol, or 0 if that is more than most, at most 6.
func SeriesDegree(e, tol float64, most int) int {
	rest := e * e // of the first degree; each coefficient is below 1/2
	for d := 1; d <= min(most, mostTerms); d++ {
		if rest < tol*(1-e) {
			return d
		}
		rest *= e
	}
	return 0
}

// InverseRoot replaces the symmetric e, q x q, by the terms up to the given degree, from 1 to 6, of
//
//	(I + E)^(-1/2) = I - E/2 + 3/8 E^2 - 5/16 E^3 + ...
func InverseRoot[T vec.Float](e []T, q, degree int) {
	c := [mostTerms + 1]float64{1}
	for k := 1; k <= degree; k++ {
		c[k] = -c[k-1] * float64(2*k-1) / float64(2*k)
	}
	if degree == 1 {
		vec.Scale(e, c[1], e)
		AddDiagonal(e, q, c[0])
		return
	}
	p, t := scratch.Get[T](q*q), scratch.Get[T](q*q)
	vec.Scale(p, c[degree], e)
	AddDiagonal(p, q, c[degree-1])
	for k := degree - 2; k >= 0; k-- {
		gemm.Mul(gemm.Of(t, q, q), 1, gemm.Of(e, q, q), gemm.Of(p, q, q), 0)
		AddDiagonal(t, q, c[k])
		p, t = t, p
	}
	copy(e, p)
	scratch.Put(p)
	scratch.Put(t)
}

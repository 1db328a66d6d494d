// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// maxDegree is the highest degree of the series.
const maxDegree = 6

// seriesDegree returns the degree that the series of (I + E)^(-1/2) needs, where |E| = e, so that
// the defect of y (I + E)^(-1/2) is below tol. It returns 0 if that degree is above most or above
// 6.
func seriesDegree(e, tol float64, most int) int {
	rest := e * e // after the first degree; each coefficient is below 1/2
	for d := 1; d <= min(most, maxDegree); d++ {
		if rest < tol*(1-e) {
			return d
		}
		rest *= e
	}
	return 0
}

// inverseRoot replaces the symmetric e, q x q, by the terms up to the given degree, from 1 to 6, of
//
//	(I + E)^(-1/2) = I - E/2 + 3/8 E^2 - 5/16 E^3 + ...
func inverseRoot[T vec.Float](e []T, q, degree int) {
	c := [maxDegree + 1]float64{1}
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

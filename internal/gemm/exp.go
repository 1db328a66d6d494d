// SPDX-License-Identifier: Apache-2.0

package gemm

import (
	"math"

	"github.com/kernelfold/kernelfold/internal/vec"
)

// Exp sets e = exp(a) for row-major n x n matrices, by scaling and squaring of
// the Taylor series of degree 18 (Higham 2005 gives the Pade form; the series
// needs no solver and is as accurate at the norm it is used for, 1/2). work has
// length 2 n n; a is overwritten.
func Exp(e, a, work []float64, n int) {
	nn := n * n
	a, p, t := a[:nn], work[:nn], work[nn:2*nn]
	squarings := 0
	if s := 2 * vec.Norm(a); s > 1 && !math.IsInf(s, 0) {
		squarings = int(math.Ceil(math.Log2(s)))
	}
	vec.Scale(a, math.Ldexp(1, -squarings), a)
	identity(p, n)
	const degree = 18
	for d := degree; d >= 1; d-- { // Horner: p = I + a p / d
		Mul(Of(t, n, n), 1/float64(d), Of(a, n, n), Of(p, n, n), 0)
		for i := range n {
			t[i*n+i]++
		}
		p, t = t, p
	}
	for range squarings {
		Mul(Of(t, n, n), 1, Of(p, n, n), Of(p, n, n), 0)
		p, t = t, p
	}
	copy(e[:nn], p)
}

func identity(p []float64, n int) {
	clear(p)
	for i := range n {
		p[i*n+i] = 1
	}
}

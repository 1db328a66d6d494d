// SPDX-License-Identifier: Apache-2.0

package gemm

import (
	"math"

	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// expSeries are Taylor polynomials of degree q^2, which take 2 (q-1) products (Paterson and Stockmeyer 1973), with the norms up to
// which their remainder, norm^(q^2+1) / (q^2+1)!, is less than a tenth of the rounding of float64.
var expSeries = []struct {
	q    int
	norm float64
}{{2, 1e-3}, {3, 0.08}, {4, 0.75}}

// Exp sets e = exp(a) for row-major n x n matrices, by a polynomial of a or, for long a, by repeated squaring of one of a / 2^s
// (Higham 2005 gives the Pade form; a polynomial needs no solver). a is overwritten.
func Exp(e, a []float64, n int) {
	nn := n * n
	size, squarings, at := vec.Norm(a[:nn]), 0, len(expSeries)-1
	for at > 0 && size <= expSeries[at-1].norm {
		at--
	}
	q := expSeries[at].q
	if s := size / expSeries[at].norm; s > 1 && !math.IsInf(s, 0) {
		squarings = int(math.Ceil(math.Log2(s)))
	}
	work := scratch.Get[float64]((q + 1) * nn)
	defer scratch.Put(work)
	cut := scratch.Parts(work)
	mul := func(c, a, b []float64) { Mul(Of(c, n, n), 1, Of(a, n, n), Of(b, n, n), 0) }

	var powers [5][]float64 // powers[i] is a^i
	powers[1] = a[:nn]
	vec.Scale(powers[1], math.Ldexp(1, -squarings), powers[1])
	for i := 2; i <= q; i++ {
		powers[i] = cut(nn)
		mul(powers[i], powers[i-1], powers[1])
	}
	p, t := cut(nn), cut(nn)
	vec.Scale(p, inverseFactorials[q*q], powers[q])
	for block := q - 1; block >= 0; block-- { // p = p a^q + the sum of a^i / (q block + i)! over i < q
		if block < q-1 {
			mul(t, p, powers[q])
			p, t = t, p
		}
		for i := 1; i < q; i++ {
			vec.Combine(p, 1, p, inverseFactorials[q*block+i], powers[i])
		}
		for i := range n {
			p[i*n+i] += inverseFactorials[q*block]
		}
	}
	for range squarings {
		mul(t, p, p)
		p, t = t, p
	}
	copy(e[:nn], p)
}

// inverseFactorials are 1/k!.
var inverseFactorials = func() (f [17]float64) {
	f[0] = 1
	for k := 1; k < len(f); k++ {
		f[k] = f[k-1] / float64(k)
	}
	return f
}()

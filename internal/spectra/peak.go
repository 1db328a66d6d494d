// SPDX-License-Identifier: Apache-2.0

package spectra

import (
	"math"

	"gonum.org/v1/gonum/mat"

	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Peak is where the symbol of a convolution is largest, among the points of a grid.
type Peak struct {
	// Bound is an upper bound of the norm on an infinite image, Factor times the largest singular value σ at the peak. It is
	// differentiable where the peak does not move: the factor is a constant.
	Bound, Factor float64
	// Gradient is that of σ with respect to the weights.
	Gradient []float64
}

// Peak returns the peak of a convolution without groups, strides and dilation, whose weights are not all 0. Bound
// exceeds the norm by at most the slack and 0.1 %.
func (c Conv) Peak(slack float64) Peak {
	s := newSymbol(c, outer)
	down, along, widest := s.points(slack)
	const close = 1e-3 // the fraction by which other points may exceed the peak
	q := s.q
	re, im, h := scratch.Get[float64](q*q), scratch.Get[float64](q*q), scratch.Get[float64](4*q*q)
	work := scratch.Get[float64](12 * q * q)
	defer func() {
		for _, x := range [][]float64{re, im, h, work} {
			scratch.Put(x)
		}
	}()
	var σ2, ω1, ω2 float64
	var x []float64 // u = x[:q] + i x[q:]
	for i := range down/2 + 1 {
		for j := range along {
			a, b := 2*math.Pi*float64(i)/float64(down), 2*math.Pi*float64(j)/float64(along)
			s.gram(a, b, re, im, h)
			if σ2 > 0 {
				if _, ok := prove(h, 2*q, σ2*(1+close), work); ok {
					continue
				}
			}
			if λ, v := leading(h, 2*q); λ > σ2 {
				σ2, ω1, ω2, x = λ, a, b, v
			}
		}
	}
	σ := math.Sqrt(σ2)
	p := Peak{Factor: up(math.Sqrt(1+2*close+s.error/σ2)) / widest}
	p.Bound = up(p.Factor * s.scale * σ)

	// σ = Re(u* K v) with v = K* u/σ.
	inputs := c.Channels
	wave := func(t int) (sin, cos float64) {
		return math.Sincos(float64(t/s.cols)*ω1 + float64(t%s.cols)*ω2)
	}
	vre, vim := make([]float64, inputs), make([]float64, inputs)
	for t, k := range s.taps {
		sin, cos := wave(t)
		for o := range q {
			row := k[o*inputs : (o+1)*inputs]
			vec.Combine(vre, 1, vre, (cos*x[o]+sin*x[q+o])/σ, row)
			vec.Combine(vim, 1, vim, (cos*x[q+o]-sin*x[o])/σ, row)
		}
	}
	p.Gradient = make([]float64, len(c.Weights))
	for t := range s.taps {
		sin, cos := wave(t)
		for o := range q {
			for ch := range inputs {
				// conj(u) exp(i <t, ω>) v
				re, im := x[o]*cos+x[q+o]*sin, x[o]*sin-x[q+o]*cos
				p.Gradient[(o*inputs+ch)*len(s.taps)+t] = re*vre[ch] - im*vim[ch]
			}
		}
	}
	return p
}

// leading returns the largest eigenvalue of a symmetric matrix and its eigenvector.
func leading(h []float64, n int) (float64, []float64) {
	var e mat.EigenSym
	if !e.Factorize(mat.NewSymDense(n, h[:n*n]), true) {
		return 0, nil
	}
	var v mat.Dense
	e.VectorsTo(&v)
	return e.Values(nil)[n-1], mat.Col(nil, n-1, &v)
}

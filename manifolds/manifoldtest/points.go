// SPDX-License-Identifier: Apache-2.0

package manifoldtest

import (
	"math"

	"github.com/kernelfold/kernelfold/manifolds"
)

// Arithmetic on batches, element by element or point by point. It runs in
// float64 and is rounded to the precision of the batch.

func value(x manifolds.Points, e int) float64 {
	if d := x.Data64(); d != nil {
		return d[e]
	}
	return float64(x.Data32()[e])
}

func put(x manifolds.Points, e int, v float64) {
	if d := x.Data64(); d != nil {
		d[e] = v
	} else {
		x.Data32()[e] = float32(v)
	}
}

func filled(p precision, s Shape, v float64) manifolds.Points {
	var x manifolds.Points
	var err error
	if n := s.K * s.N * s.P; p.double {
		x, err = manifolds.Points64(make([]float64, n), s.K, s.N, s.P)
	} else {
		x, err = manifolds.Points32(make([]float32, n), s.K, s.N, s.P)
	}
	if err != nil {
		panic(err)
	}
	fill(x, v)
	return x
}

func filledLike(x manifolds.Points, v float64) manifolds.Points {
	y := x.Like()
	fill(y, v)
	return y
}

func fill(x manifolds.Points, v float64) {
	for e := range x.Len() {
		put(x, e, v)
	}
}

func clone(x manifolds.Points) manifolds.Points { return scaled(1, x) }

// wide converts to float64.
func wide(x manifolds.Points) manifolds.Points {
	if x.Data64() != nil {
		return x
	}
	y := filled(double, Shape{x.K, x.N, x.P}, 0)
	for e := range x.Len() {
		put(y, e, value(x, e))
	}
	return y
}

// combine returns a x + b y.
func combine(a float64, x manifolds.Points, b float64, y manifolds.Points) manifolds.Points {
	z := x.Like()
	for e := range x.Len() {
		put(z, e, a*value(x, e)+b*value(y, e))
	}
	return z
}

func plus(x, y manifolds.Points) manifolds.Points  { return combine(1, x, 1, y) }
func minus(x, y manifolds.Points) manifolds.Points { return combine(1, x, -1, y) }

func scaled(a float64, x manifolds.Points) manifolds.Points {
	z := x.Like()
	for e := range x.Len() {
		put(z, e, a*value(x, e))
	}
	return z
}

// resize returns the points of x scaled to the given norms. A zero point stays zero.
func resize(x manifolds.Points, size []float64) manifolds.Points {
	z := x.Like()
	n, np := norms(x), x.N*x.P
	for e := range x.Len() {
		if k := e / np; n[k] > 0 {
			put(z, e, size[k]/n[k]*value(x, e))
		}
	}
	return z
}

// repeat returns a batch of count copies of point k.
func repeat(x manifolds.Points, k, count int) manifolds.Points {
	p := single
	if x.Data64() != nil {
		p = double
	}
	y := filled(p, Shape{count, x.N, x.P}, 0)
	for e, np := 0, x.N*x.P; e < y.Len(); e++ {
		put(y, e, value(x, k*np+e%np))
	}
	return y
}

// dots returns the Frobenius product of each pair of points.
func dots(x, y manifolds.Points) []float64 {
	d, np := make([]float64, x.K), x.N*x.P
	for e := range x.Len() {
		d[e/np] += value(x, e) * value(y, e)
	}
	return d
}

// norms returns the Frobenius norm of each point.
func norms(x manifolds.Points) []float64 { return roots(dots(x, x)) }

func roots(x []float64) []float64 {
	r := make([]float64, len(x))
	for k := range x {
		r[k] = math.Sqrt(x[k])
	}
	return r
}

// add returns the sums of lists of numbers, element by element.
func add(xs ...[]float64) []float64 {
	s := make([]float64, len(xs[0]))
	for _, x := range xs {
		for k := range s {
			s[k] += x[k]
		}
	}
	return s
}

// largest returns the larger numbers of two lists, element by element.
func largest(x, y []float64) []float64 {
	z := make([]float64, len(x))
	for k := range x {
		z[k] = max(x[k], y[k])
	}
	return z
}

// smallest returns the smaller ones.
func smallest(x, y []float64) []float64 { return times(-1, largest(times(-1, x), times(-1, y))) }

func times(a float64, x []float64) []float64 {
	s := make([]float64, len(x))
	for k := range x {
		s[k] = a * x[k]
	}
	return s
}

// mul returns the products of two lists of numbers, element by element.
func mul(x, y []float64) []float64 {
	s := make([]float64, len(x))
	for k := range x {
		s[k] = x[k] * y[k]
	}
	return s
}

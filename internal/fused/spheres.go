// SPDX-License-Identifier: Apache-2.0

package fused

import (
	"github.com/kernelfold/kernelfold/internal/descent"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// block is the number of elements that the two passes process at a time, so that the second pass
// finds x, m and g in the cache. The second pass reads no memory of its own, so meanwhile it prefetches the next block of x: only x,
// because the first pass, which reads memory and computes little, has the time to fetch the rest.
const block = 1 << 12

// Spheres makes the step for vectors of n elements that lie one after the other in x, each on a
// sphere. failed is the index of the first vector that could not move, or -1.
//
// With an order, the step is for the vectors of x and g with these numbers only, and vector i of m belongs to
// vector order[i] of x and g. The gradient of these vectors is then left to the caller, who clears all of it at once. Beyond its
// length, up to its capacity, the order may hold the numbers of vectors that are moved next; they are prefetched.
func Spheres[T vec.Float](x, m, g []T, order []int32, n int, o Sphere, s descent.Step) (p descent.Progress, failed int) {
	if hasKernel[T](n, order != nil, s) {
		return stepOfNines(vec.Float32s(x), vec.Float32s(m), vec.Float32s(g), order, false, o, s)
	}
	var w work[T]
	w.begin(o, s, n)
	if order != nil {
		for i, k := range order {
			from, to, next := int(k)*n, int(k+1)*n, 0
			if i+1 < len(order) {
				next = int(order[i+1]-k) * n
			}
			w.step(x[from:to], part(m, i*n, (i+1)*n), g[from:to], n, i, next, o, s)
		}
		return w.results()
	}
	size := n * min(maxPoints, max(1, block/n))
	for from := 0; from < len(x); from += size {
		to, next := min(from+size, len(x)), size
		if to == len(x) {
			next = 0
		}
		w.step(x[from:to:to], part(m, from, to), g[from:to:to], n, from/n, next, o, s)
	}
	return w.results()
}

// step makes the step for at most 64 vectors. at is the index of the first vector, and the vectors that are moved next
// lie next elements further on.
func (w *work[T]) step(x, m, g []T, n, at, next int, o Sphere, s descent.Step) {
	k := len(x) / n
	w.moments(x, m, g, n, k, o, s)
	long := w.blends(k, factors(s, at, k))
	w.apply(x, m, g, n, k, next, s)
	for i := 0; long && i < k; i++ {
		if w.isLong(i, at+i) {
			renormalise(x[i*n:(i+1)*n], o)
		}
	}
}

// renormalise centres the vector if the sphere is centred, and scales it to the radius.
func renormalise[T vec.Float](x []T, o Sphere) {
	if o.Centred {
		vec.Shift(x, x, -vec.Sum(x)/float64(len(x)))
	}
	vec.Scale(x, o.Radius/vec.Norm(x), x)
}

// factors returns those of k points from the given one, or nil.
func factors(s descent.Step, from, k int) []float64 {
	if s.Factors == nil {
		return nil
	}
	return s.Factors[from : from+k]
}

// GradientSquares sets out to |v|^2 of each vector of n elements, v the tangent projection of g at x.
func GradientSquares[T vec.Float](out []float64, x, g []T, n int, o Sphere) {
	s := descent.Step{Slope: 1}
	var w work[T]
	w.begin(o, s, n)
	size := n * min(maxPoints, max(1, block/n))
	for from := 0; from < len(x); from += size {
		to := min(from+size, len(x))
		w.moments(x[from:to], nil, g[from:to], n, (to-from)/n, o, s)
		for i := range (to - from) / n {
			at := from + i*n
			out[from/n+i] = w.gradientSquare(i, x[at:at+n], g[at:at+n], 1)
		}
	}
}

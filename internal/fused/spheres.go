// SPDX-License-Identifier: Apache-2.0

package fused

import (
	"github.com/kernelfold/kernelfold/internal/descent"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// block is how many elements the two sweeps take at a time, so that the second finds
// x, m and g in the cache.
const block = 1 << 14

// Spheres makes the step for the vectors of n elements that x holds one after the
// other, each on a sphere, and returns the first that has none, or -1.
func Spheres[T vec.Float](x, m, g []T, n int, o Sphere, s descent.Step) (p descent.Progress, lost int) {
	if lanes := groupOfNine[T](); lanes > 0 && n == nine {
		return spheresOfNine(singles(x), singles(m), singles(g), o, s, lanes)
	}
	var w work[T]
	w.begin(o, s, n)
	size := n * min(crowd, max(1, block/n))
	for from := 0; from < len(x); from += size {
		to := min(from+size, len(x))
		w.step(x[from:to:to], piece(m, from, to), g[from:to:to], n, from/n, o, s)
	}
	return w.moved()
}

// step makes the step for at most a crowd of vectors, of which the first is the at-th.
func (w *work[T]) step(x, m, g []T, n, at int, o Sphere, s descent.Step) {
	k := len(x) / n
	w.moments(x, m, g, n, k, o, s)
	long := w.blends(k)
	w.apply(x, m, g, n, k, s)
	for i := 0; long && i < k; i++ {
		if w.isLong(i, at+i) {
			settle(x[i*n:(i+1)*n], o)
		}
	}
}

// settle centres the vector, if the sphere is centred, and gives it its norm.
func settle[T vec.Float](x []T, o Sphere) {
	if o.Centred {
		vec.Shift(x, x, -vec.Sum(x)/float64(len(x)))
	}
	vec.Scale(x, o.Radius/vec.Norm(x), x)
}

// SPDX-License-Identifier: Apache-2.0

package fused

import "github.com/kernelfold/kernelfold/internal/vec"

// block is how many elements the two sweeps take at a time, so that the second finds
// x, m and g in the cache.
const block = 1 << 14

// Spheres makes the step for the vectors of n elements that x holds one after the
// other, each on a sphere.
func Spheres[T vec.Float](x, m, g []T, n int, s Step) Moved {
	var w work[T]
	w.begin(s, n)
	size := n * min(crowd, max(1, block/n))
	whole := len(x) - len(x)%(n*together[T](n))
	for from := 0; from < whole; from += size {
		to := min(from+size, whole)
		w.step(x[from:to:to], piece(m, from, to), g[from:to:to], n, s)
	}
	if whole < len(x) {
		w.padded(x[whole:], piece(m, whole, len(x)), g[whole:], n, s)
	}
	return w.moved()
}

// step makes the step for at most a crowd of vectors.
func (w *work[T]) step(x, m, g []T, n int, s Step) {
	k := len(x) / n
	w.moments(x, m, g, n, k, s)
	long := w.blends(k)
	w.apply(x, m, g, n, k, s)
	for i := 0; long && i < k; i++ {
		if w.isLong(i) {
			p := x[i*n : (i+1)*n]
			vec.Scale(p, s.Radius/vec.Norm(p), p)
		}
	}
}

// padded makes the step for fewer vectors than are taken at once, beside zeros.
func (w *work[T]) padded(x, m, g []T, n int, s Step) {
	var all [3][16 * 9]T
	size := n * together[T](n)
	xs, ms, gs := all[0][:size], all[1][:size], all[2][:size]
	copy(xs, x)
	copy(ms, m)
	copy(gs, g)
	if m == nil {
		ms = nil
	}
	w.step(xs, ms, gs, n, s)
	copy(x, xs)
	copy(m, ms)
	clear(g)
}

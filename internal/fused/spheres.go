// SPDX-License-Identifier: Apache-2.0

package fused

import "github.com/kernelfold/kernelfold/internal/vec"

// block is how many elements the two sweeps take at a time, so that the second finds
// x, m and g in the cache.
const block = 1 << 13

// Spheres makes the step for the vectors of n elements that x holds one after the
// other, each on a sphere.
func Spheres[T vec.Float](x, m, g []T, n int, s Step) Moved {
	w := newWork[T](s, n)
	size := n * min(crowd, max(1, block/n&^7))
	for from := 0; from < len(x); from += size {
		to := min(from+size, len(x))
		xs, ms, gs := x[from:to:to], piece(m, from, to), g[from:to:to]
		k := len(xs) / n
		w.moments(xs, ms, gs, n, k, s)
		long := w.blends(k)
		w.apply(xs, ms, gs, n, k, s)
		if long {
			for i := range k {
				if p := xs[i*n : (i+1)*n]; w.isLong(i) {
					vec.Scale(p, s.Radius/vec.Norm(p), p)
				}
			}
		}
	}
	return w.moved()
}

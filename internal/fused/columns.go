// SPDX-License-Identifier: Apache-2.0

package fused

import (
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Columns makes the step for the columns of the row-major r x c matrices that x holds one
// after the other, each column on a sphere.
func Columns[T vec.Float](x, m, g []T, r, c int, s Step) Moved {
	total := Moved{Factor: 1}
	const together = 64 // columns
	size := together * r
	all := scratch.Get[T](3 * size)
	defer scratch.Put(all)
	xs, ms, gs := all[:size], all[size:2*size], all[2*size:]
	columns := len(x) / r
	for from := 0; from < columns; from += together {
		k := min(together, columns-from)
		n := k * r
		gather(xs, x, r, c, from, k)
		gather(gs, g, r, c, from, k)
		if m == nil {
			total = total.plus(Spheres(xs[:n], nil, gs[:n], r, s))
		} else {
			gather(ms, m, r, c, from, k)
			total = total.plus(Spheres(xs[:n], ms[:n], gs[:n], r, s))
			scatter(m, ms, r, c, from, k)
		}
		scatter(x, xs, r, c, from, k)
		scatter(g, gs, r, c, from, k)
	}
	return total
}

// gather sets dst to k columns of the r x c matrices in x, from the given one on.
func gather[T vec.Float](dst, x []T, r, c, from, k int) {
	for j := range k {
		e := (from+j)/c*r*c + (from+j)%c
		for i := range r {
			dst[j*r+i] = x[e+i*c]
		}
	}
}

// scatter is the inverse of gather.
func scatter[T vec.Float](x, src []T, r, c, from, k int) {
	for j := range k {
		e := (from+j)/c*r*c + (from+j)%c
		for i := range r {
			x[e+i*c] = src[j*r+i]
		}
	}
}

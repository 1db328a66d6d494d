// SPDX-License-Identifier: Apache-2.0

package fused

import (
	"math"

	"github.com/kernelfold/kernelfold/internal/descent"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// run is how many rows are taken at a time. A lane of float32 sums so many elements before
// float64 takes over.
const run = 64

// Columns makes the step for the columns of the row-major r x c matrices that x holds one
// after the other, each column on a sphere, and returns the first matrix with a column
// that has no step, or -1.
func Columns[T vec.Float](x, m, g []T, r, c int, o Sphere, s descent.Step) (p descent.Progress, lost int) {
	var w work[T]
	w.begin(o, s, r)
	size := r * c
	if c < 16 { // too narrow: as many as fill a crowd side by side
		together := min(crowd/c, len(x)/size)
		all := scratch.Get[T](3 * together * size)
		for from := 0; from < len(x); from += together * size {
			to := min(from+together*size, len(x))
			w.sideBySide(x[from:to], piece(m, from, to), g[from:to], r, c, from/size, o, s, all)
		}
		scratch.Put(all)
		return w.moved()
	}
	for from := 0; from < len(x); from += size {
		to := from + size
		w.columns(x[from:to], piece(m, from, to), g[from:to], r, c, c, from/size, o, s)
	}
	return w.moved()
}

// sideBySide makes the step for the columns of matrices together, in a copy where their
// rows lie side by side.
func (w *work[T]) sideBySide(x, m, g []T, r, c, at int, o Sphere, s descent.Step, all []T) {
	n := len(x)
	xs, ms, gs := all[:n], all[n:2*n], all[2*n:3*n]
	copyRows(xs, x, r, c)
	copyRows(gs, g, r, c)
	if m == nil {
		ms = nil
	} else {
		copyRows(ms, m, r, c)
	}
	w.columns(xs, ms, gs, r, n/r, c, at, o, s)
	copyRowsBack(x, xs, r, c)
	if m != nil {
		copyRowsBack(m, ms, r, c)
	}
	clear(g)
}

// copyRows sets wide to the r x c matrices of x side by side.
func copyRows[T vec.Float](wide, x []T, r, c int) {
	stride := len(x) / r
	for i := range r {
		row, from := wide[i*stride:(i+1)*stride], x[i*c:]
		if c == 3 {
			for at := 0; at < stride; at += 3 {
				*(*[3]T)(row[at:]) = [3]T(from[r*at:])
			}
			continue
		}
		for at := 0; at < stride; at += c {
			for j := range c {
				row[at+j] = from[r*at+j]
			}
		}
	}
}

// copyRowsBack is the inverse of copyRows.
func copyRowsBack[T vec.Float](x, wide []T, r, c int) {
	stride := len(x) / r
	for i := range r {
		row, to := wide[i*stride:(i+1)*stride], x[i*c:]
		if c == 3 {
			for at := 0; at < stride; at += 3 {
				*(*[3]T)(to[r*at:]) = [3]T(row[at:])
			}
			continue
		}
		for at := 0; at < stride; at += c {
			for j := range c {
				to[r*at+j] = row[at+j]
			}
		}
	}
}

// columns makes the step for the columns of r x c numbers, in which matrices of width columns
// lie side by side. The first of them is the at-th of all.
func (w *work[T]) columns(x, m, g []T, r, c, width, at int, o Sphere, s descent.Step) {
	for from := 0; from < c; from += crowd {
		cols := min(crowd, c-from)
		w.sums = [5][crowd]float64{}
		for i := 0; i < r; i += run {
			start, to := i*c+from, (min(i+run, r)-1)*c+from+cols
			w.columnMoments(x[start:to], piece(m, start, to), g[start:to], min(run, r-i), c, cols, o, s)
		}
		long := w.blends(cols)
		for i := 0; i < r; i += run {
			start, to := i*c+from, (min(i+run, r)-1)*c+from+cols
			w.columnApply(x[start:to], piece(m, start, to), g[start:to], min(run, r-i), c, cols, s)
		}
		for j := 0; long && j < cols; j++ {
			if w.isLong(j, at+(from+j)/width) {
				normalise(x[from+j:], r, c, o.Radius)
			}
		}
	}
}

// normalise gives the column that begins x the norm.
func normalise[T vec.Float](x []T, r, c int, norm float64) {
	square := 0.0
	for i := range r {
		square += float64(x[i*c]) * float64(x[i*c])
	}
	f := T(norm / math.Sqrt(square))
	for i := range r {
		x[i*c] *= f
	}
}

// columnMoments adds to the sums of columns those over some rows, which lie stride apart.
func (w *work[T]) columnMoments(x, m, g []T, rows, stride, cols int, o Sphere, s descent.Step) {
	if w.columnMomentsKernel(x, m, g, rows, stride, cols, o, s) {
		return
	}
	p, q := T(s.Ahead), T(s.Slope)
	for i := range rows {
		for j := range cols {
			e := i*stride + j
			d := q * g[e]
			if m != nil {
				d += p * m[e]
			}
			a, b := float64(x[e]), float64(d)
			w.sums[sumXX][j] += a * a
			w.sums[sumXD][j] += a * b
			w.sums[sumDD][j] += b * b
			w.sums[sumX][j] += a
			w.sums[sumD][j] += b
		}
	}
}

// columnApply makes the step of columns in some rows.
func (w *work[T]) columnApply(x, m, g []T, rows, stride, cols int, s descent.Step) {
	if w.columnApplyKernel(x, m, g, rows, stride, cols, s) {
		return
	}
	for i := range rows {
		for j := range cols {
			e := i*stride + j
			w.applyOne(x, m, g, e, j, s)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package fused

import (
	"math"

	"github.com/kernelfold/kernelfold/internal/descent"
	"github.com/kernelfold/kernelfold/internal/lanes"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// rowBlock is the number of rows that are processed at a time. In float32, sums over that many elements are computed in
// float32 and then added up in float64.
const rowBlock = 64

// Columns makes the step for the columns of row-major r x c matrices that lie one after the other
// in x. Each column lies on a sphere. failed is the index of the first matrix with a column that
// could not move, or -1. order is that of Spheres, for matrices. Factors are those of the columns, the same for all columns of a matrix.
func Columns[T vec.Float](x, m, g []T, order []int32, r, c int, o Sphere, s descent.Step) (p descent.Progress, failed int) {
	if r == 3 && c == 3 && hasKernel[T](nine, order != nil, s) {
		return stepOfNines(vec.Float32s(x), vec.Float32s(m), vec.Float32s(g), order, true, o, s)
	}
	var w work[T]
	w.begin(o, s, r)
	size := r * c
	if order != nil {
		all := scratch.Get[T](3 * size)
		for i, k := range order {
			from, to := int(k)*size, int(k+1)*size
			w.sideBySide(x[from:to], part(m, i*size, (i+1)*size), g[from:to], r, c, i, o, s, all)
		}
		scratch.Put(all)
		return w.results()
	}
	if c >= 16 {
		for from := 0; from < len(x); from += size {
			to := from + size
			w.columns(x[from:to], part(m, from, to), g[from:to], r, c, factors(s, from/r, c), o, s, func(int) int { return from / size })
		}
		return w.results()
	}
	// The matrices are too narrow for vectors: copy several side by side, or small ones into lanes.
	from := 0
	if width := lanes.Width[T](); r <= lanes.Most && c <= lanes.Most && len(x) >= width*size {
		lines, whole := lanes.Borrow[T](3 * size)
		for ; from+width*size <= len(x); from += width * size {
			to := from + width*size
			w.inLanes(x[from:to], part(m, from, to), g[from:to], r, c, from/size, o, s, lines)
		}
		scratch.Put(whole)
	}
	if from < len(x) {
		together := min(maxPoints/c, len(x)/size)
		all := scratch.Get[T](3 * together * size)
		for ; from < len(x); from += together * size {
			to := min(from+together*size, len(x))
			w.sideBySide(x[from:to], part(m, from, to), g[from:to], r, c, from/size, o, s, all)
		}
		scratch.Put(all)
	}
	return w.results()
}

// inLanes makes the step for the columns of as many matrices as there are lanes, in a copy in which each lane of a line belongs to another
// matrix: its rows have c columns of each lane. at is the index of the first matrix.
func (w *work[T]) inLanes(x, m, g []T, r, c, at int, o Sphere, s descent.Step, lines []T) {
	n, width := len(x), lanes.Width[T]()
	xs, ms, gs := lines[:n], lines[n:2*n], lines[2*n:3*n]
	lanes.Load(xs, x, r*c)
	lanes.Load(gs, g, r*c)
	if m == nil {
		ms = nil
	} else {
		lanes.Load(ms, m, r*c)
	}
	var f []float64
	if s.Factors != nil {
		f = scratch.Get[float64](c * width)
		defer scratch.Put(f)
		for j := range f {
			f[j] = s.Factors[(at+j%width)*c+j/width]
		}
	}
	w.columns(xs, ms, gs, r, c*width, f, o, s, func(j int) int { return at + j%width })
	lanes.Store(x, xs, r*c)
	if m != nil {
		lanes.Store(m, ms, r*c)
	}
	clear(g)
}

// sideBySide makes the step for the columns of several matrices in a copy in which the matrices lie
// side by side. at is the index of the first matrix.
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
	w.columns(xs, ms, gs, r, n/r, factors(s, at*c, n/r), o, s, func(j int) int { return at + j/c })
	copyRowsBack(x, xs, r, c)
	if m != nil {
		copyRowsBack(m, ms, r, c)
	}
	clear(g)
}

// copyRows sets wide to the r x c matrices of x, side by side.
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

// columns makes the step for the c columns of r elements, with the factors of each unless they are nil. matrix returns the index of the matrix that a
// column belongs to.
func (w *work[T]) columns(x, m, g []T, r, c int, f []float64, o Sphere, s descent.Step, matrix func(column int) int) {
	for from := 0; from < c; from += maxPoints {
		cols := min(maxPoints, c-from)
		w.sums = [5][maxPoints]float64{}
		for i := 0; i < r; i += rowBlock {
			start, to := i*c+from, (min(i+rowBlock, r)-1)*c+from+cols
			w.columnMoments(x[start:to], part(m, start, to), g[start:to], min(rowBlock, r-i), c, cols, o, s)
		}
		var own []float64
		if f != nil {
			own = f[from : from+cols]
		}
		long := w.blends(cols, own)
		for i := 0; i < r; i += rowBlock {
			start, to := i*c+from, (min(i+rowBlock, r)-1)*c+from+cols
			w.columnApply(x[start:to], part(m, start, to), g[start:to], min(rowBlock, r-i), c, cols, s)
		}
		for j := 0; long && j < cols; j++ {
			if w.isLong(j, matrix(from+j)) {
				normalise(x[from+j:], r, c, o.Radius)
			}
		}
	}
}

// normalise scales the first column of x to the given norm.
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

// columnMoments adds the sums over some rows, stride elements apart, to the sums of the columns.
func (w *work[T]) columnMoments(x, m, g []T, rows, stride, cols int, o Sphere, s descent.Step) {
	if momentsOfColumnsKernel(x, m, g, rows, stride, cols, T(s.Ahead), T(s.Slope), o.Centred, w.sums[0][:]) {
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

// columnApply applies the coefficients of the columns to some rows.
func (w *work[T]) columnApply(x, m, g []T, rows, stride, cols int, s descent.Step) {
	if applyToColumnsKernel(x, m, g, rows, stride, cols, T(s.Ahead), T(s.Slope), T(s.Keep), T(s.Take), s.Tangent, w.blend[0][:]) {
		return
	}
	for i := range rows {
		for j := range cols {
			e := i*stride + j
			w.applyOne(x, m, g, e, j, s)
		}
	}
}

// GradientSquaresOfColumns sets out to |v|^2 of each column of the r x c matrices in x, v the tangent
// projection of g at x.
func GradientSquaresOfColumns[T vec.Float](out []float64, x, g []T, r, c int, o Sphere) {
	s := descent.Step{Slope: 1}
	var w work[T]
	w.begin(o, s, r)
	for at := 0; at < len(x); at += r * c {
		for from := 0; from < c; from += maxPoints {
			cols := min(maxPoints, c-from)
			w.sums = [5][maxPoints]float64{}
			for i := 0; i < r; i += rowBlock {
				start, to := at+i*c+from, at+(min(i+rowBlock, r)-1)*c+from+cols
				w.columnMoments(x[start:to], nil, g[start:to], min(rowBlock, r-i), c, cols, o, s)
			}
			for j := range cols {
				column := at + from + j
				out[at/r+from+j] = w.gradientSquare(j, x[column:at+r*c], g[column:at+r*c], c)
			}
		}
	}
}

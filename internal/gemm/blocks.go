// SPDX-License-Identifier: Apache-2.0

package gemm

import (
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Block sizes in bytes: a panel of B stays in the first-level cache while all
// panels of a block of A, which stays in the second, are multiplied with it.
const (
	bytesOfPanel = 32 << 10
	bytesOfBlock = 320 << 10
	maxDepth     = 512
	maxCols      = 2048
)

// part is the part of C that is wanted.
type part int

const (
	whole part = iota
	lower      // tiles without an element on or below the diagonal are left as they are
)

// multiply sets C = alpha A B, or adds that to C. The columns of C have stride 1.
func multiply[T vec.Float](c Mat[T], alpha T, a, b Mat[T], adding bool, want part) {
	k := a.C
	width, height, size := tileWidth[T](), tileHeight[T](), sizeOf[T]()
	depth := evenly(k, min(maxDepth, bytesOfPanel/size/width))
	rows := evenly(c.R, max(height, bytesOfBlock/size/depth/height*height))
	cols := min(maxCols, (c.C+width-1)/width*width)
	work := scratch.Get[T]((rows+cols)*depth + 2*slack)
	packedA, packedB := work[:rows*depth+slack], work[rows*depth+slack:]
	for p0 := 0; p0 < k; p0 += depth {
		kb := min(depth, k-p0)
		for j0 := 0; j0 < c.C; j0 += cols {
			nb := min(cols, c.C-j0)
			packCols(packedB, b.Sub(p0, j0, kb, nb))
			for i0 := 0; i0 < c.R; i0 += rows {
				mb := min(rows, c.R-i0)
				if want == lower && j0 >= i0+mb {
					continue
				}
				packRows(packedA, alpha, a.Sub(i0, p0, mb, kb))
				block(c.Sub(i0, j0, mb, nb), packedA, packedB, kb, adding || p0 > 0, i0-j0, want)
			}
		}
	}
	scratch.Put(work)
}

// block multiplies a packed block of A with one of B. Row i, column j of C is on the
// diagonal where j = i + diagonal.
func block[T vec.Float](c Mat[T], a, b []T, k int, adding bool, diagonal int, want part) {
	width, mode := tileWidth[T](), 0
	if adding {
		mode = modeAdd
	}
	at := steps(width)[:k]
	panels := panelsOf[T](c.R)
	for j := 0; j < c.C; j += width {
		for i := range panels {
			from, to := i*c.R/panels, (i+1)*c.R/panels
			if want == lower && j >= to+diagonal {
				continue
			}
			tile(to-from, min(width, c.C-j), a[from*k:], to-from, b[j*k:], at, width/2, c.Data[from*c.RS+j:], c.RS, mode)
		}
	}
}

// evenly returns the length of equal parts of n, none longer than most.
func evenly(n, most int) int {
	parts := (n + most - 1) / most
	return (n + parts - 1) / parts
}

// panelsOf returns into how many panels so many rows of A are cut. Panel i has the
// rows from i*rows/panels to (i+1)*rows/panels: their heights differ by one at most.
func panelsOf[T vec.Float](rows int) int {
	height := tileHeight[T]()
	return (rows + height - 1) / height
}

// packRows copies alpha A in panels, one after the other, each with the values that
// a kernel takes next lying next to each other. It needs slack elements beyond.
func packRows[T vec.Float](dst []T, alpha T, a Mat[T]) {
	panels := panelsOf[T](a.R)
	for i := range panels {
		from, to := i*a.R/panels, (i+1)*a.R/panels
		pack(dst[from*a.C:], to-from, a.Sub(from, 0, to-from, a.C).T(), alpha)
	}
}

// packCols copies B in panels as wide as a tile.
func packCols[T vec.Float](dst []T, b Mat[T]) {
	width := tileWidth[T]()
	for j := 0; j < b.C; j += width {
		pack(dst[j*b.R:], width, b.Sub(0, j, b.R, min(width, b.C-j)), 1)
	}
}

// pack copies alpha B to rows of the given stride, which lie in ascending order in
// what may be written up to slack elements beyond the last. What is written between
// the rows is arbitrary.
func pack[T vec.Float](dst []T, stride int, b Mat[T], alpha T) {
	switch lanes := transposeLanes[T](); {
	case b.CS == 1:
		copyRows(dst, stride, b.Data, b.RS, b.C, b.R, alpha)
	case b.RS == 1 && b.R >= lanes:
		// The square on the left comes last: it mends what the others write beyond their row.
		for j := (b.C - 1) / lanes * lanes; j >= 0; j -= lanes {
			transpose(dst[j:], stride, b.Data[j*b.CS:], b.CS, min(lanes, b.C-j), b.R, alpha)
		}
	default:
		for p := range b.R {
			for j := range b.C {
				dst[p*stride+j] = alpha * b.Data[p*b.RS+j*b.CS]
			}
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package gemm

import (
	"github.com/kernelfold/kernelfold/internal/par"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// slack is the number of elements that packing may write beyond a panel.
const slack = 64

// panelsOf returns the number of panels into which rows of A are cut, by par.Cut.
func panelsOf[T vec.Float](rows int) int { return ceil(rows, tileHeight[T]()) }

func ceil(n, by int) int { return (n + by - 1) / by }

// packRows copies alpha A in panels, one after the other, in the order in which a kernel reads the
// elements. dst must have slack elements more than A.
func packRows[T vec.Float](dst []T, alpha T, a Mat[T]) {
	panels := panelsOf[T](a.R)
	for i := range panels {
		from, to := par.Cut(i, a.R, panels), par.Cut(i+1, a.R, panels)
		pack(dst[from*a.C:], to-from, a.Sub(from, 0, to-from, a.C).T(), alpha)
	}
}

// packCols copies B in panels as wide as a tile. dst must have slack elements more than the panels.
func packCols[T vec.Float](dst []T, b Mat[T]) {
	width := tileWidth[T]()
	for j := 0; j < b.C; j += width {
		pack(dst[j*b.R:], width, b.Sub(0, j, b.R, min(width, b.C-j)), 1)
	}
}

// pack copies alpha B to rows that are stride elements apart in dst. It may write arbitrary values
// between the rows and up to slack elements beyond the last row.
func pack[T vec.Float](dst []T, stride int, b Mat[T], alpha T) {
	switch lanes := transposeLanes[T](); {
	case b.CS == 1:
		copyRows(dst, stride, b.Data, b.RS, b.C, b.R, alpha)
	case b.RS == 1 && b.R >= lanes:
		// From right to left: the last block of a row may write beyond it, into the beginning of the
		// next row, which the first block then overwrites.
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

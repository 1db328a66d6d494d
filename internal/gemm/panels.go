// SPDX-License-Identifier: Apache-2.0

package gemm

import (
	"github.com/kernelfold/kernelfold/internal/par"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// PanelWidth is the number of columns of the panels that MulPanels reads, with the instructions in
// use.
func PanelWidth[T vec.Float]() int { return tileWidth[T]() }

// MulPanels sets C = A B and reads A where it lies, which suits many small products with the same B.
// b holds B in panels of PanelWidth columns, one after the other, each row-major. The last panel is
// as wide as the others; what lies beyond the columns of B does not matter. The columns of A and C
// have stride 1. MulPanels runs on the goroutine that calls it, and an element of C depends on no
// other row of A, so the bits are the same however the rows are divided.
func MulPanels[T vec.Float](c, a Mat[T], b []T) {
	width := tileWidth[T]()
	if a.CS != 1 || c.CS != 1 || a.R != c.R || len(b) < ceil(c.C, width)*width*a.C {
		panic("gemm: shapes do not match")
	}
	panels := panelsOf[T](c.R)
	for j := 0; j < c.C; j += width {
		cols := min(width, c.C-j)
		for p := 0; p < a.C; p += maxDepth {
			at, mode := steps(width)[:min(maxDepth, a.C-p)], 0
			if p > 0 {
				mode = modeAdd
			}
			for i := range panels {
				from, to := par.Cut(i, c.R, panels), par.Cut(i+1, c.R, panels)
				tile(to-from, cols, a.Data[from*a.RS+p:], a.RS, 1, b[j*a.C+p*width:], at, width/2, c.Data[from*c.RS+j:], c.RS, mode)
			}
		}
	}
}

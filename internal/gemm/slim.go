// SPDX-License-Identifier: Apache-2.0

package gemm

import (
	"github.com/kernelfold/kernelfold/internal/par"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// A slim matrix is row-major with rows as close to each other as those of a packed panel, at most maxWidth elements apart. Products read
// it where it lies, so packing, which takes longer than the multiplications of tiny matrices, is left out.

// SlimStride returns the distance of the rows of a slim matrix of so many columns, or 0 if there are too many. The elements between
// its rows do not matter.
func SlimStride[T vec.Float](cols int) int {
	stride := max(portableWidth, tileWidth[T]()/2) // at least a vector
	for stride < cols {
		stride *= 2
	}
	if steps(stride) == nil {
		return 0
	}
	return stride
}

// CopySlim sets A, a slim matrix, to alpha B. It may write arbitrary values between the rows, and A must have Slack elements more.
func CopySlim[T vec.Float](a Mat[T], alpha float64, b Mat[T]) {
	width := tileWidth[T]()
	for j := (b.C - 1) / width * width; j >= 0; j -= width { // from right to left, as the last vector of a row may reach into the next row
		pack(a.Data[j:], a.RS, b.Sub(0, j, b.R, min(width, b.C-j)), T(alpha))
	}
}

// slim reports whether m is a slim matrix.
func (m Mat[T]) slim() bool { return m.CS == 1 && steps(m.RS) != nil }

// runSlim multiplies without a workspace if B is slim, and reads A where it lies. It returns false if that is not possible.
func (p *product[T]) runSlim() bool {
	if !p.b.slim() || p.alpha != 1 || p.a.RS != 1 && p.a.RS*sizeOf[T]()%badDistance == 0 || p.overruns() {
		return false
	}
	width, panels, depth, rows := tileWidth[T](), panelsOf[T](p.c.R), p.depth(), steps(p.b.RS)
	mode := 0
	if p.adding {
		mode = modeAdd
	}
	for p0 := 0; p0 < p.a.C; p0 += depth {
		k := min(p.a.C-p0, depth)
		for j := 0; j < p.c.C; j += width {
			for i, from, to := 0, 0, 0; i < panels; i, from = i+1, to {
				if to = p.c.R; i < panels-1 {
					to = par.Cut(i+1, p.c.R, panels)
				}
				if n, cols := p.needed(to, j, min(width, p.c.C-j), p0, k); n > 0 && cols > 0 {
					tile(to-from, cols, p.a.Data[from*p.a.RS+p0*p.a.CS:], p.a.RS, p.a.CS, p.b.Data[p0*p.b.RS+j:], rows[:n], width/2,
						p.c.Data[from*p.c.RS+j:], p.c.RS, mode)
				}
			}
		}
		mode = modeAdd
	}
	return true
}

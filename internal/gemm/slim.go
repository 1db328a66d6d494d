// SPDX-License-Identifier: Apache-2.0

package gemm

import "github.com/kernelfold/kernelfold/internal/vec"

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

// runSlim multiplies without a workspace, with both factors read where they lie, if the rows of B are as close to each
// other as those of a packed panel. It returns false if they are not.
func (p *product[T]) runSlim() bool {
	if p.b.CS != 1 || p.alpha != 1 || p.a.RS != 1 && p.a.RS*sizeOf[T]()%badDistance == 0 {
		return false
	}
	s := sources[T]{readsA: true, readsB: true, at: steps(p.b.RS)}
	width := tileWidth[T]()
	last := (p.c.C - 1) / width * width // the first column of the last tile
	if s.at == nil || (p.b.R-1)*p.b.RS+last+reach[T](p.c.C-last) > len(p.b.Data) {
		return false
	}
	for p0, k := 0, 0; p0 < p.a.C; p0 += k {
		k = min(p.a.C-p0, maxDepth)
		p.block(&s, 0, p.c.R, 0, p.c.C, p0, k)
	}
	return true
}

// reach is the number of elements that a tile of so many columns reads of each row of B.
func reach[T vec.Float](cols int) int {
	width := tileWidth[T]()
	if cols > width/2 || width == portableWidth {
		return width
	}
	return width / 2
}

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

// slim reports whether m is a slim matrix.
func (m Mat[T]) slim() bool { return m.CS == 1 && steps(m.RS) != nil }

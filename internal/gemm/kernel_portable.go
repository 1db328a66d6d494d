// SPDX-License-Identifier: Apache-2.0

//go:build (!amd64 && !arm64) || noasm

package gemm

import "github.com/kernelfold/kernelfold/internal/vec"

func tileHeight[T vec.Float]() int     { return portableHeight }
func tileWidth[T vec.Float]() int      { return portableWidth }
func transposeLanes[T vec.Float]() int { return 1 }

func tile[T vec.Float](rows, cols int, a []T, rs, cs int, b []T, at []int, step int, c []T, ldc, mode int) {
	portableTile(rows, cols, a, rs, cs, b, at, step, c, ldc, mode)
}

func copyRows[T vec.Float](dst []T, stride int, src []T, ld, cols, k int, alpha T) {
	portableCopy(dst, stride, src, ld, cols, k, alpha)
}

func transpose[T vec.Float](dst []T, stride int, src []T, ld, cols, k int, alpha T) {
	portableTranspose(dst, stride, src, ld, cols, k, alpha)
}

func columns[T vec.Float](dst []T, stride int, src []T, ld, k int) {
	portableColumns(dst, stride, src, ld, k, 1)
}

func eliminate[T vec.Float](l, v *[leaf * leaf]T, pivots *[leaf]T, n int) {
	portableEliminate(l, v, pivots, n)
}

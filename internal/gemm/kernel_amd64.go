// SPDX-License-Identifier: Apache-2.0

//go:build !noasm

package gemm

import (
	"github.com/kernelfold/kernelfold/internal/cpu"
	"github.com/kernelfold/kernelfold/internal/vec"
)

func tileHeight[T vec.Float]() int {
	switch {
	case cpu.Use >= cpu.AVX512:
		return 14
	case cpu.Use >= cpu.AVX2:
		return 6
	}
	return portableHeight
}

func tileWidth[T vec.Float]() int {
	switch {
	case cpu.Use >= cpu.AVX512:
		return 128 / sizeOf[T]()
	case cpu.Use >= cpu.AVX2:
		return 64 / sizeOf[T]()
	}
	return portableWidth
}

// transposeLanes is the size of the square blocks that transpose works in.
func transposeLanes[T vec.Float]() int {
	if cpu.Use >= cpu.AVX2 {
		return 32 / sizeOf[T]()
	}
	return 1
}

// tile is portableTile with the instructions in use. It reads B across the whole width of a tile.
func tile[T vec.Float](rows, cols int, a []T, rs, cs int, b []T, at []int, step int, c []T, ldc, mode int) {
	if cpu.Use == cpu.Portable {
		portableTile(rows, cols, a, rs, cs, b, at, step, c, ldc, mode)
		return
	}
	_, _ = c[(rows-1)*ldc+cols-1], a[(rows-1)*rs+(len(at)-1)*cs]
	switch k, wide := len(at), cpu.Use >= cpu.AVX512; {
	case sizeOf[T]() == 4 && wide:
		mul32AVX512(rows, cols, k, vec.Pointer32(a), rs, cs, vec.Pointer32(b), &at[0], step, vec.Pointer32(c), ldc, mode)
	case sizeOf[T]() == 4:
		mul32AVX2(rows, cols, k, vec.Pointer32(a), rs, cs, vec.Pointer32(b), &at[0], step, vec.Pointer32(c), ldc, mode)
	case wide:
		mul64AVX512(rows, cols, k, vec.Pointer64(a), rs, cs, vec.Pointer64(b), &at[0], step, vec.Pointer64(c), ldc, mode)
	default:
		mul64AVX2(rows, cols, k, vec.Pointer64(a), rs, cs, vec.Pointer64(b), &at[0], step, vec.Pointer64(c), ldc, mode)
	}
}

// copyRows is portableCopy with the instructions in use. It may write beyond cols, up to a whole
// number of vectors.
func copyRows[T vec.Float](dst []T, stride int, src []T, ld, cols, k int, alpha T) {
	if cpu.Use == cpu.Portable {
		portableCopy(dst, stride, src, ld, cols, k, alpha)
		return
	}
	_, _ = src[(k-1)*ld+cols-1], dst[(k-1)*stride+tileWidth[T]()-1]
	switch wide := cpu.Use >= cpu.AVX512; {
	case sizeOf[T]() == 4 && wide:
		copy32AVX512(vec.Pointer32(dst), stride, vec.Pointer32(src), ld, cols, k, float32(alpha))
	case sizeOf[T]() == 4:
		copy32AVX2(vec.Pointer32(dst), stride, vec.Pointer32(src), ld, cols, k, float32(alpha))
	case wide:
		copy64AVX512(vec.Pointer64(dst), stride, vec.Pointer64(src), ld, cols, k, float64(alpha))
	default:
		copy64AVX2(vec.Pointer64(dst), stride, vec.Pointer64(src), ld, cols, k, float64(alpha))
	}
}

// transpose is portableTranspose with the instructions in use. cols must be at most transposeLanes,
// and k at least transposeLanes. It may write transposeLanes elements for each p.
func transpose[T vec.Float](dst []T, stride int, src []T, ld, cols, k int, alpha T) {
	if cpu.Use == cpu.Portable {
		portableTranspose(dst, stride, src, ld, cols, k, alpha)
		return
	}
	_, _ = src[(cols-1)*ld+k-1], dst[(k-1)*stride+transposeLanes[T]()-1]
	if sizeOf[T]() == 4 {
		transpose32(vec.Pointer32(dst), stride, vec.Pointer32(src), ld, cols, k, float32(alpha))
	} else {
		transpose64(vec.Pointer64(dst), stride, vec.Pointer64(src), ld, cols, k, float64(alpha))
	}
}

// columns is portableColumns for transposeLanes columns with the instructions in use. k must be a
// multiple of transposeLanes.
func columns[T vec.Float](dst []T, stride int, src []T, ld, k int) {
	lanes := transposeLanes[T]()
	if cpu.Use == cpu.Portable {
		portableColumns(dst, stride, src, ld, k, lanes)
		return
	}
	_, _ = src[(k-1)*ld+lanes-1], dst[(lanes-1)*stride+k-1]
	if sizeOf[T]() == 4 {
		columns32(vec.Pointer32(dst), stride, vec.Pointer32(src), ld, k)
	} else {
		columns64(vec.Pointer64(dst), stride, vec.Pointer64(src), ld, k)
	}
}

// eliminate is portableEliminate with the instructions in use.
func eliminate[T vec.Float](l, v *[leaf * leaf]T, pivots *[leaf]T, n int) {
	switch wide := cpu.Use >= cpu.AVX512; {
	case cpu.Use == cpu.Portable:
		portableEliminate(l, v, pivots, n)
	case sizeOf[T]() == 4 && wide:
		eliminate32AVX512(vec.Pointer32(l[:]), vec.Pointer32(v[:]), vec.Pointer32(pivots[:]), n)
	case sizeOf[T]() == 4:
		eliminate32AVX2(vec.Pointer32(l[:]), vec.Pointer32(v[:]), vec.Pointer32(pivots[:]), n)
	case wide:
		eliminate64AVX512(vec.Pointer64(l[:]), vec.Pointer64(v[:]), vec.Pointer64(pivots[:]), n)
	default:
		eliminate64AVX2(vec.Pointer64(l[:]), vec.Pointer64(v[:]), vec.Pointer64(pivots[:]), n)
	}
}

// SPDX-License-Identifier: Apache-2.0

//go:build !noasm

package gemm

import (
	"github.com/kernelfold/kernelfold/internal/cpu"
	"github.com/kernelfold/kernelfold/internal/vec"
)

const (
	neonHeight = 12
	neonBytes  = 16 // of a vector
)

func tileHeight[T vec.Float]() int {
	if cpu.Use == cpu.NEON {
		return neonHeight
	}
	return portableHeight
}

func tileWidth[T vec.Float]() int {
	if cpu.Use == cpu.NEON {
		return 2 * neonBytes / sizeOf[T]()
	}
	return portableWidth
}

// transposeLanes is the size of the square blocks that transpose works in.
func transposeLanes[T vec.Float]() int {
	if cpu.Use == cpu.NEON {
		return neonBytes / sizeOf[T]()
	}
	return 1
}

// tile is portableTile with the instructions in use. It reads B across the whole width of a tile.
func tile[T vec.Float](rows, cols int, a []T, rs, cs int, b []T, at []int, step int, c []T, ldc, mode int) {
	if cpu.Use != cpu.NEON {
		portableTile(rows, cols, a, rs, cs, b, at, step, c, ldc, mode)
		return
	}
	_, _ = c[(rows-1)*ldc+cols-1], a[(rows-1)*rs+(len(at)-1)*cs]
	lanes := neonBytes / sizeOf[T]()
	vectors := 2
	if cols <= lanes && mode&modeQuarters == 0 {
		vectors = 1
	}
	if cols == vectors*lanes {
		mul(rows, vectors, a, rs, cs, b, at, step, c, ldc, mode)
		return
	}
	// The kernel stores whole vectors, so a part of a tile goes through a buffer.
	var whole [neonHeight * 2 * neonBytes / 4]T
	width := 2 * lanes
	mul(rows, vectors, a, rs, cs, b, at, step, whole[:], width, mode&^modeAdd)
	for i := range rows {
		row := c[i*ldc:][:cols]
		if mode&modeAdd == 0 {
			copy(row, whole[i*width:])
			continue
		}
		for j, v := range whole[i*width:][:cols] {
			row[j] += v
		}
	}
}

// mul runs the kernel, which stores whole vectors.
func mul[T vec.Float](rows, vectors int, a []T, rs, cs int, b []T, at []int, step int, c []T, ldc, mode int) {
	if sizeOf[T]() == 4 {
		mul32NEON(rows, vectors, len(at), vec.Pointer32(a), rs, cs, vec.Pointer32(b), &at[0], step, vec.Pointer32(c), ldc, mode)
	} else {
		mul64NEON(rows, vectors, len(at), vec.Pointer64(a), rs, cs, vec.Pointer64(b), &at[0], step, vec.Pointer64(c), ldc, mode)
	}
}

// copyRows is portableCopy with the instructions in use.
func copyRows[T vec.Float](dst []T, stride int, src []T, ld, cols, k int, alpha T) {
	if cpu.Use != cpu.NEON {
		portableCopy(dst, stride, src, ld, cols, k, alpha)
		return
	}
	_, _ = src[(k-1)*ld+cols-1], dst[(k-1)*stride+cols-1]
	if sizeOf[T]() == 4 {
		copy32NEON(vec.Pointer32(dst), stride, vec.Pointer32(src), ld, cols, k, float32(alpha))
	} else {
		copy64NEON(vec.Pointer64(dst), stride, vec.Pointer64(src), ld, cols, k, float64(alpha))
	}
}

// transpose is portableTranspose with the instructions in use. cols must be at most transposeLanes,
// and k at least transposeLanes. It may write transposeLanes elements for each p.
func transpose[T vec.Float](dst []T, stride int, src []T, ld, cols, k int, alpha T) {
	if cpu.Use != cpu.NEON {
		portableTranspose(dst, stride, src, ld, cols, k, alpha)
		return
	}
	_, _ = src[(cols-1)*ld+k-1], dst[(k-1)*stride+transposeLanes[T]()-1]
	if sizeOf[T]() == 4 {
		transpose32NEON(vec.Pointer32(dst), stride, vec.Pointer32(src), ld, cols, k, float32(alpha))
	} else {
		transpose64NEON(vec.Pointer64(dst), stride, vec.Pointer64(src), ld, cols, k, float64(alpha))
	}
}

// columns is portableColumns for transposeLanes columns with the instructions in use. k must be a
// multiple of transposeLanes.
func columns[T vec.Float](dst []T, stride int, src []T, ld, k int) {
	lanes := transposeLanes[T]()
	if cpu.Use != cpu.NEON {
		portableColumns(dst, stride, src, ld, k, lanes)
		return
	}
	_, _ = src[(k-1)*ld+lanes-1], dst[(lanes-1)*stride+k-1]
	if sizeOf[T]() == 4 {
		columns32NEON(vec.Pointer32(dst), stride, vec.Pointer32(src), ld, k)
	} else {
		columns64NEON(vec.Pointer64(dst), stride, vec.Pointer64(src), ld, k)
	}
}

// eliminate is portableEliminate with the instructions in use.
func eliminate[T vec.Float](l, v *[leaf * leaf]T, pivots *[leaf]T, n int) {
	switch {
	case cpu.Use != cpu.NEON:
		portableEliminate(l, v, pivots, n)
	case sizeOf[T]() == 4:
		eliminate32NEON(vec.Pointer32(l[:]), vec.Pointer32(v[:]), vec.Pointer32(pivots[:]), n)
	default:
		eliminate64NEON(vec.Pointer64(l[:]), vec.Pointer64(v[:]), vec.Pointer64(pivots[:]), n)
	}
}

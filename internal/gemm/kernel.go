// SPDX-License-Identifier: Apache-2.0

package gemm

import (
	"math"
	"unsafe"

	"github.com/kernelfold/kernelfold/internal/vec"
)

// The kernels in portable Go specify the kernels in assembly.

// Modes of a tile.
const (
	modeAdd      = 1 // add to C
	modeQuarters = 2 // each row of B lies in four pieces
)

const (
	portableHeight = 2
	portableWidth  = 4
	maxHeight      = 14 // with any instruction set
	maxWidth       = 32
)

func sizeOf[T vec.Float]() int {
	var x T
	return int(unsafe.Sizeof(x))
}

// steps returns the offsets of the rows of a packed panel of B, maxDepth of them, or nil if no panel has that width.
func steps(width int) []int {
	switch width {
	case 4:
		return steps4[:]
	case 8:
		return steps8[:]
	case 16:
		return steps16[:]
	case 32:
		return steps32[:]
	}
	return nil
}

// stepsOf returns the offsets of k rows that are stride elements apart, or nil if they are not at hand.
func stepsOf(stride, k int) []int {
	if at := steps(stride); at != nil {
		return at
	}
	if k <= maxNear && stride <= maxNear {
		return near[stride][:k]
	}
	return nil
}

// near holds the offsets of a few rows at each small distance.
var near = func() (m [maxNear + 1][maxNear]int) {
	for stride := range m {
		for i := range m[stride] {
			m[stride][i] = i * stride
		}
	}
	return m
}()

const maxNear = 64

var steps4, steps8, steps16, steps32 = multiples(4), multiples(8), multiples(16), multiples(32)

func multiples(n int) (m [maxDepth]int) {
	for i := range m {
		m[i] = i * n
	}
	return m
}

// portableTile sets the rows x cols tile C to A B, or adds A B to it. Element (i, p) of A is
// a[i*rs+p*cs]. Row p of B begins at b[at[p]]; its second half, or with modeQuarters each further
// quarter, begins step elements later. The rows of C are ldc elements apart.
func portableTile[T vec.Float](rows, cols int, a []T, rs, cs int, b []T, at []int, step int, c []T, ldc, mode int) {
	var s [portableHeight * portableWidth]T
	for p, o := range at {
		x := b[o:]
		b0, b1, b2, b3 := x[0], x[1], x[step], x[step+1]
		if mode&modeQuarters != 0 {
			b1, b2, b3 = x[step], x[2*step], x[3*step]
		}
		f := a[p*cs]
		s[0] += f * b0
		s[1] += f * b1
		s[2] += f * b2
		s[3] += f * b3
		if rows == 2 {
			f = a[p*cs+rs]
			s[4] += f * b0
			s[5] += f * b1
			s[6] += f * b2
			s[7] += f * b3
		}
	}
	for i := range rows {
		row := c[i*ldc:][:cols]
		for j := range row {
			if mode&modeAdd != 0 {
				row[j] += s[i*portableWidth+j]
			} else {
				row[j] = s[i*portableWidth+j]
			}
		}
	}
}

// portableCopy sets dst[p*stride+j] = alpha src[p*ld+j] for p < k and j < cols.
func portableCopy[T vec.Float](dst []T, stride int, src []T, ld, cols, k int, alpha T) {
	for p := range k {
		to := dst[p*stride:]
		for j, v := range src[p*ld:][:cols] {
			to[j] = alpha * v
		}
	}
}

// portableTranspose sets dst[p*stride+j] = alpha src[j*ld+p] for p < k and j < cols.
func portableTranspose[T vec.Float](dst []T, stride int, src []T, ld, cols, k int, alpha T) {
	for j := range cols {
		for p, v := range src[j*ld:][:k] {
			dst[p*stride+j] = alpha * v
		}
	}
}

// portableColumns sets dst[p*stride+j] = src[j*ld+p] for p < lanes and j < k.
func portableColumns[T vec.Float](dst []T, stride int, src []T, ld, k, lanes int) {
	for j := range k {
		for p, v := range src[j*ld:][:lanes] {
			dst[p*stride+j] = v
		}
	}
}

// portableEliminate factors an n x n matrix G = L L^T. l holds the columns of G, leaf elements
// apart, and then those of L on and below the diagonal. The row operations that turn L into the
// identity are applied to v as well. pivots are the squares of the diagonal of L.
func portableEliminate[T vec.Float](l, v *[leaf * leaf]T, pivots *[leaf]T, n int) {
	for k := range n {
		lk, vk := l[k*leaf:][:leaf], v[k*leaf:][:leaf]
		pivots[k] = lk[k]
		f := T(math.Sqrt(float64(lk[k]))) / lk[k]
		for j := range lk {
			lk[j] *= f
			vk[j] *= f
		}
		for i := k + 1; i < n; i++ {
			f, li, vi := lk[i], l[i*leaf:][:leaf], v[i*leaf:][:leaf]
			for j := range lk {
				li[j] -= f * lk[j]
				vi[j] -= f * vk[j]
			}
		}
	}
}

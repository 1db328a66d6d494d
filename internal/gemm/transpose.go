// SPDX-License-Identifier: Apache-2.0

package gemm

import "github.com/kernelfold/kernelfold/internal/vec"

// Transpose sets dst, c x r, to the transpose of src, r x c. Rows of dst are stride elements apart,
// rows of src ld. It writes nothing else.
func Transpose[T vec.Float](dst []T, stride int, src []T, ld, r, c int) {
	lanes, i := transposeLanes[T](), 0
	switch {
	case lanes == 1 || c < lanes:
	case stride > ld: // the rows of dst are far apart: write long pieces of few of them at a time
		i = r / lanes * lanes
		j := 0
		for ; i > 0 && j+lanes <= c; j += lanes {
			columns(dst[j*stride:], stride, src[j:], ld, i)
		}
		if i > 0 && j < c {
			Transpose(dst[j*stride:], stride, src[j:], ld, i, c-j)
		}
	default: // a few rows of dst at a time, so that the pieces of a row meet in the cache
		const few = 32
		for j, n := 0, 0; j < c; j += n {
			if n = few; c-j < n+lanes {
				n = c - j
			}
			for i = 0; i+lanes <= r; i += lanes {
				transpose(dst[j*stride+i:], stride, src[i*ld+j:], ld, lanes, n, 1)
			}
		}
	}
	for ; i+4 <= r; i += 4 {
		s0, s1, s2, s3 := src[i*ld:][:c], src[(i+1)*ld:][:c], src[(i+2)*ld:][:c], src[(i+3)*ld:][:c]
		e := i
		for j := range s0 {
			d := dst[e : e+4 : e+4]
			d[0], d[1], d[2], d[3] = s0[j], s1[j], s2[j], s3[j]
			e += stride
		}
	}
	for ; i < r; i++ {
		e := i
		for _, v := range src[i*ld:][:c] {
			dst[e] = v
			e += stride
		}
	}
}

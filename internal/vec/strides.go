// SPDX-License-Identifier: Apache-2.0

package vec

import "github.com/kernelfold/kernelfold/internal/cpu"

// Pick copies every step-th element of rows:
//
//	dst[u*dstPitch+j] = src[u*srcPitch+j*step]   for u < rows and j < n.
//
// Unlike the arguments of other functions, these may have different lengths. They must not overlap.
func Pick[T Float](dst []T, dstPitch int, src []T, srcPitch, step, rows, n int) {
	if rows < 1 || n < 1 {
		return
	}
	_, _ = dst[(rows-1)*dstPitch+n-1], src[(rows-1)*srcPitch+(n-1)*step]
	done := stridesDone[T](step, n, len(src)-(rows-1)*srcPitch)
	if done > 0 {
		evensKernel(dst, src, dstPitch, srcPitch, rows, done)
	}
	if done == n {
		return
	}
	for u := range rows {
		to, from := dst[u*dstPitch:][:n], src[u*srcPitch:][:(n-1)*step+1]
		if step == 1 {
			copy(to, from)
			continue
		}
		for j := done; j < n; j++ {
			to[j] = from[j*step]
		}
	}
}

// Place is the inverse of [Pick]:
//
//	dst[u*dstPitch+j*step] = src[u*srcPitch+j]   for u < rows and j < n.
//
// The other elements of dst must not be in use elsewhere: those next to the ones that are set may be read, and written again with the
// values that they have.
func Place[T Float](dst []T, dstPitch int, src []T, srcPitch, step, rows, n int) {
	if rows < 1 || n < 1 {
		return
	}
	_, _ = dst[(rows-1)*dstPitch+(n-1)*step], src[(rows-1)*srcPitch+n-1]
	done := stridesDone[T](step, n, len(dst)-(rows-1)*dstPitch)
	if done > 0 {
		spreadKernel(dst, src, dstPitch, srcPitch, rows, done)
	}
	if done == n {
		return
	}
	for u := range rows {
		to, from := dst[u*dstPitch:][:(n-1)*step+1], src[u*srcPitch:][:n]
		if step == 1 {
			copy(to, from)
			continue
		}
		for j := done; j < n; j++ {
			to[j*step] = from[j]
		}
	}
}

// stridesDone returns how many of the n elements of a row kernels process, which know steps of 2. Without masks they touch whole
// pairs; the last row has room elements.
func stridesDone[T Float](step, n, room int) int {
	switch {
	case step != 2:
		return 0
	case cpu.Use == cpu.AVX512 || room >= 2*n:
		return whole[T](n)
	}
	return whole[T](n - 1)
}

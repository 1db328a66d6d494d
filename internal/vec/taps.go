// SPDX-License-Identifier: Apache-2.0

package vec

// Taps sets dst[i] to the sum of w[3u+v] xu[i+v] over u and v from 0 to 2, from left to right: a row of a convolution with
// 3 x 3 weights w. x0, x1 and x2 must have two elements more than dst, which must not overlap with them.
func Taps[T Float](dst, x0, x1, x2, w []T) {
	n := len(dst)
	x0, x1, x2, w = x0[:n+2], x1[:n+2], x2[:n+2], w[:9]
	done := whole[T](n)
	tapsKernel(dst, x0, x1, x2, w, done)
	for i := done; i < n; i++ {
		s := T(w[0] * x0[i])
		s += T(w[1] * x0[i+1])
		s += T(w[2] * x0[i+2])
		s += T(w[3] * x1[i])
		s += T(w[4] * x1[i+1])
		s += T(w[5] * x1[i+2])
		s += T(w[6] * x2[i])
		s += T(w[7] * x2[i+1])
		s += T(w[8] * x2[i+2])
		dst[i] = s
	}
}

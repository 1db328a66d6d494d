// SPDX-License-Identifier: Apache-2.0

package vec

// Rectify sets dst to max(x, 0), the rectified linear unit. NaN stays NaN.
func Rectify[T Float](dst, x []T) {
	dst = dst[:len(x)]
	done := whole[T](len(x))
	rectifyKernel(dst, x, done)
	for i := done; i < len(x); i++ {
		v := x[i]
		if v <= 0 {
			v = 0
		}
		dst[i] = v
	}
}

// RectifyBack sets dst to g where y > 0 and to 0 elsewhere: the gradient of [Rectify], where y is its
// input or its output.
func RectifyBack[T Float](dst, y, g []T) {
	dst, g = dst[:len(y)], g[:len(y)]
	done := whole[T](len(y))
	rectifyBackKernel(dst, y, g, done)
	for i := done; i < len(y); i++ {
		if y[i] > 0 {
			dst[i] = g[i]
		} else {
			dst[i] = 0
		}
	}
}

// RectifyTo sets dst to min(max(x, 0), top), for top > 0. NaN stays NaN.
func RectifyTo[T Float](dst, x []T, top float64) {
	dst = dst[:len(x)]
	t := T(top)
	done := whole[T](len(x))
	rectifyToKernel(dst, x, done, t)
	for i := done; i < len(x); i++ {
		v := x[i]
		switch {
		case v <= 0:
			v = 0
		case v > t:
			v = t
		}
		dst[i] = v
	}
}

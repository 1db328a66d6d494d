// SPDX-License-Identifier: Apache-2.0

package vec

import "math"

// nothing is the addend for functions that add nothing. It is -0, because adding +0 turns -0 into
// +0.
var nothing = math.Copysign(0, -1)

// Scale sets dst to a x.
func Scale[T Float](dst []T, a float64, x []T) { Affine(dst, x, a, nothing) }

// Shift sets dst to x + b.
func Shift[T Float](dst, x []T, b float64) { Affine(dst, x, 1, b) }

// Affine sets dst to a x + b.
func Affine[T Float](dst, x []T, a, b float64) {
	dst = dst[:len(x)]
	f, h := T(a), T(b)
	done := whole[T](len(x))
	affineKernel(dst, x, done, f, h)
	for i := done; i < len(x); i++ {
		dst[i] = T(f*x[i]) + h
	}
}

// Combine sets dst to a x + b y.
func Combine[T Float](dst []T, a float64, x []T, b float64, y []T) {
	Affine2(dst, a, x, b, y, nothing)
}

// Add adds x to dst.
func Add[T Float](dst, x []T) { Affine2(dst, 1, dst, 1, x, nothing) }

// Affine2 sets dst to a x + b y + c.
func Affine2[T Float](dst []T, a float64, x []T, b float64, y []T, c float64) {
	dst, y = dst[:len(x)], y[:len(x)]
	f, g, h := T(a), T(b), T(c)
	done := whole[T](len(x))
	affine2Kernel(dst, x, y, done, f, g, h)
	for i := done; i < len(x); i++ {
		dst[i] = T(T(f*x[i])+T(g*y[i])) + h
	}
}

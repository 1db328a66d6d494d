// SPDX-License-Identifier: Apache-2.0

// Package vec holds the vector kernels that every other package is built on.
//
// Sums run in float64 for both precisions, so that the square of no float32
// overflows or vanishes. Slices of one call have one length; dst may be an
// argument.
package vec

import "math"

// Float is the set of precisions.
type Float interface{ float32 | float64 }

// Eps returns the distance from 1 to the next larger T.
func Eps[T Float]() float64 {
	if T(1)+T(1e-9) == 1 {
		return 0x1p-23
	}
	return 0x1p-52
}

// Dot returns the sum of x[i]*y[i].
func Dot[T Float](x, y []T) float64 {
	var s0, s1, s2, s3 float64
	n := len(x) &^ 3
	y = y[:len(x)]
	for i := 0; i < n; i += 4 {
		a, b := x[i:i+4:i+4], y[i:i+4:i+4]
		s0 += float64(a[0]) * float64(b[0])
		s1 += float64(a[1]) * float64(b[1])
		s2 += float64(a[2]) * float64(b[2])
		s3 += float64(a[3]) * float64(b[3])
	}
	for i := n; i < len(x); i++ {
		s0 += float64(x[i]) * float64(y[i])
	}
	return (s0 + s1) + (s2 + s3)
}

// Sum returns the sum of x[i].
func Sum[T Float](x []T) float64 {
	s := 0.0
	for _, v := range x {
		s += float64(v)
	}
	return s
}

// Norm returns the Euclidean norm of x, also where the squares of its elements
// overflow or vanish.
func Norm[T Float](x []T) float64 {
	s := Dot(x, x)
	if s > 0x1p-960 && s < math.Inf(1) {
		return math.Sqrt(s)
	}
	largest := MaxAbs(x)
	if largest == 0 || math.IsInf(largest, 0) || math.IsNaN(largest) {
		return largest
	}
	s = 0
	for _, v := range x {
		r := float64(v) / largest
		s += r * r
	}
	return largest * math.Sqrt(s)
}

// MaxAbs returns the largest |x[i]|, or NaN if there is one.
func MaxAbs[T Float](x []T) float64 {
	m := 0.0
	for _, v := range x {
		a := math.Abs(float64(v))
		if !(a <= m) {
			m = a
			if a != a {
				return a
			}
		}
	}
	return m
}

// Scale sets dst to a x.
func Scale[T Float](dst []T, a float64, x []T) {
	f := T(a)
	dst = dst[:len(x)]
	for i, v := range x {
		dst[i] = f * v
	}
}

// Combine sets dst to a x + b y.
func Combine[T Float](dst []T, a float64, x []T, b float64, y []T) {
	f, g := T(a), T(b)
	dst, y = dst[:len(x)], y[:len(x)]
	for i, v := range x {
		dst[i] = f*v + g*y[i]
	}
}

// SPDX-License-Identifier: Apache-2.0

package vec

import "math"

// Dot returns the sum of x[i]*y[i].
func Dot[T Float](x, y []T) float64 {
	y = y[:len(x)]
	done := whole[T](len(x))
	s0, _ := dotKernel(x, y, done)
	x, y = x[done:], y[done:]
	var s1, s2, s3 float64
	n := len(x) &^ 3
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
	done := whole[T](len(x))
	s, _ := sumKernel(x, done)
	for _, v := range x[done:] {
		s += float64(v)
	}
	return s
}

// DotShift returns the sums of y[i] and of y[i]*(x[i]-mean).
func DotShift[T Float](x, y []T, mean float64) (sum, dot float64) {
	y = y[:len(x)]
	done := whole[T](len(x))
	sum, dot, _ = dotShiftKernel(x, y, done, mean)
	for i := done; i < len(x); i++ {
		w := float64(y[i])
		sum += w
		dot += w * (float64(x[i]) - mean)
	}
	return sum, dot
}

// SquareShift returns the sum of (x[i]-mean)^2.
func SquareShift[T Float](x []T, mean float64) float64 {
	done := whole[T](len(x))
	s, _ := squareShiftKernel(x, done, mean)
	for _, v := range x[done:] {
		d := float64(v) - mean
		s += d * d
	}
	return s
}

// MaxAbs returns the largest |x[i]|, or NaN if any x[i] is NaN.
func MaxAbs[T Float](x []T) float64 {
	done := whole[T](len(x))
	top, _ := maxAbsKernel(x, done)
	m := float64(top)
	for _, v := range x[done:] {
		a := math.Abs(float64(v))
		if a > m || a != a {
			m = a
		}
	}
	return m
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

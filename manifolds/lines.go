// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"math"

	"github.com/kernelfold/kernelfold/internal/vec"
)

// line is one vector of a batch: the n elements at, at+stride, at+2*stride, ...
type line struct{ at, n, stride int }

func dot[T vec.Float](l line, x, y []T) float64 {
	if l.stride == 1 {
		return vec.Dot(x[l.at:l.at+l.n], y[l.at:l.at+l.n])
	}
	s := 0.0
	for e, end := l.at, l.at+l.n*l.stride; e < end; e += l.stride {
		s += float64(x[e]) * float64(y[e])
	}
	return s
}

func sum[T vec.Float](l line, x []T) float64 {
	if l.stride == 1 && l.n > 32 {
		return vec.Sum(x[l.at : l.at+l.n])
	}
	s := 0.0
	for e, end := l.at, l.at+l.n*l.stride; e < end; e += l.stride {
		s += float64(x[e])
	}
	return s
}

// maxAbs returns the largest absolute value among the elements of x, or NaN if one is NaN.
func maxAbs[T vec.Float](l line, x []T) float64 {
	m := 0.0
	for e, end := l.at, l.at+l.n*l.stride; e < end; e += l.stride {
		m = max(m, math.Abs(float64(x[e])))
	}
	return m
}

// extent returns the norm of x as a product unit*norm in which neither factor overflows or
// vanishes: unit is 1 or the largest element. For x = 0 it returns 1 and 0, and if x is not
// finite, norm is not finite.
func extent[T vec.Float](l line, x []T) (unit, norm float64) {
	s := dot(l, x, x)
	if s > 0x1p-960 && s < math.Inf(1) {
		return 1, math.Sqrt(s)
	}
	unit = maxAbs(l, x)
	if unit == 0 {
		return 1, 0
	}
	if !(unit <= math.MaxFloat64) {
		return 1, unit
	}
	s = 0
	for e, end := l.at, l.at+l.n*l.stride; e < end; e += l.stride {
		q := float64(x[e]) / unit
		s += q * q
	}
	return unit, math.Sqrt(s)
}

func norm[T vec.Float](l line, x []T) float64 {
	if s := dot(l, x, x); s > 0x1p-960 && s < math.Inf(1) {
		return math.Sqrt(s)
	}
	unit, norm := extent(l, x)
	return unit * norm
}

// combine sets dst to a x + b y + c, computed in T. a and b must fit T.
func combine[T vec.Float](l line, dst []T, a float64, x []T, b float64, y []T, c float64) {
	f, g, h := T(a), T(b), T(c)
	if l.stride == 1 {
		x, y, dst := x[l.at:l.at+l.n], y[l.at:l.at+l.n], dst[l.at:l.at+l.n]
		if l.n >= 16 {
			vec.Affine2(dst, a, x, b, y, c)
			return
		}
		for e := range dst {
			dst[e] = f*x[e] + g*y[e] + h
		}
		return
	}
	for e, end := l.at, l.at+l.n*l.stride; e < end; e += l.stride {
		dst[e] = f*x[e] + g*y[e] + h
	}
}

// combineWide sets dst to (a x + c) + (b y + d), computed in float64. Use it for coefficients
// that do not fit T, and where subtracting a mean (c or d) cancels leading digits. It reports
// whether the result is finite.
func combineWide[T vec.Float](l line, dst []T, a float64, x []T, c, b float64, y []T, d float64) bool {
	square := 0.0
	for e, end := l.at, l.at+l.n*l.stride; e < end; e += l.stride {
		v := (a*float64(x[e]) + c) + (b*float64(y[e]) + d)
		square += v * v
		dst[e] = T(v)
	}
	return finite(l, dst, square)
}

// finite reports whether all elements of x are finite. square is the sum of their squares before
// they were rounded to T; where it is moderate, x need not be read.
func finite[T vec.Float](l line, x []T, square float64) bool {
	return square < 1e76 || vec.Double[T]() && square < 1e300 || maxAbs(l, x) <= math.MaxFloat64
}

// fits reports whether T holds the coefficient c to full precision, and float64 the squares and
// products from which c was computed.
func fits[T vec.Float](c float64) bool {
	a, least, most := math.Abs(c), 0x1p-126, 0x1p127
	if vec.Double[T]() {
		least, most = 0x1p-500, 0x1p500
	}
	return a > least && a < most
}

// dominates reports whether the mean m may be so much larger than x - m that subtracting it in T
// loses digits. The distance of one element from the mean is a lower bound of |x - m|; dominates
// tries three elements.
func dominates[T vec.Float](l line, x []T, m float64) bool {
	bound := m * m * float64(l.n) / 16
	if d := float64(x[l.at]) - m; d*d >= bound {
		return false
	}
	if d := float64(x[l.at+l.n/2*l.stride]) - m; d*d >= bound {
		return false
	}
	d := float64(x[l.at+(l.n-1)*l.stride]) - m
	return !(d*d >= bound)
}

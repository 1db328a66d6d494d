// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"fmt"
	"math"

	"github.com/kernelfold/kernelfold/internal/vec"
)

// Axis says which vectors of a point an oblique manifold normalises.
type Axis uint8

const (
	// Auto is Columns with PerSlice, and where there is no grouping, as in the paper of Ozay
	// and Okatani. It is Rows with every other grouping: there a row belongs to one filter or
	// one channel.
	Auto Axis = iota
	// Columns gives every column of a point the same norm.
	Columns
	// Rows gives every row of a point the same norm.
	Rows

	whole // the point is one vector: the sphere
)

// spheres is the geometry that Sphere, CentredSphere and Oblique share: each vector of a batch
// lies on a sphere of radius r and, if centred, is orthogonal to the vector of ones.
type spheres[T vec.Float] struct {
	name     string
	r        float64
	axis     Axis
	centred  bool
	geodesic bool
}

// lines returns how many vectors a point holds.
func (s spheres[T]) lines(b block[T]) int {
	switch s.axis {
	case whole:
		return 1
	case Rows:
		return b.n
	}
	return b.p
}

// line returns vector j of point i.
func (s spheres[T]) line(b block[T], i, j int) line {
	at := i * b.n * b.p
	switch s.axis {
	case whole:
		return line{at, b.n * b.p, 1}
	case Rows:
		return line{at + j*b.p, b.p, 1}
	}
	return line{at + j, b.n, b.p}
}

// each calls f for every vector of the batch until one fails.
func (s spheres[T]) each(b block[T], f func(l line) string, op string) error {
	count := s.lines(b)
	if n := s.line(b, 0, 0).n; !s.holds(n) {
		return &PointError{s.name, op, 0, fmt.Sprintf("want a radius that the precision holds for %d elements, got %g", n, s.r)}
	}
	for i := range b.k {
		for j := range count {
			if reason := f(s.line(b, i, j)); reason != "" {
				if count > 1 {
					reason = fmt.Sprintf("vector %d: %s", j, reason)
				}
				return &PointError{s.name, op, i, reason}
			}
		}
	}
	return nil
}

// holds reports whether T can hold vectors of n elements and norm r to its precision. In float32
// the rounding errors of elements below the smallest normal number, which do not shrink with the
// element, must add up to no more than eps r. In float64, r^2 must be far from overflow and
// underflow.
func (s spheres[T]) holds(n int) bool {
	if vec.Double[T]() {
		return s.r > 0x1p-480 && s.r < 0x1p480
	}
	return s.r > 0x1p-125*math.Sqrt(float64(n)) && s.r < 0x1p126
}

// centre sets dst to x minus its mean, which is rounded to T.
func (s spheres[T]) centre(l line, dst, x []T) {
	h := T(-s.mean(l, x))
	for e, end := l.at, l.at+l.n*l.stride; e < end; e += l.stride {
		dst[e] = x[e] + h
	}
}

// constantRatio bounds |x - mean x| / |x| for a vector whose elements are all equal: if a vector
// is shorter than this after centring, nothing but rounding is left. The elements of any other
// vector differ by eps/2 at least, which is far more.
func constantRatio[T vec.Float]() float64 { return 0x1p-16 * vec.Eps[T]() }

// normalise scales a vector to norm r. before is its norm before it was centred. It returns the
// reason if the vector has no direction.
func (s spheres[T]) normalise(l line, dst []T, before float64) string {
	unit, n := extent(l, dst)
	floor := 0.0
	if s.centred {
		floor = constantRatio[T]() * before
	}
	if !(unit*n > floor) && !(floor == 0 && n > 0) || math.IsInf(n, 0) {
		return fmt.Sprintf("want a vector with a direction, got norm %g", unit*n)
	}
	// r / |x| or its inverse may overflow float64.
	scale := s.r / n
	if unit == 1 && scale > 0x1p-1000 && scale < math.Inf(1) {
		for e, end := l.at, l.at+l.n*l.stride; e < end; e += l.stride {
			dst[e] = T(scale * float64(dst[e]))
		}
		return ""
	}
	for e, end := l.at, l.at+l.n*l.stride; e < end; e += l.stride {
		dst[e] = T(float64(dst[e]) / unit / n * s.r)
	}
	return ""
}

// mean returns the mean of x on a centred sphere, and 0 on other spheres.
func (s spheres[T]) mean(l line, x []T) float64 {
	if s.centred {
		return sum(l, x) / float64(l.n)
	}
	return 0
}

// meanError returns the mean of x - m, where m is the computed mean of x: the rounding error of
// m. Where m is much larger than x - m, that error would be large against x - m, so it is
// subtracted as well. In float32 it is 0, because m is computed in float64.
func (s spheres[T]) meanError(l line, x []T, m float64) float64 {
	if m == 0 || !vec.Double[T]() {
		return 0
	}
	d := 0.0
	for e, end := l.at, l.at+l.n*l.stride; e < end; e += l.stride {
		d += float64(x[e]) - m
	}
	return d / float64(l.n)
}

// along returns <x, g> / r^2 for a point x, also where the product overflows or vanishes.
func (s spheres[T]) along(l line, x, g []T) float64 {
	d := dot(l, x, g)
	if a := math.Abs(d); a > 0x1p-960 && a < math.Inf(1) {
		return d / (s.r * s.r)
	}
	unit := maxAbs(l, g)
	if d != d || unit == 0 || math.IsInf(unit, 0) {
		return d
	}
	d = 0
	for e, end := l.at, l.at+l.n*l.stride; e < end; e += l.stride {
		d += float64(x[e]) / s.r * (float64(g[e]) / unit)
	}
	return d * unit / s.r
}

// project: r (x - mean) / |x - mean|.
func (s spheres[T]) project(dst, x block[T]) error {
	return s.each(x, func(l line) string {
		if !s.centred {
			for e, end := l.at, l.at+l.n*l.stride; e < end; e += l.stride {
				dst.data[e] = x.data[e]
			}
			return s.normalise(l, dst.data, 0)
		}
		// The rounding error of the first mean is relative to x, which may be much larger than
		// x - mean. So centre the result again, before and after it is scaled.
		before := norm(l, x.data)
		s.centre(l, dst.data, x.data)
		s.centre(l, dst.data, dst.data)
		if reason := s.normalise(l, dst.data, before); reason != "" {
			return reason
		}
		s.centre(l, dst.data, dst.data)
		return s.normalise(l, dst.data, 0)
	}, "project")
}

// adjoint: r / |v - mean v| times the tangent projection of g at y.
func (s spheres[T]) adjoint(dst, v, y, g block[T]) error {
	return s.each(v, func(l line) string {
		size, floor := math.Sqrt(dot(l, v.data, v.data)), 0.0
		if s.centred || !fits[T](size) {
			size, floor = s.spread(l, v.data)
		}
		f := s.r / size
		if !(size > floor) || math.IsInf(size, 0) || math.IsInf(f, 0) {
			return fmt.Sprintf("want a vector with a direction, got norm %g", size)
		}
		m, delta, c, square := 0.0, 0.0, dot(l, y.data, g.data)/(s.r*s.r), 0.0 // delta is the rounding error of m
		if s.centred || !fits[T](c) {
			if m = s.mean(l, g.data); !fits[T](c) || dominates(l, g.data, m) {
				c, delta = s.alongCentred(l, y.data, g.data, m), s.meanError(l, g.data, m)
			}
		}
		for e, end := l.at, l.at+l.n*l.stride; e < end; e += l.stride {
			w := f * ((float64(g.data[e]) - m) - (c*float64(y.data[e]) + delta))
			square += w * w
			dst.data[e] = T(w)
		}
		if !finite(l, dst.data, square) {
			return overflow
		}
		return ""
	}, "adjoint")
}

// overflow is the reason given where a result is not finite.
const overflow = "want a finite result: the vectors are not finite, or too large for the precision"

// alongCentred returns <y, g - mean> / r^2. For an exactly centred y this is <y, g> / r^2, but
// rounding leaves y a small mean, which a large mean of g would multiply.
func (s spheres[T]) alongCentred(l line, y, g []T, mean float64) float64 {
	if mean == 0 {
		return s.along(l, y, g)
	}
	d := 0.0
	if l.stride == 1 {
		_, d = vec.DotShift(g[l.at:l.at+l.n], y[l.at:l.at+l.n], mean)
	} else {
		for e, end := l.at, l.at+l.n*l.stride; e < end; e += l.stride {
			d += float64(y[e]) * (float64(g[e]) - mean)
		}
	}
	return d / (s.r * s.r)
}

// spread returns |v - mean v|, and the norm up to which that is only rounding. If the sphere is
// not centred it returns |v| and 0.
func (s spheres[T]) spread(l line, v []T) (size, floor float64) {
	size = norm(l, v)
	if !s.centred || !(size > 0) || math.IsInf(size, 0) {
		return size, 0
	}
	floor = constantRatio[T]() * size
	mean, q := s.mean(l, v), 0.0
	delta := s.meanError(l, v, mean)
	for e, end := l.at, l.at+l.n*l.stride; e < end; e += l.stride {
		d := (float64(v[e]) - mean - delta) / size // at most 1
		q += d * d
	}
	return size * math.Sqrt(q), floor
}

// tangent: g - mean(g) - x <x, g> / r^2.
func (s spheres[T]) tangent(dst, x, g block[T]) error {
	return s.each(x, func(l line) string {
		m := 0.0
		if s.centred {
			m = s.mean(l, g.data)
		}
		if c := dot(l, x.data, g.data) / (s.r * s.r); fits[T](c) && (m == 0 || !dominates(l, g.data, m)) {
			combine(l, dst.data, 1, g.data, -c, x.data, -m)
			return ""
		}
		c := s.alongCentred(l, x.data, g.data, m)
		if !combineWide(l, dst.data, 1, g.data, -m, -c, x.data, -s.meanError(l, g.data, m)) {
			return overflow
		}
		return ""
	}, "tangent")
}

// retract: r (x + v) / |x + v|, or the exponential map.
func (s spheres[T]) retract(dst, x, v block[T]) error {
	if s.geodesic {
		return s.exp(dst, x, v)
	}
	return s.each(x, func(l line) string {
		mx, m := 0.0, 0.0 // the means of x and v: zero but for rounding, which would accumulate
		if s.centred {
			mx, m = s.mean(l, x.data), s.mean(l, v.data)
		}
		if m*m*float64(l.n) <= s.r*s.r || !dominates(l, v.data, m) {
			combine(l, dst.data, 1, x.data, 1, v.data, -m-mx)
		} else {
			combineWide(l, dst.data, 1, v.data, -m, 1, x.data, -mx-s.meanError(l, v.data, m))
		}
		if s.centred && mx*mx+m*m > 0 { // again: the result may be much shorter than the means
			s.centre(l, dst.data, dst.data)
		}
		return s.normalise(l, dst.data, 0)
	}, "retract")
}

// transport: the tangent projection at y, or parallel transport.
func (s spheres[T]) transport(dst, x, y, u block[T]) error {
	if s.geodesic {
		return s.parallel(dst, x, y, u)
	}
	return s.tangent(dst, y, u)
}

// membership: ||x|/r - 1|, and |sum x| / (sqrt(n) r) if centred.
func (s spheres[T]) membership(x block[T]) float64 {
	if s.axis != Columns && !s.centred {
		if e, ok := s.membershipByRange(x); ok {
			return e
		}
	}
	worst := 0.0
	count := s.lines(x)
	for i := range x.k {
		for j := range count {
			l := s.line(x, i, j)
			e := math.Abs(norm(l, x.data)/s.r - 1)
			if s.centred {
				e = max(e, math.Abs(sum(l, x.data))/(math.Sqrt(float64(l.n))*s.r))
			}
			if !(e <= math.MaxFloat64) {
				return math.NaN()
			}
			worst = max(worst, e)
		}
	}
	return worst
}

// membershipByRange is membership for vectors that lie one after the other: it takes only the
// roots of the smallest and the largest squared norm. ok is false if a square overflows or
// vanishes; membership must then be computed vector by vector.
func (s spheres[T]) membershipByRange(x block[T]) (worst float64, ok bool) {
	if len(x.data) == 0 {
		return 0, true
	}
	n := s.line(x, 0, 0).n
	least, most := math.Inf(1), 0.0
	for at := 0; at < len(x.data); at += n {
		var sq float64
		if v := x.data[at : at+n]; n > 64 {
			sq = vec.Dot(v, v)
		} else {
			for _, e := range v {
				sq += float64(e) * float64(e)
			}
		}
		if sq != sq {
			return math.NaN(), true
		}
		least, most = min(least, sq), max(most, sq)
	}
	worst = max(math.Abs(math.Sqrt(least)/s.r-1), math.Abs(math.Sqrt(most)/s.r-1))
	return worst, least > 0x1p-960 && most < math.Inf(1)
}

// sphereProperties returns the properties of a sphere of radius r, or of a product of such
// spheres. Zero means r = 1.
func sphereProperties(dim int, r float64) Properties {
	r = size(r).value()
	return Properties{Dim: dim, Curvature: 1 / (r * r), InjectivityRadius: math.Pi * r}
}

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
	// Auto is Columns for single slices (PerKernel) and raw batches, as in the
	// paper, and Rows for every other grouping, where a row is what one filter
	// or one channel contributes to the point.
	Auto Axis = iota
	// Columns gives every column of a point the same norm.
	Columns
	// Rows gives every row of a point the same norm.
	Rows

	whole // the point is one vector: the sphere
)

// spheres is the geometry that Sphere, CentredSphere and Oblique share: the
// vectors of a batch, each on a sphere of radius r, and orthogonal to the vector
// of ones if centred.
type spheres[T vec.Float] struct {
	name     string
	r        float64
	axis     Axis
	centred  bool
	geodesic bool
}

// line is one of the vectors: elements at, at+stride, ..., n of them.
type line struct{ at, n, stride int }

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
	s := 0.0
	for e, end := l.at, l.at+l.n*l.stride; e < end; e += l.stride {
		s += float64(x[e])
	}
	return s
}

func norm[T vec.Float](l line, x []T) float64 {
	if s := dot(l, x, x); s > 0x1p-960 && s < math.Inf(1) {
		return math.Sqrt(s)
	}
	largest := 0.0
	for e, end := l.at, l.at+l.n*l.stride; e < end; e += l.stride {
		a := math.Abs(float64(x[e]))
		if a != a || math.IsInf(a, 0) {
			return a
		}
		largest = max(largest, a)
	}
	if largest == 0 {
		return 0
	}
	s := 0.0
	for e, end := l.at, l.at+l.n*l.stride; e < end; e += l.stride {
		q := float64(x[e]) / largest
		s += q * q
	}
	return largest * math.Sqrt(s)
}

// combine sets dst to a x + b y + c.
func combine[T vec.Float](l line, dst []T, a float64, x []T, b float64, y []T, c float64) {
	f, g, h := T(a), T(b), T(c)
	for e, end := l.at, l.at+l.n*l.stride; e < end; e += l.stride {
		dst[e] = f*x[e] + g*y[e] + h
	}
}

// normalise scales the vector, whose norm was size before it was centred, to
// norm r.
func (s spheres[T]) normalise(l line, dst []T, size float64) string {
	n := norm(l, dst)
	scale := s.r / n
	floor := 0.0
	if s.centred {
		floor = 4 * vec.Eps[T]() * math.Sqrt(float64(l.n)) * size
	}
	if !(n > floor) || math.IsInf(n, 0) || math.IsInf(scale, 0) {
		return fmt.Sprintf("want a vector with a direction, got norm %g", n)
	}
	for e, end := l.at, l.at+l.n*l.stride; e < end; e += l.stride {
		dst[e] = T(scale * float64(dst[e]))
	}
	return ""
}

// mean returns what a centred sphere takes off every element, and 0 on others.
func (s spheres[T]) mean(l line, x []T) float64 {
	if s.centred {
		return sum(l, x) / float64(l.n)
	}
	return 0
}

// centre takes the mean off every element, if the sphere is centred.
func (s spheres[T]) centre(l line, x []T) {
	if s.centred {
		combine(l, x, 1, x, 0, x, -s.mean(l, x))
	}
}

// project: r (x - mean) / |x - mean|.
func (s spheres[T]) project(dst, x block[T]) error {
	return s.each(x, func(l line) string {
		if !s.centred {
			combine(l, dst.data, 1, x.data, 0, x.data, 0)
			return s.normalise(l, dst.data, 0)
		}
		// The rounding of the first mean is as large as that of x, which may be
		// much larger than what is left of it: centre that, too, at each length.
		size := norm(l, x.data)
		combine(l, dst.data, 1, x.data, 0, x.data, -s.mean(l, x.data))
		s.centre(l, dst.data)
		if reason := s.normalise(l, dst.data, size); reason != "" {
			return reason
		}
		s.centre(l, dst.data)
		return s.normalise(l, dst.data, 0)
	}, "project")
}

// adjoint: r / |v - mean v| times the tangent projection of g at y.
func (s spheres[T]) adjoint(dst, v, y, g block[T]) error {
	return s.each(v, func(l line) string {
		size, floor := s.spread(l, v.data)
		f := s.r / size
		if !(size > floor) || math.IsInf(size, 0) || math.IsInf(f, 0) {
			return fmt.Sprintf("want a vector with a direction, got norm %g", size)
		}
		c, m := dot(l, y.data, g.data)/(s.r*s.r), s.mean(l, g.data)
		for e, end := l.at, l.at+l.n*l.stride; e < end; e += l.stride {
			dst.data[e] = T(f * (float64(g.data[e]) - c*float64(y.data[e]) - m))
		}
		return ""
	}, "adjoint")
}

// spread returns |v - mean v|, and the norm below which that is rounding; |v|
// and 0 if the sphere is not centred.
func (s spheres[T]) spread(l line, v []T) (size, floor float64) {
	size = norm(l, v)
	if !s.centred || !(size > 0) || math.IsInf(size, 0) {
		return size, 0
	}
	floor = 4 * vec.Eps[T]() * math.Sqrt(float64(l.n)) * size
	mean := 0.0
	for range 2 { // once more for what is left of a mean much larger than the rest
		d := 0.0
		for e, end := l.at, l.at+l.n*l.stride; e < end; e += l.stride {
			d += float64(v[e]) - mean
		}
		mean += d / float64(l.n)
	}
	q := 0.0
	for e, end := l.at, l.at+l.n*l.stride; e < end; e += l.stride {
		d := (float64(v[e]) - mean) / size // at most 1
		q += d * d
	}
	return size * math.Sqrt(q), floor
}

// tangent: g - mean(g) - x <x, g> / r^2.
func (s spheres[T]) tangent(dst, x, g block[T]) error {
	return s.each(x, func(l line) string {
		c := dot(l, x.data, g.data) / (s.r * s.r)
		combine(l, dst.data, 1, g.data, -c, x.data, -s.mean(l, g.data))
		return ""
	}, "tangent")
}

// retract: r (x + v) / |x + v|, or the exponential map.
func (s spheres[T]) retract(dst, x, v block[T]) error {
	if s.geodesic {
		return s.exp(dst, x, v)
	}
	return s.each(x, func(l line) string {
		m := s.mean(l, x.data) + s.mean(l, v.data) // rounding only, but it would add up
		combine(l, dst.data, 1, x.data, 1, v.data, -m)
		return s.normalise(l, dst.data, 0)
	}, "retract")
}

// exp: cos(|v|/r) x + r sin(|v|/r) v/|v|, normalised against rounding.
func (s spheres[T]) exp(dst, x, v block[T]) error {
	return s.each(x, func(l line) string {
		t := norm(l, v.data) / s.r
		if !(t <= math.MaxFloat64) {
			return fmt.Sprintf("want a finite step, got norm %g", t*s.r)
		}
		sinc := 1.0
		if t > 0 {
			sinc = math.Sin(t) / t
		}
		cos := math.Cos(t)
		m := cos*s.mean(l, x.data) + sinc*s.mean(l, v.data)
		combine(l, dst.data, cos, x.data, sinc, v.data, -m)
		return s.normalise(l, dst.data, 0)
	}, "exp")
}

// transport: the tangent projection at y, or parallel transport.
func (s spheres[T]) transport(dst, x, y, u block[T]) error {
	if s.geodesic {
		return s.parallel(dst, x, y, u)
	}
	return s.tangent(dst, y, u)
}

// parallel: u - <u, y> / (r^2 + <x, y>) (x + y), along the geodesic from x to y.
func (s spheres[T]) parallel(dst, x, y, u block[T]) error {
	return s.each(x, func(l line) string {
		d := s.r*s.r + dot(l, x.data, y.data)
		if !(d > 1e-14*s.r*s.r) {
			return "want points that are not antipodal"
		}
		c := T(dot(l, u.data, y.data) / d)
		for e, end := l.at, l.at+l.n*l.stride; e < end; e += l.stride {
			dst.data[e] = u.data[e] - c*(x.data[e]+y.data[e])
		}
		return ""
	}, "parallel transport")
}

// chord is d = y + sign x - mean, and what the projection d - along x of y to
// the tangent space at x needs of it. Projecting y - x (y + x for an obtuse
// angle theta) instead of y keeps that accurate where the points are close.
type chord struct{ sign, mean, along, norm, theta float64 }

func (s spheres[T]) chord(l line, x, y []T) chord {
	inner := dot(l, x, y)
	c := chord{sign: -1}
	if inner < 0 {
		c.sign = 1
	}
	if s.centred {
		c.mean = (sum(l, y) + c.sign*sum(l, x)) / float64(l.n)
	}
	xd, dd := 0.0, 0.0
	for e, end := l.at, l.at+l.n*l.stride; e < end; e += l.stride {
		d := float64(y[e]) + c.sign*float64(x[e]) - c.mean
		xd += float64(x[e]) * d
		dd += d * d
	}
	c.along = xd / (s.r * s.r)
	c.norm = math.Sqrt(max(0, dd-c.along*xd))
	c.theta = math.Atan2(s.r*c.norm, inner)
	return c
}

// log: the projection of y to the tangent space at x, given the length r theta.
func (s spheres[T]) log(dst, x, y block[T]) error {
	return s.each(x, func(l line) string {
		c := s.chord(l, x.data, y.data)
		scale := 1.0
		if c.norm > 0 {
			scale = s.r * c.theta / c.norm
		}
		if math.Pi-c.theta < 4*vec.Eps[T]() {
			return "want points that are not antipodal"
		}
		if c.theta != c.theta {
			return "want finite points"
		}
		for e, end := l.at, l.at+l.n*l.stride; e < end; e += l.stride {
			d := float64(y.data[e]) + c.sign*float64(x.data[e]) - c.mean
			dst.data[e] = T(scale * (d - c.along*float64(x.data[e])))
		}
		s.centre(l, dst.data)
		return ""
	}, "log")
}

// dist: r theta, and the root of the sum of squares over the vectors of a point.
func (s spheres[T]) dist(out []float64, x, _, y block[T]) error {
	count := s.lines(x)
	for i := range out {
		t := 0.0
		for j := range count {
			theta := s.chord(s.line(x, i, j), x.data, y.data).theta
			t += theta * theta
		}
		out[i] = s.r * math.Sqrt(t)
	}
	return nil
}

// membership: ||x|/r - 1|, and |sum x| / (sqrt(n) r) if centred.
func (s spheres[T]) membership(x block[T]) float64 {
	if s.axis != Columns && !s.centred {
		if e, ok := s.extremes(x); ok {
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

// extremes is membership for vectors that lie one after the other: it takes one root of
// the smallest and one of the largest square. It says if that will not do, because a
// square overflows or vanishes.
func (s spheres[T]) extremes(x block[T]) (worst float64, ok bool) {
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

// sphereProperties are those of spheres of radius r, zero standing for 1, and of products of them.
func sphereProperties(dim int, r float64) Properties {
	r = size(r).value()
	return Properties{Dim: dim, Curvature: 1 / (r * r), InjectivityRadius: math.Pi * r}
}

// size is a radius as users give it: zero stands for 1.
type size float64

func (s size) value() float64 {
	if s == 0 {
		return 1
	}
	return float64(s)
}

// label is the name of a manifold with its radius and properties.
func label(name string, radius float64, properties ...string) string {
	if radius != 0 && radius != 1 {
		properties = append([]string{fmt.Sprintf("r=%.4g", radius)}, properties...)
	}
	out, sep := name, "("
	for _, p := range properties {
		if p != "" {
			out += sep + p
			sep = ", "
		}
	}
	if sep == ", " {
		out += ")"
	}
	return out
}

func checkRadius(name string, r float64) error {
	if r < 0 || math.IsInf(r, 0) || r != r {
		return fmt.Errorf("manifolds: %s: want a positive finite radius, got %v", name, r)
	}
	return nil
}

func geodesicLabel(geodesic bool) string {
	if geodesic {
		return "geodesic"
	}
	return ""
}

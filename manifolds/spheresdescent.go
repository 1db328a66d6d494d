// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"fmt"
	"math"

	"github.com/kernelfold/kernelfold/internal/fused"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// maxSphereStep is the longest step v, in units of the radius, for which x + v keeps enough
// digits of x.
func maxSphereStep[T vec.Float]() float64 {
	if vec.Double[T]() {
		return 1e9
	}
	return 2e3
}

// spheresDescend is descends at the precision of x.
func spheresDescend(s spheres[float32], x Points, d Descent, b Bounds) bool {
	if x.f64 != nil {
		return spheres[float64](s).descends(x.b64(), d, b)
	}
	return s.descends(x.b32(), d, b)
}

// descends reports whether the fused step applies to the points x. It computes
// neither exponential maps nor tangent momentum with a look ahead. It treats each vector alone,
// whereas the geometric factor depends on all vectors of a point. Late transport would save nothing.
func (s spheres[T]) descends(x block[T], d Descent, b Bounds) bool {
	return !s.geodesic && d.Decay == 0 && !d.Late && !(d.Tangent && d.LooksAhead()) &&
		(!d.Geometric || s.lines(x) == 1 && s.resolves(d, b)) && safe[T](d, b, s.r, maxSphereStep[T]())
}

// resolves reports whether the fused step has g_t to about a percent. It computes |v|^2 as |d|^2 - <x, d>^2/r^2, with an
// error of about eps |d|^2, and g_t is above 1 where r |v| is above 0.41. Factors may multiply that error by any number.
func (s spheres[T]) resolves(d Descent, b Bounds) bool {
	return d.Factors == nil && math.Sqrt(vec.Eps[T]())*s.r*b.Direction(d) <= 1./32
}

func (s spheres[T]) descend(x block[T], m, g []T, d Descent) (Progress, error) {
	o := fused.Sphere{Radius: s.r, Centred: s.centred}
	var p Progress
	failed := -1
	if count := s.lines(x); d.Factors != nil && count > 1 {
		each := scratch.Get[float64](x.k * count)
		defer scratch.Put(each)
		for i := range each {
			each[i] = d.Factors[i/count]
		}
		d.Factors = each
	}
	switch s.axis {
	case whole:
		p, failed = fused.Spheres(x.data, m, g, nil, x.n*x.p, o, d)
	case Rows:
		p, failed = fused.Spheres(x.data, m, g, nil, x.p, o, d)
	default:
		p, failed = fused.Columns(x.data, m, g, nil, x.n, x.p, o, d)
	}
	if failed < 0 && p.Direction <= math.MaxFloat64 {
		return p, nil
	}
	return p, s.offManifold(x, m) // an Inf in x makes the direction NaN
}

// descendIn is descend for scattered points.
func descendIn(s spheres[float32], l Layout, w, mu, g Points, d Descent) (p Progress, done bool, err error) {
	order, ok := l.slices(w, mu, g)
	if !ok || s.axis == Rows || !fused.Scatters[float32](9, d) {
		return p, false, nil
	}
	o, failed := fused.Sphere{Radius: s.r, Centred: s.centred}, -1
	if s.axis == whole {
		p, failed = fused.Spheres(w.f32, mu.f32, g.f32, order, 9, o, d)
	} else {
		p, failed = fused.Columns(w.f32, mu.f32, g.f32, order, 3, 3, o, d)
	}
	if failed < 0 && p.Direction <= math.MaxFloat64 {
		return p, true, nil
	}
	x := block[float32]{l.K, 3, 3, make([]float32, 9*l.K)}
	gather(l, x.data, w.f32)
	return p, true, s.offManifold(x, mu.f32)
}

// gradientSquares writes |grad|^2 of each point, the sum over its vectors.
func (s spheres[T]) gradientSquares(out []float64, x, _, g block[T]) error {
	o := fused.Sphere{Radius: s.r, Centred: s.centred}
	if s.axis == whole {
		fused.GradientSquares(out, x.data, g.data, x.n*x.p, o)
		return nil
	}
	count := s.lines(x)
	each := scratch.Get[float64](x.k * count)
	defer scratch.Put(each)
	if s.axis == Rows {
		fused.GradientSquares(each, x.data, g.data, x.p, o)
	} else {
		fused.GradientSquaresOfColumns(each, x.data, g.data, x.n, x.p, o)
	}
	for i := range out {
		out[i] = 0
		for _, square := range each[i*count : (i+1)*count] {
			out[i] += square
		}
	}
	return nil
}

// offManifold returns the error for a batch with vectors that could not move because they are
// not on the sphere, and sets their momentum to zero. All others have the right norm now.
func (s spheres[T]) offManifold(x block[T], m []T) error {
	first, reason, of := -1, "want a finite direction", ""
	if s.centred {
		of = " once its mean is subtracted"
	}
	for i := range x.k {
		for j := range s.lines(x) {
			l := s.line(x, i, j)
			size, _ := s.spread(l, x.data)
			if math.Abs(size/s.r-1) < 0.5 {
				continue
			}
			if first < 0 {
				first, reason = i, fmt.Sprintf("want a vector of norm %g, got %g%s", s.r, size, of)
			}
			for e, end := l.at, l.at+l.n*l.stride; m != nil && e < end; e += l.stride {
				m[e] = 0
			}
		}
	}
	return &PointError{s.name, "step", max(0, first), reason}
}

// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"math"

	"github.com/kernelfold/kernelfold/internal/lanes"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Descends reports true for Cholesky-QR and polar retraction in the Euclidean metric.
func (m Stiefel) Descends(n, p int, d Descent) bool {
	return m.Metric == EuclideanMetric && (m.Retraction == CholeskyQR || m.Retraction == Polar) && d.Decay == 0
}

// Descend makes the step for as many small points at once as there are lanes, and for larger
// ones with the products alone between two sweeps. A point from which the step leads
// nowhere, because it is not finite, stays where it is.
func (m Stiefel) Descend(x, mu, g Points, d Descent) Moved {
	curvature := 0.0
	if d.Geometric {
		curvature = m.Curvature(x.N, x.P)
	}
	if x.f64 != nil {
		return stiefel[float64](m).descend(x.b64(), mu.f64, g.f64, d, curvature)
	}
	return stiefel[float32](m).descend(x.b32(), mu.f32, g.f32, d, curvature)
}

var _ Descender = Stiefel{}

func (a Moved) plus(b Moved) Moved {
	return Moved{a.Direction + b.Direction, a.Length + b.Length, max(a.Factor, b.Factor)}
}

func (m stiefel[T]) descend(x block[T], mu, g []T, d Descent, curvature float64) Moved {
	if x.small() {
		return m.descendSlices(x, mu, g, d, curvature)
	}
	return m.descendPoints(x, mu, g, d, curvature)
}

// descendPoints makes the step point by point.
func (m stiefel[T]) descendPoints(x block[T], mu, g []T, d Descent, curvature float64) Moved {
	np, q := x.n*x.p, min(x.n, x.p)
	v, s := scratch.Get[T](np), scratch.Get[T](q*q)
	defer scratch.Put(v)
	defer scratch.Put(s)
	total := Moved{Factor: 1}
	for i := range x.k {
		xi, gi := x.at(i), g[i*np:(i+1)*np]
		var mi []T
		if mu != nil {
			mi = mu[i*np : (i+1)*np]
			vec.Combine(v, d.Ahead, mi, d.Slope, gi)
			vec.Combine(mi, d.Keep, mi, d.Take, gi)
		} else {
			vec.Scale(v, d.Slope, gi)
		}
		clear(gi)
		m.tangentProject(s, x, xi, v)
		if mi != nil && d.Tangent {
			if d.Keep == d.Ahead && d.Take == d.Slope {
				copy(mi, v)
			} else {
				m.tangentProject(s, x, xi, mi)
			}
		}
		norm, f := vec.Norm(v), 1.0
		if curvature > 0 {
			f = GeometricFactor(norm, curvature)
		}
		step := d.Rate / f * norm
		total = total.plus(Moved{norm * norm, step * step, f})
		vec.Combine(v, 1, xi, -d.Rate/f, v)
		if m.retractInPlace(xi, v, x) == nil && mi != nil && d.Tangent {
			m.tangentProject(s, x, xi, mi)
		}
	}
	return total
}

// descendSlices makes the step for as many points at once as it can.
func (m stiefel[T]) descendSlices(x block[T], mu, g []T, d Descent, curvature float64) Moved {
	f, total := laneBatchOf(x), Moved{Factor: 1}
	defer f.free()
	step := lanes.Step{
		Keep: d.Keep, Take: d.Take, Ahead: d.Ahead, Slope: d.Slope,
		Rate: d.Rate, Radius: m.r(), Curvature: curvature, Tangent: d.Tangent,
	}
	ahead := d.Keep != d.Ahead || d.Take != d.Slope
	frames := x.n == x.p && m.Retraction == CholeskyQR && !(d.Tangent && ahead)
	for from := 0; from < x.k; {
		part := func(a []T, points int) []T {
			if a == nil {
				return nil
			}
			return a[from*f.np : (from+points)*f.np]
		}
		if frames {
			rest := x.k - from
			count, moved := lanes.Frames(part(x.data, rest), part(mu, rest), part(g, rest), x.n, step)
			total = total.plus(Moved(moved))
			if from += count; from == x.k {
				break
			}
		}
		count := min(lanes.Width[T](), x.k-from)
		total = total.plus(m.descendLanes(&f, part(x.data, count), part(mu, count), part(g, count), d, curvature))
		from += count
	}
	return total
}

// descendLanes makes the step for no more points than there are lanes.
func (m stiefel[T]) descendLanes(f *laneBatch[T], x, mu, g []T, d Descent, curvature float64) Moved {
	total, count, way := Moved{Factor: 1}, len(x)/f.np, f.flat[:len(x)]
	if mu != nil {
		vec.Combine(way, d.Ahead, mu, d.Slope, g)
		vec.Combine(mu, d.Keep, mu, d.Take, g)
	} else {
		vec.Scale(way, d.Slope, g)
	}
	clear(g)
	lanes.Load(f.x, x, f.np)
	lanes.Load(f.v, way, f.np)
	m.tangentProjectLanes(f, f.x, f.v)
	lanes.Dots(f.sums, f.v, f.v)
	for l := range f.t {
		f.t[l] = T(-d.Rate)
	}
	for l, square := range f.sums[:count] {
		step := square * d.Rate * d.Rate
		if curvature > 0 {
			c := GeometricFactor(math.Sqrt(square), curvature)
			f.t[l] = T(-d.Rate / c)
			step /= c * c
			total.Factor = max(total.Factor, c)
		}
		total.Direction += square
		total.Length += step
	}
	lanes.Advance(f.y, f.x, f.t, f.v)
	good := m.retractLanesInPlace(f)
	for l := range count {
		if good>>l&1 == 0 {
			m.careful(f, l)
		}
	}
	if mu != nil && d.Tangent {
		if d.Keep != d.Ahead || d.Take != d.Slope {
			lanes.Load(f.v, mu, f.np)
			m.tangentProjectLanes(f, f.x, f.v)
		}
		m.tangentProjectLanes(f, f.y, f.v)
		lanes.Store(mu, f.v, f.np)
	}
	lanes.Store(x, f.y, f.np)
	return total
}

// careful retracts x + t v in one lane by the methods for single points, or leaves it at x.
func (m stiefel[T]) careful(f *laneBatch[T], lane int) {
	x, v, y := f.flat[:f.np], f.flat[f.np:2*f.np], f.flat[2*f.np:3*f.np]
	lanes.Lane(x, f.x, lane)
	lanes.Lane(v, f.v, lane)
	vec.Combine(v, 1, x, float64(f.t[lane]), v)
	if m.retractInPlace(y, v, f.block) == nil {
		x = y
	}
	lanes.SetLane(f.y, x, lane)
}

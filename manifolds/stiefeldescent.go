// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"math"

	"github.com/kernelfold/kernelfold/internal/lanes"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Descends returns true for the Cholesky-QR and polar retractions in the Euclidean metric,
// unless squares might overflow or vanish or the step is very long.
func (s Stiefel) Descends(m Manifold, x Points, d Descent, b Bounds) bool {
	of, ok := m.(Stiefel)
	return ok && of.Metric == EuclideanMetric && (of.Retraction == CholeskyQR || of.Retraction == Polar) && framesDescend(of.Radius, x, d, b)
}

// framesDescend reports whether the fused step can be made on frames of the given radius.
func framesDescend(radius float64, x Points, d Descent, b Bounds) bool {
	if d.Decay != 0 {
		return false
	}
	if x.f64 != nil {
		return safe[float64](d, b, size(radius).value(), 1e6)
	}
	return safe[float32](d, b, size(radius).value(), 1e3)
}

// Descend makes the step for small points in lanes, many at once, and for larger points one
// after the other.
func (m Stiefel) Descend(x, mu, g Points, d Descent) (Progress, error) {
	if x.f64 != nil {
		return m.s64().descend(x.b64(), mu.f64, g.f64, d)
	}
	return m.s32().descend(x.b32(), mu.f32, g.f32, d)
}

var _ Descender = Stiefel{}

func (m stiefel[T]) descend(x block[T], mu, g []T, d Descent) (p Progress, err error) {
	fail := func(point int, reason error) {
		if mu != nil {
			clear(mu[point*x.n*x.p : (point+1)*x.n*x.p])
		}
		if err == nil {
			err = &PointError{m.name, "step", point, reason.Error()}
		}
	}
	if x.small() {
		p = m.descendSlices(x, mu, g, d, fail)
	} else {
		p = m.descendPoints(x, mu, g, d, fail)
	}
	return p, err
}

// factor returns g_t at an n x p point for a direction whose squared norm is given.
func (m stiefel[T]) factor(square float64, n, p int, d Descent) float64 {
	if !d.Geometric {
		return 1
	}
	curvature := 1.0
	switch m.kind {
	case subspaceFrames:
		curvature = subspaceCurvature(n, p)
	case rotationFrames:
		curvature = rotationCurvature(n)
	}
	return GeometricFactor(math.Sqrt(square), curvature/(m.r()*m.r()))
}

// descendPoints makes the step point by point and calls fail for each point without a step.
func (m stiefel[T]) descendPoints(x block[T], mu, g []T, d Descent, fail func(point int, reason error)) Progress {
	np, q := x.n*x.p, min(x.n, x.p)
	v, s := scratch.Get[T](np), scratch.Get[T](q*q)
	defer scratch.Put(v)
	defer scratch.Put(s)
	total := Progress{Factor: 1}
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
			if !d.LooksAhead() {
				copy(mi, v)
			} else {
				m.tangentProject(s, x, xi, mi)
			}
		}
		square := vec.Dot(v, v)
		f := m.factor(square, x.n, x.p, d)
		vec.Combine(v, 1, xi, -d.Rate/f, v)
		if err := m.retractInPlace(xi, v, x); err != nil {
			fail(i, err)
			continue
		}
		total = total.Plus(Progress{Direction: square, Length: d.Rate / f * d.Rate / f * square, Factor: f})
		if mi != nil && d.Tangent && !d.Late {
			m.tangentProject(s, x, xi, mi)
		}
	}
	return total
}

// descendSlices makes the step in lanes and calls fail for each point without a step.
func (m stiefel[T]) descendSlices(x block[T], mu, g []T, d Descent, fail func(point int, reason error)) Progress {
	f, total := laneBatchOf(x), Progress{Factor: 1}
	defer f.free()
	// The kernel for square points has the geometric factor of Stiefel.
	frames := x.n == x.p && m.Retraction == CholeskyQR && !(d.Tangent && d.LooksAhead()) && !(d.Geometric && m.kind != plainFrames)
	for from := 0; from < x.k; {
		part := func(a []T, points int) []T {
			if a == nil {
				return nil
			}
			return a[from*f.np : (from+points)*f.np]
		}
		if frames {
			rest := x.k - from
			count, moved := lanes.Frames(part(x.data, rest), part(mu, rest), part(g, rest), x.n, m.r(), d)
			total = total.Plus(moved)
			if from += count; from == x.k {
				break
			}
		}
		count := min(lanes.Width[T](), x.k-from)
		at := from
		total = total.Plus(m.descendLanes(&f, part(x.data, count), part(mu, count), part(g, count), d,
			func(lane int, reason error) { fail(at+lane, reason) }))
		from += count
	}
	return total
}

// descendLanes makes the step for no more points than there are lanes.
func (m stiefel[T]) descendLanes(f *laneBatch[T], x, mu, g []T, d Descent, fail func(lane int, reason error)) Progress {
	total, count, direction := Progress{Factor: 1}, len(x)/f.np, f.flat[:len(x)]
	if mu != nil {
		vec.Combine(direction, d.Ahead, mu, d.Slope, g)
		vec.Combine(mu, d.Keep, mu, d.Take, g)
	} else {
		vec.Scale(direction, d.Slope, g)
	}
	clear(g)
	lanes.Load(f.x, x, f.np)
	lanes.Load(f.v, direction, f.np)
	m.tangentProjectLanes(f, f.x, f.v)
	lanes.Dots(f.sums, f.v, f.v)
	for l, square := range f.sums {
		c := m.factor(square, f.n, f.p, d)
		f.t[l] = T(-d.Rate / c)
		if l < count {
			total = total.Plus(Progress{Direction: square, Length: d.Rate / c * d.Rate / c * square, Factor: c})
		}
	}
	lanes.Advance(f.y, f.x, f.t, f.v)
	good := m.retractLanesInPlace(f)
	failures := [32]error{} // by lane; nil for a lane that has moved
	failed := false
	for l := range count {
		if good>>l&1 == 0 {
			failures[l] = m.retractLane(f, l)
			failed = failed || failures[l] != nil
		}
	}
	if mu != nil && d.Tangent {
		if d.LooksAhead() {
			lanes.Load(f.v, mu, f.np)
			m.tangentProjectLanes(f, f.x, f.v)
		}
		if !d.Late {
			m.tangentProjectLanes(f, f.y, f.v)
		}
		lanes.Store(mu, f.v, f.np)
	}
	lanes.Store(x, f.y, f.np)
	for l := 0; failed && l < count; l++ {
		if failures[l] != nil {
			fail(l, failures[l])
		}
	}
	return total
}

// retractLane sets y in one lane to the retraction of x + t v, with the methods for single
// points. If that fails it sets y to x and returns the reason.
func (m stiefel[T]) retractLane(f *laneBatch[T], lane int) (err error) {
	x, v, y := f.flat[:f.np], f.flat[f.np:2*f.np], f.flat[2*f.np:3*f.np]
	lanes.Lane(x, f.x, lane)
	lanes.Lane(v, f.v, lane)
	vec.Combine(v, 1, x, float64(f.t[lane]), v)
	if err = m.retractInPlace(y, v, f.block); err == nil {
		x = y
	}
	lanes.SetLane(f.y, x, lane)
	return err
}

// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"math"

	"github.com/kernelfold/kernelfold/internal/fused"
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
	return liftStep(m.Check(x.N, x.P), x, mu, g, d, m.s32().step, m.s64().step)
}

// GradientSquares writes |g - x sym(x^T g) / r^2|^2 of each point in the Euclidean metric, and <grad, grad>
// in the canonical.
func (m Stiefel) GradientSquares(out []float64, x, g Points) error {
	return liftOut(m.Check(x.N, x.P), "gradient squares", out, x, x, g, m.s32().gradientSquares, m.s64().gradientSquares)
}

// DescendIn makes the step of 3 x 3 slices in float32 by Cholesky-QR, without Factors, where the processor has instructions for it.
func (s Stiefel) DescendIn(m Manifold, l Layout, w, mu, g Points, d Descent) (p Progress, done bool, err error) {
	_, ok := m.(Stiefel)
	if _, slices := l.slices(w, mu, g); !ok || !slices || !fused.Scatters[float32](9, d) || !s.s32().framed(3, 3, d) {
		return p, false, nil
	}
	p, err = s.s32().descend(block[float32]{l.K, 3, 3, w.f32}, l, mu.f32, g.f32, d)
	return p, true, err
}

var (
	_ Adaptable = Stiefel{}
	_ Scattered = Stiefel{}
)

// factorOf returns the factor of the direction of point i.
func factorOf(d Descent, i int) float64 {
	if d.Factors == nil {
		return 1
	}
	return d.Factors[i]
}

// gradientSquares: |g|^2 - r^2 |s|^2, where x s is the normal part of g. Where the tangent part is short, it is computed directly.
func (m stiefel[T]) gradientSquares(out []float64, x, _, g block[T]) error {
	if m.Metric == CanonicalMetric {
		v := block[T]{x.k, x.n, x.p, scratch.Get[T](len(x.data))}
		defer scratch.Put(v.data)
		if err := m.gradient(v, x, g); err != nil {
			return err
		}
		return m.inner(out, x, v, v)
	}
	if x.small() {
		m.gradientSquaresLanes(out, x, g)
		return nil
	}
	s, v := scratch.Get[T](x.q()*x.q()), scratch.Get[T](x.n*x.p)
	defer scratch.Put(s)
	defer scratch.Put(v)
	for i := range out {
		if m.inRange() {
			m.multiplier(s, x, x.at(i), g.at(i), m.normal())
			whole := vec.Dot(g.at(i), g.at(i))
			if out[i] = whole - m.r()*m.r()*vec.Dot(s, s); out[i] >= 1e-2*whole {
				continue
			}
		}
		copy(v, g.at(i))
		if err := m.tangentProject(s, x, x.at(i), v); err != nil {
			return &PointError{m.name, "gradient squares", i, err.Error()}
		}
		out[i] = vec.Dot(v, v)
	}
	return nil
}

func (m stiefel[T]) gradientSquaresLanes(out []float64, x, g block[T]) {
	f, w := laneBatchOf(x), lanes.Width[T]()
	defer f.free()
	for from := 0; from < x.k; from += w {
		to := min(from+w, x.k)
		lanes.Load(f.x, x.part(from, to), f.np)
		lanes.Load(f.v, g.part(from, to), f.np)
		m.tangentProjectLanes(&f, f.x, f.v)
		lanes.Dots(f.sums, f.v, f.v)
		copy(out[from:to], f.sums)
	}
}

// step is descend for points that lie one after the other.
func (m stiefel[T]) step(x block[T], mu, g []T, d Descent) (Progress, error) {
	return m.descend(x, Layout{}, mu, g, d)
}

// descend makes the step. The points of x and g lie one after the other or, if the layout has an Order, where it says, as small points.
func (m stiefel[T]) descend(x block[T], l Layout, mu, g []T, d Descent) (p Progress, err error) {
	fail := func(point int, reason error) {
		if mu != nil {
			clear(mu[point*x.n*x.p : (point+1)*x.n*x.p])
		}
		if err == nil {
			err = &PointError{m.name, "step", point, reason.Error()}
		}
	}
	if x.small() {
		p = m.descendSlices(x, l, mu, g, d, fail)
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
	carries := mu != nil && d.Tangent && !d.LooksAhead() // the direction is the momentum
	for i := range x.k {
		xi, gi, vi := x.at(i), g[i*np:(i+1)*np], v
		var mi []T
		switch {
		case mu == nil:
			vec.Scale(vi, d.Slope, gi)
		case carries:
			mi = mu[i*np : (i+1)*np]
			vi = mi
			vec.Combine(vi, d.Ahead, mi, d.Slope, gi)
		default:
			mi = mu[i*np : (i+1)*np]
			vec.Combine(vi, d.Ahead, mi, d.Slope, gi)
			vec.Combine(mi, d.Keep, mi, d.Take, gi)
		}
		clear(gi)
		m.tangentProject(s, x, xi, vi)
		if mi != nil && d.Tangent && !carries {
			m.tangentProject(s, x, xi, mi)
		}
		of := factorOf(d, i)
		square := of * of * vec.Dot(vi, vi)
		f := m.factor(square, x.n, x.p, d)
		vec.Combine(v, 1, xi, -d.Rate/f*of, vi)
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

// framed reports whether package lanes may have a kernel for the whole step of n x p points. The kernel has the geometric factor of Stiefel.
func (m stiefel[T]) framed(n, p int, d Descent) bool {
	return n == p && m.Retraction == CholeskyQR && !(d.Tangent && d.LooksAhead()) && !(d.Geometric && m.kind != plainFrames)
}

// descendSlices makes the step in lanes and calls fail for each point without a step.
func (m stiefel[T]) descendSlices(x block[T], l Layout, mu, g []T, d Descent, fail func(point int, reason error)) Progress {
	f, total := laneBatchOf(x), Progress{Factor: 1}
	defer f.free()
	framed, scattered := m.framed(x.n, x.p, d), l.Order != nil
	var copied []T
	if scattered {
		copied = scratch.Get[T](2 * lanes.Width[T]() * f.np)
		defer scratch.Put(copied)
	}
	for from := 0; from < x.k; {
		part := func(a []T, points int) []T {
			if a == nil {
				return nil
			}
			return a[from*f.np : (from+points)*f.np]
		}
		if framed {
			rest, xs, gs, order := x.k-from, x.data, g, []int32(nil)
			if scattered {
				order = l.Order[from:]
			} else {
				xs, gs = part(x.data, rest), part(g, rest)
			}
			some := d
			if d.Factors != nil {
				some.Factors = d.Factors[from:]
			}
			count, moved := lanes.Frames(xs, part(mu, rest), gs, order, x.n, m.r(), some)
			total = total.Plus(moved)
			if from += count; from == x.k {
				break
			}
		}
		count := min(lanes.Width[T](), x.k-from)
		at, group := from, d
		if d.Factors != nil {
			group.Factors = d.Factors[from : from+count]
		}
		xs, gs := copied[:len(copied)/2], copied[len(copied)/2:]
		if scattered {
			some := l.Slice(from, from+count)
			xs, gs = xs[:count*f.np], gs[:count*f.np]
			gather(some, xs, x.data)
			gather(some, gs, g)
		} else {
			xs, gs = part(x.data, count), part(g, count)
		}
		total = total.Plus(m.descendLanes(&f, xs, part(mu, count), gs, group, func(lane int, reason error) { fail(at+lane, reason) }))
		if scattered {
			scatter(l.Slice(from, from+count), x.data, xs)
		}
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
		of := 1.0
		if l < count {
			of = factorOf(d, l)
		}
		square *= of * of
		c := m.factor(square, f.n, f.p, d)
		f.t[l] = T(-d.Rate / c * of)
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

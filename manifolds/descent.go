// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"fmt"
	"math"

	"github.com/kernelfold/kernelfold/internal/descent"
	"github.com/kernelfold/kernelfold/internal/fused"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Descent is a step of gradient descent with momentum. For every point x with Euclidean
// gradient g and momentum m,
//
//	v  = grad(Ahead m + Slope g)              Riemannian gradient, the direction
//	y  = R_x(-Rate/g_t v)                     retraction
//	m <- Keep m + Take g                      ambient momentum
//	x <- y,  g <- 0
//
// and with Tangent, where m is a tangent vector and T the transport from x to y,
//
//	v  = Ahead m + Slope grad(g)
//	m <- T(Keep m + Take grad(g)).
//
// Where T is the tangent projection at y, which the next step applies to m anyway, Late saves it: m is left at x,
// and comes from the point before.
//
// In Euclidean space x moves by -Rate (v + Decay x). With Geometric, g_t is GeometricFactor
// of the norm of v at each point, and 1 otherwise.
//
// Direction and Move make it on any Manifold. A Descender makes it faster on its own.
type Descent = descent.Step

// Progress is what a step did: Direction and Length are the sums of |v|^2, without decay, and of
// |Rate/g_t v|^2 over the points, Factor is the largest g_t.
type Progress = descent.Progress

// GeometricFactor returns
//
//	g(R, c) = max(1, R' (2 + R')),  R' = R c^(-1/2),
//
// by which the learning rate is divided for a direction of norm R on a manifold of
// sectional curvature at most c. On the unit sphere it is the factor of Ozay and Okatani
// (arXiv 1610.07008, theorem 2); in this form it does not depend on the scale of the
// manifold. docs/geometry.md derives it.
func GeometricFactor(r, c float64) float64 { return descent.Factor(r, c) }

// Direction writes the direction v of the step d at x, and the momentum nu after it, before
// its transport. Without momentum mu and nu have no points, K = 0; nu may be mu. g is
// overwritten.
func Direction(m Manifold, v, nu, x, mu, g Points, d Descent) error {
	if mu.K == 0 {
		if err := v.Combine(d.Slope, g, 0, g); err != nil {
			return err
		}
		return Gradient(m, v, x, v)
	}
	if d.Tangent && d.Late {
		if err := m.Tangent(nu, x, mu); err != nil {
			return err
		}
		mu = nu
	}
	if d.Tangent {
		if err := Gradient(m, g, x, g); err != nil {
			return err
		}
	}
	if err := v.Combine(d.Ahead, mu, d.Slope, g); err != nil {
		return err
	}
	if err := nu.Combine(d.Keep, mu, d.Take, g); err != nil || d.Tangent {
		return err
	}
	return Gradient(m, v, x, v)
}

// Move writes the retraction of v at x to y, and transports the tangent vectors u, each to
// its own place.
func Move(m Manifold, y, x, v Points, u ...Points) error {
	if err := m.Retract(y, x, v); err != nil {
		return err
	}
	for _, u := range u {
		if err := TransportAlong(m, u, x, v, y, u); err != nil {
			return err
		}
	}
	return nil
}

// Descend makes the step d in place, by the operations of m alone. A Descender does the
// same, but for rounding. If it fails, nothing has moved.
func Descend(m Manifold, x, mu, g Points, d Descent) (Progress, error) {
	p := Progress{Factor: 1}
	if err := Agree("descend", x, g); err != nil {
		return p, err
	}
	v, y, h, nu, f := x.Like(), x.Like(), x.Like(), mu, make([]float64, x.K)
	if mu.K > 0 {
		nu = mu.Like()
	}
	if err := h.CopyFrom(g); err != nil {
		return p, err
	}
	if err := Direction(m, v, nu, x, mu, h, d); err != nil {
		return p, err
	}
	if err := Inner(m, f, x, v, v); err != nil {
		return p, err
	}
	c := PropertiesOf(m, x.N, x.P).Curvature
	for i, square := range f {
		factor := 1.0
		if d.Geometric {
			factor = GeometricFactor(math.Sqrt(square), c)
		}
		f[i] = -d.Rate / factor
		p = p.Plus(Progress{Direction: square, Length: f[i] * f[i] * square, Factor: factor})
	}
	if d.Decay != 0 {
		if err := v.Combine(1, v, d.Decay, x); err != nil {
			return p, err
		}
	}
	if err := v.Scale(f, v); err != nil {
		return p, err
	}
	var tangents []Points
	if d.Tangent && !d.Late && mu.K > 0 {
		tangents = []Points{nu}
	}
	if err := Move(m, y, x, v, tangents...); err != nil {
		return p, err
	}
	if mu.K > 0 {
		if err := mu.CopyFrom(nu); err != nil {
			return p, err
		}
	}
	if err := x.CopyFrom(y); err != nil {
		return p, err
	}
	return p, g.Combine(0, g, 0, g)
}

// Descender is implemented by a manifold that can make some steps at once, in place, so that
// memory is read and written once instead of once for each operation. What it computes is
// what Descend does, but for rounding.
type Descender interface {
	// Descends reports whether Descend makes the step d of the batch x for the manifold m,
	// given bounds of what comes in. It returns false unless m is of its own type: a type that
	// embeds this one has a geometry of its own, and is moved by its own methods. Where it
	// returns true, the step cannot fail as long as x is on the manifold.
	Descends(m Manifold, x Points, d Descent, b Bounds) bool

	// Descend makes the step. Without momentum mu has no points, K = 0.
	//
	// A point that is not on the manifold, because somebody else has written it, is brought
	// back by the retraction where that is defined. Otherwise it stays as it is, without
	// momentum, and the error is a *PointError that names the first such point; the
	// others have moved.
	Descend(x, mu, g Points, d Descent) (Progress, error)
}

// Bounds are upper bounds of the Frobenius norms of what a step begins with.
type Bounds struct{ Gradient, Momentum float64 }

// After returns the bound of the momentum after the step.
func (b Bounds) After(d Descent) float64 {
	return math.Abs(d.Keep)*b.Momentum + math.Abs(d.Take)*b.Gradient
}

// Direction returns the bound of the direction of the step.
func (b Bounds) Direction(d Descent) float64 {
	return math.Abs(d.Ahead)*b.Momentum + math.Abs(d.Slope)*b.Gradient
}

// plain reports whether the squares of everything in a step on a manifold of the given
// size, and of the step itself, are far from overflow and underflow in T, and the step is not
// longer than so many sizes.
func plain[T vec.Float](d Descent, b Bounds, size, most float64) bool {
	little, large := 1e-6, 1e15
	if vec.Eps[T]() < 0x1p-30 {
		little, large = 1e-75, 1e150
	}
	direction := b.Direction(d)
	return size >= little && size <= 1/little &&
		direction < large && b.After(d) < large && (b.Gradient == 0 || b.Gradient > little*little) &&
		d.Rate < size/(little*little) && d.Rate*direction <= most*size
}

// reach is the length of a step, in sizes of the manifold, up to which the rounding of
// x + v leaves its direction intact.
func reach[T vec.Float]() float64 {
	if vec.Eps[T]() < 0x1p-30 {
		return 1e9
	}
	return 2e3
}

// Descends reports true for numbers whose squares do not overflow.
func (Euclidean) Descends(m Manifold, x Points, d Descent, b Bounds) bool {
	if _, ok := m.(Euclidean); !ok || d.Geometric {
		return false
	}
	if x.f64 != nil {
		return plain[float64](d, b, 1, math.Inf(1))
	}
	return plain[float32](d, b, 1, math.Inf(1))
}

// Descend writes x - Rate (Ahead m + Slope g + Decay x).
func (Euclidean) Descend(x, m, g Points, d Descent) (Progress, error) {
	shrink := 1 - d.Rate*d.Decay
	if x.f64 != nil {
		return fused.Flat(x.f64, m.f64, g.f64, d, shrink), nil
	}
	return fused.Flat(x.f32, m.f32, g.f32, d, shrink), nil
}

// descends: moving by geodesics needs other sums, as does tangent momentum seen from
// ahead, and the geometric factor of a point of several vectors belongs to all of them. There is nothing to save by
// late transport.
func (s spheres[T]) descends(lines int, d Descent, b Bounds) bool {
	return !s.geodesic && d.Decay == 0 && !d.Late && !(d.Tangent && d.LooksAhead()) && !(d.Geometric && lines > 1) &&
		plain[T](d, b, s.r, reach[T]())
}

func (s spheres[T]) descend(x block[T], m, g []T, d Descent) (Progress, error) {
	o := fused.Sphere{Radius: s.r, Centred: s.centred}
	var p Progress
	lost, lines := -1, 1
	switch s.axis {
	case whole:
		p, lost = fused.Spheres(x.data, m, g, x.n*x.p, o, d)
	case Rows:
		lines = x.n
		p, lost = fused.Spheres(x.data, m, g, x.p, o, d)
	default:
		p, lost = fused.Columns(x.data, m, g, x.n, x.p, o, d)
	}
	if lost < 0 && p.Direction <= math.MaxFloat64 {
		return p, nil
	}
	return p, s.astray(x, m, max(0, lost/lines)) // Inf among x is lost too, and makes the direction NaN
}

// astray takes the momentum off the vectors that have no step, none of which is before the given
// point, and names the first.
func (s spheres[T]) astray(x block[T], m []T, first int) error {
	reason := ""
	for i := first; i < x.k; i++ {
		for j := range s.lines(x) {
			l := s.line(x, i, j)
			size := norm(l, x.data)
			if math.Abs(size/s.r-1) < 0.5 {
				continue
			}
			if reason == "" {
				first, reason = i, fmt.Sprintf("want a vector of norm %g, got %g", s.r, size)
			}
			for e, end := l.at, l.at+l.n*l.stride; m != nil && e < end; e += l.stride {
				m[e] = 0
			}
		}
	}
	return &PointError{s.name, "step", first, reason}
}

// Descends reports false for geodesics, for tangent momentum with a look ahead, and for
// numbers whose squares might overflow or vanish.
func (s Sphere) Descends(m Manifold, x Points, d Descent, b Bounds) bool {
	if m, ok := m.(Sphere); ok && x.f64 != nil {
		return m.s64().descends(1, d, b)
	} else if ok {
		return m.s32().descends(1, d, b)
	}
	return false
}

// Descend makes the step in two sweeps over each point.
func (s Sphere) Descend(x, mu, g Points, d Descent) (Progress, error) {
	if x.f64 != nil {
		return s.s64().descend(x.b64(), mu.f64, g.f64, d)
	}
	return s.s32().descend(x.b32(), mu.f32, g.f32, d)
}

// Descends reports false for geodesics, for tangent momentum with a look ahead, and for
// numbers whose squares might overflow or vanish.
func (s CentredSphere) Descends(m Manifold, x Points, d Descent, b Bounds) bool {
	if m, ok := m.(CentredSphere); ok && x.f64 != nil {
		return m.s64().descends(1, d, b)
	} else if ok {
		return m.s32().descends(1, d, b)
	}
	return false
}

// Descend makes the step in two sweeps over each point.
func (s CentredSphere) Descend(x, mu, g Points, d Descent) (Progress, error) {
	if x.f64 != nil {
		return s.s64().descend(x.b64(), mu.f64, g.f64, d)
	}
	return s.s32().descend(x.b32(), mu.f32, g.f32, d)
}

// Descends reports false for geodesics, for tangent momentum with a look ahead, for
// the geometric factor of points of several vectors, and for numbers whose squares might
// overflow or vanish.
func (s Oblique) Descends(m Manifold, x Points, d Descent, b Bounds) bool {
	if m, ok := m.(Oblique); ok && x.f64 != nil {
		return m.s64().descends(m.count(x.N, x.P), d, b)
	} else if ok {
		return m.s32().descends(m.count(x.N, x.P), d, b)
	}
	return false
}

// Descend makes the step in two sweeps over each point.
func (s Oblique) Descend(x, mu, g Points, d Descent) (Progress, error) {
	if x.f64 != nil {
		return s.s64().descend(x.b64(), mu.f64, g.f64, d)
	}
	return s.s32().descend(x.b32(), mu.f32, g.f32, d)
}

var (
	_ Descender = Euclidean{}
	_ Descender = Sphere{}
	_ Descender = CentredSphere{}
	_ Descender = Oblique{}
)

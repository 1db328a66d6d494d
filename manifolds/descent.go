// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"fmt"
	"math"

	"github.com/kernelfold/kernelfold/internal/descent"
	"github.com/kernelfold/kernelfold/internal/fused"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Descent is a step of gradient descent with momentum. For every point x with Euclidean
// gradient g and ambient momentum m,
//
//	v  = grad(Ahead m + Slope g)              Riemannian gradient, the direction
//	y  = R_x(-Rate/g_t v)                     retraction
//	m <- Keep m + Take g                      ambient momentum
//	x <- y,  g <- 0
//
// With Tangent, m is a tangent vector, and with T the transport from x to y,
//
//	v  = Ahead m + Slope grad(g)
//	m <- T(Keep m + Take grad(g)).
//
// Where T is the tangent projection at y, the next step applies it to m anyway. Late saves that
// projection: m is stored as a tangent vector at x, and is tangent at the previous point when the step begins.
//
// In Euclidean space x moves by -Rate (v + Decay x). With Geometric, g_t is the GeometricFactor
// of the norm of v at each point; otherwise g_t = 1.
//
// With Factors, the direction v of point k is multiplied by Factors[k], as in adaptive methods; m does not change.
// Longest must then be a bound of the norm of the direction of all points.
//
// Direction and Move make this step on any Manifold. A Descender has a faster step of its own,
// which accepts Factors if it is Adaptable.
type Descent = descent.Step

// Progress describes a step: Direction is the sum of |v|^2, without decay, over the points,
// Length the sum of |Rate/g_t v|^2, and Factor the largest g_t.
type Progress = descent.Progress

// GeometricFactor returns
//
//	g(R, c) = max(1, R' (2 + R')),  R' = R c^(-1/2),
//
// by which the learning rate is divided for a direction of norm R on a manifold of sectional
// curvature at most c > 0. On the unit sphere it is the factor of Ozay and Okatani (arXiv 1610.07008,
// theorem 2); with c it does not depend on the scale of the manifold. Where c is 0 or negative there is
// no length c^(-1/2) that limits a step, and g is 1. docs/geometry.md derives it.
func GeometricFactor(r, c float64) float64 { return descent.Factor(r, c) }

// Distortion returns
//
//	zeta(k, d) = d sqrt(-k) / tanh(d sqrt(-k)),
//
// or 1 if k is 0, for a lower bound k <= 0 of the sectional curvature: a bound of the Hessian of half the squared distance from a
// point d away, and of the distortion of triangles with a side d (Zhang, Sra 2016, lemma 5).
func Distortion(k, d float64) float64 {
	a := d * math.Sqrt(-k)
	if a < 1e-8 {
		return 1
	}
	return a / math.Tanh(a)
}

// Direction writes the direction of the step d at x to v, and the momentum after the step, not
// yet transported, to nu. mu is the momentum before the step, and may be the same batch as nu.
// Without momentum, mu and nu have no points (K = 0). g is overwritten.
func Direction(m Manifold, v, nu, x, mu, g Points, d Descent) error {
	if err := given(m); err != nil {
		return err
	}
	if err := direction(m, v, nu, x, mu, g, d); err != nil || d.Factors == nil {
		return err
	}
	return v.Scale(d.Factors, v)
}

func direction(m Manifold, v, nu, x, mu, g Points, d Descent) error {
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

// Move writes the retraction of v at x to y, and transports each batch of tangent vectors in u
// from x to y, in place.
func Move(m Manifold, y, x, v Points, u ...Points) error {
	if err := given(m); err != nil {
		return err
	}
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

// Descend makes the step d in place with the methods of Manifold. The Descend method of a
// Descender makes the same step up to rounding. If Descend fails, x, mu and g are unchanged.
func Descend(m Manifold, x, mu, g Points, d Descent) (Progress, error) {
	p := Progress{Factor: 1}
	if err := given(m); err != nil {
		return p, err
	}
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

// Descender is implemented by a manifold with a fused step: it works in place and reads and
// writes memory once instead of once for each operation. The result is that of the function
// Descend up to rounding.
type Descender interface {
	// Descends reports whether Descend can make the step d of the batch x for the manifold m,
	// given bounds of the gradient and the momentum. It must return false unless m has the
	// type of the receiver: a type that embeds the receiver has a geometry of its own and must
	// be moved by its own methods. Where Descends returns true, the step cannot fail as long
	// as x is on the manifold. The values of Factors may not be known yet.
	Descends(m Manifold, x Points, d Descent, b Bounds) bool

	// Descend makes the step. Without momentum, mu has no points (K = 0). Unless the batches have
	// the same K, N, P and precision, and Factors are nil or K numbers, Descend returns an error
	// and changes nothing.
	//
	// If other code has moved a point off the manifold, the retraction brings it back where the
	// retraction is defined. Otherwise the point stays where it is, its momentum is set to zero,
	// and the error is a *PointError that names the first such point; all other points have
	// moved.
	Descend(x, mu, g Points, d Descent) (Progress, error)
}

// Adaptable is implemented by a Descender whose Descend takes Factors, and that knows the lengths
// of Riemannian gradients without writing them.
type Adaptable interface {
	Descender
	// GradientSquares writes |grad|^2 of each point, of the Riemannian gradient of the Euclidean
	// gradient g at x, to out, of length K. It is at least 0, also with rounding.
	GradientSquares(out []float64, x, g Points) error
}

// Bounds are upper bounds of the Frobenius norms of the gradient and the momentum before a step.
type Bounds struct{ Gradient, Momentum float64 }

// After returns a bound of the norm of the momentum after the step d.
func (b Bounds) After(d Descent) float64 {
	return math.Abs(d.Keep)*b.Momentum + math.Abs(d.Take)*b.Gradient
}

// Direction returns a bound of the norm of the direction of the step d.
func (b Bounds) Direction(d Descent) float64 {
	return math.Abs(d.Ahead)*b.Momentum + math.Abs(d.Slope)*b.Gradient
}

// safe reports whether the step d on a manifold of the given size can be computed in T: the
// squares of all quantities in it are far from overflow and underflow, and the step is no longer
// than maxLength, in units of the size.
func safe[T vec.Float](d Descent, b Bounds, size, maxLength float64) bool {
	small, large := 1e-6, 1e15
	if vec.Double[T]() {
		small, large = 1e-75, 1e150
	}
	direction := b.Direction(d)
	step := d.Rate * direction
	if d.Factors != nil {
		step = d.Rate * d.Longest
	}
	return size >= small && size <= 1/small &&
		direction < large && b.After(d) < large && (b.Gradient == 0 || b.Gradient > small*small) &&
		d.Rate < size/(small*small) && step <= maxLength*size
}

// maxSphereStep is the longest step v, in units of the radius, for which x + v keeps enough
// digits of x.
func maxSphereStep[T vec.Float]() float64 {
	if vec.Double[T]() {
		return 1e9
	}
	return 2e3
}

// Descends returns true if no square can overflow or vanish, and false for a Geometric step and
// with Factors.
func (Euclidean) Descends(m Manifold, x Points, d Descent, b Bounds) bool {
	if _, ok := m.(Euclidean); !ok || d.Geometric || d.Factors != nil {
		return false
	}
	if x.f64 != nil {
		return safe[float64](d, b, 1, math.Inf(1))
	}
	return safe[float32](d, b, 1, math.Inf(1))
}

// Descend sets x to x - Rate (Ahead m + Slope g + Decay x).
func (s Euclidean) Descend(x, mu, g Points, d Descent) (Progress, error) {
	return liftStep(s.Check(x.N, x.P), x, mu, g, d, flat[float32], flat[float64])
}

func flat[T vec.Float](x block[T], m, g []T, d Descent) (Progress, error) {
	return fused.Flat(x.data, m, g, d, 1-d.Rate*d.Decay), nil
}

// descends reports whether the fused step applies to points of that many vectors. It computes
// neither exponential maps nor tangent momentum with a look ahead. It treats each vector alone,
// whereas the geometric factor depends on all vectors of a point. Late transport would save nothing.
func (s spheres[T]) descends(lines int, d Descent, b Bounds) bool {
	return !s.geodesic && d.Decay == 0 && !d.Late && !(d.Tangent && d.LooksAhead()) &&
		(!d.Geometric || lines == 1 && s.resolves(d, b)) && safe[T](d, b, s.r, maxSphereStep[T]())
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

// Descends returns false if Geodesic, for tangent momentum with a look ahead, where squares might
// overflow or vanish, and for the geometric factor where it might be lost in rounding errors: with
// Factors, or with a gradient or momentum of more than 90/r in float32.
func (s Sphere) Descends(m Manifold, x Points, d Descent, b Bounds) bool {
	if m, ok := m.(Sphere); ok && x.f64 != nil {
		return m.s64().descends(1, d, b)
	} else if ok {
		return m.s32().descends(1, d, b)
	}
	return false
}

// Descend makes the step in two passes over each point.
func (s Sphere) Descend(x, mu, g Points, d Descent) (Progress, error) {
	return liftStep(s.Check(x.N, x.P), x, mu, g, d, s.s32().descend, s.s64().descend)
}

// GradientSquares writes |g - x <x, g>/r^2|^2 of each point.
func (s Sphere) GradientSquares(out []float64, x, g Points) error {
	return liftOut(s.Check(x.N, x.P), "gradient squares", out, x, x, g, s.s32().gradientSquares, s.s64().gradientSquares)
}

// Descends returns false if Geodesic, for tangent momentum with a look ahead, where squares might
// overflow or vanish, and for the geometric factor where it might be lost in rounding errors: with
// Factors, or with a gradient or momentum of more than 90/r in float32.
func (s CentredSphere) Descends(m Manifold, x Points, d Descent, b Bounds) bool {
	if m, ok := m.(CentredSphere); ok && x.f64 != nil {
		return m.s64().descends(1, d, b)
	} else if ok {
		return m.s32().descends(1, d, b)
	}
	return false
}

// Descend makes the step in two passes over each point.
func (s CentredSphere) Descend(x, mu, g Points, d Descent) (Progress, error) {
	return liftStep(s.Check(x.N, x.P), x, mu, g, d, s.s32().descend, s.s64().descend)
}

// GradientSquares writes |g - x <x, g>/r^2|^2 of each point, with the mean of g subtracted first.
func (s CentredSphere) GradientSquares(out []float64, x, g Points) error {
	return liftOut(s.Check(x.N, x.P), "gradient squares", out, x, x, g, s.s32().gradientSquares, s.s64().gradientSquares)
}

// Descends returns false if Geodesic, for tangent momentum with a look ahead, where squares might
// overflow or vanish, and for the geometric factor on points of several vectors or where Sphere does.
func (s Oblique) Descends(m Manifold, x Points, d Descent, b Bounds) bool {
	if m, ok := m.(Oblique); ok && x.f64 != nil {
		return m.s64().descends(m.count(x.N, x.P), d, b)
	} else if ok {
		return m.s32().descends(m.count(x.N, x.P), d, b)
	}
	return false
}

// Descend makes the step in two passes over each point.
func (s Oblique) Descend(x, mu, g Points, d Descent) (Progress, error) {
	return liftStep(s.Check(x.N, x.P), x, mu, g, d, s.s32().descend, s.s64().descend)
}

// GradientSquares writes |g - x <x, g>/r^2|^2, summed over the vectors of each point.
func (s Oblique) GradientSquares(out []float64, x, g Points) error {
	return liftOut(s.Check(x.N, x.P), "gradient squares", out, x, x, g, s.s32().gradientSquares, s.s64().gradientSquares)
}

var (
	_ Descender = Euclidean{}
	_ Adaptable = Sphere{}
	_ Adaptable = CentredSphere{}
	_ Adaptable = Oblique{}
)

// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"math"

	"github.com/kernelfold/kernelfold/internal/descent"
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

// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/kernelfold/kernelfold/internal/fused"
	"github.com/kernelfold/kernelfold/internal/scratch"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Euclidean is R^{n x p}: every matrix is a point and every matrix is a tangent vector. Project
// and Tangent are the identity, Exp_x(v) = x + v, Log_x(y) = y - x. The curvature is 0 and the
// injectivity radius is infinite. Its default grouping is PerWeight, so that a rule that keeps one number per
// point, such as Adam's second moment, is the usual component-wise rule.
//
// Membership is 0 for a finite batch.
type Euclidean struct{}

var (
	_ Manifold            = Euclidean{}
	_ Exponential         = Euclidean{}
	_ Logarithm           = Euclidean{}
	_ Inverse             = Euclidean{}
	_ ParallelTransporter = Euclidean{}
	_ Differentiable      = Euclidean{}
	_ Described           = Euclidean{}
	_ Sampler             = Euclidean{}
	_ Grouper             = Euclidean{}
	_ Descender           = Euclidean{}
)

// String returns "Euclidean".
func (Euclidean) String() string { return "Euclidean" }

// For returns m, and PerWeight in place of Default.
func (m Euclidean) For(g Grouping) (Manifold, Grouping) { return m, g.or(PerWeight) }

// Check accepts every positive shape.
func (m Euclidean) Check(n, p int) error { return positive("Euclidean", n, p) }

// Properties returns the dimension n p, curvature 0 and an infinite injectivity radius.
func (Euclidean) Properties(n, p int) Properties {
	return Properties{Dim: n * p, InjectivityRadius: math.Inf(1)}
}

// Project copies x. It fails where x is not finite.
func (m Euclidean) Project(dst, x Points) error {
	if err := dst.CopyFrom(x); err != nil {
		return err
	}
	return m.finite("project", dst)
}

// ProjectAdjoint copies g. It fails where v is not finite.
func (m Euclidean) ProjectAdjoint(dst, v, y, g Points) error {
	if err := Agree("adjoint", dst, v, y, g); err != nil {
		return err
	}
	if err := m.finite("adjoint", v); err != nil {
		return err
	}
	return dst.CopyFrom(g)
}

// Tangent copies g.
func (m Euclidean) Tangent(dst, x, g Points) error {
	if err := Agree("tangent", x, g); err != nil {
		return err
	}
	return dst.CopyFrom(g)
}

// Retract writes x + v. It fails where that is not finite.
func (m Euclidean) Retract(dst, x, v Points) error {
	if err := dst.Combine(1, x, 1, v); err != nil {
		return err
	}
	return m.finite("retract", dst)
}

// Transport copies u.
func (m Euclidean) Transport(dst, x, y, u Points) error {
	if err := Agree("transport", x, y, u); err != nil {
		return err
	}
	return dst.CopyFrom(u)
}

// ParallelTransport copies u.
func (m Euclidean) ParallelTransport(dst, x, y, u Points) error { return m.Transport(dst, x, y, u) }

// Exp writes x + v.
func (m Euclidean) Exp(dst, x, v Points) error { return m.Retract(dst, x, v) }

// Log writes y - x. It fails where that is not finite.
func (m Euclidean) Log(dst, x, y Points) error {
	if err := dst.Combine(1, y, -1, x); err != nil {
		return err
	}
	return m.finite("log", dst)
}

// InverseRetract writes y - x, as Log does.
func (m Euclidean) InverseRetract(dst, x, y Points) error { return m.Log(dst, x, y) }

// Dist writes |y - x|. It fails where that is not finite.
func (m Euclidean) Dist(out []float64, x, y Points) error {
	return liftOut(m.Check(x.N, x.P), "distance", out, x, x, y, distances[float32], distances[float64])
}

// Random fills dst with independent standard normal values, because there is no uniform
// distribution on R^{n x p}.
func (m Euclidean) Random(dst Points, rng *rand.Rand) error {
	return gaussian(dst, rng)
}

// Membership returns 0, or NaN for a non-finite batch.
func (m Euclidean) Membership(x Points) float64 {
	if !(x.Norm() <= math.MaxFloat64) {
		return math.NaN()
	}
	return 0
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
func (m Euclidean) Descend(x, mu, g Points, d Descent) (Progress, error) {
	return liftStep(m.Check(x.N, x.P), x, mu, g, d, flat[float32], flat[float64])
}

func flat[T vec.Float](x block[T], m, g []T, d Descent) (Progress, error) {
	return fused.Flat(x.data, m, g, d, 1-d.Rate*d.Decay), nil
}

func distances[T vec.Float](out []float64, x, _, y block[T]) error {
	d := scratch.Get[float64](x.n * x.p)
	defer scratch.Put(d)
	for i := range out {
		from, to := x.at(i), y.at(i)
		for j := range d {
			d[j] = float64(to[j]) - float64(from[j])
		}
		if out[i] = vec.Norm(d); !(out[i] <= math.MaxFloat64) {
			return &PointError{"Euclidean", "distance", i, fmt.Sprintf("want finite values, got norm %g", out[i])}
		}
	}
	return nil
}

// finite returns an error that names the first point of x that is not finite.
func (Euclidean) finite(op string, x Points) error {
	if x.Norm() <= math.MaxFloat64 {
		return nil
	}
	for k := range x.K {
		if n := x.Slice(k, k+1).Norm(); !(n <= math.MaxFloat64) {
			return &PointError{"Euclidean", op, k, fmt.Sprintf("want finite values, got norm %g", n)}
		}
	}
	return nil
}

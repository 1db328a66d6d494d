// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/kernelfold/kernelfold/internal/vec"
)

// Euclidean is R^{n x p}: every matrix is a point and every matrix is tangent.
// Project and Tangent are the identity, Exp_x(v) = x + v, Log_x(y) = y - x.
// Curvature 0, infinite injectivity radius. Its grouping is PerWeight, so that
// a rule with one number a point, like Adam's second moment, is the textbook's
// component-wise rule.
//
// Membership is 0 for a finite batch.
type Euclidean struct{}

var (
	_ Manifold            = Euclidean{}
	_ Exponential         = Euclidean{}
	_ Logarithm           = Euclidean{}
	_ ParallelTransporter = Euclidean{}
	_ Curved              = Euclidean{}
	_ Sampler             = Euclidean{}
	_ Dimensioned         = Euclidean{}
	_ Grouper             = Euclidean{}
)

// String returns "Euclidean".
func (Euclidean) String() string { return "Euclidean" }

// Grouping returns PerWeight.
func (Euclidean) Grouping() Grouping { return PerWeight }

// Check accepts every positive shape.
func (m Euclidean) Check(n, p int) error { return positive("Euclidean", n, p) }

// Dim returns n p.
func (Euclidean) Dim(n, p int) int { return n * p }

// Curvature returns 0.
func (Euclidean) Curvature(n, p int) float64 { return 0 }

// InjectivityRadius returns infinity.
func (Euclidean) InjectivityRadius(n, p int) float64 { return math.Inf(1) }

// Project copies x.
func (m Euclidean) Project(dst, x Points) error { return x.Copy(dst) }

// Tangent copies g.
func (m Euclidean) Tangent(dst, x, g Points) error {
	if err := agree("tangent", x, g); err != nil {
		return err
	}
	return g.Copy(dst)
}

// Retract writes x + v.
func (m Euclidean) Retract(dst, x, v Points) error {
	return lift3(m.Check(x.N, x.P), "retract", dst, x, v, plus[float32](1), plus[float64](1))
}

// Transport copies u.
func (m Euclidean) Transport(dst, x, y, u Points) error {
	if err := agree("transport", x, y, u); err != nil {
		return err
	}
	return u.Copy(dst)
}

// ParallelTransport copies u.
func (m Euclidean) ParallelTransport(dst, x, y, u Points) error { return m.Transport(dst, x, y, u) }

// Exp writes x + v.
func (m Euclidean) Exp(dst, x, v Points) error { return m.Retract(dst, x, v) }

// Log writes y - x.
func (m Euclidean) Log(dst, x, y Points) error {
	return lift3(m.Check(x.N, x.P), "log", dst, x, y, plus[float32](-1), plus[float64](-1))
}

// Dist writes |y - x|.
func (m Euclidean) Dist(out []float64, x, y Points) error {
	return liftOut(m.Check(x.N, x.P), "distance", out, x, x, y, distances[float32], distances[float64])
}

// Random fills dst with independent standard normal values, there being no
// uniform distribution.
func (m Euclidean) Random(dst Points, rng *rand.Rand) error {
	gaussian(dst, rng)
	return nil
}

// Membership returns 0, or NaN for a non-finite batch.
func (m Euclidean) Membership(x Points) float64 {
	return lift1(x, finite[float32], finite[float64])
}

func plus[T vec.Float](sign float64) func(dst, x, v block[T]) error {
	if sign < 0 {
		return func(dst, x, v block[T]) error {
			vec.Combine(dst.data, -1, x.data, 1, v.data)
			return nil
		}
	}
	return func(dst, x, v block[T]) error {
		vec.Combine(dst.data, 1, x.data, 1, v.data)
		return nil
	}
}

func distances[T vec.Float](out []float64, x, _, y block[T]) error {
	for i := range out {
		s := 0.0
		for j, v := range x.at(i) {
			d := float64(y.at(i)[j]) - float64(v)
			s += d * d
		}
		out[i] = math.Sqrt(s)
	}
	return nil
}

func finite[T vec.Float](x block[T]) float64 {
	if m := vec.MaxAbs(x.data); m <= math.MaxFloat64 {
		return 0
	}
	return math.NaN()
}

func gaussian(dst Points, rng *rand.Rand) {
	for i := range dst.f64 {
		dst.f64[i] = rng.NormFloat64()
	}
	for i := range dst.f32 {
		dst.f32[i] = float32(rng.NormFloat64())
	}
}

// positive is the least that every manifold asks of a shape.
func positive(name string, n, p int) error {
	if n < 1 || p < 1 {
		return shapeError(name, "positive sizes", n, p)
	}
	return nil
}

func shapeError(name string, want string, n, p int) error {
	return fmt.Errorf("manifolds: %s: want %s, got points of %dx%d", name, want, n, p)
}

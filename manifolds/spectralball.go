// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"math"

	"github.com/kernelfold/kernelfold/internal/frames"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// SpectralBall is the set {x : |x|_2 <= r} of n x p matrices whose largest singular value is at most r. It is not a manifold but a
// convex body: inside it points move freely, as in Euclidean space, and a step that leaves it ends at the nearest point, so that a
// solver becomes projected gradient descent with momentum in the ambient space. A layer with such weights multiplies
// the norm of its input by at most r, up to the overlap of the windows of a convolution (docs/geometry.md).
//
//	tangent space  all matrices
//	dimension      n p
//	projection     U min(S, r) W^T for x = U S W^T
//	retraction     the projection of x + v
//
// Its default grouping is FilterBank, and its only scale is Unit. Membership is max(0, |x|_2/r - 1).
//
// Yoshida, Miyato, arXiv 1705.10941, penalise the same norm; Gouk, Frank, Pfahringer, Cree, Machine Learning 110 (2021), project onto it
// by scaling.
type SpectralBall struct {
	// Radius is r. Zero means 1.
	Radius float64
}

var (
	_ Manifold  = SpectralBall{}
	_ Described = SpectralBall{}
	_ Grouper   = SpectralBall{}
)

const spectralBall = "SpectralBall"

// String returns the name and the radius if it is not 1.
func (m SpectralBall) String() string { return label(spectralBall, m.Radius) }

// For returns m, and FilterBank in place of Default.
func (m SpectralBall) For(g Grouping) (Manifold, Grouping) { return m, g.or(FilterBank) }

// Check accepts every positive shape.
func (m SpectralBall) Check(n, p int) error {
	if err := positive(spectralBall, n, p); err != nil {
		return err
	}
	return checkRadius(spectralBall, m.Radius)
}

// Properties returns the dimension n p, no curvature, that the set is convex, and the cost of an eigenvalue decomposition.
func (m SpectralBall) Properties(n, p int) Properties {
	return Properties{Dim: n * p, Convex: true, Cost: 10 * min(n, p)}
}

// Project writes U min(S, r) W^T, computed in float64. It fails where x is not finite.
func (m SpectralBall) Project(dst, x Points) error {
	return m.clip("project", dst, x)
}

// clip writes the points of the ball nearest to x.
func (m SpectralBall) clip(op string, dst, x Points) error {
	r := size(m.Radius).value()
	return lift2(m.Check(x.N, x.P), op, dst, x,
		func(dst, x block[float32]) error { return clip(op, dst, x, r) },
		func(dst, x block[float64]) error { return clip(op, dst, x, r) })
}

func clip[T vec.Float](op string, dst, x block[T], r float64) error {
	for i := range x.k {
		if err := frames.Clip(x.tall(dst.at(i)), x.tall(x.at(i)), r); err != nil {
			return &PointError{spectralBall, op, i, err.Error()}
		}
	}
	return nil
}

// Tangent copies g.
func (m SpectralBall) Tangent(dst, x, g Points) error {
	if err := admit(m.Check(x.N, x.P), "tangent", dst, x, g); err != nil {
		return err
	}
	return dst.CopyFrom(g)
}

// Retract writes the projection of x + v.
func (m SpectralBall) Retract(dst, x, v Points) error {
	if err := admit(m.Check(x.N, x.P), "retract", dst, x, v); err != nil {
		return err
	}
	if err := dst.Combine(1, x, 1, v); err != nil {
		return err
	}
	return m.clip("retract", dst, dst)
}

// Transport copies u.
func (m SpectralBall) Transport(dst, x, y, u Points) error {
	if err := admit(m.Check(x.N, x.P), "transport", dst, x, y, u); err != nil {
		return err
	}
	return dst.CopyFrom(u)
}

// Membership returns the largest max(0, |x|_2/r - 1).
func (m SpectralBall) Membership(x Points) float64 {
	r := size(m.Radius).value()
	return lift1(x, func(x block[float32]) float64 { return excess(x, r) }, func(x block[float64]) float64 { return excess(x, r) })
}

func excess[T vec.Float](x block[T], r float64) float64 {
	worst := 0.0
	for i := range x.k {
		e := max(0, frames.SpectralNorm(x.tall(x.at(i)))/r-1)
		if e != e {
			return math.NaN()
		}
		worst = max(worst, e)
	}
	return worst
}

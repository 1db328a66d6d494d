// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"fmt"
	"math/rand/v2"
)

// Manifold is a set of n x p matrices with the operations a first-order
// solver needs. Every method works on a whole batch of points at once, in
// place, destination first; dst may be one of the arguments but must not
// overlap one in part. All batches of a call have the same K, N, P and
// precision, or the call returns an error and writes nothing.
//
// A type outside this package that has these six methods is as good as the
// ones here; everything else (Metric, Exponential, Scalable ...) is optional
// and found by type assertion. manifoldtest.Run tells whether it is right.
//
// A Manifold is a value: methods keep no state, and may run concurrently on
// different batches.
type Manifold interface {
	// Check returns an error if no n x p matrix is a point.
	Check(n, p int) error

	// Project writes to dst the point nearest to x in the Frobenius norm.
	// It fails, with a *PointError, where the nearest point is not unique:
	// a zero vector on a sphere, a rank-deficient matrix on Stiefel.
	Project(dst, x Points) error

	// Tangent writes the orthogonal projection of the ambient g onto the
	// tangent space at x.
	Tangent(dst, x, g Points) error

	// Retract writes R_x(v), v tangent at x: R_x(0) = x and
	// |R_x(tv) - (x + tv)| = O(t^2).
	Retract(dst, x, v Points) error

	// Transport carries u, tangent at x, to the tangent space at y.
	Transport(dst, x, y, u Points) error

	// Membership returns the largest membership error over the batch: zero on
	// the manifold, relative to its size, NaN for a non-finite point. The doc
	// of each manifold says how it is measured.
	Membership(x Points) float64
}

// Metric is implemented by a manifold whose inner product is not the
// Frobenius product of the ambient space.
type Metric interface {
	// Gradient converts the Euclidean gradient g at x to the Riemannian one:
	// the tangent vector with <grad, u>_x = <g, u> for every tangent u.
	Gradient(dst, x, g Points) error
	// Inner writes the inner product <u, v>_x of each point to out, of length K.
	Inner(out []float64, x, u, v Points) error
}

// Exponential is implemented by a manifold with a closed-form exponential map.
type Exponential interface {
	// Exp writes the point that the geodesic from x with velocity v reaches
	// at time 1.
	Exp(dst, x, v Points) error
}

// Logarithm is implemented by a manifold with a closed-form logarithm.
type Logarithm interface {
	// Log writes the shortest v with Exp_x(v) = y. It fails at the cut locus,
	// where there is more than one.
	Log(dst, x, y Points) error
	// Dist writes the geodesic distance of each pair of points to out, of
	// length K.
	Dist(out []float64, x, y Points) error
}

// ParallelTransporter is implemented by a manifold with closed-form parallel
// transport along the shortest geodesic from x to y, an isometry of the
// tangent spaces.
type ParallelTransporter interface {
	ParallelTransport(dst, x, y, u Points) error
}

// Quotient is implemented by a manifold whose points are classes of matrices, such as the subspaces that orthonormal bases span. The
// tangent vectors of a quotient are horizontal: orthogonal to the directions in which the class stays the same. The tangent
// projection is then not the derivative of Project, and points are compared by class.
type Quotient interface {
	// Same returns the largest distance between the classes of x and y over the batch, relative to the size of the points: 0 where
	// they are the same, and in proportion to a small step between them.
	Same(x, y Points) (float64, error)
}

// PathTransporter is implemented by a manifold that transports along the curve of its own retraction. Momentum goes with the step
// then, also where that is longer than the shortest way between its ends.
type PathTransporter interface {
	// TransportAlong carries u, tangent at x, along t -> R_x(t v), t from 0 to 1, to y = R_x(v).
	TransportAlong(dst, x, v, y, u Points) error
}

// Differentiable is implemented by a manifold that can differentiate Project. A
// node that normalises onto the manifold needs it.
type Differentiable interface {
	// ProjectAdjoint writes P'(v)* g, where P'(v) is the derivative of Project at
	// v: with y = P(v), <P'(v) u, g> = <u, P'(v)* g> for every u. It turns the
	// Euclidean gradient g of a function of y into that of the function of v. It
	// fails, with a *PointError, where Project does.
	ProjectAdjoint(dst, v, y, g Points) error
}

// Properties are what is known of the manifold of n x p matrices.
type Properties struct {
	// Dim is the dimension; negative if it is unknown.
	Dim int
	// Curvature is an upper bound of the sectional curvature; 0 if the manifold is flat or the curvature is unknown.
	Curvature float64
	// InjectivityRadius is the injectivity radius or a lower bound of it; 0 if it is unknown.
	InjectivityRadius float64
	// Cost is the number of multiplications for each weight in one step, beyond a few passes over memory; 0 for none.
	// Work is divided among processes by it.
	Cost int
}

// Described is implemented by a manifold some of whose properties are known.
type Described interface {
	// Properties returns the properties of the manifold of n x p matrices.
	Properties(n, p int) Properties
}

// Scalable is implemented by a manifold that can be made larger or smaller,
// and all of whose points have the same Frobenius norm. A Scale other than Unit
// needs it.
type Scalable interface {
	// Scaled returns the manifold {s x}, a value of the type it is called on. A type that embeds another manifold has to
	// write it anew: Constraint.Bind refuses the one that embedding promotes, which returns the embedded type.
	Scaled(s float64) Manifold
	// Norm returns the Frobenius norm of its n x p points.
	Norm(n, p int) float64
	// Sized reports whether the size was chosen explicitly, as by a radius. It is
	// then kept unless a Scale is named.
	Sized() bool
}

// Sampler is implemented by a manifold with a uniform (invariant)
// distribution.
type Sampler interface {
	// Random fills dst with independent uniform points.
	Random(dst Points, rng *rand.Rand) error
}

// Gradient converts the Euclidean gradient g at x to the Riemannian gradient
// in the metric of m.
func Gradient(m Manifold, dst, x, g Points) error {
	if t, ok := m.(Metric); ok {
		return t.Gradient(dst, x, g)
	}
	return m.Tangent(dst, x, g)
}

// Inner writes the inner product <u, v>_x in the metric of m, one number a
// point, to out.
func Inner(m Manifold, out []float64, x, u, v Points) error {
	if t, ok := m.(Metric); ok {
		return t.Inner(out, x, u, v)
	}
	return frobenius(out, x, u, v)
}

// TransportAlong carries u, tangent at x, to y = R_x(v) along the curve of the step if m is a PathTransporter, and by Transport
// otherwise.
func TransportAlong(m Manifold, dst, x, v, y, u Points) error {
	if t, ok := m.(PathTransporter); ok {
		return t.TransportAlong(dst, x, v, y, u)
	}
	if err := Agree("transport along", x, v); err != nil {
		return err
	}
	return m.Transport(dst, x, y, u)
}

// PropertiesOf returns the properties that m declares for n x p matrices. A manifold that is not Described has the dimension -1,
// for unknown, and nothing else.
func PropertiesOf(m Manifold, n, p int) Properties {
	if d, ok := m.(Described); ok {
		return d.Properties(n, p)
	}
	return Properties{Dim: -1}
}

// Name returns what m calls itself: its String method, or its type.
func Name(m Manifold) string {
	if s, ok := m.(fmt.Stringer); ok {
		return s.String()
	}
	return fmt.Sprintf("%T", m)
}

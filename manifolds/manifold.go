// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/kernelfold/kernelfold/internal/isnil"
)

// Manifold is a set of n x p matrices with the operations that a first-order solver needs. Every
// method works on a whole batch of points. The destination dst comes first; it may be the same
// batch as another argument but must not overlap one in part. Unless all batches of a call have
// the same K, N, P and precision, the call returns an error and writes nothing.
//
// A type of another package that has these six methods can do what the types of this package
// can. All other interfaces (Metric, Exponential, Scalable ...) are optional and found by type
// assertion. Check a type of your own with manifoldtest.Run.
//
// Methods keep no state and may run concurrently on different batches.
type Manifold interface {
	// Check returns an error if no n x p matrix is a point.
	Check(n, p int) error

	// Project writes to dst the point nearest to x in the Frobenius norm.
	// It fails, with a *PointError, where the nearest point is not unique or does not exist:
	// a zero vector on a sphere, a rank-deficient matrix on Stiefel, a matrix outside of an open set.
	Project(dst, x Points) error

	// Tangent writes the orthogonal projection of the ambient g onto the
	// tangent space at x.
	Tangent(dst, x, g Points) error

	// Retract writes R_x(v) for v tangent at x. A retraction R fulfils R_x(0) = x and
	// |R_x(tv) - (x + tv)| = O(t^2). It fails, with a *PointError, where a step is too long: where it leaves an open set,
	// ends where numbers are not finite, or is so long that the digits of x are lost. On a Scalable manifold, whose points have
	// one norm, steps of up to 100 norms must have an answer.
	Retract(dst, x, v Points) error

	// Transport carries u, tangent at x, to the tangent space at y.
	Transport(dst, x, y, u Points) error

	// Membership returns the largest membership error over the batch, relative to the size of
	// the manifold. It is zero on the manifold and NaN for a point that is not finite. Each
	// manifold documents how it is measured.
	Membership(x Points) float64
}

// Metric is implemented by a manifold whose inner product is not the
// Frobenius product of the ambient space.
type Metric interface {
	// Gradient converts the Euclidean gradient g at x to the Riemannian one:
	// the tangent vector with <grad, u>_x = <g, u> for every tangent u.
	Gradient(dst, x, g Points) error
	// Inner writes the inner product <u, v>_x of each point to out, of length K. The function Inner
	// takes care of a <v, v>_x that is negative by rounding.
	Inner(out []float64, x, u, v Points) error
}

// Ambient is implemented by a manifold that is a subset of a space with another inner product than the
// Frobenius product: Project writes the nearest point in its norm, and Tangent the orthogonal
// projection in it. A Euclidean gradient is no vector of this space: a tangent vector is made of it by
// Gradient, not by Tangent, so the manifold is a Metric too.
type Ambient interface {
	// AmbientInner writes the inner product of each pair of matrices to out, of length K.
	AmbientInner(out []float64, u, v Points) error
}

// Exponential is implemented by a manifold with a closed-form exponential map.
type Exponential interface {
	// Exp writes the point that the geodesic from x with velocity v reaches
	// at time 1. It fails, with a *PointError, where Retract may: on hyperbolic space
	// the numbers grow exponentially with the length of v.
	Exp(dst, x, v Points) error
}

// Logarithm is implemented by a manifold with a logarithm, in closed form or by an iteration (see Properties.IterativeLog).
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

// Inverse is implemented by a manifold that can invert its retraction, near x.
type Inverse interface {
	// InverseRetract writes the vector v, tangent at x, with R_x(v) = y. On a Quotient, R_x(v) is in
	// the class of y. It fails, with a *PointError, where there is no such v or it cannot be found.
	// Where the retraction is the exponential map, v is the logarithm.
	InverseRetract(dst, x, y Points) error
}

// Quotient is implemented by a manifold whose points are equivalence classes of matrices, such
// as the subspaces spanned by orthonormal bases. Its tangent vectors are horizontal: orthogonal
// to the directions in which the class does not change. The tangent projection is then not the
// derivative of Project, and two points are equal if they are in one class.
type Quotient interface {
	// Same returns the largest distance between the classes of x and y over the batch, relative
	// to the size of the points. It is 0 where the classes are equal, and proportional to the
	// length of a small step between them.
	Same(x, y Points) (float64, error)
}

// PathTransporter is implemented by a manifold that transports along the curve of its own
// retraction. Momentum then follows the step, even where the step is longer than the shortest
// geodesic between its ends.
type PathTransporter interface {
	// TransportAlong carries u, tangent at x, along the curve t -> R_x(t v) for t from 0 to 1,
	// to y = R_x(v).
	TransportAlong(dst, x, v, y, u Points) error
}

// Differentiable is implemented by a manifold that can differentiate Project. A node of package
// nodes that projects onto a manifold needs it.
type Differentiable interface {
	// ProjectAdjoint writes P'(v)* g, the adjoint of the derivative P'(v) of Project at v:
	// <P'(v) u, g> = <u, P'(v)* g> for every u. With y = P(v), it turns the Euclidean gradient
	// g with respect to y into the gradient with respect to v. It fails, with a *PointError,
	// where Project does.
	ProjectAdjoint(dst, v, y, g Points) error
}

// Properties are known facts about a manifold of n x p matrices.
type Properties struct {
	// Dim is the dimension, or a negative number if it is unknown.
	Dim int
	// Curvature is an upper bound of the sectional curvature, such as -1 for hyperbolic space. It is 0
	// if the manifold is flat or no bound is known.
	Curvature float64
	// LowestCurvature is a lower bound of the sectional curvature, at most 0. It is 0 if the curvature
	// is nowhere negative or no bound is known. NewRDoG and KarcherMean shorten their steps by it.
	LowestCurvature float64
	// InjectivityRadius is the injectivity radius or a lower bound of it, as a length in the metric. It is 0 if none is
	// known.
	InjectivityRadius float64
	// Cost estimates the multiplications per weight in one step, beyond a few passes over
	// memory. Work is balanced among processes by it. It may be 0.
	Cost int
	// Drift bounds the membership error that one retraction from a point of the manifold leaves. It
	// is 0 for a retraction that ends on the manifold, up to rounding.
	Drift float64
	// IterativeLog reports that the logarithm and the distance are found by an iteration, which takes much longer
	// than a step. A solver that needs a distance in every step then takes the chord.
	IterativeLog bool
	// Convex reports that the points are a convex body around 0 and not a surface: all matrices are
	// tangent, and a step that leaves the body ends at its nearest point.
	Convex bool
	// Vectors reports that the points are vectors: it makes no difference to them how their
	// elements are arranged as an n x p matrix.
	Vectors bool
}

// Described is implemented by a manifold that declares its Properties.
type Described interface {
	// Properties returns the properties of the manifold of n x p matrices.
	Properties(n, p int) Properties
}

// Scalable is implemented by a manifold that can be made larger or smaller, and whose points all
// have the same Frobenius norm. Every Scale other than Unit needs it.
type Scalable interface {
	// Scaled returns the manifold {s x}, a value of the type that Scaled is called on. A type
	// that embeds another manifold needs a Scaled of its own: the promoted one returns the
	// embedded type, and Constraint.Bind refuses it.
	Scaled(s float64) Manifold
	// Norm returns the Frobenius norm of the n x p points.
	Norm(n, p int) float64
	// Sized reports whether the size was set explicitly, for example by a radius. On keeps that
	// size unless its options name a Scale.
	Sized() bool
}

// Sampler is implemented by a manifold with a uniform (invariant)
// distribution, or, where there is none, with another one from which weights may begin. On an open set, where Project cannot make
// points of any matrix, manifoldtest needs it.
type Sampler interface {
	// Random fills dst with independent points, uniform if the manifold is Scalable.
	Random(dst Points, rng *rand.Rand) error
}

// Gradient converts the Euclidean gradient g at x to the Riemannian gradient
// in the metric of m.
func Gradient(m Manifold, dst, x, g Points) error {
	if err := given(m); err != nil {
		return err
	}
	if t, ok := m.(Metric); ok {
		return t.Gradient(dst, x, g)
	}
	return m.Tangent(dst, x, g)
}

// Inner writes the inner product <u, v>_x of each point, in the metric of m, to out. If u and v are the same batch, these are squares
// of lengths, whose roots are taken: one that m returns as negative by rounding is 0, and any other negative one is a *PointError.
func Inner(m Manifold, out []float64, x, u, v Points) error {
	if err := given(m); err != nil {
		return err
	}
	if t, ok := m.(Metric); ok {
		if err := t.Inner(out, x, u, v); err != nil || !u.same(v) {
			return err
		}
		return squares(m, out, x, u)
	}
	return frobenius(out, x, u, v)
}

// AmbientInner writes the inner product of each pair of matrices in the space around m to out: that of m if it is an Ambient, and
// otherwise the Frobenius product. Lengths of points, and of chords between them, are measured by it. If u and v are the same batch, it
// treats negative results as Inner does.
func AmbientInner(m Manifold, out []float64, u, v Points) error {
	if err := given(m); err != nil {
		return err
	}
	if t, ok := m.(Ambient); ok {
		if err := t.AmbientInner(out, u, v); err != nil || !u.same(v) {
			return err
		}
		return squares(m, out, u, u)
	}
	return frobenius(out, u, u, v)
}

// squares sets squares of lengths that are negative by rounding to 0, and returns an error for others that are negative. Rounding may be that
// of the elements of u, amplified by the difference of two forms such as |u|^2 - u_0^2, or that of x.
func squares(m Manifold, out []float64, x, u Points) error {
	eps := 0x1p-52
	if u.f32 != nil {
		eps = 0x1p-23
	}
	for k, sq := range out {
		if !(sq < 0) {
			continue
		}
		at, along := x.Slice(k, k+1).Norm(), u.Slice(k, k+1).Norm()
		if -sq > 1e3*eps*along*along+eps*at*at {
			return &PointError{Name(m), "inner product", k, fmt.Sprintf("want <v, v> of at least 0, got %.3g for |v| = %.3g", sq, along)}
		}
		out[k] = 0
	}
	return nil
}

// TransportAlong carries u, tangent at x, to y = R_x(v): along the curve of the retraction if m
// is a PathTransporter, and otherwise by Transport.
func TransportAlong(m Manifold, dst, x, v, y, u Points) error {
	if err := given(m); err != nil {
		return err
	}
	if t, ok := m.(PathTransporter); ok {
		return t.TransportAlong(dst, x, v, y, u)
	}
	if err := Agree("transport along", x, v); err != nil {
		return err
	}
	return m.Transport(dst, x, y, u)
}

// PropertiesOf returns the properties that m declares for n x p matrices. If m is not Described,
// Dim is -1 for unknown, and all other fields are 0.
func PropertiesOf(m Manifold, n, p int) Properties {
	if d, ok := m.(Described); ok && !isnil.Of(m) {
		return d.Properties(n, p)
	}
	return Properties{Dim: -1}
}

// Name returns the result of m's String method if it has one, and otherwise its type.
func Name(m Manifold) string {
	if s, ok := m.(fmt.Stringer); ok && !isnil.Of(m) {
		return s.String()
	}
	return fmt.Sprintf("%T", m)
}

// given returns an error if the manifold is missing.
func given(m Manifold) error {
	if isnil.Of(m) {
		return errors.New("manifolds: want a manifold, got nil")
	}
	return nil
}

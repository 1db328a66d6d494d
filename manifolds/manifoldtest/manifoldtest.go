// SPDX-License-Identifier: Apache-2.0

// Package manifoldtest tests whether a manifolds.Manifold is correct.
//
// Run checks the equations that define the operations of a manifold, in a test. Check does the same
// in a program or a notebook and returns an error.
//
//	func TestCylinder(t *testing.T) {
//		manifoldtest.Run(t, Cylinder{}, manifoldtest.Shape{K: 2, N: 5, P: 3})
//	}
//
// Each group of equations is an oracle, and a subtest of Run, for float32 and
// for float64:
//
//	project        P(a) is on the manifold, P(P(a)) = P(a), no point is nearer to a, what P refuses is no point
//	membership     zero on the manifold, proportional to the distance from it, NaN for NaN
//	degenerate     if there is no result, an error and never NaN
//	tangent        T is linear, T T = T, <T u, w> = <u, T w>, and T is the derivative of P
//	metric         <u, v>_x is an inner product, <grad f, u>_x = <g, u>
//	ambient        AmbientInner is an inner product, in which P and T are orthogonal
//	gradient       f(R_x(tv)) - f(x) - t <grad f, v>_x = O(t^2)
//	retract        R_x(0) = x, R_x(v) is on the manifold, R_x(tv) - (x + tv) = O(t^2)
//	transport      into the tangent space at y, linear, continuous, the identity for y = x
//	exponential    a retraction whose curves have constant speed and stationary energy
//	logarithm      exp_x(log_x y) = y, |log_x y| = dist(x, y), dist is a distance
//	inverse        InverseRetract undoes Retract
//	parallel       an isometry, undone by swapping x and y, log_x y goes to -log_y x
//	path           TransportAlong is linear, maps to the tangent space at y, and agrees with Transport for short steps
//	quotient       Same is proportional to the step between two classes
//	descent        the method Descend makes the step of manifolds.Descend: points, momentum, progress
//	adaptable      GradientSquares gives |grad|^2
//	adjoint        <P'(v) u, g> = <u, P'(v)* g>
//	curvature      the bounds hold, the injectivity radius is not negative
//	dimension      the rank of T
//	scale          Scaled(s) has the right points, norm, radius and curvature, and keeps the type
//	grouping       For keeps the type and the grouping, and chooses a grouping in place of Default
//	random         on the manifold, seeded, independent; on a Scalable manifold uniform
//	aliasing       dst may be an argument, and no other argument is written
//	mismatch       batches of different shape or precision are an error, and nothing is written
//	batch          the result for a point does not depend on other points of the batch
//	precision      results in float32 are those in float64, rounded
//	concurrency    calls on different batches do not affect each other
//	allocations    at most one per call, after warm-up
//
// The oracles of an optional interface are skipped if a manifold does not have it. All random numbers
// are seeded, so every run gives the same result.
//
// One allocation per call is allowed, for a copy or a workspace; the manifolds of this library make
// none. If there are more, there is usually one for each point of the batch, which makes steps slow.
//
// On a manifolds.Quotient, the tangent projection is not the derivative of the projection. The
// oracles check instead that P(x + tg) and R_x(t T g) are the same class to first order, and that
// exp_x(log_x y) is in the class of y.
//
// Points are projections of Gaussian matrices. On an open set, such as that of positive numbers, Project may refuse a matrix with a *PointError;
// points then come from the method Random of manifolds.Sampler, and matrices to project are near to points.
//
// Steps are measured in norms of points. Retract and Exp must have an answer for steps of up to 100 of them on a Scalable manifold, whose points
// have one norm. On others they may refuse a long step with a *PointError, and equations are then tried for shorter ones: half as long, or a
// quarter, and so on, to a millionth. If the manifold is a Metric, the equations are also tried for such shorter steps where a step ends more
// than four times as far away as it is long, in the Frobenius norm, or changes its length in the metric by more than a factor of four, as long
// steps on hyperbolic space do. What Retract and Exp return for long steps must be a point all the same.
//
// Lengths, such as the injectivity radius and the distance, are those of the metric, in any unit. Rounding errors are relative to them where
// they are longer than Frobenius norms.
//
// A retraction with Properties.Drift may leave the manifold by that much; where the oracles need a point, they project. A convex body,
// Properties.Convex, is tried at points inside it.
//
// A type that embeds another manifold inherits its optional methods, which belong to the other
// geometry. The oracle of each optional interface finds them.
//
// For each O(t^2) in the table, a slope is fitted in float64 to the best window of a range of t, as
// in Manopt's checkgradient (Boumal et al., 2014). It may be up to 0.1 below the order.
package manifoldtest

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/kernelfold/kernelfold/manifolds"
)

// Shape is the shape of a batch: K points of N x P.
type Shape struct{ K, N, P int }

// String returns "K points of NxP".
func (s Shape) String() string { return fmt.Sprintf("%d points of %dx%d", s.K, s.N, s.P) }

// defaults are the shapes that are tried if none are given.
var defaults = []Shape{
	{19, 3, 3},
	{3, 8, 3},
	{2, 3, 7},
	{1, 5, 5},
	{3, 1, 6},
	{2, 5, 1},
	{1, 1, 2},
	{2, 1, 1},
	{1, 9, 32},
}

// Run checks m on batches of the given shapes. Without shapes it tries a list of default shapes, as
// far as m admits them: slices, tall, wide and square points, single rows, columns and numbers,
// batches of one point and of many. Every oracle is a subtest with the subtests float32 and
// float64.
func Run(t *testing.T, m manifolds.Manifold, shapes ...Shape) {
	t.Helper()
	admitted, err := admit(m, shapes)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range oracles {
		if !o.applies(m) {
			continue
		}
		t.Run(o.name, func(t *testing.T) {
			for _, p := range precisions {
				t.Run(p.name, func(t *testing.T) {
					for _, err := range survey(m, o, p, admitted) {
						t.Error(err)
					}
				})
			}
		})
	}
}

// Check checks m on batches of the given shapes, or of the default shapes of Run if there are none.
// It returns nil if all equations hold, and otherwise one *Failure for each equation that does not,
// joined by errors.Join. An equation that fails for several shapes is reported for the first.
func Check(m manifolds.Manifold, shapes ...Shape) error {
	admitted, err := admit(m, shapes)
	if err != nil {
		return err
	}
	var errs []error
	for _, o := range oracles {
		if !o.applies(m) {
			continue
		}
		for _, p := range precisions {
			errs = append(errs, survey(m, o, p, admitted)...)
		}
	}
	return errors.Join(errs...)
}

// Failure is one equation that does not hold.
type Failure struct {
	Manifold  string // what the manifold calls itself
	Oracle    string // the group of equations, a subtest of Run
	Precision string // "float32" or "float64"
	Shape     Shape
	Property  string // the equation
	Want, Got string
}

// Error gives the failure in one line.
func (f *Failure) Error() string {
	return fmt.Sprintf("manifoldtest: %s: %s: %s, %v: %s: want %s, got %s",
		f.Manifold, f.Oracle, f.Precision, f.Shape, f.Property, f.Want, f.Got)
}

// Failures returns the failures that an error of Check joins, for example to ignore those of one
// oracle: the interpreter of a notebook allocates in every call, so the oracle "allocations" always
// fails there.
func Failures(err error) []*Failure {
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return nil
	}
	var failures []*Failure
	for _, e := range joined.Unwrap() {
		var f *Failure
		if errors.As(e, &f) {
			failures = append(failures, f)
		}
	}
	return failures
}

// oracle is a group of equations. needs reports whether a manifold has the optional interface that
// they are about; nil means always.
type oracle struct {
	name  string
	needs func(manifolds.Manifold) bool
	run   func(*trial)
}

func (o oracle) applies(m manifolds.Manifold) bool { return o.needs == nil || o.needs(m) }

var oracles = []oracle{
	{"project", nil, project},
	{"membership", nil, membership},
	{"degenerate", nil, degenerate},
	{"tangent", nil, tangent},
	{"metric", nil, metric},
	{"ambient", has[manifolds.Ambient], ambientInner},
	{"gradient", nil, gradient},
	{"retract", nil, retract},
	{"transport", nil, transport},
	{"exponential", has[manifolds.Exponential], exponential},
	{"logarithm", has[manifolds.Logarithm], logarithm},
	{"inverse", has[manifolds.Inverse], inverseRetract},
	{"parallel", has[manifolds.ParallelTransporter], parallel},
	{"path", has[manifolds.PathTransporter], path},
	{"quotient", has[manifolds.Quotient], quotient},
	{"descent", has[manifolds.Descender], descent},
	{"adaptable", has[manifolds.Adaptable], gradientSquares},
	{"adjoint", has[manifolds.Differentiable], adjoint},
	{"curvature", has[manifolds.Described], curvature},
	{"dimension", has[manifolds.Described], dimension},
	{"scale", has[manifolds.Scalable], scale},
	{"grouping", has[manifolds.Grouper], grouping},
	{"random", has[manifolds.Sampler], random},
	{"aliasing", nil, aliasing},
	{"mismatch", nil, mismatch},
	{"batch", nil, batch},
	{"precision", nil, precise},
	{"concurrency", nil, concurrency},
	{"allocations", nil, allocations},
}

func has[I any](m manifolds.Manifold) bool {
	_, ok := m.(I)
	return ok
}

func admit(m manifolds.Manifold, shapes []Shape) ([]Shape, error) {
	if m == nil {
		return nil, errors.New("manifoldtest: want a manifold, got nil")
	}
	named := len(shapes) > 0
	if !named {
		shapes = defaults
	}
	var admitted []Shape
	for _, s := range shapes {
		if s.K < 1 || s.N < 1 || s.P < 1 {
			return nil, fmt.Errorf("manifoldtest: %s: want a positive shape, got %v", manifolds.Name(m), s)
		}
		err := m.Check(s.N, s.P)
		if err != nil && named {
			return nil, fmt.Errorf("manifoldtest: %v: %w", s, err)
		}
		if err == nil {
			admitted = append(admitted, s)
		}
	}
	if len(admitted) == 0 {
		return nil, fmt.Errorf("manifoldtest: %s admits no shape of %v: name one", manifolds.Name(m), shapes)
	}
	return admitted, nil
}

// survey applies one oracle at one precision to all shapes.
func survey(m manifolds.Manifold, o oracle, p precision, shapes []Shape) (errs []error) {
	seen := map[string]bool{}
	for _, s := range shapes {
		for _, f := range examine(m, o, p, s) {
			if !seen[f.Property] {
				seen[f.Property] = true
				errs = append(errs, f)
			}
		}
	}
	return errs
}

// examine applies one oracle at one precision and shape.
func examine(m manifolds.Manifold, o oracle, p precision, s Shape) []*Failure {
	t := newTrial(m, o.name, p, s)
	func() {
		defer func() {
			if r := recover(); r != nil && r != (abandon{}) {
				t.fail("a call returns", "an error at worst", fmt.Sprintf("panic: %v%s", r, origin()))
			}
		}()
		o.run(t)
	}()
	return t.failures
}

// origin returns the line of code that panicked.
func origin() string {
	lines := strings.Split(string(debug.Stack()), "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, "panic(") && i+3 < len(lines) {
			return " at " + strings.TrimSpace(lines[i+3])
		}
	}
	return ""
}

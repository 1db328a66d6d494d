// SPDX-License-Identifier: Apache-2.0

// Package manifolds is the geometry of constrained convolution kernels: the
// sets that kernels are kept on, and how weights are cut into points of them.
//
// A layer's weights, of shape (out, in, height, width), are cut by a Grouping
// into a batch of K points, each an N x P matrix. A Manifold works on the whole
// batch in one call, in float32 or float64, in place:
//
//	x, err := manifolds.Points32(weights, 64, 3, 3) // 64 slices of 3x3
//	m := manifolds.Sphere{}
//	err = m.Project(x, x)     // onto the manifold
//	err = m.Tangent(v, x, g)  // Euclidean gradient -> tangent vector
//	err = m.Retract(y, x, v)  // along it, back on the manifold
//
// A Constraint, made by On, is a manifold with a grouping and a scale:
//
//	manifolds.On(manifolds.Stiefel{}, manifolds.PerKernel, manifolds.Unit)
//
// It is what the options of package solvers build.
//
// # Ownership and aliasing
//
// Points is a view; nothing here keeps or copies it. The destination comes
// first and may be one of the other arguments, but must not overlap one in
// part. If an operation fails at a point, what it has written to the
// destination is undefined; if the shapes do not fit, nothing was written.
// Inputs are not checked for being feasible or tangent, except that what cannot
// be computed (a zero vector normalised, a rank-deficient matrix
// orthonormalised, a value that is not finite) is a *PointError and never NaN.
//
// Operations allocate nothing after their first call on a shape: work space is
// kept and lent again. The exception is Stiefel's Project of matrices larger
// than a few thousand elements, and with it the polar retraction of steps longer
// than the radius, whose decomposition runs in goroutines. A Manifold is a value without state, and safe for concurrent use.
//
// # Adding a manifold
//
// Any type with the six methods of Manifold can be used wherever the ones here
// can. The optional interfaces (Metric, Exponential, Scalable ...) give more to
// the solvers and to reports. manifoldtest.Run checks all of it.
package manifolds

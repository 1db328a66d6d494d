// SPDX-License-Identifier: Apache-2.0

// Package manifolds is the geometry of constrained convolution kernels: the
// sets that kernels are kept on, and how weights are cut into points of them.
//
// A layer's weights, of shape (out, in, height, width), are cut by a Grouping
// into a batch of K points, each an N x P matrix. A Manifold works on the whole
// batch in one call, in float32 or float64, in place, destination first. A step of
// gradient descent with learning rate 0.1:
//
//	x, err := manifolds.Points32(weights, 64, 3, 3)  // 64 slices of 3x3
//	g, err := manifolds.Points32(gradient, 64, 3, 3) // Euclidean gradients
//	m := manifolds.Stiefel{}
//	err = m.Project(x, x)            // onto the manifold, once
//	err = m.Tangent(g, x, g)         // the part of g along the manifold
//	err = g.Combine(-0.1, g, 0, g)
//	err = m.Retract(x, x, g)         // along it, back on the manifold
//	e := m.Membership(x)             // how far off: rounding
//
// The example of the package is this step on a sphere. Sphere, CentredSphere, Oblique
// and Stiefel keep what their names say; docs/choosing.md says which to take.
//
// A Constraint, made by On, is a manifold with a grouping and a scale:
//
//	manifolds.On(manifolds.Stiefel{}, manifolds.PerKernel, manifolds.Unit)
//
// It is what the options of package solvers build of the same arguments:
//
//	solvers.Kernels(manifolds.Stiefel{}, manifolds.PerKernel, manifolds.Unit)
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
// kept and lent again. The exception is what takes a singular value decomposition of
// Stiefel: ProjectAdjoint, and Project near a matrix of lower rank. A Manifold is a
// value without state, and safe for concurrent use.
//
// # Adding a manifold
//
// Any type with the six methods of Manifold can be used wherever the ones here
// can. The optional interfaces (Metric, Exponential, Scalable ...) give more to
// the solvers and to reports. manifoldtest.Run checks all of it, and
// docs/adding-a-manifold.md goes through one.
package manifolds

// SPDX-License-Identifier: Apache-2.0

// Package manifolds is the geometry of constrained convolution kernels: the sets that kernels
// are kept on, and how the weights of a layer are cut into points of such a set.
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
//	err = m.Tangent(g, x, g)         // g projected onto the tangent space at x
//	err = g.Combine(-0.1, g, 0, g)   // the step, -0.1 g
//	err = m.Retract(x, x, g)         // a step along g that ends on the manifold
//	e := m.Membership(x)             // the distance from the manifold: only rounding
//
// The package example runs this step on a sphere. docs/choosing.md helps to choose a manifold.
//
// A Constraint, made by On, is a manifold with a grouping and a scale:
//
//	manifolds.On(manifolds.Stiefel{}, manifolds.PerSlice, manifolds.Unit)
//
// The options of package solvers take the same arguments and build the same constraint:
//
//	solvers.Kernels(manifolds.Stiefel{}, manifolds.PerSlice, manifolds.Unit)
//
// # Ownership and aliasing
//
// Points is a view of the caller's slice, which no operation keeps or copies. The destination
// is the first argument. It may be the same batch as another argument, but must not overlap one
// in part. If an operation fails at a point, the contents of the destination are undefined; if
// the shapes do not fit, the destination is unchanged. Operations do not check that x lies on
// the manifold or that v is tangent. If a point has no result, they return a *PointError: for a zero vector to be normalised, a
// rank-deficient matrix to be orthonormalised, or a step or another point that is not finite. Operations that are linear in a vector,
// such as Tangent, Transport and Inner, may instead pass on NaN and Inf of that vector, and any operation those of x, which is then no point.
//
// After the first call on a shape, operations allocate nothing, because workspaces are reused.
// Only the methods that need a singular value decomposition allocate. On Stiefel, Grassmann and the
// orthogonal groups these are ProjectAdjoint, logarithms, distances, parallel transport, geodesics of
// Grassmann longer than a radius, and Project near a matrix of lower rank. A Manifold has no state and is safe for concurrent use.
//
// # Adding a manifold
//
// A type with the six methods of Manifold can be used wherever the manifolds of this package
// can. With the optional interfaces (Metric, Exponential, Scalable ...) solvers and reports can
// do more. manifoldtest.Run checks all of these methods, and docs/adding-a-manifold.md adds a
// manifold step by step.
package manifolds

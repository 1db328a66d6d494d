// SPDX-License-Identifier: Apache-2.0

// Package frames holds the numerics of orthonormal frames: n x q matrices with n >= q whose
// columns are orthogonal and have norm r. Packages manifolds and nodes share it.
//
//	gram.go          Gram matrices, the defect |x^T x / r^2 - I|, bounds of eigenvalues
//	qr.go            the Q of x = Q R, by Cholesky factors and by Householder reflections
//	series.go        (I + E)^(-1/2)
//	newtonschulz.go  Newton-Schulz iteration, its start and its adjoint
//	polar.go         the polar factor
//	sign.go          the sign of a matrix of any rank, and a bound of its spectral norm
//	svd.go           the singular value decomposition, and the adjoint of the polar factor
//	exp.go           exponentials that move frames, and their adjoint
//	subspace.go      geodesics between the spans of frames
//	rotation.go      square frames of determinant 1: the nearest, exponentials, logarithms
//	cayley.go        Cayley transforms that move frames, and their adjoint
//	convert.go       between precisions
//
// Matrices are strided views; pass the transpose of a wide matrix. Square workspaces are row-major
// slices. Unless a comment says otherwise, arguments must not overlap.
//
// Errors say what was wanted and what came, without a prefix, because the caller knows the
// operation and the point.
package frames

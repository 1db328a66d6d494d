// SPDX-License-Identifier: Apache-2.0

// Package nodes has graph operations that Gorgonia lacks or gets wrong. They are native operations
// with exact gradients, in float32 and float64, for the tape machine.
//
// One call constrains a kernel v. Here it is part of a layer of operations of this package, but it
// can be combined with stock operations as well:
//
//	w, err := nodes.Normalize(v, manifolds.Stiefel{})
//	y, err := nodes.Conv2d(x, w, tensor.Shape{3, 3}, []int{1, 1}, []int{1, 1}, nil)
//	y, err = nodes.Bias(y, b)
//	y, err = nodes.Rectify(y)
//	y, err = nodes.MaxPool2D(y, tensor.Shape{2, 2}, []int{0, 0}, []int{2, 2})
//
// The package example runs this layer with its gradients. The operations are listed below;
// docs/nodes.md lists the stock operation that each of them replaces.
//
//	kernels     Normalize, UnitNorm, WeightNorm, CentredWeightNorm,
//	            WeightStandardization, SpectralNorm, Orthogonalize,
//	            ExpTrivialization, CayleyTrivialization,
//	            AOL, SLL, ConvSpectralNorm, OrthogonalConvKernel, of the factors of OrthogonalConvFactors
//	penalties   SoftOrthogonality, DoubleSoftOrthogonality, MutualCoherence, SRIP,
//	            ConvOrthogonality
//	nets        Conv2d, Conv2dWith, ConvTranspose2d, OrthogonalConv,
//	            OrthogonalConvTranspose, ConvexPotential, Bias, Linear, Rectify,
//	            RectifyTo, MaxPool2D, NormPool2D,
//	            MaxPool2DCeil, AveragePool2D, AdaptiveAveragePool2D,
//	            GlobalAveragePool2D, BatchNorm, BatchNormWith, GroupNorm, Add, Concat, Flatten, Dropout, Shortcut,
//	            StochasticDepth, CrossEntropy, MarginCrossEntropy, MaxMin, Householder
//	initial     HeNormal, HeUniform, GlorotNormal, GlorotUniform, Orthonormal,
//	            UnitFilterInit, ManifoldInit
//	evaluation  Fuse, Fold, Widen
//	bounds      Lipschitz
//	graphs      Plan, CheckGraph, Winograd
//	products    BLAS, for the stock operations
//
// Every node checks its inputs when the graph is built; errors say what was wanted and what was given.
// Nothing panics at run time. A node writes its value to memory of its own, which the next run
// overwrites, so copy a value to keep it. Use a graph with one machine at a time. When a run fails,
// Cause extracts the error of the operation from the error that Gorgonia returns.
package nodes

// SPDX-License-Identifier: Apache-2.0

// Package nodes has graph operations that Gorgonia lacks or gets wrong, as
// native operations with exact gradients, in float32 and float64, for the tape
// machine.
//
// A kernel v is constrained by one call around it:
//
//	w, err := nodes.Normalize(v, manifolds.Stiefel{})
//	y, err := gorgonia.Conv2d(x, w, ...)
//
//	kernels     Normalize, UnitNorm, WeightNorm, CentredWeightNorm,
//	            WeightStandardization, SpectralNorm, Orthogonalize,
//	            ExpTrivialization, CayleyTrivialization
//	penalties   SoftOrthogonality, DoubleSoftOrthogonality, MutualCoherence, SRIP,
//	            ConvOrthogonality
//	nets        Conv2d, Conv2dGroups, Bias, Linear, Rectify, MaxPool2D, AveragePool2D,
//	            GlobalAveragePool2D, BatchNorm, GroupNorm, Dropout, Shortcut,
//	            StochasticDepth, CrossEntropy
//	initial     HeNormal, HeUniform, GlorotNormal, GlorotUniform, Orthonormal,
//	            UnitFilters, OnManifold
//	products    BLAS, for the stock operations
//
// Every node checks its inputs when the graph is built, and says what it wanted
// and what it got. At run time nothing panics. A node writes its value to memory
// of its own, which the next run reuses: copy what is to be kept. A graph is
// for one machine at a time.
package nodes

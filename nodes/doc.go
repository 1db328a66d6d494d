// SPDX-License-Identifier: Apache-2.0

// Package nodes has graph operations that Gorgonia lacks or gets wrong, as
// native operations with exact gradients, in float32 and float64, for the tape
// machine.
//
// A kernel v is constrained by one call around it, here in a layer of nodes; stock
// operations do as well:
//
//	w, err := nodes.Normalize(v, manifolds.Stiefel{})
//	y, err := nodes.Conv2d(x, w, tensor.Shape{3, 3}, []int{1, 1}, []int{1, 1}, nil)
//	y, err = nodes.Bias(y, b)
//	y, err = nodes.Rectify(y)
//	y, err = nodes.MaxPool2D(y, tensor.Shape{2, 2}, []int{0, 0}, []int{2, 2})
//
// The example of the package is this layer, with its gradients. There are, and
// docs/nodes.md says what each stands for in stock Gorgonia,
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
//	            UnitFilterInit, ManifoldInit
//	products    BLAS, for the stock operations
//
// Every node checks its inputs when the graph is built, and says what it wanted
// and what it got. At run time nothing panics. A node writes its value to memory
// of its own, which the next run reuses: copy what is to be kept. A graph is
// for one machine at a time. When a run fails, Cause returns the error of the
// operation out of the text that Gorgonia wraps around it.
package nodes

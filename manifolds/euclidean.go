// SPDX-License-Identifier: Apache-2.0

package manifolds

import "math/rand/v2"

// Euclidean is R^{n x p}: every matrix is a point and every matrix is tangent.
// Project and Tangent are the identity, Exp_x(v) = x + v, Log_x(y) = y - x.
// Curvature 0, infinite injectivity radius. Its grouping is PerWeight, so that
// a rule with one number a point, like Adam's second moment, is the textbook's
// component-wise rule.
//
// Membership is 0 for a finite batch.
type Euclidean struct{}

var (
	_ Manifold            = Euclidean{}
	_ Exponential         = Euclidean{}
	_ Logarithm           = Euclidean{}
	_ ParallelTransporter = Euclidean{}
	_ Curved              = Euclidean{}
	_ Sampler             = Euclidean{}
	_ Dimensioned         = Euclidean{}
	_ Grouper             = Euclidean{}
)

// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/blas"
)

// BLAS returns matrix products for the stock operations. One line at the start speeds up a
// program that is otherwise left as it is:
//
//	gorgonia.Use(nodes.BLAS())
//
// gorgonia.Mul, gorgonia.Conv2d and their gradients then run on the kernels of this
// module, in float32 and float64, on all cores. The rest is that of gonum, the default; what
// it refuses is refused alike. Sums are rounded in another order than gonum's, and 0
// times NaN is NaN, where gonum skips zeros. [Conv2d] and [Linear] need no such line,
// and gain more.
func BLAS() gorgonia.BLAS { return blas.Implementation{} }

// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/blas"
)

// BLAS returns faster matrix products for the stock operations of Gorgonia. One line at the start of
// a program installs them:
//
//	gorgonia.Use(nodes.BLAS())
//
// gorgonia.Mul, gorgonia.Conv2d and their gradients then use the matrix kernels of this module, in
// float32 and float64 and on all cores. All other BLAS functions are those of gonum, Gorgonia's
// default, and invalid arguments are refused as there. Sums are rounded in another order than
// in gonum, and 0 times NaN is NaN, where gonum skips zeros. [Conv2d] and [Linear] are faster still
// and do not need this line.
func BLAS() gorgonia.BLAS { return blas.Implementation{} }

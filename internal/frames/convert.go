// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"fmt"

	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Widen sets the row-major dst to factor times x, in float64.
func Widen[T vec.Float](dst []float64, x gemm.Mat[T], factor float64) {
	for i := range x.R {
		for j := range x.C {
			dst[i*x.C+j] = factor * float64(x.At(i, j))
		}
	}
}

// Narrow sets x to factor times the row-major src, rounded to T.
func Narrow[T vec.Float](x gemm.Mat[T], src []float64, factor float64) {
	for i := range x.R {
		for j := range x.C {
			x.Data[i*x.RS+j*x.CS] = T(factor * src[i*x.C+j])
		}
	}
}

// normalize sets the row-major dst to x divided by its largest element, in float64, and returns
// that element. The squares of dst then neither overflow nor vanish.
func normalize[T vec.Float](dst []float64, x gemm.Mat[T]) (largest float64, err error) {
	Widen(dst, x, 1)
	if largest = vec.MaxAbs(dst[:x.R*x.C]); !Invertible(largest) {
		return 0, fmt.Errorf("want a finite matrix of full rank, got largest element %g", largest)
	}
	for i, v := range dst[:x.R*x.C] {
		dst[i] = v / largest
	}
	return largest, nil
}

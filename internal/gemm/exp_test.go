// SPDX-License-Identifier: Apache-2.0

package gemm

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"gonum.org/v1/gonum/mat"

	"github.com/kernelfold/kernelfold/internal/vec"
)

// TestExp compares with gonum's Pade approximation.
func TestExp(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for _, n := range []int{1, 2, 5, 20} {
		for _, size := range []float64{0, 1e-9, 1e-3, 2e-3, 0.08, 0.3, 0.75, 0.76, 3, 30} {
			t.Run(fmt.Sprint(n, size), func(t *testing.T) {
				a := random[float64](rng, n*n)
				vec.Scale(a, size/vec.Norm(a), a)
				var want mat.Dense
				want.Exp(mat.NewDense(n, n, append([]float64(nil), a...)))
				got := make([]float64, n*n)
				Exp(got, a, n)
				d, w := make([]float64, n*n), want.RawMatrix().Data
				vec.Combine(d, 1, got, -1, w)
				// squaring doubles the relative error each time: 2 size of it
				assert.LessOrEqual(t, vec.Norm(d), 10*(1+size)*vec.Eps[float64]()*vec.Norm(w))
			})
		}
	}
}

func BenchmarkExp(b *testing.B) {
	rng := rand.New(rand.NewPCG(7, 9))
	for _, n := range []int{6, 32, 128} {
		for _, size := range []float64{0.01, 1} {
			b.Run(fmt.Sprintf("%dx%d, norm %g", n, n, size), func(b *testing.B) {
				a, e := random[float64](rng, n*n), make([]float64, n*n)
				vec.Scale(a, size/vec.Norm(a), a)
				work := make([]float64, n*n)
				for b.Loop() {
					copy(work, a)
					Exp(e, work, n)
				}
			})
		}
	}
}

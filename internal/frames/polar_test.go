// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"

	"github.com/kernelfold/kernelfold/internal/gemm"
)

func TestPolar(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 1))
	for _, s := range sides {
		for c := 1.; c < 1e13; c *= 100 {
			for _, scale := range []float64{1e-200, 1, 1e200} {
				what := fmt.Sprintf("%v, condition %g, times %g", s, c, scale)
				x, want := conditioned(rng, s[0], s[1], c)
				x.Scale(scale, x)
				want.Scale(3, want)
				y := of[float64](x)
				require.NoError(t, Polar(y, y, 3, 0x1p-52), what)
				near(t, want, y, 100*c*math.Sqrt(float64(s[0]))*0x1p-52, what)
				g := make([]float64, s[1]*s[1])
				assert.LessOrEqual(t, Defect(g, y, 3), 20*math.Sqrt(float64(s[0]*s[1]))*0x1p-52, what)
			}
		}
		x, want := conditioned(rng, s[0], s[1], 1e3)
		y := of[float32](x)
		require.NoError(t, Polar(y, y, 1, 0x1p-23))
		near(t, want, y, 1e4*0x1p-23, "float32")
	}
	y := gemm.Of([]float64{1, 2, 1, 2, 1, 2}, 3, 2)
	assert.ErrorContains(t, Polar(y, y, 1, 0x1p-52), "want full rank")
	y.Data[0] = math.Inf(1)
	assert.ErrorContains(t, Polar(y, y, 1, 0x1p-52), "want a finite matrix")
}

// No method changes the sign of a singular vector, whichever column is long.
func TestSquarePolarOfLongColumns(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 1))
	for try := range 400 {
		q := 64
		want := orthonormal(rng, q, q)
		x, j, factor := mat.DenseCopyOf(want), try%q, []float64{1.8, 2.2, 5}[try/q%3]
		for i := range q {
			x.Set(i, j, factor*x.At(i, j))
		}
		y := make([]float64, q*q)
		require.True(t, squarePolar(y, of[float64](x).Data, q, q, polarIterations))
		near(t, want, gemm.Of(y, q, q), 1e-12, fmt.Sprintf("column %d times %g", j, factor))
	}
}

func TestPolarAdjoint(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 1))
	for _, s := range sides {
		v, u, g := random[float64](rng, s[0], s[1]), random[float64](rng, s[0], s[1]), random[float64](rng, s[0], s[1])
		v = of[float64](dense(v)) // one layout
		u, g = of[float64](dense(u)), of[float64](dense(g))
		dst, a, b := like(v), clone(v), clone(v)
		require.NoError(t, PolarAdjoint(dst, v, g, 2))
		const h = 1e-6
		for i := range v.Data {
			a.Data[i] += h * u.Data[i]
			b.Data[i] -= h * u.Data[i]
		}
		require.NoError(t, Polar(a, a, 2, 0x1p-52))
		require.NoError(t, Polar(b, b, 2, 0x1p-52))
		numeric, exact := 0.0, 0.0
		for i := range v.Data {
			numeric += (a.Data[i] - b.Data[i]) / (2 * h) * g.Data[i]
			exact += u.Data[i] * dst.Data[i]
		}
		// the error of central differences is h^2 times a third derivative, which grows with the
		// inverse singular value
		assert.InDelta(t, exact, numeric, 1e-5*(1+math.Abs(exact)), s)
	}
}

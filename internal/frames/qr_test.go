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

	"github.com/kernelfold/kernelfold/internal/vec"
)

// signedQ is r times the Q of y = Q R by gonum, R with a positive diagonal.
func signedQ(y *mat.Dense, r float64) *mat.Dense {
	var f mat.QR
	f.Factorize(y)
	var q, u mat.Dense
	f.QTo(&q)
	f.RTo(&u)
	n, p := y.Dims()
	out := mat.DenseCopyOf(q.Slice(0, n, 0, p))
	out.Apply(func(_, j int, v float64) float64 { return math.Copysign(r, u.At(j, j)) * v }, out)
	return out
}

func TestQR(t *testing.T) {
	t.Run("float32", testQR[float32])
	t.Run("float64", testQR[float64])
}

func testQR[T vec.Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 1))
	for _, s := range sides {
		for _, r := range []float64{1, 0.25, 3} {
			for _, step := range []float64{0, 1e-5, 1e-3, 5e-3, 0.02, 0.1, 0.9, 3} { // y = x + v, cond at most sqrt(1 + step^2)
				what := fmt.Sprint(s, r, step)
				x := orthonormal(rng, s[0], s[1])
				v := dense(random[float64](rng, s[0], s[1]))
				var a, n mat.Dense
				a.Mul(x.T(), v)
				a.Add(&a, mat.DenseCopyOf(a.T()))
				n.Mul(x, &a)
				n.Scale(0.5, &n)
				v.Sub(v, &n)
				v.Scale(step/(1e-9+mat.Norm(v, 2)), v)
				x.Add(x, v)
				x.Scale(r, x)
				y := of[T](x)
				want, dst := signedQ(dense(y), r), like(y)
				tol := 10 * math.Sqrt(float64(s[0])) * (1 + step) * r * vec.Eps[T]()
				require.NoError(t, Householder(dst, y, r), what)
				near(t, want, dst, 4*r*vec.Eps[T]()+1e-13*r, what)
				require.True(t, CholeskyQR(dst, clone(y), r, math.Inf(1)), what)
				near(t, want, dst, tol, what)
				require.NoError(t, Householder(y, y, r), "in place")
				near(t, want, y, 4*r*vec.Eps[T]()+1e-13*r, what)
			}
		}
	}
}

func TestCholeskyQRRefuses(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 1))
	y := random[float64](rng, 9, 4) // |y|^2 - 4 is about 32
	before := clone(y)
	assert.False(t, CholeskyQR(like(y), y, 1, 1), "too long")
	assert.Equal(t, before, y)
	y.Data[3] = math.NaN()
	assert.False(t, CholeskyQR(like(y), y, 1, math.Inf(1)))
	for i := range y.Data {
		y.Data[i] = 1
	}
	assert.False(t, CholeskyQR(like(y), y, 1, math.Inf(1)), "rank 1")
}

// The rank is judged relative to the largest element.
func TestHouseholderRank(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 1))
	for _, scale := range []float64{1e-200, 1, 1e200} {
		x, _ := conditioned(rng, 30, 6, 1e11)
		x.Scale(scale, x)
		y := of[float64](x)
		require.NoError(t, Householder(like(y), y, 1))
		for i := range 30 {
			y.Data[i*6+5] = y.Data[i*6+2]
		}
		assert.ErrorContains(t, Householder(like(y), y, 1), "want full rank")
	}
	y := random[float64](rng, 5, 2)
	clear(y.Data)
	assert.ErrorContains(t, Householder(like(y), y, 1), "want a finite matrix of full rank, got largest element 0")
}

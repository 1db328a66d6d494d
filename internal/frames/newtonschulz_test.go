// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"

	"github.com/kernelfold/kernelfold/internal/gemm"
	"github.com/kernelfold/kernelfold/internal/vec"
)

func TestInverseRoot(t *testing.T) {
	rng := rand.New(rand.NewPCG(10, 1))
	for _, q := range []int{1, 2, 5, 20} {
		for _, size := range []float64{1e-12, 1e-6, 1e-3, 0.05} {
			e := random[float64](rng, q, q).Data
			Symmetrize(e, q)
			vec.Scale(e, size/vec.Norm(e), e)
			degree := seriesDegree(size, 0x1p-52, 6)
			if degree == 0 {
				assert.Greater(t, math.Pow(size, 7), 0x1p-52*(1-size), "it would have done")
				degree = 6
			}
			var root, check mat.Dense
			f := append([]float64(nil), e...)
			inverseRoot(f, q, degree)
			root.CloneFrom(dense(gemm.Of(f, q, q)))
			AddDiagonal(e, q, 1)
			check.Mul(&root, dense(gemm.Of(e, q, q)))
			check.Mul(&check, &root) // P (I + E) P = I
			identity := make([]float64, q*q)
			AddDiagonal(identity, q, 1)
			near(t, &check, gemm.Of(identity, q, q), 10*math.Sqrt(float64(q))*0x1p-52+math.Pow(size, float64(degree+1)), "")
		}
	}
	assert.Equal(t, 1, seriesDegree(0, 0x1p-52, 6))
	assert.Zero(t, seriesDegree(0.9, 0x1p-52, 100))
}

func TestNewtonSchulz(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 1))
	for _, s := range sides {
		for _, r := range []float64{1, 7} {
			x, want := conditioned(rng, s[0], s[1], 2)
			x.Scale(1.2*r, x) // singular values from 0.6 r to 1.2 r
			want.Scale(r, want)
			y := of[float64](x)
			dst := like(y)
			require.True(t, NewtonSchulz(dst, clone(y), r, 4, 20))
			near(t, want, dst, 20*r*math.Sqrt(float64(s[0]))*0x1p-52, "")
			before := clone(y)
			vec.Scale(y.Data, 10, y.Data)
			vec.Scale(before.Data, 10, before.Data)
			assert.False(t, NewtonSchulz(dst, y, r, 1, 20))
			assert.Equal(t, before, y, "as it was")
		}
	}
}

func TestStepsOfNewtonSchulz(t *testing.T) {
	rng := rand.New(rand.NewPCG(12, 1))
	for _, s := range sides {
		q := s[1]
		x := random[float64](rng, s[0], q)
		raw := clone(x)
		c, err := StartNewtonSchulz(x)
		require.NoError(t, err)
		near(t, dense(x), func() gemm.Mat[float64] { vec.Scale(raw.Data, 1/c, raw.Data); return raw }(), 1e-14, "start")
		assert.LessOrEqual(t, mat.Norm(dense(x), 2), math.Sqrt(float64(q))+1e-12)
		y, u, d, work := like(x), random[float64](rng, s[0], q), random[float64](rng, s[0], q), like(x)
		u.RS, u.CS, d.RS, d.CS = x.RS, x.CS, x.RS, x.CS
		g, a := make([]float64, q*q), make([]float64, q*q)
		StepNewtonSchulz(y, x, g)
		var gram, want mat.Dense
		gram.Mul(dense(x).T(), dense(x))
		want.Mul(dense(x), &gram)
		want.Scale(-0.5, &want)
		var more mat.Dense
		more.Scale(1.5, dense(x))
		want.Add(&want, &more)
		near(t, &want, y, 1e-13, "step")

		const h = 1e-6
		plus, minus, numeric := clone(x), clone(x), 0.0
		vec.Combine(plus.Data, 1, x.Data, h, u.Data)
		vec.Combine(minus.Data, 1, x.Data, -h, u.Data)
		before := clone(d)
		StepNewtonSchulz(y, plus, g)
		numeric += vec.Dot(y.Data, d.Data)
		StepNewtonSchulz(y, minus, g)
		numeric -= vec.Dot(y.Data, d.Data)
		AdjointNewtonSchulz(d, x, work, g, a)
		assert.InDelta(t, vec.Dot(d.Data, u.Data), numeric/(2*h), 1e-7*(1+vec.Norm(before.Data)*vec.Norm(u.Data)))
	}
	x := gemm.Of(make([]float64, 6), 3, 2)
	_, err := StartNewtonSchulz(x)
	assert.ErrorContains(t, err, "want a matrix of positive finite norm")
}

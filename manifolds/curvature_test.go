// SPDX-License-Identifier: Apache-2.0

package manifolds_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"

	"github.com/kernelfold/kernelfold/manifolds"
)

// The sectional curvature of Stiefel in the Euclidean metric is, by the equation of Gauss,
//
//	K(u, v) = <u^T u, v^T v> - |sym(u^T v)|^2
//
// for orthonormal u and v at r = 1. It is nowhere below the bound of Properties, and where vectors point out of the span of
// a frame, it is the bound.
func TestLowestCurvatureOfStiefel(t *testing.T) {
	curvature := func(u, v *mat.Dense) float64 {
		var uu, vv, uv, sym mat.Dense
		uu.Mul(u.T(), u)
		vv.Mul(v.T(), v)
		uv.Mul(u.T(), v)
		sym.Add(&uv, uv.T())
		norm := mat.Norm(&sym, 2) / 2
		var product mat.Dense
		product.MulElem(&uu, &vv)
		return mat.Sum(&product) - norm*norm
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct{ n, p int }{{3, 1}, {3, 2}, {5, 2}, {6, 3}, {4, 4}} {
		bound := manifolds.PropertiesOf(manifolds.Stiefel{}, c.n, c.p).LowestCurvature
		assert.Equal(t, bound, manifolds.PropertiesOf(manifolds.Stiefel{}, c.p, c.n).LowestCurvature)
		assert.Equal(t, bound/4, manifolds.PropertiesOf(manifolds.Stiefel{Radius: 2}, c.n, c.p).LowestCurvature)
		assert.Zero(t, manifolds.PropertiesOf(manifolds.Stiefel{Metric: manifolds.CanonicalMetric}, c.n, c.p).LowestCurvature)
		x := mat.NewDense(c.n, c.p, nil)
		for i := range c.p {
			x.Set(i, i, 1)
		}
		point, err := manifolds.Points64(x.RawMatrix().Data, 1, c.n, c.p)
		require.NoError(t, err)
		for range 200 {
			var pair [2]*mat.Dense
			for i := range pair {
				pair[i] = mat.NewDense(c.n, c.p, nil)
				for j := range pair[i].RawMatrix().Data {
					pair[i].RawMatrix().Data[j] = rng.NormFloat64()
				}
				v, err := manifolds.Points64(pair[i].RawMatrix().Data, 1, c.n, c.p)
				require.NoError(t, err)
				require.NoError(t, manifolds.Stiefel{}.Tangent(v, point, v))
				pair[i].Scale(1/mat.Norm(pair[i], 2), pair[i])
			}
			var product, along mat.Dense
			product.MulElem(pair[0], pair[1])
			along.Scale(mat.Sum(&product), pair[0])
			pair[1].Sub(pair[1], &along)
			if c.n*c.p-c.p*(c.p+1)/2 < 2 || mat.Norm(pair[1], 2) < 1e-6 {
				continue
			}
			pair[1].Scale(1/mat.Norm(pair[1], 2), pair[1])
			assert.GreaterOrEqual(t, curvature(pair[0], pair[1]), bound-1e-12, fmt.Sprint(c))
		}
		if c.p > 1 && c.n > c.p {
			u, v := mat.NewDense(c.n, c.p, nil), mat.NewDense(c.n, c.p, nil)
			u.Set(c.p, 0, 1)
			v.Set(c.p, 1, 1)
			assert.InDelta(t, bound, curvature(u, v), 1e-15)
		} else {
			assert.Zero(t, bound)
		}
	}
}

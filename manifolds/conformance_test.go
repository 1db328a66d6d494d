// SPDX-License-Identifier: Apache-2.0

package manifolds_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/manifolds/manifoldtest"
)

// every returns the manifolds of the package in each of their variants, and each
// once at another radius than 1.
func every() []manifolds.Manifold {
	all := []manifolds.Manifold{
		manifolds.Euclidean{},
		manifolds.Oblique{},
		manifolds.Sphere{Radius: 3},
		manifolds.CentredSphere{Radius: 0.05},
		manifolds.Oblique{Radius: 3, Axis: manifolds.Columns},
		manifolds.Oblique{Radius: 0.05, Axis: manifolds.Rows, Geodesic: true},
		manifolds.SpectralBall{},
		manifolds.SpectralBall{Radius: 3},
	}
	for _, geodesic := range []bool{false, true} {
		all = append(all,
			manifolds.Grassmann{Geodesic: geodesic},
			manifolds.Grassmann{Geodesic: geodesic, Radius: 3},
			manifolds.Sphere{Geodesic: geodesic},
			manifolds.CentredSphere{Geodesic: geodesic},
			manifolds.Oblique{Geodesic: geodesic, Axis: manifolds.Columns},
			manifolds.Oblique{Geodesic: geodesic, Axis: manifolds.Rows},
		)
	}
	for _, retraction := range []manifolds.StiefelRetraction{
		manifolds.CholeskyQR, manifolds.QR, manifolds.Polar, manifolds.Geodesic, manifolds.Cayley,
	} {
		all = append(all,
			manifolds.Orthogonal{Retraction: retraction},
			manifolds.SpecialOrthogonal{Retraction: retraction},
			manifolds.SpecialOrthogonal{Retraction: retraction, Radius: 3})
	}
	for _, metric := range []manifolds.StiefelMetric{manifolds.EuclideanMetric, manifolds.CanonicalMetric} {
		for _, retraction := range []manifolds.StiefelRetraction{
			manifolds.CholeskyQR, manifolds.QR, manifolds.Polar, manifolds.Geodesic, manifolds.Cayley,
			manifolds.OneStep, manifolds.IterativeCayley, manifolds.Landing,
		} {
			all = append(all, manifolds.Stiefel{Metric: metric, Retraction: retraction})
			if metric == manifolds.EuclideanMetric {
				all = append(all, manifolds.Stiefel{Metric: metric, Retraction: retraction, Radius: 3})
			}
		}
	}
	return all
}

func TestConformance(t *testing.T) {
	var shapes []manifoldtest.Shape // those of the kit
	if testing.Short() {            // minutes under the race detector
		shapes = []manifoldtest.Shape{{K: 19, N: 3, P: 3}, {K: 2, N: 3, P: 7}, {K: 1, N: 9, P: 5}}
	}
	for _, m := range every() {
		if s, ok := m.(manifolds.Scalable); ok && testing.Short() && s.Sized() {
			continue // the oracle of scale has other radii
		}
		t.Run(manifolds.Name(m), func(t *testing.T) {
			manifoldtest.Run(t, m, admitted(m, shapes)...)
			if m.Check(2, 3) != nil {
				manifoldtest.Run(t, m, manifoldtest.Shape{K: 3, N: 2, P: 2}, manifoldtest.Shape{K: 2, N: 4, P: 4})
			}
		})
	}
}

// admitted returns the shapes that m admits.
func admitted(m manifolds.Manifold, shapes []manifoldtest.Shape) []manifoldtest.Shape {
	var some []manifoldtest.Shape
	for _, s := range shapes {
		if m.Check(s.N, s.P) == nil {
			some = append(some, s)
		}
	}
	return some
}

// Filter banks are large enough for other paths through the matrix products than
// slices take, and layers of slices long enough to be worked on in parts.
func TestConformanceOnLayers(t *testing.T) {
	if testing.Short() {
		t.Skip("large shapes take seconds")
	}
	for _, m := range []manifolds.Manifold{
		manifolds.Sphere{},
		manifolds.CentredSphere{Geodesic: true},
		manifolds.Oblique{Axis: manifolds.Rows},
		manifolds.Stiefel{},
		manifolds.Stiefel{Retraction: manifolds.Geodesic, Metric: manifolds.CanonicalMetric},
		manifolds.Grassmann{Geodesic: true},
	} {
		t.Run(manifolds.Name(m), func(t *testing.T) {
			manifoldtest.Run(t, m,
				manifoldtest.Shape{K: 1, N: 34, P: 70},
				manifoldtest.Shape{K: 1, N: 67, P: 33},
				manifoldtest.Shape{K: 300, N: 3, P: 3},
			)
		})
	}
}

// Among the slices of a network drawn at random some are nearly singular. The
// polar factor, U V^T of the singular value decomposition, is a point all the same.
func TestStiefelProjectsNearlySingular(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for c := 1.; c <= 1e12; c *= 10 {
		u, v := points64(t, make([]float64, 9), 1, 3, 3), points64(t, make([]float64, 9), 1, 3, 3)
		require.NoError(t, manifolds.Stiefel{}.Random(u, rng))
		require.NoError(t, manifolds.Stiefel{}.Random(v, rng))
		x, want := u.Like(), u.Like() // U diag(1, 1/2, 1/c) V^T and U V^T
		x32 := points32(t, make([]float32, 9), 1, 3, 3)
		for i := range 3 {
			for j := range 3 {
				for l, s := range []float64{1, 0.5, 1 / c} {
					x.Set(0, i, j, x.At(0, i, j)+u.At(0, i, l)*s*v.At(0, j, l))
					want.Set(0, i, j, want.At(0, i, j)+u.At(0, i, l)*v.At(0, j, l))
				}
				x32.Set(0, i, j, x.At(0, i, j))
			}
		}
		y, y32 := x.Like(), x32.Like()
		if assert.NoError(t, manifolds.Stiefel{}.Project(y, x), "condition %g", c) {
			assert.LessOrEqual(t, manifolds.Stiefel{}.Membership(y), 1e-14, "condition %g", c)
			for e := range want.Len() { // the polar factor has the condition of x
				assert.InDelta(t, want.Data64()[e], y.Data64()[e], 1e-14*c, "condition %g", c)
			}
		}
		if c > 1e7 { // rounding to float32 changes the condition number
			continue
		}
		if assert.NoError(t, manifolds.Stiefel{}.Project(y32, x32), "float32, condition %g", c) {
			assert.LessOrEqual(t, manifolds.Stiefel{}.Membership(y32), 1e-6, "float32, condition %g", c)
		}
	}
}

// Normalisation is a retraction of second order, polar is in the metric of the
// ambient space, QR is of first order only.
func TestRetractionOrder(t *testing.T) {
	for _, c := range []struct {
		m    manifolds.Manifold
		want float64
	}{
		{manifolds.Euclidean{}, math.Inf(1)},
		{manifolds.Sphere{}, 2},
		{manifolds.Sphere{Geodesic: true}, math.Inf(1)},
		{manifolds.CentredSphere{}, 2},
		{manifolds.Oblique{}, 2},
		{manifolds.Grassmann{}, 2},
		{manifolds.Grassmann{Geodesic: true}, math.Inf(1)},
		{manifolds.Stiefel{Retraction: manifolds.CholeskyQR}, 1},
		{manifolds.Stiefel{Retraction: manifolds.QR}, 1},
		{manifolds.Stiefel{Retraction: manifolds.Polar}, 2},
		{manifolds.Stiefel{Retraction: manifolds.Cayley}, 1},
		{manifolds.Stiefel{Retraction: manifolds.OneStep}, 2},
		{manifolds.Stiefel{Retraction: manifolds.IterativeCayley, Metric: manifolds.CanonicalMetric}, 2},
		{manifolds.Stiefel{Retraction: manifolds.Cayley, Metric: manifolds.CanonicalMetric}, 2},
		{manifolds.Stiefel{Retraction: manifolds.Geodesic}, math.Inf(1)},
		{manifolds.Stiefel{Retraction: manifolds.Polar, Metric: manifolds.CanonicalMetric}, 1},
		{manifolds.Stiefel{Retraction: manifolds.Geodesic, Metric: manifolds.CanonicalMetric}, math.Inf(1)},
	} {
		for _, s := range []manifoldtest.Shape{{K: 3, N: 7, P: 3}, {K: 3, N: 3, P: 7}} {
			got, err := manifoldtest.RetractionOrder(c.m, s)
			require.NoError(t, err)
			assert.InDelta(t, c.want, got, 0.1, "%s, %v", manifolds.Name(c.m), s)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package manifolds_test

import (
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/manifolds"
)

func points64(t testing.TB, data []float64, k, n, p int) manifolds.Points {
	t.Helper()
	x, err := manifolds.Points64(data, k, n, p)
	require.NoError(t, err)
	return x
}

func points32(t testing.TB, data []float32, k, n, p int) manifolds.Points {
	t.Helper()
	x, err := manifolds.Points32(data, k, n, p)
	require.NoError(t, err)
	return x
}

func ones(n int) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = 1
	}
	return x
}

func TestPointsRefuse(t *testing.T) {
	for _, c := range []struct{ length, k, n, p int }{
		{23, 2, 3, 4}, {25, 2, 3, 4}, {0, 0, 3, 4}, {0, 2, 0, 4}, {0, 2, 3, 0}, {0, 0, 0, 0},
		{24, -2, -3, 4}, {24, 2, -3, -4}, {0, 1, 1, 1},
	} {
		want := fmt.Sprintf("manifolds: want a positive number of points and %d*%d*%d = %d values, got %d",
			c.k, c.n, c.p, c.k*c.n*c.p, c.length)
		_, err := manifolds.Points64(make([]float64, c.length), c.k, c.n, c.p)
		assert.EqualError(t, err, want)
		_, err = manifolds.Points32(make([]float32, c.length), c.k, c.n, c.p)
		assert.EqualError(t, err, want)
	}
	_, err := manifolds.Points64(nil, 1, 1, 1)
	assert.Error(t, err)
}

func TestPointsAtAndSet(t *testing.T) {
	data, data32 := make([]float64, 24), make([]float32, 24)
	x, x32 := points64(t, data, 2, 3, 4), points32(t, data32, 2, 3, 4)
	for k := range 2 {
		for i := range 3 {
			for j := range 4 {
				x.Set(k, i, j, float64(100*k+10*i+j)+0.1)
				x32.Set(k, i, j, float64(100*k+10*i+j)+0.1)
			}
		}
	}
	assert.Equal(t, 112.1, data[12+4+2], "points one after the other, row by row")
	assert.Equal(t, 112.1, x.At(1, 1, 2))
	assert.Equal(t, float32(112.1), data32[12+4+2])
	assert.Equal(t, float64(float32(112.1)), x32.At(1, 1, 2), "rounded to the precision of the batch")
	assert.Equal(t, 24, x.Len())
	assert.Equal(t, 24, x32.Len())
}

func TestPointsView(t *testing.T) {
	data, data32 := ones(6), []float32{1, 2, 3, 4}
	x, x32 := points64(t, data, 3, 1, 2), points32(t, data32, 1, 2, 2)
	assert.Same(t, &data[0], &x.Data64()[0], "a view, not a copy")
	assert.Same(t, &data32[0], &x32.Data32()[0])
	assert.Nil(t, x.Data32())
	assert.Nil(t, x32.Data64())
	assert.Equal(t, "3 points of 1x2 float64", x.String())
	assert.Equal(t, "1 points of 2x2 float32", x32.String())
}

func TestPointsSlice(t *testing.T) {
	data := []float64{0, 1, 2, 3, 4, 5, 6, 7}
	x := points64(t, data, 4, 1, 2)
	y := x.Slice(1, 3)
	assert.Equal(t, [3]int{2, 1, 2}, [3]int{y.K, y.N, y.P})
	assert.Equal(t, []float64{2, 3, 4, 5}, y.Data64())
	y.Set(0, 0, 0, 20)
	assert.Equal(t, 20.0, x.At(1, 0, 0), "the values are shared")
	_ = append(y.Data64(), -1)
	assert.Equal(t, 6.0, data[6], "append does not reach the next point")
	assert.Equal(t, 4, x.K, "x itself is as before")

	x32 := points32(t, []float32{0, 1, 2, 3}, 2, 2, 1).Slice(1, 2)
	assert.Equal(t, []float32{2, 3}, x32.Data32())
	assert.Nil(t, x32.Data64())
}

func TestPointsLikeAndCopy(t *testing.T) {
	x := points64(t, []float64{1, 2, 3, 4}, 1, 2, 2)
	x32 := points32(t, []float32{1, 2, 3, 4}, 1, 2, 2)
	y, y32 := x.Like(), x32.Like()
	assert.Equal(t, make([]float64, 4), y.Data64())
	assert.Equal(t, make([]float32, 4), y32.Data32())
	require.NoError(t, y.CopyFrom(x))
	require.NoError(t, y32.CopyFrom(x32))
	assert.Equal(t, x, y)
	assert.Equal(t, x32, y32)
	y.Set(0, 0, 0, -1)
	assert.Equal(t, 1.0, x.At(0, 0, 0), "numbers of their own")

	for _, bad := range []manifolds.Points{
		x32, points64(t, ones(4), 2, 2, 1), points64(t, ones(4), 1, 4, 1), points64(t, ones(8), 2, 2, 2),
	} {
		before := append([]float64(nil), bad.Data64()...)
		err := bad.CopyFrom(x)
		assert.ErrorContains(t, err, "manifolds: copy: want batches of one shape and precision, got ")
		assert.ErrorContains(t, err, bad.String())
		assert.Equal(t, before, append([]float64(nil), bad.Data64()...))
	}
}

// bare is a manifold with the six methods and no more.
type bare struct{ manifolds.Manifold }

func TestBareManifold(t *testing.T) {
	m := bare{manifolds.Sphere{}}
	x := points64(t, []float64{1, 0, 0, 1}, 2, 1, 2)
	u, v := points64(t, []float64{0, 2, 3, 0}, 2, 1, 2), points64(t, []float64{7, 5, -1, 9}, 2, 1, 2)

	out := make([]float64, 2)
	require.NoError(t, manifolds.Inner(m, out, x, u, v))
	assert.Equal(t, []float64{10, -3}, out, "the Frobenius product")
	require.NoError(t, manifolds.Inner(m, out, points32(t, make([]float32, 4), 2, 1, 2),
		points32(t, []float32{0, 2, 3, 0}, 2, 1, 2), points32(t, []float32{7, 5, -1, 9}, 2, 1, 2)))
	assert.Equal(t, []float64{10, -3}, out, "the Frobenius product")

	grad := x.Like()
	require.NoError(t, manifolds.Gradient(m, grad, x, v))
	assert.Equal(t, []float64{0, 5, -1, 0}, grad.Data64(), "the tangent projection")

	assert.Equal(t, manifolds.Properties{Dim: -1}, manifolds.PropertiesOf(m, 1, 2))
	assert.Equal(t, manifolds.Properties{Dim: 1, Curvature: 0.25, InjectivityRadius: 2 * math.Pi, Vectors: true},
		manifolds.PropertiesOf(manifolds.Sphere{Radius: 2}, 1, 2))
	assert.Equal(t, "manifolds_test.bare", manifolds.Name(m))
	assert.Equal(t, "Sphere(r=2)", manifolds.Name(manifolds.Sphere{Radius: 2}))

	for _, bad := range [][]float64{nil, make([]float64, 1), make([]float64, 3)} {
		assert.ErrorContains(t, manifolds.Inner(m, bad, x, u, v), "want an output of length 2, one number a point, got")
	}
	assert.Error(t, manifolds.Inner(m, out, x, u, v.Slice(0, 1)))
	assert.Error(t, manifolds.Inner(m, out, x, u, points32(t, make([]float32, 4), 2, 1, 2)))
}

func TestPointError(t *testing.T) {
	x := points64(t, []float64{3, 4, 0, 0, 1, 0}, 3, 1, 2)
	err := fmt.Errorf("conv1: %w", manifolds.Sphere{}.Project(x.Like(), x))
	assert.ErrorIs(t, err, manifolds.ErrDegenerate)
	var pe *manifolds.PointError
	require.True(t, errors.As(err, &pe))
	assert.Equal(t, 1, pe.Point)
	assert.Equal(t, "project", pe.Op)
	assert.Contains(t, err.Error(), "conv1: manifolds: Sphere: project: point 1: ")

	assert.True(t, math.IsNaN(manifolds.Sphere{}.Membership(points64(t, []float64{1, math.NaN()}, 1, 1, 2))))
}

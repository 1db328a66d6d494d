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
)

// turned returns a random rotation by the given angles, one a plane, and its logarithm.
func turned(rng *rand.Rand, n int, angles []float64) (x, log *mat.Dense) {
	q := orthonormal(rng, n, n)
	block, l := mat.NewDense(n, n, nil), mat.NewDense(n, n, nil)
	for i := range n {
		block.Set(i, i, 1)
	}
	for k, t := range angles {
		i := 2 * k
		block.Set(i, i, math.Cos(t))
		block.Set(i+1, i+1, math.Cos(t))
		block.Set(i, i+1, -math.Sin(t))
		block.Set(i+1, i, math.Sin(t))
		l.Set(i, i+1, -t)
		l.Set(i+1, i, t)
	}
	x, log = mat.NewDense(n, n, nil), mat.NewDense(n, n, nil)
	x.Product(q, block, q.T())
	log.Product(q, l, q.T())
	return x, log
}

// Logarithm, exponential and angle of rotations by all kinds of angles, equal ones among them.
func TestRotationLog(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 1))
	for _, n := range []int{1, 2, 3, 4, 5, 8, 33} {
		for _, pattern := range [][]float64{{0}, {1e-9}, {1e-3}, {0.5, 0.5}, {1, -1}, {2, 1e-6, 3}, {3.1, 3.1}, {3.1415}, {-3.1415, 0.2}} {
			var angles []float64
			want := 0.0
			for k := range n / 2 {
				a := pattern[k%len(pattern)]
				angles = append(angles, a)
				want = math.Hypot(want, math.Sqrt2*a)
			}
			what := fmt.Sprint(n, angles)
			x, log := turned(rng, n, angles)
			a, e := make([]float64, n*n), make([]float64, n*n)
			// The plane of an angle near pi has the condition 1 / (pi - angle).
			require.NoError(t, RotationLog(a, mat.DenseCopyOf(x).RawMatrix().Data, n, 0x1p-52), what)
			assert.InDeltaSlice(t, log.RawMatrix().Data, a, 1e-9, what)
			RotationExp(e, append([]float64(nil), a...), n)
			assert.InDeltaSlice(t, x.RawMatrix().Data, e, 1e-13, what)
			got, err := RotationAngle(mat.DenseCopyOf(x).RawMatrix().Data, n)
			require.NoError(t, err)
			assert.InDelta(t, want, got, 1e-13, what)
		}
	}
}

func TestRotationLogRefuses(t *testing.T) {
	rng := rand.New(rand.NewPCG(12, 1))
	for _, n := range []int{2, 3, 4, 7} {
		x, _ := turned(rng, n, []float64{math.Pi})
		a := make([]float64, n*n)
		require.ErrorContains(t, RotationLog(a, mat.DenseCopyOf(x).RawMatrix().Data, n, 0x1p-52), "want rotations by less than pi - 1.8e-15", n)
		angle, err := RotationAngle(mat.DenseCopyOf(x).RawMatrix().Data, n)
		require.NoError(t, err)
		assert.InDelta(t, math.Sqrt2*math.Pi, angle, 1e-13)
		for j := range n { // a reflection
			x.Set(0, j, -x.At(0, j))
		}
		assert.True(t, Reflects(mat.DenseCopyOf(x).RawMatrix().Data, n))
		require.ErrorIs(t, RotationLog(a, mat.DenseCopyOf(x).RawMatrix().Data, n, 0x1p-52), errReflection)
		_, err = RotationAngle(mat.DenseCopyOf(x).RawMatrix().Data, n)
		require.ErrorIs(t, err, errReflection)
	}
}

// The nearest rotation is nearer than others, and unique only where the determinant or a gap of singular values says so.
func TestRotation(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 1))
	for _, n := range []int{1, 2, 3, 6} {
		for range 20 {
			x := random[float64](rng, n, n)
			y := clone(x)
			require.NoError(t, Rotation(y, y, 2))
			g := make([]float64, n*n)
			assert.LessOrEqual(t, Defect(g, y, 2), 1e-14*float64(n))
			assert.Positive(t, mat.Det(dense(y)))
			var off mat.Dense
			off.Sub(dense(x), dense(y))
			for range 20 {
				w := random[float64](rng, n, n)
				for e := range w.Data {
					w.Data[e] = 0.3*w.Data[e] + y.Data[e]
				}
				require.NoError(t, Rotation(w, w, 2))
				var other mat.Dense
				other.Sub(dense(x), dense(w))
				assert.LessOrEqual(t, mat.Norm(&off, 2), mat.Norm(&other, 2)+1e-14)
			}
		}
	}
	flip := of[float64](mat.NewDense(3, 3, []float64{2, 0, 0, 0, 1, 0, 0, 0, -1}))
	require.ErrorContains(t, Rotation(flip, flip, 1), "want a matrix with a single nearest rotation, got singular values 1 and -1")
	rank2 := of[float64](mat.NewDense(3, 3, []float64{2, 0, 0, 0, 1, 0, 0, 0, 0}))
	require.NoError(t, Rotation(rank2, rank2, 1))
	near(t, mat.NewDense(3, 3, []float64{1, 0, 0, 0, 1, 0, 0, 0, 1}), rank2, 1e-15, "rank n - 1")
}

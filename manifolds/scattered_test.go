// SPDX-License-Identifier: Apache-2.0

package manifolds

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/internal/cpu"
)

// DescendIn makes the step of Descend to the bit, and names the same point that has been moved off the manifold.
func TestDescendIn(t *testing.T) {
	if cpu.Use == cpu.Portable {
		t.Skip("portable Go has no kernels for scattered slices")
	}
	type scattered interface {
		Manifold
		Scattered
	}
	rng := rand.New(rand.NewPCG(31, 32))
	numbers := func(k int, scale float64) Points {
		data := make([]float32, 9*k)
		for i := range data {
			data[i] = float32(scale * rng.NormFloat64())
		}
		x, err := Points32(data, k, 3, 3)
		require.NoError(t, err)
		return x
	}
	for _, m := range []scattered{Sphere{}, Sphere{Radius: 2}, CentredSphere{}, Oblique{}, Oblique{Radius: 2}, Stiefel{}, Stiefel{Radius: 3}} {
		for _, k := range []int{3, 16, 100} {
			for _, d := range []Descent{
				{Slope: 1, Rate: 0.1},
				{Keep: 0.9, Take: 1, Ahead: 0.9, Slope: 1, Rate: 0.1},
				{Keep: 0.9, Take: 1, Ahead: 0.9, Slope: 1, Rate: 0.1, Tangent: true},
			} {
				for _, lost := range []bool{false, true} {
					w, g, mu := numbers(2*k, 1), numbers(2*k, 0.01), Points{}
					require.NoError(t, m.Project(w, w))
					var order []int32
					for _, p := range rng.Perm(2 * k)[:k] {
						order = append(order, int32(p))
					}
					l, err := PerSlice.Layout([]int{2, k, 3, 3})
					require.NoError(t, err)
					l, err = l.Pick(order...)
					require.NoError(t, err)
					if lost {
						copy(w.f32[9*order[k/2]:][:9], make([]float32, 9))
					}
					if d.Keep != 0 {
						mu = numbers(k, 0.01)
					}
					x, slopes, nu := numbers(k, 0), numbers(k, 0), mu
					require.NoError(t, l.Gather(x, w))
					require.NoError(t, l.Gather(slopes, g))
					if d.Keep != 0 {
						nu = mu.Like()
						require.NoError(t, nu.CopyFrom(mu))
					}
					_, wantErr := m.Descend(x, nu, slopes, d)
					_, done, err := m.DescendIn(m, l, w, mu, g, d)
					require.True(t, done, "%v of %d, %+v", m, k, d)
					require.Equal(t, wantErr, err)
					var at *PointError
					if errors.As(err, &at) { // the retraction of Stiefel may bring the point back
						require.True(t, lost)
						require.Equal(t, k/2, at.Point)
					}
					got := x.Like()
					require.NoError(t, l.Gather(got, w))
					require.Equal(t, x.f32, got.f32, "%v of %d", m, k)
					require.Equal(t, nu.f32, mu.f32, "%v of %d", m, k)
				}
			}
		}
	}
}

// DescendIn refuses what the kernels do not have, and changes nothing.
func TestDescendInRefuses(t *testing.T) {
	x, err := Points32(make([]float32, 18), 2, 3, 3)
	require.NoError(t, err)
	wide, err := Points64(make([]float64, 18), 2, 3, 3)
	require.NoError(t, err)
	all, err := PerSlice.Layout([]int{2, 1, 3, 3})
	require.NoError(t, err)
	l, err := all.Pick(1, 0)
	require.NoError(t, err)
	beyond := l
	beyond.Order, beyond.highest = []int32{0, 2}, 2
	type embeds struct{ Stiefel }
	for name, done := range map[string]func() (Progress, bool, error){
		"float64": func() (Progress, bool, error) {
			return Sphere{}.DescendIn(Sphere{}, l, wide, Points{}, wide, Descent{Slope: 1})
		},
		"no order": func() (Progress, bool, error) {
			return Sphere{}.DescendIn(Sphere{}, all, x, Points{}, x, Descent{Slope: 1})
		},
		"beyond the layer": func() (Progress, bool, error) {
			return Sphere{}.DescendIn(Sphere{}, beyond, x, Points{}, x, Descent{Slope: 1})
		},
		"factors": func() (Progress, bool, error) {
			return Oblique{}.DescendIn(Oblique{}, l, x, Points{}, x, Descent{Slope: 1, Factors: []float64{1, 1}})
		},
		"rows": func() (Progress, bool, error) {
			return Oblique{Axis: Rows}.DescendIn(Oblique{Axis: Rows}, l, x, Points{}, x, Descent{Slope: 1})
		},
		"another retraction": func() (Progress, bool, error) {
			s := Stiefel{Retraction: Polar}
			return s.DescendIn(s, l, x, Points{}, x, Descent{Slope: 1})
		},
		"another manifold": func() (Progress, bool, error) {
			return Stiefel{}.DescendIn(embeds{}, l, x, Points{}, x, Descent{Slope: 1})
		},
		"momentum of one": func() (Progress, bool, error) {
			return Sphere{}.DescendIn(Sphere{}, l, x, x.Slice(0, 1), x, Descent{Slope: 1})
		},
	} {
		_, ok, err := done()
		require.False(t, ok, name)
		require.NoError(t, err, name)
	}
	require.Equal(t, make([]float32, 18), x.f32)
}

// SPDX-License-Identifier: Apache-2.0

package fused

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/internal/descent"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// Scattered points move as points that lie together do, to the bit, and nothing else is read or written.
func TestScattered(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		t.Run("float32", testScattered[float32])
		t.Run("float64", testScattered[float64])
	})
}

func testScattered[T vec.Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(21, 22))
	for name, s := range steps(1.3) {
		for _, momentum := range []bool{true, false} {
			counts := []int{1, 7, 16, 33, 100}
			if name == "tangent" {
				counts = append(counts, 700) // far enough to prefetch
			}
			for _, k := range counts {
				for _, n := range []int{9, 25} {
					c := map[int]int{9: 3, 25: 5}[n]
					scattered(t, rng, fmt.Sprintf("%s, %d vectors of %d", name, k, n), k, n, momentum, func(x, m, g []T, order []int32) (descent.Progress, int) {
						return Spheres(x, m, g, order, n, s.Sphere, s.Step)
					})
					scattered(t, rng, fmt.Sprintf("%s, %d matrices of %d", name, k, n), k, n, momentum, func(x, m, g []T, order []int32) (descent.Progress, int) {
						return Columns(x, m, g, order, n/c, c, s.Sphere, s.Step)
					})
				}
			}
		}
	}
}

// scattered compares a step of k points of n elements, in a random order among twice as many, with that of a copy. Some of them are not on
// the sphere. All other points are NaN, so that reading them shows.
func scattered[T vec.Float](t *testing.T, rng *rand.Rand, name string, k, n int, momentum bool, step func(x, m, g []T, order []int32) (descent.Progress, int)) {
	offset := rng.IntN(4)
	x, allX := random[T](rng, 2*k*n, offset, 1)
	g, allG := random[T](rng, 2*k*n, offset, 0.1)
	m, allM := random[T](rng, k*n, offset, 0.1)
	if !momentum {
		m = nil
	}
	order := make([]int32, 2*k) // with those that follow
	for i, p := range rng.Perm(2 * k) {
		order[i] = int32(p)
	}
	outside := order[k:]
	if rng.IntN(2) == 0 { // nothing is known to follow
		order = order[:k:k]
	}
	order = order[:k]
	for _, p := range outside {
		for e := range n {
			x[int(p)*n+e], g[int(p)*n+e] = T(math.NaN()), T(math.NaN())
		}
	}
	if bad := rng.IntN(2 * k); bad < k {
		e := int(order[bad]) * n
		copy(x[e:e+n], make([]T, n))
		x[e] = []T{0, T(math.NaN())}[rng.IntN(2)]
	}
	var copies [2][]T
	for i, of := range [][]T{x, g} {
		for _, p := range order {
			copies[i] = append(copies[i], of[int(p)*n:int(p+1)*n]...)
		}
	}
	copyM := slices.Clone(m)
	want, wantFailed := step(copies[0], copyM, copies[1], nil)
	got, failed := step(x, m, g, order)
	require.Equal(t, wantFailed, failed, name)
	same := func(a, b []T) {
		for e := range a {
			if a[e] != b[e] && !(a[e] != a[e] && b[e] != b[e]) {
				require.Equal(t, a[e], b[e], name)
			}
		}
	}
	for i, p := range order {
		same(copies[0][i*n:(i+1)*n], x[int(p)*n:int(p+1)*n])
	}
	same(copyM, m)
	for _, p := range outside {
		for e := range n {
			require.True(t, x[int(p)*n+e] != x[int(p)*n+e] && g[int(p)*n+e] != g[int(p)*n+e], name)
		}
	}
	guarded(t, allX, offset, 2*k*n)
	guarded(t, allG, offset, 2*k*n)
	guarded(t, allM, offset, k*n)
	if wantFailed < 0 {
		require.InEpsilon(t, 1+want.Direction, 1+got.Direction, 1e-6, name)
		require.InEpsilon(t, 1+want.Length, 1+got.Length, 1e-6, name)
		require.InEpsilon(t, want.Factor, got.Factor, 1e-6, name)
	}
}

// SPDX-License-Identifier: Apache-2.0

package fused

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/internal/descent"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// lengths returns lengths for which a kernel could be wrong.
func lengths() []int {
	all := []int{chunk - 1, chunk, 2*chunk + 17}
	for n := range 71 {
		all = append(all, n)
	}
	return all
}

func TestFlat(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		t.Run("float32", testFlat[float32])
		t.Run("float64", testFlat[float64])
	})
}

func testFlat[T vec.Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	s := descent.Step{Keep: 0.9, Take: 0.7, Ahead: 0.81, Slope: 1.9, Rate: 0.3}
	const shrink = 0.99
	eps := vec.Eps[T]()
	for _, n := range lengths() {
		for offset := range 8 {
			x, allX := random[T](rng, n, offset/2, 1)
			m, allM := random[T](rng, n, offset/2, 1)
			g, allG := random[T](rng, n, offset/2, 1)
			if offset%2 == 0 {
				m = nil
			}
			x0, m0, g0 := wide(x), wide(m), wide(g)
			moved := Flat(x, m, g, s, shrink)
			square := 0.0
			for i := range x0 {
				d, keep := s.Slope*g0[i], s.Take*g0[i]
				if m0 != nil {
					d += s.Ahead * m0[i]
					keep += s.Keep * m0[i]
					near(t, keep, float64(m[i]), 10*eps)
				}
				square += d * d
				near(t, shrink*x0[i]-s.Rate*d, float64(x[i]), 10*eps)
				near(t, 0, float64(g[i]), 0)
			}
			tol := (10*eps + 0x1p-52*float64(n)) * square
			require.InDelta(t, square, moved.Direction, tol)
			require.InDelta(t, s.Rate*s.Rate*square, moved.Length, tol)
			require.Equal(t, 1.0, moved.Factor)
			for _, all := range [][]T{allX, allM, allG} {
				guarded(t, all, offset/2, n)
			}
		}
	}
}

func TestAdam(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		t.Run("float32", testAdam[float32])
		t.Run("float64", testAdam[float64])
	})
}

func testAdam[T vec.Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	a := AdamStep{Beta1: 0.9, Beta2: 0.99, Eps: 1e-3, Slope: -0.8, Shrink: 0.99, Rate: 0.3, Correct1: 0.4, Correct2: 0.3}
	eps := vec.Eps[T]()
	for _, n := range lengths() {
		for offset := range 8 {
			x, allX := random[T](rng, n, offset/2, 1)
			m, allM := random[T](rng, n, offset/2, 1)
			s, allS := random[T](rng, n, offset/2, 1)
			top, allTop := random[T](rng, n, offset/2, 1)
			g, allG := random[T](rng, n, offset/2, 1)
			for i := range s {
				s[i], top[i] = T(math.Abs(float64(s[i]))), T(math.Abs(float64(top[i])))
			}
			if offset%2 == 0 {
				top = nil
			}
			x0, m0, s0, top0, g0 := wide(x), wide(m), wide(s), wide(top), wide(g)
			total := Adam(x, m, s, top, g, a)
			sum := 0.0
			for i := range x0 {
				h := a.Slope * g0[i]
				first, second := a.Beta1*m0[i]+(1-a.Beta1)*h, a.Beta2*s0[i]+(1-a.Beta2)*h*h
				near(t, first, float64(m[i]), 10*eps)
				near(t, second, float64(s[i]), 10*eps)
				if top0 != nil {
					second = max(second, top0[i])
					near(t, second, float64(top[i]), 10*eps)
				}
				d := first / a.Correct1 / (math.Sqrt(second/a.Correct2) + a.Eps)
				sum += d * d
				// m is known to a rounding of its terms, of size 1, and the root may be small.
				near(t, a.Shrink*x0[i]-a.Rate*d, float64(x[i]), 20*eps*(1+1/math.Sqrt(second)))
				near(t, 0, float64(g[i]), 0)
			}
			require.InDelta(t, sum, total, 100*eps*(1+sum))
			for _, all := range [][]T{allX, allM, allS, allTop, allG} {
				guarded(t, all, offset/2, n)
			}
		}
	}
}

func TestAdagrad(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		t.Run("float32", testAdagrad[float32])
		t.Run("float64", testAdagrad[float64])
	})
}

func testAdagrad[T vec.Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 8))
	eps := vec.Eps[T]()
	for _, a := range []AdagradStep{
		{Keep: 1, Take: 1, Eps: 1e-3, Slope: -0.8, Shrink: 0.99, Rate: 0.3},
		{Keep: 0.9, Take: 0.1, Eps: 1e-3, Slope: 2, Shrink: 1, Rate: 0.1},
	} {
		for _, n := range lengths() {
			for offset := range 4 {
				x, allX := random[T](rng, n, offset, 1)
				s, allS := random[T](rng, n, offset, 1)
				g, allG := random[T](rng, n, offset, 1)
				for i := range s {
					s[i] = T(math.Abs(float64(s[i])))
				}
				x0, s0, g0 := wide(x), wide(s), wide(g)
				total := Adagrad(x, s, g, a)
				sum := 0.0
				for i := range x0 {
					h := a.Slope * g0[i]
					square := a.Keep*s0[i] + a.Take*h*h
					near(t, square, float64(s[i]), 20*eps)
					d := h / (math.Sqrt(square) + a.Eps)
					sum += d * d
					near(t, a.Shrink*x0[i]-a.Rate*d, float64(x[i]), 20*eps)
					near(t, 0, float64(g[i]), 0)
				}
				require.InDelta(t, sum, total, 100*eps*(1+sum))
				for _, all := range [][]T{allX, allS, allG} {
					guarded(t, all, offset, n)
				}
			}
		}
	}
}

// TestAdamWithoutEps checks that a kernel ignores the elements behind the last, where both moments
// are 0 and the step would be 0/0.
func TestAdamWithoutEps(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		x, m, s, g := []float32{1, 2, 3}, []float32{0, 0, 0}, []float32{0, 0, 0}, []float32{4, -5, 6}
		total := Adam(x, m, s, nil, g, AdamStep{Beta1: 0.9, Beta2: 0.99, Slope: 1, Shrink: 1, Rate: 1, Correct1: 0.1, Correct2: 0.01})
		assert.InDelta(t, 3, total, 1e-5)
		assert.InDeltaSlice(t, []float32{0, 3, 2}, x, 1e-5)
	})
}

// TestPartsOfABatch makes the step in two calls for parts of a batch and compares the bits with one
// call.
func TestPartsOfABatch(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		t.Run("float32", testPartsOfABatch[float32])
		t.Run("float64", testPartsOfABatch[float64])
	})
}

func testPartsOfABatch[T vec.Float](t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	for _, s := range steps(1.1) {
		for _, n := range []int{3, 9, 16, 25, 27, 144, 576} {
			for _, k := range []int{1, 7, 33, 100} {
				x, _ := random[T](rng, n*k, 0, 1)
				m, _ := random[T](rng, n*k, 0, 1)
				g, _ := random[T](rng, n*k, 0, 1)
				at := n * rng.IntN(k+1)
				name := fmt.Sprintf("n=%d k=%d split at %d", n, k, at/n)
				split := func(step func(x, m, g []T) descent.Progress, at int) {
					whole, parts := [3][]T{clone(x), clone(m), clone(g)}, [3][]T{clone(x), clone(m), clone(g)}
					a := step(whole[0], whole[1], whole[2])
					b := step(parts[0][:at], parts[1][:at], parts[2][:at]).Plus(step(parts[0][at:], parts[1][at:], parts[2][at:]))
					for i := range whole {
						require.True(t, slices.Equal(whole[i], parts[i]), name)
					}
					require.InEpsilon(t, 1+a.Direction, 1+b.Direction, 1e-12, name)
					require.InEpsilon(t, 1+a.Length, 1+b.Length, 1e-12, name)
					require.Equal(t, a.Factor, b.Factor, name)
				}
				split(func(x, m, g []T) descent.Progress { p, _ := Spheres(x, m, g, nil, n, s.Sphere, s.Step); return p }, at)
				if n == 9 || n == 144 {
					c := map[int]int{9: 3, 144: 36}[n]
					split(func(x, m, g []T) descent.Progress { p, _ := Columns(x, m, g, nil, n/c, c, s.Sphere, s.Step); return p }, at)
				}
			}
		}
	}
}

func clone[T vec.Float](x []T) []T { return append([]T(nil), x...) }

// TestManySteps stays on the spheres, in float32, for a thousand steps.
func TestManySteps(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(11, 12))
		for _, n := range []int{3, 9, 27, 144, 1152} {
			for name, s := range steps(1.4) {
				const k = 5
				x, _ := random[float32](rng, n*k, 0, 1)
				m, g := make([]float32, n*k), make([]float32, n*k)
				for i := range k {
					onSphere(x[i*n:(i+1)*n], s)
				}
				steps := 1000
				if n > 27 {
					steps = 100
				}
				for range steps {
					for i := range g {
						g[i] = rng.Float32() - 0.5
					}
					Spheres(x, m, g, nil, n, s.Sphere, s.Step)
				}
				for i := range k {
					p := x[i*n : (i+1)*n]
					require.InDelta(t, 1, vec.Norm(p)/s.Radius, 4e-7, "%s n=%d", name, n)
					if s.Centred {
						// A mean is as accurate as t d, whose length is up to 2 Rate.
						require.InDelta(t, 0, vec.Sum(p)/float64(n), 1e-6*max(1, s.Rate/10), "%s n=%d", name, n)
					}
				}
			}
		}
	})
}

// TestPointsThatAreNone checks that a zero or NaN vector does not move.
func TestPointsThatAreNone(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		for _, n := range []int{9, 20, 70} {
			for name, s := range steps(1) {
				x, m, g := make([]float32, 3*n), make([]float32, 3*n), make([]float32, 3*n)
				for i := range x {
					x[i], m[i], g[i] = float32(i%n+1), 1, float32(i%5)
				}
				clear(x[n : 2*n])
				x[2*n] = float32(math.NaN())
				_, failed := Spheres(x, m, g, nil, n, s.Sphere, s.Step)
				assert.Equal(t, 1, failed, name)
				assert.Zero(t, vec.MaxAbs(x[n:2*n]), name)
				assert.True(t, math.IsNaN(vec.MaxAbs(x[2*n:])), name)
				assert.False(t, math.IsNaN(vec.MaxAbs(x[:n])), name)
				for i := n; i < 2*n; i++ {
					assert.InDelta(t, s.Keep+s.Take*float64(i%5), m[i], 1e-6, name)
				}
			}
		}
	})
}

func TestNoAllocation(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		x, m, g := make([]float32, 900), make([]float32, 900), make([]float32, 900)
		assert.Zero(t, testing.AllocsPerRun(10, func() {
			Spheres(x, m, g, nil, 9, round, sgd)
			Spheres(x, nil, g, nil, 90, round, sgd)
			Columns(x, m, g, nil, 3, 3, round, sgd)
			Columns(x, m, g, nil, 30, 30, round, sgd)
			Flat(x, m, g, sgd, 1)
			Adam(x, m, m, nil, g, AdamStep{Eps: 1, Correct1: 1, Correct2: 1})
		}))
	})
}

func FuzzShapes(f *testing.F) {
	f.Add(9, 17, 3, uint64(1))
	f.Fuzz(func(t *testing.T, n, k, way int, seed uint64) {
		if n < 3 || n > 3000 || k < 1 || k > 200 || n*k > 50000 || way < 0 || way > 3 {
			t.Skip()
		}
		rng := rand.New(rand.NewPCG(seed, 1))
		s := []trial{kinds(1)["tangent"], kinds(1)["ambient centred"], kinds(1)["nesterov"], kinds(1)["longer geometric"]}[way]
		compare[float32](t, rng, "fuzz", n, k, s, seed%2 == 0)
		compare[float64](t, rng, "fuzz", n, k, s, seed%2 == 0)
		compareColumns[float32](t, rng, "fuzz", n, k, 1+int(seed%3), s, seed%2 == 0)
	})
}

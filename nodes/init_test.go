// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/nodes"
)

// draw makes weights as a graph does.
func draw(init gorgonia.InitWFn, of tensor.Dtype, shape ...int) []float64 {
	n := gorgonia.NewTensor(gorgonia.NewGraph(), of, len(shape), gorgonia.WithName("w"), gorgonia.WithShape(shape...), gorgonia.WithInit(init))
	return floats(n.Value())
}

var initialisers = map[string]func(gain float64, seed uint64, opts ...nodes.KernelOption) gorgonia.InitWFn{
	"HeNormal": nodes.HeNormal, "HeUniform": nodes.HeUniform, "GlorotNormal": nodes.GlorotNormal, "GlorotUniform": nodes.GlorotUniform,
	"Orthonormal": nodes.Orthonormal, "UnitFilterInit": nodes.UnitFilterInit,
	"ManifoldInit": func(_ float64, seed uint64, _ ...nodes.KernelOption) gorgonia.InitWFn {
		return nodes.ManifoldInit(manifolds.On(manifolds.Oblique{}, manifolds.Initial), seed)
	},
}

// A seed and a shape give one set of numbers, in both precisions; another seed gives
// another.
func TestInitialisersAreSeeded(t *testing.T) {
	for name, init := range initialisers {
		for _, shape := range [][]int{{8, 3, 3, 3}, {2, 3, 5, 3}, {4, 1, 1, 1}, {5, 7}} {
			t.Run(fmt.Sprint(name, shape), func(t *testing.T) {
				w := draw(init(1, 5), tensor.Float64, shape...)
				assert.Equal(t, w, draw(init(1, 5), tensor.Float64, shape...))
				assert.NotEqual(t, w, draw(init(1, 6), tensor.Float64, shape...))
				for i, v := range draw(init(1, 5), tensor.Float32, shape...) {
					assert.Equal(t, float64(float32(w[i])), v)
				}
				if name == "ManifoldInit" {
					return
				}
				for i, v := range draw(init(3, 5), tensor.Float64, shape...) {
					assert.InDelta(t, 3*w[i], v, 1e-14)
				}
			})
		}
	}
}

// Mean, variance and range of the independent ones are as documented.
func TestIndependent(t *testing.T) {
	const gain = 1.5
	for _, shape := range [][]int{{64, 32, 5, 3}, {160, 190}, {30000}} {
		in, out := float64(shape[0]), 1.0
		switch len(shape) {
		case 2:
			out = float64(shape[1])
		case 4:
			in, out = float64(shape[1]*15), float64(shape[0]*15)
		}
		for name, want := range map[string]struct{ variance, limit float64 }{
			"HeNormal":      {gain * gain / in, math.Inf(1)},
			"HeUniform":     {gain * gain / in, gain * math.Sqrt(3/in)},
			"GlorotNormal":  {2 * gain * gain / (in + out), math.Inf(1)},
			"GlorotUniform": {2 * gain * gain / (in + out), gain * math.Sqrt(6/(in+out))},
		} {
			w := draw(initialisers[name](gain, 1), tensor.Float64, shape...)
			sum, squares, largest := 0.0, 0.0, 0.0
			for _, v := range w {
				sum += v
				squares += v * v
				largest = max(largest, math.Abs(v))
			}
			n := float64(len(w))
			// Five standard deviations: of a mean, and of a variance, which are no
			// wider for a uniform distribution.
			assert.InDelta(t, 0, sum/n, 5*math.Sqrt(want.variance/n), name)
			assert.InDelta(t, want.variance, squares/n, 5*want.variance*math.Sqrt(2/n), name)
			assert.LessOrEqual(t, largest, want.limit, name)
			if !math.IsInf(want.limit, 0) {
				assert.Greater(t, largest, 0.99*want.limit, name)
			} else {
				assert.Greater(t, largest, 3*math.Sqrt(want.variance), name)
			}
		}
	}
}

// Filters, or the taps where there are fewer, are orthogonal and of norm gain.
func TestOrthonormal(t *testing.T) {
	for _, shape := range [][]int{{8, 3, 3, 3}, {40, 2, 3, 3}, {5, 1, 5, 1}, {1, 1, 1, 1}} {
		rows, columns := shape[0], shape[1]*shape[2]*shape[3]
		w := draw(nodes.Orthonormal(1.25, 2), tensor.Float64, shape...)
		at := func(i, j int) float64 { return w[i*columns+j] }
		short, long := rows, columns
		if rows > columns {
			short, long = columns, rows
			at = func(i, j int) float64 { return w[j*columns+i] }
		}
		for a := range short {
			for b := range short {
				dot, want := 0.0, 0.0
				for j := range long {
					dot += at(a, j) * at(b, j)
				}
				if a == b {
					want = 1.25 * 1.25
				}
				assert.InDelta(t, want, dot, 1e-13, "%v: %d %d", shape, a, b)
			}
		}
	}
}

func TestUnitFilterInit(t *testing.T) {
	for _, shape := range [][]int{{8, 3, 3, 3}, {2, 1, 1, 1}, {1, 4, 2, 5}} {
		w := draw(nodes.UnitFilterInit(2, 3), tensor.Float64, shape...)
		size := len(w) / shape[0]
		for f := range shape[0] {
			s := 0.0
			for _, v := range w[f*size : (f+1)*size] {
				s += v * v
			}
			assert.InDelta(t, 4, s, 1e-13)
		}
	}
}

// Weights are on the manifold of the constraint: to project them moves nothing.
func TestManifoldInit(t *testing.T) {
	for _, c := range []manifolds.Constraint{
		manifolds.On(manifolds.Stiefel{}), manifolds.On(manifolds.Stiefel{}, manifolds.PerSlice, manifolds.Unit),
		manifolds.On(manifolds.Sphere{}), manifolds.On(manifolds.Oblique{}, manifolds.Initial), manifolds.On(manifolds.CentredSphere{}),
	} {
		shape := []int{6, 4, 3, 3}
		w := draw(nodes.ManifoldInit(c, 4), tensor.Float64, shape...)
		squares := 0.0
		for _, v := range w {
			squares += v * v
		}
		// For Initial the norm is that which it was given, the others do not look at it.
		piece, err := manifolds.Single(c.Bind(shape, math.Sqrt(squares)))
		require.NoError(t, err)
		m, layout := piece.Manifold, piece.Layout
		all, err := manifolds.Points64(w, 1, len(w), 1)
		require.NoError(t, err)
		points, err := manifolds.Points64(make([]float64, len(w)), layout.K, layout.N, layout.P)
		require.NoError(t, err)
		require.NoError(t, layout.Gather(points, all))
		assert.Less(t, m.Membership(points), 1e-13, "%v", c)
		if c.Scale == manifolds.Initial {
			assert.InDelta(t, math.Sqrt(12), math.Sqrt(squares), 1e-13)
		}
	}
}

func TestInitialisersPanic(t *testing.T) {
	for name, init := range initialisers {
		assert.PanicsWithError(t, "nodes."+name+": want float32 or float64, got int", func() { init(1, 1)(tensor.Int, 3, 3) })
		assert.PanicsWithError(t, "nodes."+name+": want weights of rank 1, 2 or 4, got shape [2 3 3]", func() { init(1, 1)(tensor.Float64, 2, 3, 3) })
		assert.PanicsWithError(t, "nodes."+name+": want positive sizes, got shape [2 0]", func() { init(1, 1)(tensor.Float64, 2, 0) })
	}
	flat := nodes.ManifoldInit(manifolds.On(flatland{}), 1)
	assert.PanicsWithError(t, "nodes.ManifoldInit: want a manifold that is a manifolds.Sampler, got "+manifolds.Name(flatland{}), func() { flat(tensor.Float64, 3, 3) })
}

// flatland is a manifold that cannot be drawn from.
type flatland struct{ manifolds.Manifold }

func (flatland) Check(n, p int) error { return nil }
func (flatland) String() string       { return "flatland" }

// Stock HeN and HeU panic on float32.
func TestStockHe(t *testing.T) {
	for _, init := range []gorgonia.InitWFn{gorgonia.HeN(1), gorgonia.HeU(1)} {
		assert.Panics(t, func() { init(tensor.Float32, 3, 3) })
	}
}

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

	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/nodes/nodetest"
)

func rectifyBuild(in []*gorgonia.Node) (*gorgonia.Node, error) { return nodes.Rectify(in[0]) }
func stockRectify(in []*gorgonia.Node) (*gorgonia.Node, error) { return gorgonia.Rectify(in[0]) }

func TestRectify(t *testing.T) {
	for _, shape := range append(images(), []int{}, []int{7}, []int{3, 5}, []int{2, 3, 4}) {
		t.Run(fmt.Sprint(shape), func(t *testing.T) {
			nodetest.Run(t, nodetest.Case{
				Build:  rectifyBuild,
				Inputs: []nodetest.Input{{Shape: shape}},
				Value: func(in [][]float64) []float64 {
					for i, v := range in[0] {
						in[0][i] = max(v, 0)
					}
					return in[0]
				},
			})
		})
	}
	rejects(t, rectifyBuild, "want float32 or float64, got int", zeros(gorgonia.NewGraph(), "ints", tensor.Int, 2))
	rejects(t, rectifyBuild, "want a node, got nil", nil)
}

func rectifyToBuild(top float64) nodetest.Build {
	return func(in []*gorgonia.Node) (*gorgonia.Node, error) { return nodes.RectifyTo(in[0], top) }
}

func TestRectifyTo(t *testing.T) {
	for _, shape := range append(images(), []int{}, []int{7}, []int{3, 5}, []int{2, 3, 4}) {
		t.Run(fmt.Sprint(shape), func(t *testing.T) {
			nodetest.Run(t, nodetest.Case{
				Build:  rectifyToBuild(0.5),
				Inputs: []nodetest.Input{{Shape: shape}},
				Value: func(in [][]float64) []float64 {
					for i, v := range in[0] {
						in[0][i] = min(max(v, 0), 0.5)
					}
					return in[0]
				},
			})
		})
	}
	nodetest.Run(t, nodetest.Case{
		Build: rectifyToBuild(0.5), Inputs: []nodetest.Input{{Shape: []int{40}}},
		Variants: []nodetest.Build{rectifyBuild, rectifyToBuild(0.25), rectifyToBuild(6)},
	})
	inf := math.Inf(1)
	for _, top := range []float64{0, -1, inf, math.NaN()} {
		rejects(t, rectifyToBuild(top), fmt.Sprint("want a positive and finite bound of a rectifier, got ", top), zeros(gorgonia.NewGraph(), "x", tensor.Float64, 2))
	}
	rejects(t, rectifyToBuild(6), "want a node, got nil", nil)

	// At the ends, at NaN and at infinities, in vectors and after them.
	x := []float64{0, math.Copysign(0, -1), 6, math.Nextafter(6, 0), math.Nextafter(6, 7), math.NaN(), inf, -inf, -math.SmallestNonzeroFloat64, 3}
	want := []float64{0, 0, 6, math.Nextafter(6, 0), 6, math.NaN(), 6, 0, 0, 3}
	gradient := []float64{1, 1, 0, 1, 0, 0, 0, 0, 0, 1}
	for range 3 {
		x, want, gradient = append(x, x...), append(want, want...), append(gradient, gradient...)
	}
	y, dx, err := execute(t, x, []int{len(x)}, rectifyToBuild(6))
	require.NoError(t, err)
	for i := range x {
		assert.True(t, y[i] == want[i] || math.IsNaN(y[i]) && math.IsNaN(want[i]), "%g: want %g, got %g", x[i], want[i], y[i])
	}
	assert.Equal(t, gradient, dx)
}

// The value and the gradient are those of the stock op, at 0 too, and of NaN; but for
// minus infinity.
func TestRectifyIsStock(t *testing.T) {
	inf, least := math.Inf(1), math.SmallestNonzeroFloat64
	x := []float64{0, math.Copysign(0, -1), 1, -1, math.NaN(), inf, least, -least, -0x1p-1022, 0x1p-1022, 3, -inf}
	for range 10 { // longer than a vector
		x = append(x[:11:11], x...)
	}
	n := len(x)
	want, wantGradient, err := execute(t, x, []int{n}, stockRectify)
	require.NoError(t, err)
	got, gotGradient, err := execute(t, x, []int{n}, rectifyBuild)
	require.NoError(t, err)
	assert.True(t, math.IsNaN(want[n-1]))
	assert.Zero(t, got[n-1])
	for i := range n {
		if i < n-1 {
			assert.True(t, got[i] == want[i] || math.IsNaN(got[i]) && math.IsNaN(want[i]), "%g: want %g, got %g", x[i], want[i], got[i])
		}
		assert.Equal(t, wantGradient[i], gotGradient[i], "gradient at %g", x[i])
	}
	// Float32 has another least number.
	g := gorgonia.NewGraph()
	in := zeros(g, "x", tensor.Float32, 4)
	copy(in.Value().Data().([]float32), []float32{0, -math.SmallestNonzeroFloat32, math.SmallestNonzeroFloat32, -0x1p-126})
	y, err := nodes.Rectify(in)
	require.NoError(t, err)
	d, err := gorgonia.Grad(gorgonia.Must(gorgonia.Sum(y)), in)
	require.NoError(t, err)
	vm := gorgonia.NewTapeMachine(g)
	defer vm.Close()
	require.NoError(t, vm.RunAll())
	assert.Equal(t, []float64{1, 0, 1, 0}, floats(d[0].Value()))
}

// Images that several cores share.
func TestRectifyLarge(t *testing.T) {
	x := ramp(1<<16 + 77)
	y, dx, err := execute(t, x, []int{len(x)}, rectifyBuild)
	require.NoError(t, err)
	for i, v := range x {
		if v < 0 && (y[i] != 0 || dx[i] != 0) || v > 0 && (y[i] != v || dx[i] != 1) {
			t.Fatalf("%d: %g became %g, with gradient %g", i, v, y[i], dx[i])
		}
	}
}

func BenchmarkRectify(b *testing.B) {
	for name, f := range map[string]nodetest.Build{"stock": stockRectify, "nodes": rectifyBuild} {
		b.Run(name, func(b *testing.B) {
			benchmark(b, func(x, _, _ *gorgonia.Node) (*gorgonia.Node, error) { return f([]*gorgonia.Node{x}) })
		})
	}
}

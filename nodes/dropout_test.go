// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/nodes/nodetest"
)

func dropoutBuild(p float64, seed uint64) nodetest.Build {
	return func(in []*gorgonia.Node) (*gorgonia.Node, error) {
		return nodes.Dropout(in[0], p, &nodes.Noise{Seed: seed, Run: 3})
	}
}

func TestDropout(t *testing.T) {
	for _, shape := range append(images(), []int{7, 3}, []int{4}, nil) {
		for _, p := range []float64{0, 0.2, 0.5, 0.9} {
			for _, eval := range []bool{false, true} {
				t.Run(fmt.Sprint(shape, p, eval), func(t *testing.T) {
					nodetest.Run(t, nodetest.Case{
						Build:    dropoutBuild(p, 8),
						Variants: []nodetest.Build{dropoutBuild(p, 8), dropoutBuild(p+0.05, 8)},
						Inputs:   []nodetest.Input{{Shape: shape}},
						Value: func(in [][]float64) []float64 {
							if eval {
								return in[0]
							}
							images := 1
							if len(shape) > 0 {
								images = shape[0]
							}
							var rng *rand.Rand
							for i := range in[0] {
								if each := len(in[0]) / images; i%each == 0 {
									const golden = 0x9e3779b97f4a7c15
									rng = rand.New(rand.NewPCG(8+golden*uint64(i/each), 3))
								}
								if rng.Float64() < p {
									in[0][i] = 0
								} else {
									in[0][i] /= 1 - p
								}
							}
							return in[0]
						},
						Eval:   eval,
						Varies: !eval,
					})
				})
			}
		}
	}
}

// masks runs a dropout of ones n times.
func masks(t *testing.T, noise *nodes.Noise, p float64, n int, opts ...gorgonia.VMOpt) [][]float64 {
	t.Helper()
	g := gorgonia.NewGraph()
	x := gorgonia.NewVector(g, tensor.Float64, gorgonia.WithName("x"), gorgonia.WithShape(20000), gorgonia.WithInit(gorgonia.Ones()))
	y, err := nodes.Dropout(x, p, noise)
	require.NoError(t, err)
	d, err := gorgonia.Backpropagate(gorgonia.Nodes{y}, gorgonia.Nodes{x}, gorgonia.Nodes{x})
	require.NoError(t, err)
	vm := gorgonia.NewTapeMachine(g, opts...)
	defer vm.Close()
	var runs [][]float64
	for range n {
		require.NoError(t, vm.RunAll())
		runs = append(runs, floats(y.Value()))
		assert.Equal(t, floats(y.Value()), floats(d[0].Value()), "the gradient of a linear map of ones with itself")
		vm.Reset()
	}
	return runs
}

// Masks change from run to run, keep the right part and the mean, and depend on seed and
// run alone.
func TestDropoutMasks(t *testing.T) {
	noise := &nodes.Noise{Seed: 1}
	runs := masks(t, noise, 0.3, 3)
	assert.EqualValues(t, 3, noise.Run)
	for i, y := range runs {
		kept := 0
		for _, v := range y {
			if v != 0 {
				assert.InDelta(t, 1/0.7, v, 1e-15)
				kept++
			}
		}
		// Five standard deviations of a binomial.
		assert.InDelta(t, 0.7, float64(kept)/20000, 5*math.Sqrt(0.3*0.7/20000))
		for _, other := range runs[:i] {
			assert.False(t, slices.Equal(other, y))
		}
	}
	// Resumed after two runs, in a graph of its own.
	assert.Equal(t, runs[2:], masks(t, &nodes.Noise{Seed: 1, Run: 2}, 0.3, 1))
	assert.False(t, slices.Equal(runs[0], masks(t, &nodes.Noise{Seed: 2}, 0.3, 1)[0]))
	// Evaluation draws nothing.
	ones := masks(t, noise, 0.3, 1, gorgonia.EvalMode())[0]
	assert.Equal(t, 1.0, slices.Min(ones))
	assert.Equal(t, 1.0, slices.Max(ones))
	assert.EqualValues(t, 3, noise.Run)
}

// Processes that have parts of a batch draw, all together, the masks of the whole batch.
func TestDropoutParts(t *testing.T) {
	run := func(first, images int) []float64 {
		noise := &nodes.Noise{Seed: 3, Run: 5, First: first}
		ones := make([]float64, images*50)
		for i := range ones {
			ones[i] = 1
		}
		y, _, err := execute(t, ones, []int{images, 2, 5, 5}, func(in []*gorgonia.Node) (*gorgonia.Node, error) { return nodes.Dropout(in[0], 0.4, noise) })
		require.NoError(t, err)
		return y
	}
	whole := run(0, 12)
	assert.Equal(t, whole, append(append(run(0, 4), run(4, 7)...), run(11, 1)...))
	assert.False(t, slices.Equal(whole[:50], whole[50:100]))
}

func TestDropoutRejects(t *testing.T) {
	x := zeros(gorgonia.NewGraph(), "x", tensor.Float64, 2)
	for _, p := range []float64{-0.1, 1, 2, math.NaN()} {
		rejects(t, dropoutBuild(p, 1), fmt.Sprintf("want a probability from 0 to less than 1, got %v", p), x)
	}
	rejects(t, dropoutBuild(0.5, 1), "want a node, got nil", nil)
	rejects(t, func(in []*gorgonia.Node) (*gorgonia.Node, error) { return nodes.Dropout(in[0], 0.5, nil) }, "want noise, got nil", x)
}

// The gradient of stock Dropout is not its linear map.
func TestStockDropout(t *testing.T) {
	for _, p := range []float64{0.25, 0.5} {
		build := func(in []*gorgonia.Node) (*gorgonia.Node, error) { return gorgonia.Dropout(in[0], p) }
		x := make([]float64, 400)
		for i := range x {
			x[i] = 1
		}
		y, dx, err := execute(t, x, []int{400}, build)
		require.NoError(t, err)
		assert.Equal(t, p == 0.5, slices.Equal(y, dx), "p = %v", p)
	}
}

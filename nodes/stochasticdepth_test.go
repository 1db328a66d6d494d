// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/nodes/nodetest"
)

func depthBuild(survival float64, run uint64) nodetest.Build {
	return func(in []*gorgonia.Node) (*gorgonia.Node, error) {
		return nodes.StochasticDepth(in[0], in[1], survival, &nodes.Noise{Seed: 8, Run: run})
	}
}

// survives is what run r of seed 8 draws.
func survives(survival float64, run uint64) bool {
	return rand.New(rand.NewPCG(8, run)).Float64() < survival
}

func TestStochasticDepth(t *testing.T) {
	dropped, kept, runs := 0, 0, uint64(4)
	if testing.Short() {
		runs = 2
	}
	for _, shape := range append(images(), []int{7, 3}, []int{4}, nil) {
		for _, survival := range []float64{0.4, 1} {
			for run := range runs {
				for _, eval := range []bool{false, true} {
					t.Run(fmt.Sprint(shape, survival, run, eval), func(t *testing.T) {
						factor := survival
						if !eval {
							factor = 0
							if survives(survival, run) {
								factor = 1
								kept++
							} else {
								dropped++
							}
						}
						nodetest.Run(t, nodetest.Case{
							Build:    depthBuild(survival, run),
							Variants: []nodetest.Build{depthBuild(survival, run), depthBuild(survival/2, run)},
							Inputs:   []nodetest.Input{{Shape: shape}, {Shape: shape}},
							Value: func(in [][]float64) []float64 {
								for i := range in[0] {
									in[0][i] = factor*in[0][i] + in[1][i]
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
	assert.Positive(t, dropped)
	assert.Positive(t, kept)
}

// Over many runs a branch is kept with its probability, whole or not at all, the draws go
// on where noise that is loaded stood, and evaluation draws nothing.
func TestStochasticDepthDraws(t *testing.T) {
	const n = 2000
	draw := func(noise *nodes.Noise, n int, opts ...gorgonia.VMOpt) []float64 {
		g := gorgonia.NewGraph()
		x := gorgonia.NewVector(g, tensor.Float64, gorgonia.WithName("x"), gorgonia.WithShape(3), gorgonia.WithInit(gorgonia.Ones()))
		y, err := nodes.StochasticDepth(x, zeros(g, "shortcut", tensor.Float64, 3), 0.7, noise)
		require.NoError(t, err)
		vm := gorgonia.NewTapeMachine(g, opts...)
		defer vm.Close()
		var factors []float64
		for range n {
			require.NoError(t, vm.RunAll())
			f := floats(y.Value())
			assert.Equal(t, []float64{f[0], f[0], f[0]}, f)
			factors = append(factors, f[0])
			vm.Reset()
		}
		return factors
	}
	noise := &nodes.Noise{Seed: 1}
	all := draw(noise, n)
	assert.EqualValues(t, n, noise.Run)
	kept := 0.0
	for _, f := range all {
		assert.Contains(t, []float64{0, 1}, f)
		kept += f
	}
	assert.InDelta(t, 0.7, kept/n, 5*math.Sqrt(0.3*0.7/n), "five standard deviations of a binomial")
	assert.Equal(t, all[20:40], draw(&nodes.Noise{Seed: 1, Run: 20}, 20))
	assert.NotEqual(t, all[:40], draw(&nodes.Noise{Seed: 2}, 40))
	assert.Equal(t, []float64{0.7}, draw(noise, 1, gorgonia.EvalMode()))
	assert.EqualValues(t, n, noise.Run)
}

func TestStochasticDepthRejects(t *testing.T) {
	g := gorgonia.NewGraph()
	x, y := zeros(g, "x", tensor.Float64, 2, 3), zeros(g, "y", tensor.Float64, 3, 2)
	for _, p := range []float64{-0.1, 0, 1.1, math.NaN()} {
		rejects(t, depthBuild(p, 1), fmt.Sprintf("want a probability of survival above 0 and up to 1, got %v", p), x, x)
	}
	rejects(t, depthBuild(0.5, 1), "want a branch of the shape of the shortcut, (3, 2), got (2, 3)", x, y)
	rejects(t, depthBuild(0.5, 1), "want a node, got nil", x, nil)
	rejects(t, func(in []*gorgonia.Node) (*gorgonia.Node, error) {
		return nodes.StochasticDepth(in[0], in[1], 0.5, nil)
	}, "want noise, got nil", x, x)
}

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

func groupNormBuild(groups, channels int, epsilon float64) nodetest.Build {
	return func(in []*gorgonia.Node) (*gorgonia.Node, error) {
		return nodes.GroupNorm(in[0], in[1], in[2], groups, channels, epsilon)
	}
}

// groupNormReference normalises by a loop over every element.
func groupNormReference(shape []int, groups int, epsilon float64) func(in [][]float64) []float64 {
	return func(in [][]float64) []float64 {
		x := in[0]
		area := len(x) / (shape[0] * shape[1])
		y := make([]float64, len(x))
		group := func(i int) int { return i / (area * shape[1] / groups) }
		for i := range x {
			var members []float64
			for j, v := range x {
				if group(j) == group(i) {
					members = append(members, v)
				}
			}
			m, v := mean(members), 0.0
			for _, a := range members {
				v += (a - m) * (a - m) / float64(len(members))
			}
			c := i / area % shape[1]
			y[i] = in[1][c]*(x[i]-m)/math.Sqrt(v+epsilon) + in[2][c]
		}
		return y
	}
}

func TestGroupNorm(t *testing.T) {
	const epsilon = 0.05
	for _, shape := range append(images(), []int{2, 6}, []int{1, 4}, []int{2, 4, 12, 11}) {
		for groups := 1; groups <= shape[1]; groups++ {
			if shape[1]%groups != 0 {
				continue
			}
			t.Run(fmt.Sprint(shape, groups), func(t *testing.T) {
				c := nodetest.Case{
					Build:     groupNormBuild(groups, shape[1], epsilon),
					Inputs:    affine(shape),
					Value:     groupNormReference(shape, groups, epsilon),
					Condition: 10,
				}
				for i := range c.Inputs { // too many elements for differences in each
					c.Inputs[i].Constant = i == 0 && shape[len(shape)-1] > 10
				}
				nodetest.Run(t, c)
			})
		}
	}
	shape := []int{2, 4, 2, 1}
	nodetest.Run(t, nodetest.Case{
		Build:  groupNormBuild(2, 4, epsilon),
		Inputs: affine(shape),
		Variants: []nodetest.Build{
			groupNormBuild(1, 4, epsilon),
			groupNormBuild(4, 4, epsilon),
			groupNormBuild(2, 4, epsilon*1.0001),
		},
	})
}

func TestGroupNormRejects(t *testing.T) {
	g := gorgonia.NewGraph()
	x := zeros(g, "x", tensor.Float64, 2, 4, 3, 3)
	one := zeros(g, "one", tensor.Float64, 1, 4, 1, 1)
	rejects(t, groupNormBuild(3, 4, 1e-5), "want a number of groups that divides 4 channels, got 3", x, one, one)
	rejects(t, groupNormBuild(0, 4, 1e-5), "want a number of groups that divides 4 channels, got 0", x, one, one)
	rejects(t, groupNormBuild(8, 4, 1e-5), "want a number of groups that divides 4 channels, got 8", x, one, one)
	rejects(t, groupNormBuild(2, 2, 1e-5), "want 4 channels for an input of shape (2, 4, 3, 3), got 2", x, one, one)
	rejects(t, groupNormBuild(2, 4, -1e-5), "want a positive epsilon, got -1e-05", x, one, one)
	rejects(t, groupNormBuild(2, 4, 1e-5), "want a scale of shape (1, 4, 1, 1)", x, x, one)
	rejects(t, groupNormBuild(2, 4, 1e-5), "want a node, got nil", x, nil, one)
	rejects(t, groupNormBuild(2, 4, 1e-5), "want rank 2 or 4, got shape (2, 4, 3)",
		zeros(g, "x3", tensor.Float64, 2, 4, 3), zeros(g, "s3", tensor.Float64, 1, 4, 1), zeros(g, "b3", tensor.Float64, 1, 4, 1))
}

// Stock GroupNorm is right for a small group and wrong for a large one.
func TestStockGroupNorm(t *testing.T) {
	for _, size := range []int{8, 24} {
		shape := []int{1, 2, size, size}
		g := gorgonia.NewGraph()
		x, scale, bias := zeros(g, "x", tensor.Float64, shape...), zeros(g, "scale", tensor.Float64, 1, 2, 1, 1), zeros(g, "bias", tensor.Float64, 1, 2, 1, 1)
		copy(x.Value().Data().([]float64), ramp(2*size*size))
		for i := range x.Value().Data().([]float64) {
			x.Value().Data().([]float64)[i] += float64(i) / 100
		}
		copy(scale.Value().Data().([]float64), []float64{1, 1})
		want := groupNormReference(shape, 2, 1e-5)([][]float64{floats(x.Value()), {1, 1}, {0, 0}})
		y, err := gorgonia.GroupNorm(x, scale, bias, 2, 2, 1e-5)
		require.NoError(t, err)
		var v gorgonia.Value
		gorgonia.Read(y, &v)
		require.NoError(t, gorgonia.NewTapeMachine(g).RunAll())
		worst := 0.0
		for i, got := range floats(v) {
			worst = max(worst, math.Abs(got-want[i]))
		}
		if size == 8 {
			assert.Less(t, worst, 1e-9)
		} else {
			assert.Greater(t, worst, 1e-3)
		}
	}
}

// Finite groups whose variance overflows have NaN for results, not numbers that look right.
func TestGroupNormOfHugeNumbers(t *testing.T) {
	g := gorgonia.NewGraph()
	x := zeros(g, "x", tensor.Float64, 1, 1, 1, 2)
	copy(x.Value().Data().([]float64), []float64{1e200, -1e200})
	scale, bias := zeros(g, "scale", tensor.Float64, 1, 1, 1, 1), zeros(g, "bias", tensor.Float64, 1, 1, 1, 1)
	y, err := nodes.GroupNorm(x, scale, bias, 1, 1, 1e-5)
	require.NoError(t, err)
	vm := gorgonia.NewTapeMachine(g)
	defer vm.Close()
	require.NoError(t, vm.RunAll())
	for _, v := range y.Value().Data().([]float64) {
		assert.True(t, math.IsNaN(v), v)
	}
}

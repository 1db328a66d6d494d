// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/nodes/nodetest"
)

func concatBuild(in []*gorgonia.Node) (*gorgonia.Node, error) { return nodes.Concat(in...) }

func TestConcat(t *testing.T) {
	for _, shapes := range [][][]int{
		{{2, 3}, {2, 1}},
		{{2, 1, 3, 2}, {2, 4, 3, 2}},
		{{1, 2, 5, 1}, {1, 2, 5, 1}, {1, 1, 5, 1}},
		{{3, 2, 4}, {3, 1, 4}},
	} {
		t.Run(fmt.Sprint(shapes), func(t *testing.T) {
			c := nodetest.Case{Build: concatBuild, Value: func(in [][]float64) (y []float64) {
				for b := range shapes[0][0] {
					for i, s := range shapes {
						n := tensor.Shape(s[1:]).TotalSize()
						y = append(y, in[i][b*n:(b+1)*n]...)
					}
				}
				return y
			}}
			for _, s := range shapes {
				c.Inputs = append(c.Inputs, nodetest.Input{Shape: s})
			}
			nodetest.Run(t, c)
		})
	}
	g, of := gorgonia.NewGraph(), tensor.Float64
	x := zeros(g, "x", of, 2, 3, 4, 5)
	rejects(t, concatBuild, "want two nodes at least, got 1", x)
	rejects(t, concatBuild, "want rank 2 at least, got shape (3)", zeros(g, "a", of, 3), zeros(g, "b", of, 3))
	for name, shape := range map[string][]int{"images": {3, 3, 4, 5}, "rows": {2, 3, 5, 5}, "columns": {2, 3, 4, 4}, "rank": {2, 3, 4}} {
		y := zeros(g, name, of, shape...)
		rejects(t, concatBuild, fmt.Sprintf("want shapes that agree but for the channels, got (2, 3, 4, 5) and, as input 2, %v", y.Shape()), x, x, y)
	}
	rejects(t, concatBuild, "want a node, got nil", x, nil)
}

// The node is the stock operation along axis 1.
func TestConcatIsStock(t *testing.T) {
	g := gorgonia.NewGraph()
	var in gorgonia.Nodes
	for i, channels := range []int{8, 1} { // images that cores share
		n := zeros(g, fmt.Sprint("x", i), tensor.Float64, 9, channels, 10, 20)
		copy(n.Value().Data().([]float64), ramp(9*channels*200))
		in = append(in, n)
	}
	stock := gorgonia.Must(gorgonia.Concat(1, in...))
	ours := gorgonia.Must(nodes.Concat(in...))
	require.NoError(t, runOnce(g))
	assert.Equal(t, stock.Value().Shape(), ours.Value().Shape())
	assert.Equal(t, floats(stock.Value()), floats(ours.Value()))
}

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

func addBuild(in []*gorgonia.Node) (*gorgonia.Node, error) { return nodes.Add(in...) }

func TestAdd(t *testing.T) {
	for _, terms := range []int{2, 3, 5} {
		for _, shape := range append(images(), []int{}, []int{7}, []int{3, 5}, []int{2, 3, 4}) {
			t.Run(fmt.Sprint(terms, shape), func(t *testing.T) {
				c := nodetest.Case{Build: addBuild, Value: func(in [][]float64) []float64 {
					y := make([]float64, len(in[0]))
					for _, x := range in {
						for i, v := range x {
							y[i] += v
						}
					}
					return y
				}}
				for range terms {
					c.Inputs = append(c.Inputs, nodetest.Input{Shape: shape})
				}
				nodetest.Run(t, c)
			})
		}
	}
	g := gorgonia.NewGraph()
	x := zeros(g, "x", tensor.Float64, 2, 3)
	rejects(t, addBuild, "want two nodes at least, got 1", x)
	rejects(t, addBuild, "want nodes of one shape, got (2, 3) and, as input 1, (3, 2)", x, zeros(g, "y", tensor.Float64, 3, 2))
	rejects(t, addBuild, "want inputs of one precision", x, zeros(g, "z", tensor.Float32, 2, 3))
}

// The bits are those of the stock op, at extremes too, and so are the gradients where a term is added
// to itself and where the sum and a term go on.
func TestAddIsStock(t *testing.T) {
	inf := math.Inf(1)
	a := []float64{0, math.Copysign(0, -1), 1, -1, inf, math.NaN(), math.MaxFloat64, math.SmallestNonzeroFloat64, 1e-300, 3, inf, 1}
	b := []float64{0, math.Copysign(0, -1), 1e-17, 1, 1, 1, math.MaxFloat64, -math.SmallestNonzeroFloat64, 1e300, 4, -inf, 2}
	n := []int{len(a)}
	for _, build := range []func(add func(...*gorgonia.Node) (*gorgonia.Node, error)) nodetest.Build{
		func(add func(...*gorgonia.Node) (*gorgonia.Node, error)) nodetest.Build {
			return func(in []*gorgonia.Node) (*gorgonia.Node, error) { return add(in...) }
		},
		func(add func(...*gorgonia.Node) (*gorgonia.Node, error)) nodetest.Build {
			return func(in []*gorgonia.Node) (*gorgonia.Node, error) {
				twice, err := add(in[0], in[0])
				if err != nil {
					return nil, err
				}
				y, err := add(twice, in[1])
				if err != nil {
					return nil, err
				}
				return gorgonia.HadamardProd(y, in[1])
			}
		},
	} {
		stock := func(in ...*gorgonia.Node) (*gorgonia.Node, error) { return gorgonia.Add(in[0], in[1]) }
		want, err := pass(t, tensor.Float64, build(stock), [][]int{n, n}, [][]float64{a, b}, ramp(len(a)))
		require.NoError(t, err)
		got, err := pass(t, tensor.Float64, build(nodes.Add), [][]int{n, n}, [][]float64{a, b}, ramp(len(a)))
		require.NoError(t, err)
		for i := range want {
			for j := range want[i] {
				assert.True(t, math.Float64bits(want[i][j]) == math.Float64bits(got[i][j]) || math.IsNaN(want[i][j]) && math.IsNaN(got[i][j]),
					"result %d, element %d: want %g, got %g", i, j, want[i][j], got[i][j])
			}
		}
	}
}

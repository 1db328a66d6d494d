// SPDX-License-Identifier: Apache-2.0

package nodetest_test

import (
	"fmt"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/nodes/nodetest"
)

// A node is compared with a loop that defines it.
func Example() {
	err := nodetest.Check(nodetest.Case{
		Build:  func(in []*gorgonia.Node) (*gorgonia.Node, error) { return nodes.Bias(in[0], in[1]) },
		Inputs: []nodetest.Input{{Shape: []int{2, 3, 4, 4}}, {Shape: []int{1, 3, 1, 1}}},
		Value: func(in [][]float64) []float64 {
			y := make([]float64, len(in[0]))
			for i, x := range in[0] {
				y[i] = x + in[1][i/16%3]
			}
			return y
		},
	})
	fmt.Println(err)
	// Output: <nil>
}

// Hash finds the fields that an op leaves out of its hash.
func ExampleHash() {
	x := gorgonia.NewVector(gorgonia.NewGraph(), gorgonia.Float64, gorgonia.WithName("x"), gorgonia.WithShape(3), gorgonia.WithInit(gorgonia.Ones()))
	y, err := nodes.Rectify(x)
	fmt.Println(err, nodetest.Hash(y.Op()))
	// Output: <nil> <nil>
}

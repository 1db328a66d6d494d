// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
)

// A convolution, its bias and a ReLU become one node, which computes with the current bias.
func ExampleFuse() {
	g := gorgonia.NewGraph()
	input := func(name string, x ...float64) *gorgonia.Node {
		v := tensor.New(tensor.WithShape(1, 1, 1, len(x)), tensor.WithBacking(x))
		return gorgonia.NewTensor(g, tensor.Float64, 4, gorgonia.WithName(name), gorgonia.WithValue(v))
	}
	y, err := nodes.Conv2d(input("x", 1, 2, 3, 4), input("w", 1, -2), tensor.Shape{1, 2}, nil, []int{1, 1}, nil)
	check(err)
	y, err = nodes.Bias(y, input("bias", 3.5))
	check(err)
	y, err = nodes.Rectify(y)
	check(err)

	copies, err := nodes.Fuse(y)
	check(err)
	fused := copies[0]
	fmt.Println(len(y.Graph().AllNodes()), "nodes, fused", len(fused.Graph().AllNodes()))
	vm := gorgonia.NewTapeMachine(fused.Graph(), gorgonia.EvalMode())
	defer vm.Close()
	check(vm.RunAll())
	fmt.Println(fused.Value().Data())
	vm.Reset()
	copied := fused.Graph().ByName("bias")[0]
	copied.Value().Data().([]float64)[0] = 4.5
	check(vm.RunAll())
	fmt.Println(fused.Value().Data())
	// Output:
	// 6 nodes, fused 4
	// [0.5 0 0]
	// [1.5 0.5 0]
}

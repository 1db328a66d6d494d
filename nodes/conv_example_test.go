// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
)

// The layers of a small net: two filters that see edges, and a layer that adds up what they
// find.
func ExampleConv2d() {
	g := gorgonia.NewGraph()
	leaf := func(name string, shape []int, data ...float64) *gorgonia.Node {
		v := tensor.New(tensor.WithShape(shape...), tensor.WithBacking(data))
		return gorgonia.NewTensor(g, tensor.Float64, len(shape), gorgonia.WithName(name), gorgonia.WithValue(v))
	}
	x := leaf("x", []int{1, 1, 3, 3},
		0, 0, 1,
		0, 0, 1,
		0, 0, 1)
	filters := leaf("filters", []int{2, 1, 1, 2}, -1, 1, 1, -1)
	bias := leaf("bias", []int{1, 2, 1, 1}, 0, -0.5)
	weights := leaf("weights", []int{12, 1}, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2)

	edges, err := nodes.Conv2d(x, filters, tensor.Shape{1, 2}, nil, []int{1, 1}, nil)
	check(err)
	shifted, err := nodes.Bias(edges, bias)
	check(err)
	found, err := nodes.Rectify(shifted)
	check(err)
	sum, err := nodes.Linear(found, weights, nil)
	check(err)
	gradients, err := gorgonia.Grad(gorgonia.Must(gorgonia.Sum(sum)), filters)
	check(err)

	vm := gorgonia.NewTapeMachine(g)
	defer vm.Close()
	check(vm.RunAll())
	fmt.Println(found.Shape(), found.Value().Data())
	fmt.Println(sum.Value().Data(), gradients[0].Value().Data())
	// Output:
	// (1, 2, 3, 2) [0 1 0 1 0 1 0 0 0 0 0 0]
	// [3] [0 3 0 0]
}

// One line before a program that uses the stock operations.
func ExampleBLAS() {
	defer gorgonia.Use(gorgonia.WhichBLAS())
	gorgonia.Use(nodes.BLAS())

	g := gorgonia.NewGraph()
	a := gorgonia.NewMatrix(g, tensor.Float32, gorgonia.WithName("a"), gorgonia.WithShape(2, 3), gorgonia.WithInit(gorgonia.Ones()))
	product := gorgonia.Must(gorgonia.Mul(a, gorgonia.Must(gorgonia.Transpose(a))))
	vm := gorgonia.NewTapeMachine(g)
	defer vm.Close()
	check(vm.RunAll())
	fmt.Println(product.Value().Data())
	// Output: [3 3 3 3]
}

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

// A kernel of norm g and a bias come out of Fold as the plain weights that a program without this library needs.
func ExampleFold() {
	g := gorgonia.NewGraph()
	leaf := func(name string, shape tensor.Shape, values ...float64) *gorgonia.Node {
		return gorgonia.NewTensor(g, tensor.Float64, len(shape), gorgonia.WithName(name), gorgonia.WithShape(shape...),
			gorgonia.WithValue(tensor.New(tensor.WithShape(shape...), tensor.WithBacking(values))))
	}
	x := leaf("x", tensor.Shape{1, 1, 1, 2}, 1, 1)
	v, gain := leaf("conv.weight", tensor.Shape{1, 1, 1, 2}, 3, 4), leaf("conv.gain", tensor.Shape{1, 1, 1, 1}, 10)
	scale, shift := leaf("bn.weight", tensor.Shape{1, 1, 1, 1}, 2), leaf("bn.bias", tensor.Shape{1, 1, 1, 1}, 1)
	w := gorgonia.Must(nodes.WeightNorm(v, gain)) // (6, 8)
	c := gorgonia.Must(nodes.Conv2d(x, w, tensor.Shape{1, 2}, nil, []int{1, 1}, nil))
	s := &nodes.Statistics{Mean: []float64{5}, Variance: []float64{3}}
	y := gorgonia.Must(nodes.BatchNormWith(c, scale, shift, s, 1)) // factor 2/(3 + 1)^(1/2), addend 1 - 5

	_, plain, err := nodes.Fold(gorgonia.Nodes{v, gain, scale, shift}, y)
	if err != nil {
		fmt.Println(err)
	}
	for _, n := range plain {
		fmt.Println(n.Name(), n.Value().Data())
	}
	// Output:
	// conv.weight [6 8]
	// conv.bias [-4]
}

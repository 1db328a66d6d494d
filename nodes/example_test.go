// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"fmt"
	"log"
	"math"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// One net for training and one for evaluation share the statistics.
func ExampleBatchNormWith() {
	statistics, err := nodes.NewStatistics(1, 0.5)
	check(err)
	net := func() (g *gorgonia.ExprGraph, y *gorgonia.Node) {
		g = gorgonia.NewGraph()
		x := gorgonia.NewTensor(g, tensor.Float64, 4, gorgonia.WithName("x"),
			gorgonia.WithValue(tensor.New(tensor.WithShape(1, 1, 2, 2), tensor.WithBacking([]float64{1, 3, 5, 7}))))
		scale := gorgonia.NewTensor(g, tensor.Float64, 4, gorgonia.WithName("scale"), gorgonia.WithShape(1, 1, 1, 1), gorgonia.WithInit(gorgonia.Ones()))
		bias := gorgonia.NewTensor(g, tensor.Float64, 4, gorgonia.WithName("bias"), gorgonia.WithShape(1, 1, 1, 1), gorgonia.WithInit(gorgonia.Zeroes()))
		y, err := nodes.BatchNormWith(x, scale, bias, statistics, 1e-5)
		check(err)
		return g, y
	}

	training, y := net()
	vm := gorgonia.NewTapeMachine(training)
	defer vm.Close()
	check(vm.RunAll())
	fmt.Printf("training    %.3f\n", y.Value().Data())
	fmt.Printf("statistics  %.3f %.3f\n", statistics.Mean, statistics.Variance)

	evaluation, y := net()
	em := gorgonia.NewTapeMachine(evaluation, gorgonia.EvalMode())
	defer em.Close()
	check(em.RunAll())
	fmt.Printf("evaluation  %.3f\n", y.Value().Data())
	// Output:
	// training    [-1.342 -0.447 0.447 1.342]
	// statistics  [2.000] [3.833]
	// evaluation  [-0.511 0.511 1.532 2.554]
}

// The noise counts runs, and can be set back.
func ExampleDropout() {
	g := gorgonia.NewGraph()
	x := gorgonia.NewVector(g, tensor.Float64, gorgonia.WithName("x"), gorgonia.WithShape(8), gorgonia.WithInit(gorgonia.Ones()))
	noise := &nodes.Noise{Seed: 2}
	y, err := nodes.Dropout(x, 0.5, noise)
	check(err)
	vm := gorgonia.NewTapeMachine(g)
	defer vm.Close()
	for range 3 {
		run := noise.Run
		check(vm.RunAll())
		fmt.Println(run, y.Value().Data())
		vm.Reset()
		noise.Run %= 2
	}
	// Output:
	// 0 [2 2 2 2 0 2 2 2]
	// 1 [0 0 0 2 0 2 2 0]
	// 0 [2 2 2 2 0 2 2 2]
}

func ExampleCrossEntropy() {
	g := gorgonia.NewGraph()
	logits := gorgonia.NewMatrix(g, tensor.Float64, gorgonia.WithName("logits"),
		gorgonia.WithValue(tensor.New(tensor.WithShape(2, 3), tensor.WithBacking([]float64{1000, 0, -1000, 1, 1, 1}))))
	labels := gorgonia.NewMatrix(g, tensor.Float64, gorgonia.WithName("labels"),
		gorgonia.WithValue(tensor.New(tensor.WithShape(2, 3), tensor.WithBacking([]float64{1, 0, 0, 0, 0, 1}))))
	cost, err := nodes.CrossEntropy(logits, labels)
	check(err)
	gradient, err := gorgonia.Grad(cost, logits)
	check(err)
	vm := gorgonia.NewTapeMachine(g)
	defer vm.Close()
	check(vm.RunAll())
	fmt.Printf("%.4f = log(3)/2 = %.4f\n", cost.Value(), math.Log(3)/2)
	fmt.Printf("%.4f\n", gradient[0].Value().Data())
	// Output:
	// 0.5493 = log(3)/2 = 0.5493
	// [0.0000 0.0000 0.0000 0.1667 0.1667 -0.3333]
}

// Kernels that start with orthonormal filters, in the precision of the graph.
func ExampleOrthonormal() {
	g := gorgonia.NewGraph()
	kernel := gorgonia.NewTensor(g, tensor.Float32, 4, gorgonia.WithName("kernel"), gorgonia.WithShape(2, 1, 3, 3),
		gorgonia.WithInit(nodes.Orthonormal(1, 1)))
	w := kernel.Value().Data().([]float32)
	var squares, product float64
	for i := range 9 {
		squares += float64(w[i] * w[i])
		product += float64(w[i] * w[9+i])
	}
	fmt.Printf("%.5f %.5f\n", squares, math.Abs(product))
	// Output: 1.00000 0.00000
}

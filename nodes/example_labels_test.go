// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
)

// A cost that can be learnt changes with the labels. The logarithm of the product of probabilities and targets does
// not: log(p y) is log p + log y, so every class is to become as probable as the label, and the best is 4.385, where all
// ten are equally probable.
func ExampleCrossEntropy_labels() {
	logits := []float64{3, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	logOfProduct := func(z, y *gorgonia.Node) *gorgonia.Node {
		p := gorgonia.Must(gorgonia.SoftMax(z))
		losses := gorgonia.Must(gorgonia.Log(gorgonia.Must(gorgonia.HadamardProd(p, y))))
		return gorgonia.Must(gorgonia.Neg(gorgonia.Must(gorgonia.Mean(losses))))
	}
	crossEntropy := func(z, y *gorgonia.Node) *gorgonia.Node { return gorgonia.Must(nodes.CrossEntropy(z, y)) }
	for label := range 3 {
		fmt.Printf("label %d: log of the product %.3f, cross-entropy %.3f\n",
			label, costOf(logOfProduct, logits, label), costOf(crossEntropy, logits, label))
	}
	fmt.Printf("equal logits: %.3f\n", costOf(logOfProduct, make([]float64, 10), 0))
	// Output:
	// label 0: log of the product 5.153, cross-entropy 3.366
	// label 1: log of the product 5.153, cross-entropy 5.766
	// label 2: log of the product 5.153, cross-entropy 5.766
	// equal logits: 4.385
}

// costOf is a cost of one image, whose label has the target 0.9 and the other nine classes 0.1, as those of
// Gorgonia's MNIST have.
func costOf(cost func(z, y *gorgonia.Node) *gorgonia.Node, logits []float64, label int) gorgonia.Value {
	targets := []float64{.1, .1, .1, .1, .1, .1, .1, .1, .1, .1}
	targets[label] = 0.9
	g := gorgonia.NewGraph()
	matrix := func(name string, values []float64) *gorgonia.Node {
		return gorgonia.NewMatrix(g, tensor.Float64, gorgonia.WithName(name),
			gorgonia.WithValue(tensor.New(tensor.WithShape(1, 10), tensor.WithBacking(values))))
	}
	value := cost(matrix("logits", logits), matrix("targets", targets))
	vm := gorgonia.NewTapeMachine(g)
	defer vm.Close()
	check(vm.RunAll())
	return value.Value()
}

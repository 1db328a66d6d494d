// SPDX-License-Identifier: Apache-2.0

package own_test

import (
	"fmt"
	"log"
	"testing"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/examples/own"
	"github.com/kernelfold/kernelfold/manifolds/manifoldtest"
	"github.com/kernelfold/kernelfold/solvers"
)

func TestSymmetric(t *testing.T) {
	manifoldtest.Run(t, own.Symmetric{})
	manifoldtest.Run(t, own.Symmetric{Radius: 3}, manifoldtest.Shape{K: 5, N: 3, P: 3})
}

// The kernel nearest to one that is given, among the symmetric ones of norm 1.
func ExampleSymmetric() {
	g := gorgonia.NewGraph()
	kernel := func(name string, values ...float64) *gorgonia.Node {
		return gorgonia.NewTensor(g, tensor.Float64, 4, gorgonia.WithName(name),
			gorgonia.WithValue(tensor.New(tensor.WithShape(1, 1, 3, 3), tensor.WithBacking(values))))
	}
	w := kernel("w",
		1, 0, 0,
		0, 1, 0,
		0, 0, 1)
	sobel := kernel("sobel",
		-1, 0, 1,
		-2, 0, 2,
		-1, 0, 1)
	cost := gorgonia.Must(gorgonia.Sum(gorgonia.Must(gorgonia.Square(gorgonia.Must(gorgonia.Sub(w, sobel))))))
	if _, err := gorgonia.Grad(cost, w); err != nil {
		log.Fatal(err)
	}

	vm := gorgonia.NewTapeMachine(g, gorgonia.BindDualValues(w))
	defer vm.Close()
	solver := solvers.NewSGD(solvers.LearnRate(0.1), solvers.Param("w", own.Symmetric{}))
	for range 100 {
		if err := vm.RunAll(); err != nil {
			log.Fatal(err)
		}
		if err := solver.Step(gorgonia.NodesToValueGrads(gorgonia.Nodes{w})); err != nil {
			log.Fatal(err)
		}
		vm.Reset()
	}
	found := w.Value().Data().([]float64)
	for row := range 3 {
		fmt.Printf("%5.2f\n", found[3*row:3*row+3])
	}
	fmt.Println(solver.Report().Parameters[0].Manifold)
	// Output:
	// [-0.41 -0.41  0.00]
	// [-0.41  0.00  0.41]
	// [ 0.00  0.41  0.41]
	// Symmetric(r=1)
}

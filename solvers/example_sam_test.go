// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"fmt"
	"math"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// The minima of (x_0 x_1 - 1/4)^2 on the unit sphere are curves. SAM goes to where they are flattest, x_0 = x_1.
func ExampleNewSAM() {
	g := gorgonia.NewGraph()
	x := gorgonia.NewTensor(g, tensor.Float64, 4, gorgonia.WithShape(1, 3, 1, 1), gorgonia.WithName("x"), gorgonia.WithValue(
		tensor.New(tensor.WithShape(1, 3, 1, 1), tensor.WithBacking([]float64{0.8, 0.3, math.Sqrt(0.27)}))))
	flat := gorgonia.Must(gorgonia.Reshape(x, tensor.Shape{3}))
	a, b := gorgonia.Must(gorgonia.Slice(flat, gorgonia.S(0))), gorgonia.Must(gorgonia.Slice(flat, gorgonia.S(1)))
	miss := gorgonia.Must(gorgonia.Sub(gorgonia.Must(gorgonia.Mul(a, b)), gorgonia.NewConstant(0.25)))
	cost := gorgonia.Must(gorgonia.Square(miss))
	if _, err := gorgonia.Grad(cost, x); err != nil {
		panic(err)
	}
	vm := gorgonia.NewTapeMachine(g, gorgonia.BindDualValues(x))
	defer vm.Close()

	model := gorgonia.NodesToValueGrads(gorgonia.Nodes{x})
	solver := solvers.NewSAM(solvers.NewSGD(solvers.LearnRate(0.1), solvers.Param("x", manifolds.Sphere{}, manifolds.Unit)), 0.1)
	loop := func() error {
		for range 4000 {
			if err := vm.RunAll(); err != nil {
				return err
			}
			if err := solver.Ascend(model); err != nil {
				return err
			}
			vm.Reset()
			if err := vm.RunAll(); err != nil { // the same batch again
				solver.Cancel() // back to the weights before Ascend
				return err
			}
			if err := solver.Step(model); err != nil {
				return err
			}
			vm.Reset()
		}
		return nil
	}
	if err := loop(); err != nil {
		panic(err)
	}
	fmt.Printf("%.1f\n", x.Value().Data().([]float64)[:2])
	// Output: [0.5 0.5]
}

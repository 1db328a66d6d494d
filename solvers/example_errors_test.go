// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"errors"
	"fmt"
	"math"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// A batch with a NaN in it is skipped: the step that meets it moves nothing.
func ExampleParameterError() {
	kernel, vm := layer()
	defer vm.Close()
	model := gorgonia.Nodes{kernel}
	solver := solvers.NewSGD(solvers.LearnRate(0.01), solvers.Kernels(manifolds.Sphere{}))
	step := func() error {
		err := solver.Step(gorgonia.NodesToValueGrads(model))
		var p *solvers.ParameterError
		switch {
		case errors.Is(err, solvers.ErrNotFinite) && errors.As(err, &p):
			fmt.Println("skipping a batch:", err) // the weights are intact
			for _, n := range model {
				if g, err := n.Grad(); err == nil {
					gorgonia.ZeroValue(g) // bound gradients add up over runs: this one must not stay
				}
			}
		case err != nil:
			return err
		}
		return nil
	}

	image := kernel.Graph().ByName("x")[0].Value().Data().([]float64)
	pixel := image[0]
	for batch := range 3 {
		image[0] = pixel
		if batch == 1 {
			image[0] = math.NaN()
		}
		if err := vm.RunAll(); err != nil {
			fmt.Println(err)
		}
		if err := step(); err != nil {
			fmt.Println(err)
		}
		vm.Reset()
	}
	fmt.Println("steps made:", solver.Report().Steps)
	// Output:
	// skipping a batch: solvers: parameter "kernel" (4, 2, 3, 3): want a finite gradient, got NaN at element 0 of 72
	// steps made: 2
}

// An option that a solver does not have is an error at its first step.
func ExampleOption() {
	kernel, vm := layer()
	defer vm.Close()
	if err := vm.RunAll(); err != nil {
		fmt.Println(err)
	}
	for _, o := range []solvers.Option{
		solvers.Betas(0.9, 0.99),
		solvers.Momentum(1),
		solvers.Nesterov(),
	} {
		err := solvers.NewSGD(o).Step([]gorgonia.ValueGrad{kernel})
		fmt.Println(err, errors.Is(err, solvers.ErrOption))
	}
	// Output:
	// solvers: SGD has no option Betas (unusable option) true
	// solvers: Momentum: want a number in [0, 1), got 1 (unusable option) true
	// solvers: SGD: Nesterov, Dampening and TangentMomentum need a Momentum greater than 0 (unusable option) true
}

// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"errors"
	"fmt"
	"math"
	"strings"

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
	// solvers: SGD: Nesterov, Dampening, TangentMomentum and AmbientMomentum need a Momentum greater than 0 (unusable option) true
}

// What has no nearest point cannot be constrained, and a manifold of fixed scale has
// no weight decay: the error names the parameter.
func ExampleErrConstraint() {
	kernel, vm := layer()
	defer vm.Close()
	if err := vm.RunAll(); err != nil {
		fmt.Println(err)
	}
	weights := kernel.Value().Data().([]float64)
	copy(weights[18:36], weights[:18]) // the second filter is the first
	for _, o := range [][]solvers.Option{
		{solvers.Kernels(manifolds.Stiefel{})},
		{solvers.Kernels(manifolds.Sphere{}), solvers.WeightDecay(1e-4)},
		{solvers.Param("kernle", manifolds.Sphere{})},
	} {
		err := solvers.NewSGD(o...).Step([]gorgonia.ValueGrad{kernel})
		text, _, _ := strings.Cut(err.Error(), ", got")
		fmt.Println(text, errors.Is(err, solvers.ErrConstraint))
	}
	// Output:
	// solvers: parameter "kernel" (4, 2, 3, 3): manifolds: Stiefel: project: point 0: want full rank true
	// solvers: parameter "kernel" (4, 2, 3, 3): want no weight decay on Sphere, whose points have a fixed scale true
	// solvers: Param("kernle", Sphere) applies to no parameter: got kernel(4, 2, 3, 3) (filter of Conv2d) (unusable constraint) true
}

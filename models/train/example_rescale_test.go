// SPDX-License-Identifier: Apache-2.0

package train_test

import (
	"context"
	"fmt"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/solvers"
)

// Kernels are scaled by what they see. The digits have a standard deviation of 1.
func ExampleRescale() {
	set, err := images.Digits(1, 200, 40, images.DigitOptions{Side: 12})
	if err != nil {
		panic(err)
	}
	m, err := models.CNN(20, models.Options{Shape: set.Shape(), Classes: 10, Widths: []int{4, 8}, BatchNorm: true, Seed: 1})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	solver := solvers.NewSGD(solvers.LearnRate(0.1), solvers.Kernels(manifolds.Sphere{}))
	scaled := func() error {
		if err := solver.Init(gorgonia.NodesToValueGrads(m.Learnables)); err != nil {
			return err
		}
		return train.Rescale(ctx, m, solver, set.Train, train.Options{Rescale: 4})
	}
	fmt.Println(scaled())
	for _, p := range solver.Report().Parameters {
		if p.Kernel {
			fmt.Printf("%s is %.1f times as large\n", p.Name, p.Scale)
		}
	}
	// Output:
	// <nil>
	// conv1.weight is 1.0 times as large
	// conv2.weight is 1.4 times as large
}

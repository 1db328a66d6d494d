// SPDX-License-Identifier: Apache-2.0

package train_test

import (
	"context"
	"fmt"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/solvers"
)

func ExampleFit() {
	set, err := images.Digits(1, 400, 100, images.DigitOptions{Side: 12, Noise: -1, Clutter: -1, Distortion: 0.1})
	if err != nil {
		fmt.Println(err)
		return
	}
	m, err := models.CNN(20, models.Options{Shape: set.Shape(), Classes: len(set.Classes), Widths: []int{8, 16}, Seed: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	solver := solvers.NewSGD(solvers.LearnRate(0.05), solvers.Momentum(0.9), solvers.Kernels(manifolds.Stiefel{}))
	epochs, err := train.Fit(context.Background(), m, solver, set.Train, train.Options{
		Epochs: 8, Seed: 1, Test: set.Test,
		AfterEpoch: func(e train.Epoch) error {
			if e.TestAccuracy > 0.9 {
				return train.ErrStop
			}
			return nil
		},
	})
	fmt.Println("error:", err)
	fmt.Println("over 90 % of the test images:", epochs[len(epochs)-1].TestAccuracy > 0.9)
	// Output:
	// error: <nil>
	// over 90 % of the test images: true
}

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

// After a run the net has the weights of the last step. Here it gets their average.
func ExampleRecalibrate() {
	set, err := images.Digits(1, 200, 40, images.DigitOptions{Side: 12})
	if err != nil {
		panic(err)
	}
	m, err := models.CNN(20, models.Options{Shape: set.Shape(), Classes: 10, Widths: []int{4, 8}, BatchNorm: true, Seed: 1})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	averaged := func() error {
		ema := solvers.NewEMA(solvers.NewSGD(solvers.LearnRate(0.1), solvers.Kernels(manifolds.Stiefel{})), 0.9)
		options := train.Options{Epochs: 2, Average: true, Test: set.Test}
		if _, err := train.Fit(ctx, m, ema, set.Train, options); err != nil {
			return err
		}
		if err := ema.Swap(gorgonia.NodesToValueGrads(m.Learnables)); err != nil {
			return err
		}
		return train.Recalibrate(ctx, m, set.Train, options)
	}
	fmt.Println(averaged())
	// Output: <nil>
}

// SPDX-License-Identifier: Apache-2.0

package tensorboard_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/models/train/tensorboard"
	"github.com/kernelfold/kernelfold/solvers"
)

// A run that tensorboard --logdir run shows.
func Example() {
	dir, err := os.MkdirTemp("", "run")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	set, err := images.Digits(1, 100, 20, images.DigitOptions{Side: 12})
	if err != nil {
		fmt.Println(err)
		return
	}
	m, err := models.CNN(20, models.Options{Shape: set.Shape(), Classes: len(set.Classes), Widths: []int{4}, Seed: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	solver := solvers.NewSGD(solvers.Kernels(manifolds.Stiefel{}))
	_, err = train.Fit(context.Background(), m, solver, set.Train, train.Options{
		Test:  set.Test,
		Hooks: []train.Hook{tensorboard.New(filepath.Join(dir, "events"), m, solver)},
	})
	files, _ := filepath.Glob(filepath.Join(dir, "events", "*tfevents*"))
	fmt.Println(len(files), "file,", err)
	// Output: 1 file, <nil>
}

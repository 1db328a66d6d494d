// SPDX-License-Identifier: Apache-2.0

package checkpoint_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/checkpoint"
	"github.com/kernelfold/kernelfold/solvers"
)

// A run that is saved goes on in another program, with a model and a solver made alike.
func Example() {
	dir, err := os.MkdirTemp("", "run")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	type progress struct{ Epoch int }
	begin := func() (*models.Model, *solvers.Solver, error) {
		m, err := models.LeNet(32, models.Options{Shape: [3]int{1, 28, 28}, Classes: 10, Seed: 1})
		return m, solvers.NewSGD(solvers.Momentum(0.9)), err
	}

	m, s, err := begin()
	if err != nil {
		fmt.Println(err)
		return
	}
	path := filepath.Join(dir, "run.safetensors")
	if err := checkpoint.Save(path, m, s, progress{Epoch: 3}); err != nil {
		fmt.Println(err)
		return
	}

	m, s, err = begin()
	if err != nil {
		fmt.Println(err)
		return
	}
	var p progress
	if err := checkpoint.Load(path, m, s, &p); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("go on after epoch", p.Epoch)
	// Output:
	// go on after epoch 3
}

// A Series keeps the last checkpoints, and goes back if the newest is damaged.
func ExampleSeries() {
	dir, err := os.MkdirTemp("", "run")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	m, err := models.LeNet(32, models.Options{Shape: [3]int{1, 28, 28}, Classes: 10, Seed: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	series := checkpoint.Series{Dir: dir, Keep: 3}
	for epoch := range 5 {
		path, err := series.Save(m, nil, epoch) // without a solver: weights alone
		if err != nil {
			fmt.Println(err)
			return
		}
		if epoch == 4 { // the disk loses the end of the newest
			if err := os.Truncate(path, 1000); err != nil {
				fmt.Println(err)
				return
			}
		}
	}
	var epoch int
	path, damaged, err := series.Load(m, nil, &epoch)
	fmt.Println(filepath.Base(path), epoch, len(damaged), err)
	// Output:
	// checkpoint-00000004.safetensors 3 1 <nil>
}

// SPDX-License-Identifier: Apache-2.0

package train_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/checkpoint"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/solvers"
)

// digits are images that a small net learns in a second, and such a net.
func digits() (*images.Set, *models.Model) {
	set, err := images.Digits(1, 400, 100, images.DigitOptions{Side: 12, Noise: -1, Clutter: -1, Distortion: 0.1})
	if err != nil {
		panic(err)
	}
	m, err := models.CNN(20, models.Options{Shape: set.Shape(), Classes: len(set.Classes), Widths: []int{4, 8}, Seed: 1})
	if err != nil {
		panic(err)
	}
	return set, m
}

func sgd() *solvers.Solver {
	return solvers.NewSGD(solvers.LearnRate(0.05), solvers.Momentum(0.9), solvers.Kernels(manifolds.Stiefel{}))
}

// Training with all that goes with it: a validation part, augmentation, logs, early
// stop, and a net on disk.
func Example() {
	dir, err := os.MkdirTemp("", "run")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	set, m := digits()
	rest, held, err := set.Train.Holdout(100, 1)
	if err != nil {
		fmt.Println(err)
		return
	}
	var table bytes.Buffer
	epochs, err := train.Fit(context.Background(), m, sgd(), rest, train.Options{
		Epochs:     6,
		Seed:       1,
		Augment:    images.Augmentation{Pad: 1},
		Validation: held,
		Test:       set.Test,
		Patience:   3,
		Checkpoint: train.Checkpoint{Dir: dir},
		Hooks:      []train.Hook{train.CSV(&table)},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("the loss falls:", epochs[len(epochs)-1].TrainLoss < epochs[0].TrainLoss)
	fmt.Println("a line an epoch:", strings.Count(table.String(), "\n") == len(epochs)+1)

	_, best := digits()
	if err := checkpoint.Load(filepath.Join(dir, train.BestFile), best, nil, nil); err != nil {
		fmt.Println(err)
		return
	}
	p, err := best.Predictor()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	_, accuracy, err := train.Evaluate(context.Background(), p, set.Test)
	fmt.Println("better than guessing:", accuracy > 0.3, err)
	// Output:
	// the loss falls: true
	// a line an epoch: true
	// better than guessing: true <nil>
}

// A hook sees the run, its steps and its epochs, and may end it.
func ExampleHook() {
	set, m := digits()
	solver := sgd()
	steps := 0
	watch := train.Hook{
		Begin: func(r train.Run) error {
			fmt.Println(r.Epochs, "epochs of", r.Steps, "steps on batches of", r.Batch)
			return nil
		},
		AfterStep: func(train.Step) error { steps++; return nil },
		AfterEpoch: func(e train.Epoch) error {
			for _, p := range solver.Report().Parameters {
				if p.Membership > 1e-4 {
					return fmt.Errorf("%s is off its manifold by %g", p.Name, p.Membership)
				}
			}
			if e.Number == 2 {
				return train.ErrStop
			}
			return nil
		},
		End: func() error {
			fmt.Println("after", steps, "steps")
			return nil
		},
	}
	epochs, err := train.Fit(context.Background(), m, solver, set.Train, train.Options{Epochs: 10, Hooks: []train.Hook{watch}})
	fmt.Println(len(epochs), "epochs,", err)
	// Output:
	// 10 epochs of 20 steps on batches of 20
	// after 40 steps
	// 2 epochs, <nil>
}

// A run that is resumed is the run that was not stopped, to the bit.
func ExampleCheckpoint() {
	dir, err := os.MkdirTemp("", "run")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	options := train.Options{Epochs: 4, Seed: 1}
	set, m := digits()
	whole, err := train.Fit(context.Background(), m, sgd(), set.Train, options)
	if err != nil {
		fmt.Println(err)
		return
	}

	options.Checkpoint.Dir = dir
	options.AfterStep = func(s train.Step) error {
		if s.Number == 33 { // in the middle of the second epoch
			return train.ErrStop
		}
		return nil
	}
	_, m = digits()
	if _, err := train.Fit(context.Background(), m, sgd(), set.Train, options); err != nil {
		fmt.Println(err)
	}

	options.AfterStep, options.Checkpoint.Resume = nil, true
	_, m = digits()
	resumed, err := train.Fit(context.Background(), m, sgd(), set.Train, options)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(resumed), "epochs, the last loss the same to the bit:", resumed[3].TrainLoss == whole[3].TrainLoss)
	// Output: 4 epochs, the last loss the same to the bit: true
}

// A run that leaves the finite numbers says at which step.
func ExampleDivergedError() {
	set, m := digits()
	_, err := train.Fit(context.Background(), m, gorgonia.NewMomentum(gorgonia.WithLearnRate(1e6)), set.Train, train.Options{})
	var diverged *train.DivergedError
	fmt.Println(errors.As(err, &diverged))
	// Output: true
}

// Stock solvers have no schedule: the loop sets their rate.
func ExampleOptions() {
	set, m := digits()
	half := solvers.StepDecay(20, 0.5) // 20 steps are an epoch
	epochs, err := train.Fit(context.Background(), m, gorgonia.NewMomentum(), set.Train, train.Options{
		Epochs:    3,
		LearnRate: func(step int) float64 { return 0.04 * half.At(step) },
	})
	for _, e := range epochs {
		fmt.Print(e.LearnRate, " ")
	}
	fmt.Println(err)
	// Output: 0.04 0.02 0.01 <nil>
}

// SPDX-License-Identifier: Apache-2.0

// Package train is the training loop for any models.Net, such as a models.Model, with any
// gorgonia.Solver. It prints nothing; hooks see every step and every epoch:
//
//	epochs, err := train.Fit(ctx, model, solver, set.Train, train.Options{
//		Epochs:  5,
//		Seed:    1,
//		Test:    set.Test,
//		Augment: images.Augmentation{Pad: 4, Flip: true},
//		Hooks:   []train.Hook{progress.New(os.Stderr), train.CSV(file)},
//		AfterEpoch: func(e train.Epoch) error {
//			fmt.Println(e.Number, e.TrainLoss, e.TestAccuracy)
//			return nil
//		},
//	})
//
// The order of the examples and their augmentation depend only on the seed, the epoch and the example, so
// that solvers can be compared on the same batches. With Checkpoint a run is saved and can be resumed where
// it stopped, also in the middle of an epoch. Its results are the same, bit for bit, as without the
// interruption.
package train

import (
	"context"
	"errors"
	"fmt"
	"math"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/isnil"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/solvers/distributed"
)

// Options are the options of Fit.
type Options struct {
	// Epochs is the number of passes over the data: 1 if it is 0.
	Epochs int
	// Seed determines the order of the examples in each epoch, and their augmentation.
	Seed uint64
	// Augment varies the training images, differently each time. The data must be an images.Split; other Data may vary its examples
	// itself.
	Augment images.Augmentation
	// LearnRate, unless it is nil, is the learning rate of each step of the
	// run, counted from 0, by solvers.SetLearnRate. The schedule of solvers.Anneal multiplies it.
	LearnRate func(step int) float64

	// Group is the group of ranks that make the run together, each with a part of every batch: see Fit. Nil means this process
	// alone.
	Group *distributed.Group

	// Test and Validation are evaluated after each epoch, unless they are empty.
	Test, Validation Data
	// Best is the measure by which epochs are compared: on Validation, or on
	// Test if there is no validation part, or on the training batches if there is neither.
	// If epochs are compared on Test, the test accuracy of the best epoch is biased upwards.
	Best Measure
	// Patience ends the run after that number of epochs without a better one. 0 means never.
	Patience int

	// Average evaluates, and keeps as the best, the average of the weights instead of the weights themselves. The solver must
	// be a solvers.Average, or wrap one. See Fit.
	Average bool
	// Recalibrate is the number of batches from which running statistics are computed again for the average. If it is 0,
	// the number is 64, or that of an epoch if it has fewer.
	Recalibrate int

	// Rescale is the number of batches from which kernels are rescaled before each epoch, by the function Rescale. With 0 they are not
	// rescaled.
	Rescale int

	// Checkpoint says where and when the run is saved.
	Checkpoint Checkpoint

	// Hooks are called in their order, then these two, which may be nil.
	Hooks      []Hook
	AfterStep  func(Step) error
	AfterEpoch func(Epoch) error
}

// Initialiser is implemented by solvers that prepare the weights before the first step, like those of package
// solvers, which project kernels onto their manifold. Fit calls Init of the solver, or of the first
// Initialiser that it wraps, before the first run, so that the first loss is already that of the constrained
// net.
type Initialiser interface {
	Init([]gorgonia.ValueGrad) error
}

// Fit trains m on data, in batches of the model's size. The examples are shuffled again in each epoch; those
// that do not fill a whole batch are left out in that epoch. Fit returns the completed epochs, including
// those before a resumption, also if there is an error.
//
// If ctx is cancelled before the run begins, nothing is written. Later, the step under way is finished and
// the run is saved. In both cases Fit returns the error of ctx. A loss, a weight or a gradient that is not
// finite is a *DivergedError. Other errors are those of the solver, the data, a hook or a checkpoint.
//
// If a solver wraps another and has the method Unwrap() gorgonia.Solver, the optional interfaces are looked for in the wrapped solver too.
//
// With Options.Average the weights are exchanged for their average after each epoch, unless there is none yet. The running statistics of batch
// normalisations are computed again, by Recalibrate, and the net is evaluated; BestFile holds the net in this state, without the solver. Then
// weights and statistics are restored, and the run continues. After Fit the net has the weights of the last step; call Swap of the solver and
// Recalibrate to give it the average.
//
// With Options.Rescale the scales of kernels are set before each epoch: see Rescale. Checkpoints contain them.
//
// With Options.Group, all ranks of the group call Fit with the same arguments, and a batch is that of all ranks together: np ranks with models
// of b images train like one rank with a model of np b images. The solver must be made by distributed.Average, or wrap one that is. All begin
// with the weights, the statistics and the noise of rank 0.
//
//   - Batch normalisations normalise the part of their rank, unless the model was made with models.Options.BatchNormOver. Running
//     statistics are those of rank 0 wherever they are used: in evaluations, in checkpoints and after Fit.
//   - Losses and accuracies are those of all ranks, also for single steps. Every rank evaluates a part of the images.
//   - Only rank 0 calls hooks, and reads and writes checkpoints. A run may be resumed with another number of ranks, if the total batch is the same.
//   - What ends the run on one rank, an error, ErrStop or its ctx, ends it on all of them after the same step. Then the
//     run is saved, as for one rank, and every rank returns a *distributed.RankError that says which it was, in a *DivergedError
//     if it diverged; for ErrStop nil.
func Fit(ctx context.Context, m models.Trainable, solver gorgonia.Solver, data Data, o Options) (_ []Epoch, err error) {
	if o.Epochs == 0 {
		o.Epochs = 1
	}
	if err := ranksOf(o.Group).agree(o.check(m, solver, data)); err != nil {
		return nil, err
	}
	r, err := newRun(ctx, m, solver, data, o)
	if err != nil {
		return nil, plain(err)
	}
	defer func() {
		if e := r.close(); e != nil {
			err = errors.Join(err, e)
		}
	}()
	err = r.all()
	if errors.Is(err, ErrStop) {
		err = nil
	}
	return r.Done, plain(err)
}

// plain returns the error of the context of a cancelled run, and other errors unchanged.
func plain(err error) error {
	if c := (cancelled{}); errors.As(err, &c) {
		return c.error
	}
	return err
}

// check returns an error if no run can be made from the arguments.
func (o *Options) check(of models.Trainable, solver gorgonia.Solver, data Data) error {
	if isnil.Of(of) || of.Base() == nil {
		return errors.New("train: want a net, got nil")
	}
	m, all := of.Base(), ranksOf(o.Group)
	batch := m.Batch() * all.Size()
	switch {
	case batch < 1:
		return errors.New("train: want a net made by models.New, got one that was not")
	case m.Cost == nil:
		return errors.New("train: want a net with a cost, got none")
	case isnil.Of(solver):
		return errors.New("train: want a solver, got nil")
	case isnil.Of(data):
		return errors.New("train: want data, got nil")
	case o.Epochs < 0:
		return fmt.Errorf("train: want a positive number of epochs, got %d", o.Epochs)
	case o.Epochs > math.MaxInt/max(1, data.Len()):
		return fmt.Errorf("train: want at most %d epochs, got %d", math.MaxInt/data.Len(), o.Epochs)
	case o.Patience < 0:
		return fmt.Errorf("train: want a patience of 0 epochs at least, got %d", o.Patience)
	case o.Best != ByAccuracy && o.Best != ByLoss:
		return fmt.Errorf("train: want the best epoch by accuracy or by loss, got measure %d", o.Best)
	case data.Len() < batch:
		return fmt.Errorf("train: want at least one batch of %d examples, got %d examples", batch, data.Len())
	}
	if err := probe(m, data); err != nil {
		return named(err)
	}
	if err := probe(m, o.Test); err != nil {
		return fmt.Errorf("train: Test: %w", err)
	}
	if err := probe(m, o.Validation); err != nil {
		return fmt.Errorf("train: Validation: %w", err)
	}
	if _, err := augment(data, o.Augment, imagesOf(m)); err != nil {
		return err
	}
	if err := all.admit(solver); err != nil {
		return err
	}
	if err := o.checkAverage(all, solver); err != nil {
		return err
	}
	if err := o.checkRescale(solver); err != nil {
		return err
	}
	return o.Checkpoint.check(solver)
}

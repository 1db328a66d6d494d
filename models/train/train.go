// SPDX-License-Identifier: Apache-2.0

// Package train is a small training loop for models.Model with any
// gorgonia.Solver. It prints nothing; hooks see every step and every epoch:
//
//	epochs, err := train.Fit(ctx, model, solver, set.Train, train.Options{
//		Epochs: 5,
//		Seed:   1,
//		Test:   set.Test,
//		AfterEpoch: func(e train.Epoch) error {
//			fmt.Println(e.Number, e.Loss, e.Accuracy)
//			return nil
//		},
//	})
//
// The order of the images depends on the seed alone, so that solvers can be
// compared on the same batches.
package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
)

// Options says how Fit trains.
type Options struct {
	// Epochs is the number of passes over the data: 1 if it is 0.
	Epochs int
	// Seed decides the order of the images in each epoch.
	Seed uint64
	// Test is evaluated after each epoch, unless it is empty.
	Test images.Split
	// AfterStep is called after each step of the solver, AfterEpoch after each
	// epoch and its evaluation. An error ends the run and is returned by Fit,
	// except ErrStop, which ends it without one.
	AfterStep  func(Step) error
	AfterEpoch func(Epoch) error
}

// ErrStop is what a hook returns to end a run early.
var ErrStop = errors.New("train: stop")

// Step is what AfterStep sees.
type Step struct {
	Number, Of int     // of the run, from 1
	Epoch      int     // from 1
	Loss       float64 // mean cross-entropy of the batch, before the step
}

// Epoch is what AfterEpoch sees.
type Epoch struct {
	Number, Of int
	Loss       float64       // mean of the losses of its steps
	TestLoss   float64       // mean cross-entropy on Options.Test; NaN without it
	Accuracy   float64       // share of Options.Test classified rightly, 0..1; NaN without it
	Elapsed    time.Duration // of the steps, without evaluation and hooks
}

// DivergedError tells that a run left the finite numbers.
type DivergedError struct {
	Step  int     // of the run, from 1
	Epoch int     // from 1
	Loss  float64 // the loss that is not finite, or the last one before weights or gradients were not
	Cause error   // what was noticed, if it was not the loss
}

// Error describes the failure in one line.
func (e *DivergedError) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("train: diverged at step %d (epoch %d): %v; last loss %.4g", e.Step, e.Epoch, e.Cause, e.Loss)
	}
	return fmt.Sprintf("train: diverged at step %d (epoch %d): want a finite loss, got %v", e.Step, e.Epoch, e.Loss)
}

// Unwrap returns the cause.
func (e *DivergedError) Unwrap() error { return e.Cause }

// Initialiser is implemented by solvers that put the weights where they
// belong before the first step, as those of package solvers project kernels onto their
// manifold. Fit then does so before the first run, so that the first loss is already that
// of the constrained net.
type Initialiser interface {
	Init([]gorgonia.ValueGrad) error
}

// Fit trains m on data, in batches of the model's size, shuffled anew each
// epoch; what is left over when no whole batch remains waits for another epoch. It returns
// the epochs that were completed, also with an error: that of ctx when it was cancelled,
// a *DivergedError when the loss, the weights or a gradient stopped being finite, that of
// the solver or of a hook.
func Fit(ctx context.Context, m *models.Model, solver gorgonia.Solver, data images.Split, o Options) ([]Epoch, error) {
	if o.Epochs == 0 {
		o.Epochs = 1
	}
	spec := m.Spec()
	batch, size := spec.Batch, spec.Shape[0]*spec.Shape[1]*spec.Shape[2]
	switch {
	case o.Epochs < 0:
		return nil, fmt.Errorf("train: want a positive number of epochs, got %d", o.Epochs)
	case data.Len() < batch:
		return nil, fmt.Errorf("train: want at least one batch of %d images, got %d images", batch, data.Len())
	}
	for _, s := range []images.Split{data, o.Test} {
		if len(s.Images) != s.Len()*size {
			return nil, fmt.Errorf("train: %s: want %d numbers for %d images of %v, got %d", s.Name, s.Len()*size, s.Len(), spec.Shape, len(s.Images))
		}
	}
	if o.AfterStep == nil {
		o.AfterStep = func(Step) error { return nil }
	}
	if o.AfterEpoch == nil {
		o.AfterEpoch = func(Epoch) error { return nil }
	}

	weights := gorgonia.NodesToValueGrads(m.Learnables)
	if s, ok := solver.(Initialiser); ok {
		if err := s.Init(weights); err != nil {
			return nil, fmt.Errorf("train: %w", err)
		}
	}
	// MaxPool2D ends the process when its input is NaN in the backward pass; the
	// watch ends the run before that.
	vm := gorgonia.NewTapeMachine(m.Graph, gorgonia.BindDualValues(m.Learnables...), gorgonia.WithNaNWatch())
	defer vm.Close()
	predictor, err := m.Predictor()
	if err != nil {
		return nil, err
	}
	defer predictor.Close()

	rng := rand.New(rand.NewPCG(o.Seed, 0x5851f42d4c957f2d))
	order := make([]int, data.Len())
	for i := range order {
		order[i] = i
	}
	pixels, labels := make([]float32, batch*size), make([]int, batch)
	steps := data.Len() / batch
	var epochs []Epoch
	at := Step{Of: o.Epochs * steps}
	for at.Epoch = 1; at.Epoch <= o.Epochs; at.Epoch++ {
		rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		e := Epoch{Number: at.Epoch, Of: o.Epochs, TestLoss: math.NaN(), Accuracy: math.NaN()}
		for b := range steps {
			if err := ctx.Err(); err != nil {
				return epochs, err
			}
			start := time.Now()
			for i, k := range order[b*batch : (b+1)*batch] {
				copy(pixels[i*size:(i+1)*size], data.Images[k*size:(k+1)*size])
				labels[i] = data.Labels[k]
			}
			at.Number++
			if err := step(vm, m, solver, weights, pixels, labels, &at); err != nil {
				return epochs, err
			}
			e.Elapsed += time.Since(start)
			e.Loss += at.Loss / float64(steps)
			if err := o.AfterStep(at); err != nil {
				return epochs, stop(err)
			}
		}
		if o.Test.Len() > 0 {
			e.TestLoss, e.Accuracy, err = Evaluate(ctx, predictor, o.Test)
			if errors.Is(err, errNotFinite) {
				err = &DivergedError{at.Number, at.Epoch, at.Loss, err}
			}
			if err != nil {
				return epochs, err
			}
		}
		epochs = append(epochs, e)
		if err := o.AfterEpoch(e); err != nil {
			return epochs, stop(err)
		}
	}
	return epochs, nil
}

func stop(err error) error {
	if errors.Is(err, ErrStop) {
		return nil
	}
	return err
}

// step runs the graph on one batch and lets the solver move the weights.
func step(vm gorgonia.VM, m *models.Model, solver gorgonia.Solver, weights []gorgonia.ValueGrad, pixels []float32, labels []int, at *Step) error {
	if err := m.SetBatch(pixels, labels); err != nil {
		return err
	}
	defer vm.Reset()
	if err := vm.RunAll(); err != nil {
		// What Gorgonia says here runs over many lines.
		if strings.Contains(err.Error(), "NaN found") {
			return &DivergedError{at.Number, at.Epoch, at.Loss, errNotFinite}
		}
		return fmt.Errorf("train: step %d: %w", at.Number, err)
	}
	loss := m.Loss()
	if math.IsNaN(loss) || math.IsInf(loss, 0) {
		return &DivergedError{at.Number, at.Epoch, loss, nil}
	}
	at.Loss = loss
	if err := solver.Step(weights); err != nil {
		for _, w := range weights {
			if g, e := w.Grad(); e == nil && g != nil && !finite(g) {
				return &DivergedError{at.Number, at.Epoch, loss, err}
			}
		}
		return fmt.Errorf("train: step %d: %w", at.Number, err)
	}
	return nil
}

var errNotFinite = errors.New("want finite values in the net, got NaN")

func finite(v gorgonia.Value) bool {
	switch d := v.Data().(type) {
	case []float32:
		for _, x := range d {
			if x-x != 0 {
				return false
			}
		}
	case []float64:
		for _, x := range d {
			if x-x != 0 {
				return false
			}
		}
	}
	return true
}

// Evaluate returns the mean cross-entropy of any number of images and the
// share, 0..1, whose largest logit is that of the label. The last batch is filled up with
// images from the beginning, which count once only but keep the statistics of
// batch normalisation those of real images.
func Evaluate(ctx context.Context, p *models.Predictor, data images.Split) (loss, accuracy float64, err error) {
	n := data.Len()
	if n == 0 {
		return 0, 0, fmt.Errorf("train: want images to evaluate, got none")
	}
	spec := p.Spec()
	size := spec.Shape[0] * spec.Shape[1] * spec.Shape[2]
	if len(data.Images) != n*size {
		return 0, 0, fmt.Errorf("train: %s: want %d numbers for %d images of %v, got %d", data.Name, n*size, n, spec.Shape, len(data.Images))
	}
	pixels := make([]float32, spec.Batch*size)
	right := 0
	for b := 0; b < n; b += spec.Batch {
		if err := ctx.Err(); err != nil {
			return 0, 0, err
		}
		for i := range spec.Batch {
			k := (b + i) % n
			copy(pixels[i*size:(i+1)*size], data.Images[k*size:(k+1)*size])
		}
		logits, err := p.Logits(pixels)
		if err != nil {
			return 0, 0, err
		}
		for i, label := range data.Labels[b:min(n, b+spec.Batch)] {
			if label < 0 || label >= spec.Classes {
				return 0, 0, fmt.Errorf("train: %s: label %d: want 0..%d, got %d", data.Name, b+i, spec.Classes-1, label)
			}
			row := logits[i*spec.Classes : (i+1)*spec.Classes]
			best, z := 0, 0.0
			for c, v := range row {
				if v-v != 0 {
					return 0, 0, errNotFinite
				}
				if v > row[best] {
					best = c
				}
			}
			for _, v := range row {
				z += math.Exp(v - row[best])
			}
			loss += row[best] + math.Log(z) - row[label]
			if best == label {
				right++
			}
		}
	}
	return loss / float64(n), float64(right) / float64(n), nil
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"sync"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/models/train/tensorboard"
	"github.com/kernelfold/kernelfold/solvers"
)

// reporter is implemented by the solvers of package solvers, but not by stock ones.
type reporter interface{ Report() solvers.Report }

// errEarly is the error of an interruption before there are any results.
var errEarly = errors.New("interrupted before the first epoch was complete")

// trials trains the net with each solver in turn. If a solver fails, this is noted and the next one begins; cancelling ctx ends all of them.
func (s *settings) trials(ctx context.Context, set *images.Set, p *progress) (*results, error) {
	build := func() (*models.Model, error) {
		return cli.Await(ctx, func() (*models.Model, error) { return s.model(set, s.batch) })
	}
	m, err := build()
	if errors.Is(err, context.Canceled) {
		return nil, errEarly
	}
	if err != nil {
		return nil, err
	}
	r := s.newResults(set, m)
	p.start(len(s.entries) * s.epochs * (set.Train.Len() / s.batch))
	defer p.finish()
	for i, e := range s.entries {
		if ctx.Err() != nil {
			break
		}
		if i > 0 {
			if m, err = build(); errors.Is(err, context.Canceled) {
				break
			}
			if err != nil {
				return nil, err
			}
		}
		p.solver(fmt.Sprintf("%d/%d %s", i+1, len(s.entries), e.name))
		one, err := s.trial(ctx, m, e, set, p)
		if ctx.Err() != nil {
			errors.As(err, &r.lost)
		}
		switch {
		case err != nil && !errors.Is(err, ctx.Err()):
			r.Failed = append(r.Failed, failedJSON{e.name, e.rate, cause(err)})
		case len(one.Epochs) > 0:
			r.Solvers = append(r.Solvers, one)
		}
		p.skip((i + 1) * s.epochs * (set.Train.Len() / s.batch))
	}
	r.Interrupted = ctx.Err() != nil
	if r.Interrupted && len(r.Solvers) == 0 && len(r.Failed) == 0 {
		if r.lost != nil {
			return nil, fmt.Errorf("%w; %w", errEarly, r.incomplete())
		}
		return nil, errEarly
	}
	return r, nil
}

// cause describes why a solver failed.
func cause(err error) string {
	var d *train.DivergedError
	switch {
	case errors.As(err, &d):
		return fmt.Sprintf("diverged at step %d of epoch %d", d.Step, d.Epoch)
	case errors.Is(err, solvers.ErrDiverged), errors.Is(err, solvers.ErrNotFinite):
		return "diverged: " + strings.TrimPrefix(err.Error(), "train: ")
	}
	return err.Error()
}

// trial trains the net with one solver and returns the epochs that were
// completed, also with an error. When ctx ends it does not wait for the step under way, unless event files are being written: then the run
// closes them first, and its error says whether they are complete.
func (s *settings) trial(ctx context.Context, m *models.Model, e entry, set *images.Set, p *progress) (solverJSON, error) {
	one := solverJSON{Name: e.name, Manifold: e.manifold, Grouping: e.grouping, Stock: e.stock}
	solver := e.make(e.rate)
	var mu sync.Mutex
	over := false // the result belongs to another call
	options := train.Options{
		Epochs: s.epochs, Seed: s.seed, Test: set.Test,
		AfterStep: func(at train.Step) error {
			mu.Lock()
			defer mu.Unlock()
			if !over {
				p.step(at)
			}
			return nil
		},
		AfterEpoch: func(at train.Epoch) error {
			// With kernels of fixed norm, a diverging net may have finite numbers for a long time.
			if guess := math.Log(float64(len(set.Classes))); at.TrainLoss > 100*guess {
				return fmt.Errorf("diverged in epoch %d: want a mean loss below %.0f, 100 times that of guessing, got %.4g", at.Number, 100*guess, at.TrainLoss)
			}
			error, err := membership(m, solver, e)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if over {
				return nil
			}
			seconds := at.Elapsed.Seconds()
			one.Epochs = append(one.Epochs, epochJSON{at.TrainLoss, at.TestAccuracy, seconds, error})
			one.TestAccuracy, one.FinalLoss, one.Membership = at.TestAccuracy, at.TrainLoss, error
			one.Seconds += seconds
			return nil
		},
	}
	fit := func() ([]train.Epoch, error) { return train.Fit(ctx, m, solver, set.Train, options) }
	var err error
	if s.events {
		options.Hooks = []train.Hook{record(filepath.Join(s.out, "events", e.name), m, solver)}
		_, err = fit()
	} else {
		_, err = cli.Await(ctx, fit)
	}
	mu.Lock()
	defer mu.Unlock()
	over = true
	if r, ok := solver.(reporter); ok && !errors.Is(err, context.Canceled) {
		report := r.Report()
		one.Warnings = report.Warnings
		if err == nil {
			err = report.Err
		}
	}
	return one, err
}

// record returns the hook that writes event files. Tests replace it.
var record = tensorboard.New

// reference is the set from which the distance of unconstrained kernels is measured.
var reference = manifolds.On(manifolds.Sphere{})

// membership returns the largest membership error of a kernel: that of its
// own manifold, or, if it has none, how far its filters are from the unit sphere.
func membership(m *models.Model, solver gorgonia.Solver, e entry) (float64, error) {
	worst := 0.0
	if r, ok := solver.(reporter); ok && e.grouping != "" {
		for _, p := range r.Report().Parameters {
			if p.Grouping != "" {
				worst = max(worst, p.Membership)
			}
		}
		return worst, finite(worst)
	}
	for _, n := range m.Learnables {
		if !solvers.IsKernel(n.Shape()) {
			continue
		}
		piece, err := manifolds.Single(reference.Bind(n.Shape(), math.NaN()))
		if err != nil {
			return 0, err
		}
		sphere, l := piece.Manifold, piece.Layout
		// Filters lie one after the other, so that the weights are the batch.
		x, err := manifolds.Points32(n.Value().Data().([]float32), l.K, l.N, l.P)
		if err != nil {
			return 0, err
		}
		worst = max(worst, sphere.Membership(x))
	}
	return worst, finite(worst)
}

func finite(v float64) error {
	if v-v != 0 {
		return errors.New("want finite weights, got NaN or infinity")
	}
	return nil
}

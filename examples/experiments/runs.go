// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/solvers"
)

// do makes the runs that are missing in the results, as many at the same time as there are cores.
//
// What runs share are the images, which nobody writes to, so that their numbers do not depend
// on each other. They depend on GOMAXPROCS: the gradient of a convolution in its
// kernels is summed in that many parts. It is the number of cores, one of the settings.
func (c *campaign) do(ctx context.Context, jobs []job) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	todo := make(chan job)
	var wg sync.WaitGroup
	for range c.Cores {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for j := range todo {
				if err := c.one(ctx, j); err != nil {
					cancel(err)
				}
			}
		}()
	}
	for _, j := range jobs {
		if c.results.has(j.spec) {
			c.progress.expect(-1)
			continue
		}
		select {
		case todo <- j:
		case <-ctx.Done():
		}
	}
	close(todo)
	wg.Wait()
	return context.Cause(ctx)
}

// one makes a run and records it.
func (c *campaign) one(ctx context.Context, j job) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	o, err := c.fit(ctx, j)
	if err != nil {
		return err
	}
	if err := c.results.add(o); err != nil {
		return err
	}
	if dir := c.checkpoint(j); dir != "" {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		_ = os.Remove(filepath.Dir(dir)) // unless others are under way
	}
	c.progress.done(o)
	return nil
}

// fit trains a net and measures it: on the validation images in a search, else on the test images. A
// run that diverges is an outcome and no error.
func (c *campaign) fit(ctx context.Context, j job) (outcome, error) {
	m, err := j.net(j.Seed)
	if err != nil {
		return outcome{}, fmt.Errorf("%v: %w", j.spec, err)
	}
	measure, o := c.test, j.options
	if j.Search {
		measure = c.validation
	}
	var data images.Split
	data, o.Epochs = c.material(j.Search)
	o.Seed = j.Seed
	if o.Checkpoint.Dir = c.checkpoint(j); o.Checkpoint.Dir != "" {
		if o.Checkpoint.Resume, err = train.Saved(o.Checkpoint.Dir); err != nil {
			return outcome{}, fmt.Errorf("%v: %w", j.spec, err)
		}
	}
	o.AfterStep = func(s train.Step) error {
		c.progress.step(j.spec, s)
		return nil
	}
	solver, angles := j.solver(j.Rate), map[int]float64{}
	if j.detailed {
		o.AfterEpoch = func(e train.Epoch) (err error) {
			angles[e.Number], err = angle(solver)
			return err
		}
	}
	out := outcome{spec: j.spec}
	epochs, err := train.Fit(ctx, m, solver, data, o)
	for _, e := range epochs {
		kept := newEpoch(e)
		kept.Angle = angles[e.Number] // 0 of an epoch before a resumption
		out.Epochs = append(out.Epochs, kept)
	}
	switch {
	case err != nil:
	case j.detailed:
		err = out.detail(ctx, m, c.validation, measure)
	default:
		err = out.measure(ctx, m, measure)
	}
	if cause := ctx.Err(); cause != nil && errors.Is(err, cause) {
		return out, context.Cause(ctx)
	}
	var d *train.DivergedError
	if errors.As(err, &d) || errors.Is(err, solvers.ErrNotFinite) || errors.Is(err, solvers.ErrDiverged) {
		out.Diverged, out.Accuracy = strings.TrimPrefix(err.Error(), "train: "), 0
		return out, nil
	}
	if err != nil {
		err = fmt.Errorf("%v: %w", j.spec, err)
	}
	return out, err
}

// material returns what a run is trained on, and how often. Where the search is on some of the images, the
// other runs have all, those of the validation part too.
func (c *campaign) material(search bool) (data images.Split, epochs int) {
	switch {
	case c.SearchTrain == 0:
		return c.train, c.Epochs
	case search:
		return c.train.First(c.SearchTrain), c.SearchEpoch
	}
	return c.all, c.Epochs
}

// checkpoint returns the directory of a run that is kept while it is under way, or "".
func (c *campaign) checkpoint(j job) string {
	if !j.resumable || c.results.file == "" || j.Search {
		return ""
	}
	name := fmt.Sprintf("%s-%g-%d", j.Method, j.Rate, j.Seed)
	if j.Case != "" {
		name = j.Case + "-" + name
	}
	return strings.TrimSuffix(c.results.file, ".json") + "-under-way/" + strings.NewReplacer(" ", "-", ",", "").Replace(name)
}

// failed reports whether a run diverged or is hardly better than chance.
func (c *campaign) failed(o outcome) bool {
	return o.Diverged != "" || o.Accuracy < 2/float64(c.classes)
}

// finite returns v, or nil if it is not finite, which JSON can represent.
func finite(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

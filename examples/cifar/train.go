// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/models/train/progress"
	"github.com/kernelfold/kernelfold/solvers"
)

// What is drawn without -data.
const drawn = 4000 // training images; a fifth as many test images

// load reads or draws the images.
func (s *settings) load() (*imageSet, error) {
	if s.Data != "" {
		return images.Load(s.Data, s.Limit)
	}
	n := s.Limit
	if n == 0 {
		n = drawn
	}
	return images.Digits(s.Seed, n, (n+4)/5, images.DigitOptions{})
}

// augmentation is how the images of a shape are varied.
func (s *settings) augmentation(channels int) images.Augmentation {
	const pad = 4 // as He, Zhang, Ren and Sun 2015 do
	switch {
	case s.Augment == "crop":
		return images.Augmentation{Pad: pad}
	case s.Augment == "cropflip", s.Augment == "default" && channels == 3:
		return images.Augmentation{Pad: pad, Flip: true}
	}
	return images.Augmentation{}
}

// reporter is what the solvers of package solvers have and stock ones have not.
type reporter interface{ Report() solvers.Report }

// train makes a run, or goes on with it.
func (c *command) train(ctx context.Context, stdout, stderr io.Writer) error {
	if c.resume {
		if err := c.restore(); err != nil {
			return err
		}
	}
	set, err := c.load()
	if err != nil {
		return err
	}
	rest, held, err := set.Train.Holdout(int(math.Round(c.Validation*float64(set.Train.Len()))), c.Seed)
	if err != nil {
		return cli.Usage("-validation: %w", err)
	}
	if c.Batch > rest.Len() {
		return cli.Usage("-batch: want at most the %d training images, got %d", rest.Len(), c.Batch)
	}
	m, err := c.model(c.Batch, set)
	if err != nil {
		return err
	}
	steps := c.Epochs * (rest.Len() / c.Batch)
	solver, err := c.solver(steps)
	if err != nil {
		return err
	}
	o := train.Options{
		Epochs: c.Epochs, Seed: c.Seed, Augment: c.augmentation(set.Channels), LearnRate: c.rate(steps),
		Test: set.Test, Validation: held, Patience: c.Patience,
		Hooks: []train.Hook{progress.New(stderr)},
	}
	fmt.Fprintf(stdout, "%s: %d training, %d validation and %d test images of %dx%dx%d, %d classes\n",
		set.Name, rest.Len(), held.Len(), set.Test.Len(), set.Channels, set.Height, set.Width, len(set.Classes))
	fmt.Fprintf(stdout, "%s, %d weights; %s, kernels on %s; %d epochs in batches of %d\n", c.Model, m.Parameters(), c.Solver, c.Manifold, c.Epochs, c.Batch)
	if c.out != "" {
		logs, err := c.open(set)
		if err != nil {
			return err
		}
		defer logs.close()
		o.Hooks = append(o.Hooks, train.CSV(logs[0]), train.JSON(logs[1]))
		o.Checkpoint = train.Checkpoint{Dir: c.out, Resume: c.resume, WeightsOnly: !c.ours()}
	}
	epochs, err := train.Fit(ctx, m, solver, rest, o)
	if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return c.interrupted(len(epochs))
	}
	if err != nil {
		return err
	}
	return c.finish(stdout, set, epochs, solver)
}

// restore takes the settings of the run in -out.
func (c *command) restore() error {
	r, err := readRecord(c.out)
	if err != nil {
		return err
	}
	epochs := c.Epochs
	c.settings = r.Settings
	if epochs > 0 {
		c.Epochs = epochs
	}
	if !c.ours() {
		return fmt.Errorf("-resume: want a run of %q, whose state can be saved, got one of %s", namesOf(ours), c.Solver)
	}
	return nil
}

// files are open for writing.
type files []*os.File

func (f files) close() {
	for _, file := range f {
		_ = file.Close()
	}
}

// open makes the directory of the run, with its record and its logs.
func (c *command) open(set *imageSet) (logs files, err error) {
	if err := os.MkdirAll(c.out, 0o777); err != nil {
		return nil, fmt.Errorf("-out: %w", err)
	}
	if _, err := os.Stat(filepath.Join(c.out, recordFile)); err == nil && !c.resume {
		return nil, fmt.Errorf("-out: want a directory without a run, or -resume, got %s with one", c.out)
	}
	if err := newRecord(c.settings, set).write(c.out); err != nil {
		return nil, fmt.Errorf("-out: %w", err)
	}
	for _, name := range []string{"log.csv", "log.json"} {
		f, err := os.Create(filepath.Join(c.out, name))
		if err != nil {
			logs.close()
			return nil, fmt.Errorf("-out: %w", err)
		}
		logs = append(logs, f)
	}
	return logs, nil
}

// interrupted says how to go on.
func (c *command) interrupted(epochs int) error {
	switch {
	case c.out == "":
		return fmt.Errorf("interrupted after %d of %d epochs; nothing is kept without -out DIR", epochs, c.Epochs)
	case !c.ours():
		return fmt.Errorf("interrupted after %d of %d epochs; the net is kept in %s, but a run of %s cannot be resumed", epochs, c.Epochs, c.out, c.Solver)
	}
	return fmt.Errorf("interrupted after %d of %d epochs and saved; to go on: cifar -out %s -resume", epochs, c.Epochs, c.out)
}

// finish draws the plots and says what came of the run.
func (c *command) finish(stdout io.Writer, set *imageSet, epochs []train.Epoch, solver any) error {
	if c.out != "" {
		for _, p := range plots {
			b, err := p.png(set.Name+", "+c.Model, epochs)
			if err == nil {
				err = writeFile(c.out, p.file, b)
			}
			if err != nil {
				return fmt.Errorf("-out: %s: %w", p.file, err)
			}
		}
	}
	if r, ok := solver.(reporter); ok {
		fmt.Fprintf(stdout, "\n%v", r.Report())
	}
	last := epochs[len(epochs)-1]
	fmt.Fprintf(stdout, "\nepoch %d, the last: test accuracy %.2f %%\n", last.Number, 100*last.Accuracy)
	for _, e := range slices.Backward(epochs) {
		if e.Best {
			by := "validation"
			if c.Validation == 0 {
				by = "test"
			}
			fmt.Fprintf(stdout, "epoch %d, the best by %s accuracy: test accuracy %.2f %%\n", e.Number, by, 100*e.Accuracy)
			break
		}
	}
	if c.out == "" {
		fmt.Fprintln(stdout, "nothing is kept; -out DIR keeps the net, logs and plots")
	} else {
		fmt.Fprintf(stdout, "the run is in %s; to classify a picture: cifar -out %s -predict FILE\n", c.out, c.out)
	}
	return nil
}

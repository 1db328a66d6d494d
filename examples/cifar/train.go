// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/models/train/progress"
	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/solvers"
	"github.com/kernelfold/kernelfold/solvers/distributed"
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

// job is what a run is made of.
type job struct {
	set        *imageSet
	rest, held images.Split // of its training images
	model      *models.Model
	solver     gorgonia.Solver
	steps      int
}

// train makes a run, or goes on with it.
func (c *command) train(ctx context.Context, g *distributed.Group, stdout, stderr io.Writer) error {
	if c.resume {
		if err := c.restore(g); err != nil {
			return err
		}
	}
	j, err := c.prepare(g)
	if err := agree(g, err); err != nil {
		return err
	}
	set, ranks := j.set, ""
	if g.Size() > 1 {
		ranks = fmt.Sprintf(" on %d ranks", g.Size())
	}
	fmt.Fprintf(stdout, "%s: %d training, %d validation and %d test images of %dx%dx%d, %d classes\n",
		set.Name, j.rest.Len(), j.held.Len(), set.Test.Len(), set.Channels, set.Height, set.Width, len(set.Classes))
	fmt.Fprintf(stdout, "%s, %d weights; %s, kernels on %s; %d epochs in batches of %d%s\n",
		c.Model, j.model.Parameters(), c.Solver, c.Manifold, c.Epochs, c.Batch, ranks)
	o := train.Options{
		Epochs: c.Epochs, Seed: c.Seed, Augment: c.augmentation(set.Channels), LearnRate: c.rate(j.steps),
		Group: g, Test: set.Test, Validation: j.held, Patience: c.Patience,
		Hooks: []train.Hook{progress.New(stderr)},
	}
	if c.out != "" {
		var logs files
		if g.Root() {
			logs, err = c.open(set)
		}
		if err := agree(g, err); err != nil {
			return err
		}
		defer logs.close()
		if g.Root() {
			o.Hooks = append(o.Hooks, train.CSV(logs[0]), train.JSON(logs[1]))
		}
		o.Checkpoint = train.Checkpoint{Dir: c.out, Resume: c.resume, WeightsOnly: !c.ours()}
	}
	solver := j.solver
	if g.Size() > 1 {
		solver = distributed.Average(g, solver)
	}
	epochs, err := train.Fit(ctx, j.model, solver, j.rest, o)
	switch {
	case errors.Is(err, context.Canceled):
		return c.interrupted(len(epochs))
	case err != nil:
		if r, ok := j.solver.(reporter); ok && g.Root() {
			fmt.Fprintf(stdout, "\n%v", r.Report()) // says at which parameter, and what else is wrong
		}
		return err
	case !g.Root():
		return nil
	}
	return c.finish(stdout, set, epochs, j.solver)
}

// agree makes an error of one rank that of all.
func agree(g *distributed.Group, err error) error {
	if g.Size() == 1 {
		return err // as it is
	}
	return g.Agree(err)
}

// prepare loads the images and makes the net and the solver of a rank.
func (c *command) prepare(g *distributed.Group) (*job, error) {
	if c.Batch%g.Size() != 0 {
		return nil, cli.Usage("-batch: want a multiple of the %d ranks, got %d", g.Size(), c.Batch)
	}
	var j job
	var err error
	if j.set, err = c.load(); err != nil {
		return nil, err
	}
	if j.rest, j.held, err = j.set.Train.Holdout(int(math.Round(c.Validation*float64(j.set.Train.Len()))), c.Seed); err != nil {
		return nil, cli.Usage("-validation: %w", err)
	}
	if c.Batch > j.rest.Len() {
		return nil, cli.Usage("-batch: want at most the %d training images, got %d", j.rest.Len(), c.Batch)
	}
	var over nodes.Sums
	if c.SyncBatchNorm && g.Size() > 1 {
		over = g
	}
	if j.model, err = c.model(c.Batch/g.Size(), j.set, over); err != nil {
		return nil, err
	}
	if c.Import != "" && !c.resume {
		if err := c.importWeights(j.model); err != nil {
			return nil, err
		}
	}
	j.steps = c.Epochs * (j.rest.Len() / c.Batch)
	j.solver, err = c.solver(j.steps)
	return &j, err
}

// restore takes the settings of the run in -out, which rank 0 reads.
func (c *command) restore(g *distributed.Group) error {
	var b []byte
	var err error
	if g.Root() {
		var r *record
		if r, err = readRecord(c.out); err == nil {
			b, err = json.Marshal(r.Settings)
		}
	}
	if err := agree(g, err); err != nil {
		return err
	}
	if b, err = g.Broadcast(b); err != nil {
		return err
	}
	epochs := c.Epochs
	if err := json.Unmarshal(b, &c.settings); err != nil {
		return err
	}
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
	fmt.Fprintf(stdout, "\nepoch %d, the last: test accuracy %.2f %%\n", last.Number, 100*last.TestAccuracy)
	for _, e := range slices.Backward(epochs) {
		if e.Best {
			by := "validation"
			if c.Validation == 0 {
				by = "test"
			}
			fmt.Fprintf(stdout, "epoch %d, the best by %s accuracy: test accuracy %.2f %%\n", e.Number, by, 100*e.TestAccuracy)
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

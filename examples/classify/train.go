// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/internal/disk"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/models/train/progress"
	"github.com/kernelfold/kernelfold/models/train/tensorboard"
	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/solvers"
	"github.com/kernelfold/kernelfold/solvers/distributed"
)

// The number of images that are drawn without -data.
const drawn = 4000 // training images; a fifth as many test images

// augmentation returns how training images are varied.
func (s *settings) augmentation(of *dataset) images.Augmentation {
	const pad = 4 // as He, Zhang, Ren and Sun 2015 do
	switch {
	case of.train != nil: // pictures have their own
	case s.Augment == "crop":
		return images.Augmentation{Pad: pad}
	case s.Augment == "cropflip", s.Augment == "default" && of.Channels == 3:
		return images.Augmentation{Pad: pad, Flip: true}
	}
	return images.Augmentation{}
}

// reporter is implemented by the solvers of package solvers, but not by stock ones.
type reporter interface{ Report() solvers.Report }

// job holds the parts of a run.
type job struct {
	set        *dataset
	rest, held train.Data // of its training images
	model      *models.Model
	solver     gorgonia.Solver
	steps      int
}

// train makes a run, or continues one. Nothing is written before the run has begun.
func (c *command) train(ctx context.Context, g *distributed.Group, stdout, stderr io.Writer) error {
	if c.resume {
		if err := c.restore(g); err != nil {
			return err
		}
	}
	if err := agree(g, c.vacant(g)); err != nil {
		return err
	}
	j, err := cli.Await(ctx, func() (*job, error) { return c.prepare(g) })
	if err := agree(g, err); err != nil {
		return interrupted(err)
	}
	defer runtime.KeepAlive(j.model) // the report at the end reads its weights
	set, ranks := j.set, ""
	if g.Size() > 1 {
		ranks = fmt.Sprintf(" on %d ranks", g.Size())
	}
	fmt.Fprintf(stdout, "%s: %d training, %d validation and %d test images of %dx%dx%d, %d classes\n",
		set.Name, j.rest.Len(), j.held.Len(), set.testing().Len(), set.Channels, set.Height, set.Width, len(set.Classes))
	fmt.Fprintf(stdout, "%s, %d weights; %s, kernels on %s; %d epochs in batches of %d%s\n",
		c.Model, j.model.Parameters(), c.Solver, c.Manifold, c.Epochs, c.Batch, ranks)
	if c.Import != "" && !c.resume {
		if err := agree(g, c.onManifold(stdout, j, j.rest)); err != nil {
			return err
		}
	}
	o := train.Options{
		Epochs: c.Epochs, Seed: c.Seed, Augment: c.augmentation(set), LearnRate: c.rate(j.steps),
		Group: g, Average: c.EMA > 0, Test: set.testing(), Validation: j.held, Patience: c.Patience,
	}
	if c.out != "" {
		o.Hooks = c.keeps(set, stderr)
		o.Checkpoint = train.Checkpoint{
			Dir: c.out, Resume: c.resume, WeightsOnly: !c.ours(),
			Keep: c.Keep, EverySteps: c.SaveSteps, EveryTime: time.Duration(math.Ceil(c.SaveMinutes * float64(time.Minute))),
		}
	}
	if c.TensorBoard {
		o.Hooks = append(o.Hooks, tensorboard.New(filepath.Join(c.out, "events"), j.model, j.solver))
	}
	o.Hooks = append(o.Hooks, progress.New(stderr))
	solver := j.solver
	if g.Size() > 1 {
		solver = distributed.Average(g, solver)
	}
	epochs, begun, err := fit(ctx, j.model, solver, j.rest, o)
	switch {
	case errors.Is(err, context.Canceled) && begun:
		var lost *fs.PathError
		if errors.As(err, &lost) {
			return fmt.Errorf("%w; the events for TensorBoard are incomplete: %w", c.interrupted(len(epochs)), lost)
		}
		return c.interrupted(len(epochs))
	case errors.Is(err, context.Canceled):
		return interrupted(err)
	case err != nil:
		if r, ok := j.solver.(reporter); ok && g.Root() && (errors.As(err, new(*train.DivergedError)) || r.Report().Err != nil) {
			fmt.Fprintf(stdout, "\n%v", r.Report()) // says at which parameter the run failed, and what else is wrong
		}
		if begun {
			err = c.brokenPicture(err)
		}
		return err
	case !g.Root():
		return nil
	}
	set.skipped(stderr)
	return c.finish(stdout, set, epochs, j.solver)
}

// fit is train.Fit, and also reports whether the run has begun. If the context ends before that, which takes
// seconds on a large net, fit returns after a moment, and the remaining work ends with the process.
func fit(ctx context.Context, m *models.Model, solver gorgonia.Solver, data train.Data, o train.Options) ([]train.Epoch, bool, error) {
	const moment = 200 * time.Millisecond // the time to leave the directory of the run
	begin, end := make(chan struct{}), make(chan struct{})
	o.Hooks = append([]train.Hook{{Begin: func(train.Run) error {
		close(begin)
		return nil
	}}}, o.Hooks...)
	var epochs []train.Epoch
	var err error
	go func() {
		defer close(end)
		epochs, err = train.Fit(ctx, m, solver, data, o)
	}()
	if o.Group.Size() == 1 { // others wait for this rank
		select {
		case <-begin:
		case <-end:
		case <-ctx.Done():
			select {
			case <-begin:
			case <-end:
			case <-time.After(moment):
				return nil, false, ctx.Err()
			}
		}
	}
	<-end
	select {
	case <-begin:
		return epochs, true, err
	default:
		return epochs, false, err
	}
}

// interrupted returns the error of an interruption before the run has begun, and other errors unchanged.
func interrupted(err error) error {
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted before the first step; nothing is written")
	}
	return err
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
	if j.set, err = c.load(c.folder); err != nil {
		if c.resume && errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w; if the data of the run have moved, -data DIR says where they are", err)
		}
		return nil, err
	}
	if c.resume {
		if err := sameClasses(c.classes, j.set.Classes); err != nil {
			return nil, fmt.Errorf("-resume: %w", err)
		}
	}
	all := j.set.training()
	held := int(math.Round(c.Validation * float64(all)))
	if held == 0 && c.Validation > 0 {
		return nil, cli.Usage("-validation: want 0 or a share that is at least one of the %d training images, got %g", all, c.Validation)
	}
	if j.rest, j.held, err = j.set.holdout(held, &c.settings); err != nil {
		return nil, cli.Usage("-validation: %w", err)
	}
	if c.Batch > j.rest.Len() {
		return nil, cli.Usage("-batch: want at most the %d training images, got %d", j.rest.Len(), c.Batch)
	}
	var over nodes.Sums
	if c.SyncBatchNorm && g.Size() > 1 {
		over = g
	}
	if j.model, err = c.model(c.Batch/g.Size(), j.set.imageSet, over); err != nil {
		return nil, err
	}
	if c.Import != "" && !c.resume {
		if err := c.importWeights(j.model); err != nil {
			return nil, err
		}
	}
	j.steps = c.Epochs * (j.rest.Len() / c.Batch)
	if c.Freeze != "" {
		if _, err := j.model.Part(c.frozen()...); err != nil {
			return nil, cli.Usage("-freeze: %w", err)
		}
	}
	j.solver, err = c.solver(j.steps)
	return &j, err
}

// restored holds what rank 0 has found in the directory of a run.
type restored struct {
	Settings settings
	Classes  []string
	Begun    bool // there is a checkpoint
}

// restore reads, on rank 0, the settings of the run in -out, except those on the command line. A run that was killed before it was saved begins
// again.
func (c *command) restore(g *distributed.Group) error {
	var b []byte
	var err error
	if g.Root() {
		var r *record
		var is restored
		if r, err = readRecord(c.out); err == nil {
			is.Settings, is.Classes = r.Settings, r.Classes
			is.Begun, err = train.Saved(c.out)
		}
		if err == nil {
			b, err = json.Marshal(is)
		}
	}
	if err := agree(g, err); err != nil {
		return err
	}
	if b, err = g.Broadcast(b); err != nil {
		return err
	}
	var is restored
	if err := json.Unmarshal(b, &is); err != nil {
		return err
	}
	own := c.settings
	c.settings = is.Settings
	if !c.ours() {
		return fmt.Errorf("-resume: want a run of %s, whose state can be saved, got one of %s", strings.Join(cli.Names(ours), ", "), c.Solver)
	}
	if c.given["epochs"] && own.Epochs != c.Epochs {
		c.planned, c.Epochs = c.Epochs, own.Epochs
	}
	if c.given["keep"] {
		c.Keep = own.Keep
	}
	if c.given["save-steps"] {
		c.SaveSteps = own.SaveSteps
	}
	if c.given["save-minutes"] {
		c.SaveMinutes = own.SaveMinutes
	}
	if c.given["tensorboard"] {
		c.TensorBoard = own.TensorBoard
	}
	if c.given["skip"] {
		c.Skip = own.Skip
	}
	if c.given["data"] {
		c.Data = own.Data
	}
	if c.given["labels"] {
		c.Labels = own.Labels
	}
	c.classes = is.Classes
	if c.resume = is.Begun; !c.resume {
		c.note = "the run was not saved yet, so it begins with its first step"
	}
	return nil
}

// logFile is the table of the epochs.
const logFile = "log.csv"

// vacant returns an error on rank 0 if a new run would replace another, or what it reads.
func (c *command) vacant(g *distributed.Group) error {
	if c.out == "" || c.resume || !g.Root() {
		return nil
	}
	if info, err := os.Stat(c.out); err == nil && !info.IsDir() {
		return fmt.Errorf("-out: want a folder, got the file %s", c.out)
	}
	if err := c.apart("out", c.out); err != nil {
		return err
	}
	if cli.SameFile(c.Labels, filepath.Join(c.out, logFile)) {
		return cli.Usage("-labels: want another file than the log of the run in -out, got %s", c.Labels)
	}
	there, err := train.Saved(c.out)
	if err != nil {
		return fmt.Errorf("-out: %w", err)
	}
	if _, err := os.Stat(filepath.Join(c.out, train.BestFile)); there || err == nil {
		return fmt.Errorf("-out: want a directory without a run, or -resume, got %s with one", c.out)
	}
	return nil
}

// keeps returns the hooks that write the files of a run and print where a resumed run continues.
func (c *command) keeps(set *dataset, stderr io.Writer) []train.Hook {
	return []train.Hook{
		{Begin: func(r train.Run) error {
			for _, err := range r.Damaged {
				fmt.Fprintf(stderr, "classify: %v\n", err)
			}
			if c.note != "" {
				fmt.Fprintf(stderr, "classify: %s\n", c.note)
			}
			if c.planned != 0 {
				before, now := c.schedule(c.planned*r.Steps).At(r.DoneSteps), c.schedule(c.Epochs*r.Steps).At(r.DoneSteps)
				fmt.Fprintf(stderr, "classify: %d epochs instead of %d, which the schedule now spans: the learning rate of the next step is %.3g, not %.3g\n",
					c.Epochs, c.planned, c.LearnRate*now, c.LearnRate*before)
			}
			if r.Damaged != nil {
				fmt.Fprintf(stderr, "classify: continues from %s, after %d steps\n", r.Resumed, r.DoneSteps)
			}
			return nil
		}},
		train.CSVFile(filepath.Join(c.out, logFile)),
		train.JSONFile(filepath.Join(c.out, "log.json")),
		{Begin: func(train.Run) error { return newRecord(c.settings, set).write(c.out) }},
	}
}

// interrupted returns the error of an interruption, which says how to continue.
func (c *command) interrupted(epochs int) error {
	switch {
	case c.out == "":
		return fmt.Errorf("interrupted after %d of %d epochs; nothing is kept without -out DIR", epochs, c.Epochs)
	case !c.ours():
		return fmt.Errorf("interrupted after %d of %d epochs; the net is kept in %s, but a run of %s cannot be resumed", epochs, c.Epochs, c.out, c.Solver)
	}
	return fmt.Errorf("interrupted after %d of %d epochs and saved; to continue: classify -out %s -resume", epochs, c.Epochs, cli.Quote(c.out))
}

// brokenPicture adds to the error of a picture how the run, which is saved, can be continued.
func (c *command) brokenPicture(err error) error {
	switch {
	case c.out == "" || !c.ours() || errors.Is(err, train.ErrUnsaved) || !errors.As(err, new(*images.PictureError)):
		return err
	case errors.Is(err, fs.ErrNotExist): // without it the data would be others
		return fmt.Errorf("%w; the steps before it are saved; to continue, put a picture there and: classify -out %s -resume", err, cli.Quote(c.out))
	}
	return fmt.Errorf("%w; the steps before it are saved; to continue without it: classify -out %s -resume -skip", err, cli.Quote(c.out))
}

// finish draws the plots and prints the results of the run.
func (c *command) finish(stdout io.Writer, set *dataset, epochs []train.Epoch, solver any) error {
	if c.out != "" {
		for _, p := range plots {
			b, err := p.png(set.Name+", "+c.Model, epochs)
			if err == nil {
				err = disk.WriteFile(filepath.Join(c.out, p.file), b)
			}
			if err != nil {
				return fmt.Errorf("-out: %s: %w", p.file, err)
			}
		}
	}
	if r, ok := solver.(reporter); ok {
		if report := r.Report(); len(report.Parameters) > 0 { // an average of a stock solver has none
			fmt.Fprintf(stdout, "\n%v", report)
		}
	}
	accuracies(stdout, epochs)
	if c.out == "" {
		fmt.Fprintln(stdout, "nothing is kept; -out DIR keeps the net, logs and plots")
	} else {
		fmt.Fprintf(stdout, "the run is in %s; to classify a picture: classify -out %s -predict FILE\n", c.out, cli.Quote(c.out))
	}
	return nil
}

// accuracies prints those of the last epoch and of the best, as far as there are images that the net was not trained on.
func accuracies(stdout io.Writer, epochs []train.Epoch) {
	last := epochs[len(epochs)-1]
	by, what, of := "validation", "test", func(e train.Epoch) float64 { return e.TestAccuracy }
	switch validated := !math.IsNaN(last.ValidationAccuracy); {
	case math.IsNaN(last.TestAccuracy) && !validated:
		fmt.Fprintf(stdout, "\nepoch %d, the last: there are neither test nor validation images, so its accuracy on other images than those of training is unknown\n", last.Number)
		return
	case math.IsNaN(last.TestAccuracy):
		what, of = by, func(e train.Epoch) float64 { return e.ValidationAccuracy }
	case !validated:
		by = what
	}
	fmt.Fprintf(stdout, "\nepoch %d, the last: %s accuracy %.2f %%\n", last.Number, what, 100*of(last))
	for _, e := range slices.Backward(epochs) {
		if e.Best {
			fmt.Fprintf(stdout, "epoch %d, the best by %s accuracy: %s accuracy %.2f %%\n", e.Number, by, what, 100*of(e))
			return
		}
	}
}

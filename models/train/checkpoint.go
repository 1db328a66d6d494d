// SPDX-License-Identifier: Apache-2.0

package train

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/disk"
	"github.com/kernelfold/kernelfold/internal/wrap"
	"github.com/kernelfold/kernelfold/models/checkpoint"
	"github.com/kernelfold/kernelfold/solvers/distributed"
)

// Checkpoint determines where and when a run is saved: weights, statistics and noise of the model, the state of the
// solver and that of the loop, by package checkpoint, whose Load reads the weights for evaluation:
//
//	err := checkpoint.Load(filepath.Join(dir, train.BestFile), model, nil, nil)
//
// A run is saved before its first step, when one of Every, EverySteps and EveryTime says so, and when it ends, also
// by ErrStop, because ctx was cancelled, or by an error of the data, a hook or an evaluation. A step that fails or diverges is not saved. A run that
// is killed can continue from its last save. While Fit runs no other run can use Dir, in this process or another on the same machine.
//
// The zero value saves nothing.
type Checkpoint struct {
	// Dir is the directory of LastFile, BestFile, the older checkpoints and, during the run, LockFile. It is made if it does not
	// exist.
	Dir string
	// Every is the number of epochs between two saves: 1 if it is 0.
	Every int
	// EverySteps and EveryTime, unless they are 0, save the run within epochs too: after that number of steps, or that time, since the last
	// save.
	EverySteps int
	EveryTime  time.Duration
	// Keep is the number of whole checkpoints that are kept, 2 if it is 0: LastFile and the previous ones, which are numbered as in a
	// checkpoint.Series. Damaged ones do not count.
	Keep int
	// Resume continues from LastFile or, if that is damaged, from the newest whole checkpoint before it; hooks find which one it was,
	// and the errors of the newer ones, in Run. There must be a checkpoint. The model and the solver must be made as in the first run,
	// and data, Test, Validation, batch, seed and augmentation must be the same. An images.Split and Tensors are recognised by their
	// numbers; images.Pictures by the names and labels of the pictures, the classes, their weights, Preprocessing and Transform, not by the
	// content of the files; Data of your own by type and length. Epochs may differ, but not be fewer than the completed ones.
	Resume bool
	// Replace begins a new run in a Dir that holds another run, and deletes that run. Without Replace this is an error.
	Replace bool
	// WeightsOnly leaves the solver out, for solvers whose state cannot be saved: see
	// checkpoint.Keeper. Such a checkpoint can be evaluated but not resumed, so there is none before the first step.
	WeightsOnly bool
}

// ErrUnsaved is wrapped by the error of Fit if the run, which an error has ended, could not be saved for a second reason.
var ErrUnsaved = errors.New("the run could not be saved")

// The files in Checkpoint.Dir.
const (
	LastFile = "last.safetensors" // the run at its last save
	BestFile = "best.safetensors" // the run after its best epoch
	LockFile = "lock"             // of the process that makes the run
)

// Saved reports whether a directory holds checkpoints of a run, whole or damaged, to resume from.
func Saved(dir string) (bool, error) {
	paths, err := (Checkpoint{Dir: dir}).series().Paths()
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("train: %w", err)
	}
	return len(paths) > 0, nil
}

// series returns the checkpoints to resume from.
func (c Checkpoint) series() checkpoint.Series {
	return checkpoint.Series{Dir: c.Dir, Keep: c.Keep, Last: LastFile}
}

func (c *Checkpoint) check(s gorgonia.Solver) error {
	if *c == (Checkpoint{}) {
		return nil
	}
	switch {
	case c.Dir == "":
		return fmt.Errorf("train: checkpoint: want a directory, got none")
	case c.Every < 0:
		return fmt.Errorf("train: checkpoint: want a positive number of epochs, got %d", c.Every)
	case c.EverySteps < 0:
		return fmt.Errorf("train: checkpoint: want a positive number of steps, got %d", c.EverySteps)
	case c.EveryTime < 0:
		return fmt.Errorf("train: checkpoint: want a positive time between two saves, got %v", c.EveryTime)
	case c.Keep < 0:
		return fmt.Errorf("train: checkpoint: want a positive number of checkpoints to keep, got %d", c.Keep)
	case c.Resume && c.WeightsOnly:
		return fmt.Errorf("train: checkpoint: want a run that was saved with its solver to resume, got WeightsOnly")
	case c.Resume && c.Replace:
		return fmt.Errorf("train: checkpoint: want one of Resume and Replace, got both")
	}
	if c.WeightsOnly {
		return nil
	}
	if err := keeps(s); err != nil {
		return fmt.Errorf("train: want a solver whose state can be saved, or Checkpoint.WeightsOnly, got %s: %w", wrap.Describe(s), err)
	}
	return nil
}

// keeps returns an error if the state of a solver cannot be saved. It waits for no other rank.
func keeps(s gorgonia.Solver) error {
	k, err := checkpoint.Keeper(s)
	for d, ok := k.(*distributed.Solver); ok && err == nil; d, ok = k.(*distributed.Solver) {
		k, err = checkpoint.Keeper(d.Unwrap())
	}
	if err == nil {
		_, err = k.Snapshot()
	}
	return err
}

// kept is what a run knows about its checkpoints.
type kept struct {
	leave         func()      // releases the directory, once
	stays         func() bool // stops the end of the context from calling leave; false if it has done so
	resumed       string      // the path of the checkpoint that the run went on from
	damaged       []error
	steps, epochs int       // completed at the last save, -1 before it
	at            time.Time // of the last save, or of the beginning
	due           bool      // EverySteps or EveryTime says to save
}

// enter makes and locks the directory of the run, on rank 0. Leave releases it, and removes it again if it
// was made and nothing has been written. Before the run begins, it is released as soon as the context ends,
// even while other work is still under way.
func (r *run) enter() error {
	r.kept = kept{leave: func() {}, stays: func() bool { return true }, steps: -1, at: time.Now()}
	c := r.Checkpoint
	if c.Dir == "" || !r.root() {
		return nil
	}
	undo := func() {}
	if c.Resume {
		if there, err := Saved(c.Dir); err != nil || !there {
			return cmp.Or(err, fmt.Errorf("train: checkpoint: want a run to resume in %s, got none: %w", c.Dir, fs.ErrNotExist))
		}
	} else {
		var err error
		if undo, err = disk.MakeFolder(c.Dir); err != nil {
			return fmt.Errorf("train: checkpoint: %w", err)
		}
	}
	unlock, err := disk.Lock(filepath.Join(c.Dir, LockFile))
	if errors.Is(err, disk.ErrLocked) {
		return fmt.Errorf("train: checkpoint: want a directory that no run is using, got %s, where one is under way and holds %s", c.Dir, LockFile)
	}
	if err != nil {
		undo()
		return fmt.Errorf("train: checkpoint: %w", err)
	}
	r.kept.leave = sync.OnceFunc(func() {
		unlock()
		undo()
	})
	r.kept.stays = context.AfterFunc(r.ctx, r.kept.leave)
	if c.Resume || c.Replace {
		return nil
	}
	there, err := Saved(c.Dir)
	if _, best := os.Stat(filepath.Join(c.Dir, BestFile)); err == nil && (there || best == nil) {
		err = fmt.Errorf("train: checkpoint: want a directory without a run, or Resume or Replace, got %s with one", c.Dir)
	}
	return err
}

// saveFirst saves a new run before its first step.
func (r *run) saveFirst() error {
	if r.Checkpoint.Resume || r.Checkpoint.WeightsOnly {
		return nil
	}
	return r.save()
}

// isDue reports, on rank 0, whether the run is to be saved after the step under way.
func (r *run) isDue() bool {
	c := r.Checkpoint
	if c.Dir == "" || !r.root() {
		return false
	}
	return c.EverySteps > 0 && r.Steps+1-max(0, r.kept.steps) >= c.EverySteps || c.EveryTime > 0 && time.Since(r.kept.at) >= c.EveryTime
}

// saveStep saves after a step if a save is due. After the last step of an epoch the save waits for the evaluation.
func (r *run) saveStep() error {
	if !r.kept.due || r.Step == r.Plan.steps() {
		return nil
	}
	return r.save()
}

// saveBefore saves a run that has no files yet, so that there are never files of two runs.
func (r *run) saveBefore() error {
	if r.Checkpoint.Dir == "" || r.kept.steps >= 0 {
		return nil
	}
	return r.save()
}

// saveBest keeps the net after its best epoch, as it was evaluated. An average of the weights is not where the solver
// would continue from, so it is kept without the solver.
func (r *run) saveBest(e Epoch) error {
	path := filepath.Join(r.Checkpoint.Dir, BestFile)
	a := averageOf(r.solver)
	swapped := a != nil && a.Swapped()
	if !swapped {
		if err := r.saveBefore(); err != nil {
			return err
		}
	}
	if r.Checkpoint.Dir == "" || !e.Best {
		return nil
	}
	if swapped {
		var err error
		if r.root() {
			err = named(checkpoint.Save(path, r.model, nil, &r.state))
		}
		err = r.agree(err)
		r.torn = r.torn || err != nil
		return err
	}
	return r.write(func(s checkpoint.Solver) error { return checkpoint.Save(path, r.model, s, &r.state) })
}

// saveEpoch saves after an epoch.
func (r *run) saveEpoch(e Epoch) error {
	c := r.Checkpoint
	if c.Dir == "" || e.Number%max(1, c.Every) != 0 && !r.kept.due {
		return nil
	}
	return r.save()
}

// save saves the run unless it is saved already. The first save removes the files of an earlier run.
func (r *run) save() error {
	c := r.Checkpoint
	if c.Dir == "" || r.kept.steps == r.Steps && r.kept.epochs == len(r.Done) {
		return nil
	}
	err := r.write(func(s checkpoint.Solver) error {
		series, first := c.series(), r.kept.steps < 0
		if first {
			series.Keep = 1
		}
		_, err := series.Save(r.model, s, &r.state)
		if err == nil && first {
			if err = os.Remove(filepath.Join(c.Dir, BestFile)); errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
		}
		return err
	})
	if err == nil {
		r.kept.steps, r.kept.epochs, r.kept.at, r.kept.due = r.Steps, len(r.Done), time.Now(), false
	}
	return err
}

// write writes a file on rank 0. A snapshot of the solver is taken by all ranks.
func (r *run) write(to func(checkpoint.Solver) error) (err error) {
	defer func() { r.torn = r.torn || err != nil }()
	var s checkpoint.Solver
	if !r.Checkpoint.WeightsOnly {
		if s, err = checkpoint.Keeper(r.solver); err != nil {
			return fmt.Errorf("train: %w", err)
		}
	}
	if s != nil && r.several() {
		var t checkpoint.HeldSnapshot
		if t.Of, err = s.Snapshot(); err != nil {
			return fmt.Errorf("train: %w", err)
		}
		s = &t
	}
	if r.root() {
		if err = to(s); err != nil {
			err = fmt.Errorf("train: %w", err)
		}
	}
	return r.agree(err)
}

// resume takes the state from the checkpoint, that of the solver on all ranks.
func (r *run) resume() error {
	s := state{Plan: r.Plan, Data: r.Data, Rescaling: r.Rescale, epochs: r.Epochs}
	keeper, err := checkpoint.Keeper(r.solver)
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	solver := keeper
	var t checkpoint.HeldSnapshot
	if r.several() {
		solver = &t
	}
	if r.root() {
		if r.kept.resumed, r.kept.damaged, err = r.Checkpoint.series().Load(r.model, solver, &s); err != nil {
			return r.agree(fmt.Errorf("train: %w", err))
		}
		s.Data = r.Data // which a run of an earlier version does not have
		r.state = s
	}
	if !r.several() {
		return nil
	}
	if err := r.agree(nil); err != nil {
		return err
	}
	if err := keeper.Restore(r.weights, t.Of); err != nil {
		return fmt.Errorf("train: %w", err)
	}
	return nil
}

// Accept rejects a state of other batches, of other data or of more epochs than are wanted, and one that no run can reach, because the file may have been tampered
// with.
func (s *state) Accept(saved any) error {
	is := saved.(*state)
	if is.Plan.Images != s.Plan.Images {
		return fmt.Errorf("want the %d examples of the run that was saved, got %d", is.Plan.Images, s.Plan.Images)
	}
	if is.Plan != s.Plan {
		return fmt.Errorf("want the batches of the run that was saved, %+v, got %+v", is.Plan, s.Plan)
	}
	if err := s.Data.check(is.Data); err != nil {
		return err
	}
	steps, done := s.Plan.steps(), len(is.Done)
	switch {
	case is.Rescaling != s.Rescaling:
		return fmt.Errorf("want Rescale by %d batches as in the run that was saved, got %d", is.Rescaling, s.Rescaling)
	case is.Rescaled < 0 || is.Rescaled > done+1 || is.Rescaling > 0 && is.Step > 0 && is.Rescaled != done+1:
		return fmt.Errorf("want kernels that were rescaled before one of %d epochs, got epoch %d", done+1, is.Rescaled)
	case done > s.epochs:
		return fmt.Errorf("want at least the %d epochs that are complete, got %d", done, s.epochs)
	case is.Step < 0 || is.Step > steps:
		return fmt.Errorf("want 0 to %d steps of the epoch under way, got %d", steps, is.Step)
	case is.Steps != done*steps+is.Step:
		return fmt.Errorf("want %d steps, %d for each of %d epochs and %d more, got %d", done*steps+is.Step, steps, done, is.Step, is.Steps)
	case is.BestSoFar < min(1, done) || is.BestSoFar > done:
		return fmt.Errorf("want the best of %d epochs, got epoch %d", done, is.BestSoFar)
	case is.Step > 0 && (is.Current.Number != done+1 || math.IsNaN(is.Current.TrainLoss)):
		return fmt.Errorf("want epoch %d under way and its loss so far, got epoch %d and %g", done+1, is.Current.Number, is.Current.TrainLoss)
	}
	for i, e := range is.Done {
		if e.Number != i+1 || e.Images != steps*s.Plan.Batch {
			return fmt.Errorf("want epoch %d with %d images, got epoch %d with %d", i+1, steps*s.Plan.Batch, e.Number, e.Images)
		}
	}
	return nil
}

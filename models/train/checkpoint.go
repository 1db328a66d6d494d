// SPDX-License-Identifier: Apache-2.0

package train

import (
	"fmt"
	"os"
	"path/filepath"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/wrap"
	"github.com/kernelfold/kernelfold/models/checkpoint"
	"github.com/kernelfold/kernelfold/solvers/distributed"
)

// Checkpoint says where a run is saved: weights, statistics and noise of the model, the state of the
// solver and that of the loop, by package checkpoint, whose Load reads the weights for evaluation:
//
//	err := checkpoint.Load(filepath.Join(dir, train.BestFile), model, nil, nil)
//
// Its zero value saves nothing.
type Checkpoint struct {
	// Dir is the directory, made if it is not there, of LastFile and BestFile.
	Dir string
	// Every is the number of epochs between two times that LastFile is written: 1 if it is
	// 0. It is written too when the run ends, also by ErrStop or because ctx was cancelled.
	Every int
	// Resume goes on from LastFile, which must be there. The model and the solver must be made as
	// those of the first run were, and data, batch, seed and augmentation be the same; Epochs
	// may be more.
	Resume bool
	// WeightsOnly leaves the solver out, for solvers whose state cannot be saved: see
	// checkpoint.Keeper. Such a checkpoint can be evaluated but not resumed.
	WeightsOnly bool
}

// The files in Checkpoint.Dir.
const (
	LastFile = "last.safetensors" // the run when it was saved last
	BestFile = "best.safetensors" // the run after its best epoch
)

func (c *Checkpoint) check(s gorgonia.Solver, root bool) error {
	if *c == (Checkpoint{}) {
		return nil
	}
	switch {
	case c.Dir == "":
		return fmt.Errorf("train: checkpoint: want a directory, got none")
	case c.Every < 0:
		return fmt.Errorf("train: checkpoint: want a positive number of epochs, got %d", c.Every)
	case c.Resume && c.WeightsOnly:
		return fmt.Errorf("train: checkpoint: want a run that was saved with its solver to resume, got WeightsOnly")
	}
	if !c.WeightsOnly {
		if err := keeps(s); err != nil {
			return fmt.Errorf("train: want a solver whose state can be saved, or Checkpoint.WeightsOnly, got %s: %w", wrap.Describe(s), err)
		}
	}
	if !root {
		return nil
	}
	if err := os.MkdirAll(c.Dir, 0o777); err != nil {
		return fmt.Errorf("train: checkpoint: %w", err)
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

// saveEpoch saves after an epoch.
func (r *run) saveEpoch(e Epoch) error {
	c := r.Checkpoint
	if c.Dir == "" {
		return nil
	}
	if e.Best {
		if err := r.write(BestFile); err != nil {
			return err
		}
	}
	if e.Number%max(1, c.Every) != 0 {
		return nil
	}
	return r.save()
}

// save writes LastFile unless it is there.
func (r *run) save() error {
	if r.Checkpoint.Dir == "" || r.saved == r.Steps && r.savedEpochs == len(r.Done) {
		return nil
	}
	if err := r.write(LastFile); err != nil {
		return err
	}
	r.saved, r.savedEpochs = r.Steps, len(r.Done)
	return nil
}

// write writes a file on rank 0. A snapshot of the solver is taken by all ranks.
func (r *run) write(file string) error {
	var s checkpoint.Solver
	var err error
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
		if err = checkpoint.Save(filepath.Join(r.Checkpoint.Dir, file), r.model, s, &r.state); err != nil {
			err = fmt.Errorf("train: %w", err)
		}
	}
	return r.agree(err)
}

// resume takes the state from the checkpoint, that of the solver on all ranks.
func (r *run) resume() error {
	s := state{Plan: r.Plan}
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
		if err := checkpoint.Load(filepath.Join(r.Checkpoint.Dir, LastFile), r.model, solver, &s); err != nil {
			return r.agree(fmt.Errorf("train: %w", err))
		}
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

// Accept refuses a state of other batches.
func (s *state) Accept(saved any) error {
	if is := saved.(*state).Plan; is != s.Plan {
		return fmt.Errorf("want the batches of the run that was saved, %+v, got %+v", is, s.Plan)
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/files"
	"github.com/kernelfold/kernelfold/internal/wrap"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/safetensors"
	"github.com/kernelfold/kernelfold/solvers"
)

// Solver is a solver whose state can be saved: those of package solvers, and distributed.Average around them. Keeper finds such a solver in a
// wrapper.
type Solver interface {
	Snapshot() (*solvers.Snapshot, error)
	// Restore restores the state of the solver from a snapshot of the given parameters.
	Restore(parameters []gorgonia.ValueGrad, snapshot *solvers.Snapshot) error
}

// Keeper returns the solver whose state is to be saved: s, or the first one that it wraps, by the method
// Unwrap, that is a Solver. If there is none, the error names s and all solvers that it wraps. A wrapper with
// its own state must itself be a Solver to have the state saved.
func Keeper(s gorgonia.Solver) (Solver, error) {
	k, ok := wrap.Find[Solver](s)
	if !ok {
		return nil, fmt.Errorf("checkpoint: want a solver with the methods Snapshot and Restore, such as those of package solvers, got %s", wrap.Describe(s))
	}
	return k, nil
}

// HeldSnapshot holds a snapshot in place of a solver: Save writes it, and Load reads one into it. The ranks
// of a group take and restore snapshots all together, while one of them writes and reads:
//
//	var t checkpoint.HeldSnapshot
//	t.Of, err = solver.Snapshot() // of a *distributed.Solver, on all ranks
//	if err == nil && group.Root() {
//		err = checkpoint.Save(path, model, &t, loop)
//	}
type HeldSnapshot struct{ Of *solvers.Snapshot }

// Snapshot returns the snapshot.
func (t *HeldSnapshot) Snapshot() (*solvers.Snapshot, error) { return t.Of, nil }

// Restore takes the snapshot.
func (t *HeldSnapshot) Restore(_ []gorgonia.ValueGrad, s *solvers.Snapshot) error {
	t.Of = s
	return nil
}

var (
	_ Solver = (*solvers.Solver)(nil)
	_ Solver = (*HeldSnapshot)(nil)
)

// addSolver adds the state of a solver: the blocks as tensors "solver/PARAMETER/BLOCK", and the
// rest of its snapshot as JSON.
func (c *content) addSolver(m models.State, s Solver) error {
	snapshot, err := s.Snapshot()
	switch {
	case err != nil:
		return err
	case snapshot == nil:
		return errors.New("want a snapshot of the solver, got nil")
	}
	shapes := map[string]tensor.Shape{}
	for _, n := range m.Learnables {
		shapes[n.Name()] = n.Shape()
	}
	own := *snapshot // the caller may have it too
	own.Parameters = slices.Clone(snapshot.Parameters)
	for i := range own.Parameters {
		p := &own.Parameters[i]
		if shape, ok := shapes[p.Name]; !ok || !shape.Eq(p.Shape) {
			return fmt.Errorf("want a solver of the parameters of the model, got one that knows %q of shape %v", p.Name, p.Shape)
		}
		p.Bounds = slices.Clone(p.Bounds)
		for k := range p.Bounds { // JSON has no infinity, and a bound of the largest number is as good
			p.Bounds[k] = min(p.Bounds[k], math.MaxFloat64)
		}
		p.State = slices.Clone(p.State)
		for k := range p.State {
			c.addBlock(p.Name, p.State[k].Name, &p.State[k])
		}
	}
	own.Averages = slices.Clone(snapshot.Averages)
	for i := range own.Averages {
		a := &own.Averages[i]
		a.Parameters = slices.Clone(a.Parameters)
		for k := range a.Parameters {
			p := &a.Parameters[k]
			c.addBlock(p.Name, averageName(i), &p.Mean)
		}
	}
	return c.add(solverKey, own)
}

// addBlock adds the numbers of a block as a tensor, and removes them from the block.
func (c *content) addBlock(parameter, name string, b *solvers.Block) {
	c.tensors = append(c.tensors, safetensors.Tensor{Name: blockName(parameter, name), Shape: b.Shape, F32: b.F32, F64: b.F64})
	b.F32, b.F64 = nil, nil
}

// averageName is the name of the blocks of an average of the weights, of which there may be several.
func averageName(i int) string { return fmt.Sprintf("average of weights %d", i+1) }

func blockName(parameter, block string) string { return solverPrefix + parameter + "/" + block }

// solver reads the snapshot of a solver, with its blocks if they are wanted, and adds their names
// to known. Without one in the file the snapshot is nil.
func (f *reading) solver(wanted bool, known map[string]bool) (*solvers.Snapshot, error) {
	text, ok := f.MetadataValue(solverKey)
	if !ok && wanted {
		return nil, fmt.Errorf("want the state of a solver, got none (%w)", ErrMismatch)
	}
	if !ok {
		return nil, nil
	}
	snapshot := &solvers.Snapshot{}
	if err := files.JSON([]byte(text), snapshot); err != nil {
		return nil, fmt.Errorf("state of the solver: %w (%w)", err, ErrMismatch)
	}
	for i := range snapshot.Parameters {
		p := &snapshot.Parameters[i]
		for k := range p.State {
			if err := f.block(p.Name, p.State[k].Name, &p.State[k], wanted, known); err != nil {
				return nil, err
			}
		}
	}
	for i := range snapshot.Averages {
		a := &snapshot.Averages[i]
		for k := range a.Parameters {
			p := &a.Parameters[k]
			if err := f.block(p.Name, averageName(i), &p.Mean, wanted, known); err != nil {
				return nil, err
			}
		}
	}
	return snapshot, nil
}

// block reads the numbers of a block if they are wanted, and adds its name to known.
func (f *reading) block(parameter, name string, b *solvers.Block, wanted bool, known map[string]bool) error {
	full := blockName(parameter, name)
	if known[full] {
		return fmt.Errorf("want the block %q of state once, got it twice (%w)", full, ErrMismatch)
	}
	if known[full] = true; !wanted {
		return nil
	}
	t, err := f.tensor(full, b.Shape, known)
	if err != nil {
		return err
	}
	b.F32, b.F64 = t.F32, t.F64
	return nil
}

// resume restores a solver from a snapshot, with the parameters that the snapshot contains. If it fails, nothing has changed.
func resume(s Solver, m models.State, snapshot *solvers.Snapshot) error {
	known := map[string]bool{}
	for _, p := range snapshot.Parameters {
		known[p.Name] = true
	}
	var parameters []gorgonia.ValueGrad
	for _, n := range m.Learnables {
		if known[n.Name()] {
			parameters = append(parameters, n)
		}
	}
	if err := s.Restore(parameters, snapshot); err != nil {
		return fmt.Errorf("%w (%w)", err, ErrMismatch)
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"fmt"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/manifolds"
)

// Snapshot is all that a solver knows between two steps, beside its options. With the
// weights of that moment, a solver made with the same options goes on from it to the
// bit. Its fields can be written to disk as they are; models/checkpoint does.
type Snapshot struct {
	Solver     string // its name
	Steps      int    // made so far: the place in the schedule
	Turn       int    // of the watch over feasibility
	LearnRate  float64
	Parameters []ParameterSnapshot // in the order in which the solver saw them
}

// ParameterSnapshot is what a solver knows of a parameter.
type ParameterSnapshot struct {
	Name      string
	Shape     []int
	Precision string // float32 or float64
	Manifold  string // with its final scale
	Grouping  string
	Norm      float64 // of the weights when they were first seen

	Steps         int
	Reprojections int
	Projected     bool
	Bounds        [2]float64 // of gradients and weights
	State         []Block
}

// Block is a block of state, as the rule lists it, of shape (points, n, p). One of F32
// and F64 is set.
type Block struct {
	Name  string
	Shape []int
	F32   []float32
	F64   []float64
}

// Snapshot copies the state of the solver; with StepShare only the own share has blocks of state. It fails where Step would for the options of the
// solver, and where two parameters have one name.
func (s *Solver) Snapshot() (*Snapshot, error) {
	e := &s.engine
	if e.err != nil {
		return nil, e.err
	}
	snap := &Snapshot{Solver: s.name, Steps: e.steps, Turn: e.turn, LearnRate: e.learnRate}
	names := map[string]bool{}
	for _, a := range e.slots {
		if names[a.name] {
			return nil, a.fail(ErrParameter, "want parameters of unique names, to find them again", nil)
		}
		names[a.name] = true
		p := a.snapshot()
		if !a.theirs {
			a.allocate(e.rule) // where Init has seen the parameter and no step yet
			for i, k := range a.kinds {
				p.State = append(p.State, blockOf(k.Name, a.old[i]).clone())
			}
		}
		snap.Parameters = append(snap.Parameters, p)
	}
	return snap, nil
}

// snapshot is that of the parameter without its state.
func (s *slot) snapshot() ParameterSnapshot {
	return ParameterSnapshot{
		Name: s.name, Shape: slices.Clone([]int(s.shape)), Precision: s.weights.Precision(),
		Manifold: manifolds.Name(s.manifold), Grouping: s.constraint.Grouping.String(), Norm: s.norm,
		Steps: s.steps, Reprojections: s.stats.reprojections, Projected: s.projected, Bounds: [2]float64{s.longest, s.size},
	}
}

// blockOf is the block with the very numbers of x.
func blockOf(name string, x manifolds.Points) Block {
	return Block{name, []int{x.K, x.N, x.P}, x.Data32(), x.Data64()}
}

func (b Block) clone() Block {
	b.F32, b.F64 = slices.Clone(b.F32), slices.Clone(b.F64)
	return b
}

// Restore makes the state of the solver, which has made no step, that of a snapshot: of
// a solver of the same name, for parameters of the same names, shapes, precision,
// manifolds and groupings, given as to Step with the weights of that moment. The learning rate
// becomes that of the snapshot; everything else that options say is the solver's own.
// If anything does not match, Restore returns an error that says what, and the solver is
// as before.
func (s *Solver) Restore(model []gorgonia.ValueGrad, snap *Snapshot) error {
	e := &s.engine
	switch {
	case e.err != nil:
		return e.err
	case snap == nil:
		return fmt.Errorf("solvers: restore: want a snapshot, got nil (%w)", ErrParameter)
	case len(e.slots) > 0:
		return fmt.Errorf("solvers: restore: want a solver that has seen no parameters, got one that knows %d (%w)", len(e.slots), ErrParameter)
	case snap.Solver != s.name:
		return fmt.Errorf("solvers: restore: want the snapshot of %s, got that of %s (%w)", s.name, snap.Solver, ErrParameter)
	case len(model) != len(snap.Parameters):
		return fmt.Errorf("solvers: restore: want the %d parameters of the snapshot, got %d (%w)", len(snap.Parameters), len(model), ErrParameter)
	case snap.Steps < 0 || snap.Turn < 0:
		return fmt.Errorf("solvers: restore: want counts that are not negative, got %d steps and turn %d (%w)", snap.Steps, snap.Turn, ErrParameter)
	}
	lr := config{}
	if err := LearnRate(snap.LearnRate).apply(&lr); err != nil {
		return err
	}
	byName := map[string]gorgonia.ValueGrad{}
	for i, v := range model {
		if v != nil {
			byName[nameOf(v, i)] = v
		}
	}
	restored := book{}
	for _, p := range snap.Parameters {
		v := byName[p.Name]
		if v == nil {
			return &ParameterError{Name: p.Name, Shape: p.Shape, Kind: ErrParameter, Cause: "want this parameter of the snapshot among those given, got none of its name"}
		}
		w, err := dense.Of(v.Value())
		if err != nil {
			return &ParameterError{Name: p.Name, Shape: p.Shape, Kind: ErrParameter, Cause: "weights: " + err.Error(), Err: err}
		}
		if restored.find(v, w) != nil {
			return &ParameterError{Name: p.Name, Shape: p.Shape, Kind: ErrParameter, Cause: "want every parameter once, got it twice"}
		}
		a, err := e.bindTo(p, w)
		if err != nil {
			return err
		}
		a.allocate(e.rule)
		if err := a.restore(p); err != nil {
			return err
		}
		restored.add(v, a)
	}
	if len(restored.slots) > 0 {
		if err := e.unmatched(restored.slots); err != nil {
			return err
		}
	}
	e.book, e.steps, e.turn, e.learnRate = restored, snap.Steps, snap.Turn, snap.LearnRate
	return nil
}

// bindTo makes the slot of a parameter of a snapshot.
func (e *engine) bindTo(p ParameterSnapshot, w dense.View) (*slot, error) {
	a, err := e.bindAt(p.Name, w, p.Norm)
	if err != nil {
		return nil, err
	}
	is := a.snapshot()
	for _, c := range []struct{ what, want, got string }{
		{"a parameter of shape", fmt.Sprint(tensor.Shape(p.Shape)), fmt.Sprint(tensor.Shape(is.Shape))},
		{"precision", p.Precision, is.Precision},
		{"the manifold", p.Manifold, is.Manifold},
		{"the grouping", p.Grouping, is.Grouping},
	} {
		if c.want != c.got {
			return nil, a.fail(ErrConstraint, fmt.Sprintf("want %s %s of the snapshot, got %s", c.what, c.want, c.got), nil)
		}
	}
	return a, nil
}

// restore copies what a snapshot says of the parameter.
func (s *slot) restore(p ParameterSnapshot) error {
	if len(p.State) != len(s.kinds) {
		return s.fail(ErrParameter, fmt.Sprintf("want %d blocks of state, got %d", len(s.kinds), len(p.State)), nil)
	}
	for i, k := range s.kinds {
		want, got := blockOf(k.Name, s.old[i]), p.State[i]
		if got.Name != want.Name || !slices.Equal(got.Shape, want.Shape) || len(got.F32) != len(want.F32) || len(got.F64) != len(want.F64) {
			return s.fail(ErrParameter, fmt.Sprintf("want the state %q of shape %v, %d float32 and %d float64 numbers, got %q of shape %v, %d and %d",
				want.Name, want.Shape, len(want.F32), len(want.F64), got.Name, got.Shape, len(got.F32), len(got.F64)), nil)
		}
		copy(want.F32, got.F32)
		copy(want.F64, got.F64)
	}
	s.steps, s.stats.reprojections, s.projected = p.Steps, p.Reprojections, p.Projected
	s.longest, s.size = p.Bounds[0], p.Bounds[1]
	return nil
}

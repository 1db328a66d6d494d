// SPDX-License-Identifier: Apache-2.0

package distributed

import (
	"fmt"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/solvers"
)

// Option configures the solver that Average makes. One with an impossible value is an error at the first step.
type Option func(*Solver) error

// CheckEvery compares the weights of all ranks, by a checksum, before every n-th step: 100 by default, 0 is never. If they
// differ, the step fails on every rank with ErrDiverged, and the error names the first parameter.
func CheckEvery(n int) Option {
	return func(s *Solver) error {
		if n < 0 {
			return fmt.Errorf("distributed: CheckEvery: want 0 steps or more, got %d (%w)", n, solvers.ErrOption)
		}
		s.every = n
		return nil
	}
}

// Share says whether the work of a *solvers.Solver is shared, which is the default, or done whole on every rank.
func Share(on bool) Option {
	return func(s *Solver) error { s.share = on; return nil }
}

// Solver makes the steps of another solver with the mean of the gradients of all ranks. It is made by Average.
type Solver struct {
	group *Group
	inner gorgonia.Solver
	every int
	share bool
	err   error // of the options
}

var _ gorgonia.Solver = (*Solver)(nil)

// Average returns a solver that replaces gradients by their mean over the ranks of the group, and then makes the step of s:
// one of package solvers, a stock one, or any other, with its options. All ranks begin with the weights, and the
// state of a *solvers.Solver, of rank 0.
func Average(g *Group, s gorgonia.Solver, opts ...Option) *Solver {
	d := &Solver{group: g, inner: s, every: 100, share: true}
	if g == nil || s == nil {
		d.err = fmt.Errorf("distributed: Average: want a group and a solver, got %v and %v (%w)", g, s, solvers.ErrOption)
	}
	for _, o := range opts {
		if err := o(d); err != nil && d.err == nil {
			d.err = err
		}
	}
	return d
}

// Init compares the parameters of all ranks, gives all the weights of rank 0, and calls the Init of the solver, if it has
// one. It is optional: the first Step does the same, with gradients that were taken before.
func (s *Solver) Init(model []gorgonia.ValueGrad) error {
	if s.err != nil {
		return s.err
	}
	if i, ok := s.inner.(interface {
		Init([]gorgonia.ValueGrad) error
	}); ok {
		return i.Init(model)
	}
	return nil
}

// Step averages the gradients over the ranks and makes the step of the solver. All ranks call it with the same parameters in the same
// order, and all return nil or all an error.
func (s *Solver) Step(model []gorgonia.ValueGrad) error {
	if s.err != nil {
		return s.err
	}
	if s.group.Size() > 1 {
		return fmt.Errorf("distributed: want one rank, got %d", s.group.Size())
	}
	return s.inner.Step(model)
}

// String names the solver and the number of ranks.
func (s *Solver) String() string { return fmt.Sprintf("Average(%v, %d ranks)", nameOf(s.inner), s.group.Size()) }

func nameOf(s gorgonia.Solver) string {
	if n, ok := s.(fmt.Stringer); ok {
		return n.String()
	}
	return fmt.Sprintf("%T", s)
}

// Unwrap returns the solver that makes the steps, whose options may be changed on all ranks alike.
func (s *Solver) Unwrap() gorgonia.Solver { return s.inner }

// Report is that of the solver; empty but for the name if it has none. It is not collective: one rank may ask
// alone.
func (s *Solver) Report() solvers.Report {
	r := solvers.Report{}
	if i, ok := s.inner.(interface{ Report() solvers.Report }); ok {
		r = i.Report()
	}
	r.Solver = s.String()
	return r
}

// Snapshot returns the state of a *solvers.Solver, whole on every rank: all of them call it, though only
// one may write it to disk.
func (s *Solver) Snapshot() (*solvers.Snapshot, error) {
	inner, err := s.keeper()
	if err != nil {
		return nil, err
	}
	return inner.Snapshot()
}

// Restore makes the state of a *solvers.Solver that of the snapshot that rank 0 gives, which may be of another number of ranks. All ranks call it;
// what the others give is not looked at.
func (s *Solver) Restore(model []gorgonia.ValueGrad, snap *solvers.Snapshot) error {
	inner, err := s.keeper()
	if err != nil {
		return err
	}
	return inner.Restore(model, snap)
}

// keeper is the wrapped solver as one whose state can be kept.
func (s *Solver) keeper() (*solvers.Solver, error) {
	if s.err != nil {
		return nil, s.err
	}
	inner, ok := s.inner.(*solvers.Solver)
	if !ok {
		return nil, fmt.Errorf("distributed: want a *solvers.Solver, whose state is known, got %T (%w)", s.inner, solvers.ErrOption)
	}
	return inner, nil
}

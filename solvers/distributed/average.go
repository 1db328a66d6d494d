// SPDX-License-Identifier: Apache-2.0

package distributed

import (
	"encoding/binary"
	"fmt"
	"math"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/isnil"
	"github.com/kernelfold/kernelfold/internal/wrap"
	"github.com/kernelfold/kernelfold/solvers"
)

// Option configures the solver that Average makes. An invalid value is an error at the first step.
type Option func(*Solver) error

// CheckEvery compares the weights of all ranks, by a checksum, before every n-th step: 100 by
// default, 0 is never. If they differ, the step fails on every rank with ErrOutOfSync, and the error
// names the first parameter.
func CheckEvery(n int) Option {
	return func(s *Solver) error {
		if n < 0 {
			return fmt.Errorf("distributed: CheckEvery: want 0 steps or more, got %d (%w)", n, solvers.ErrOption)
		}
		s.every = n
		return nil
	}
}

// Divide sets whether the work of a step is divided among the ranks, which is the default, or done
// whole on every rank. Only the work of a solver with the method StepShare can be divided, such as
// those of package solvers.
func Divide(on bool) Option {
	return func(s *Solver) error { s.divide = on; return nil }
}

// DivideFrom divides the parameters on which a step costs n multiplications per weight or more, by
// manifolds.Properties.Cost, such as banks of n orthonormal filters: 16 by default, 0 divides all.
// Each rank moves the other parameters itself, which is cheaper than receiving the new weights from
// another rank. Choose a larger n for a slow network.
func DivideFrom(n int) Option {
	return func(s *Solver) error {
		if n < 0 {
			return fmt.Errorf("distributed: DivideFrom: want 0 or more, got %d (%w)", n, solvers.ErrOption)
		}
		s.heavy = n
		return nil
	}
}

// Solver makes the steps of another solver with the mean of the gradients of all ranks. Average makes one.
type Solver struct {
	group  *Group
	inner  gorgonia.Solver
	every  int
	divide bool
	heavy  int
	err    error // of the options

	parameters
	mean
	known map[string]bool // parameters that have the weights of rank 0; nil before the first step
	steps int
	sums  checksums
	part  solvers.Share
	made  bool // the ranks have agreed on the step under way
}

var _ gorgonia.Solver = (*Solver)(nil)

// The optional interfaces of the wrapped solver. Keeper, initialiser and reporter are also looked for in the
// solvers that it wraps; a sharer must be the wrapped solver itself, because a wrapper may do more in its
// Step.
type (
	keeper interface {
		Snapshot() (*solvers.Snapshot, error)
		Restore([]gorgonia.ValueGrad, *solvers.Snapshot) error
	}
	initialiser interface {
		Init([]gorgonia.ValueGrad) error
	}
	reporter interface{ Report() solvers.Report }
	sharer   interface {
		StepShare([]gorgonia.ValueGrad, solvers.Share) error
	}
	ascender interface {
		Ascend([]gorgonia.ValueGrad) error
		Cancel()
	}
	sharingAscender interface {
		AscendShare([]gorgonia.ValueGrad, solvers.Share) error
	}
)

// Average returns a solver that replaces gradients by their mean over the ranks of the group, and
// then makes the step of s: one of package solvers, a stock one, or any other, with its options.
// All ranks begin with the weights of rank 0, and with the state of its solver if that has the methods
// Snapshot and Restore, as those of package solvers do. If the solver has the method Unwrap, these methods
// are looked for in the solvers that it wraps too.
func Average(g *Group, s gorgonia.Solver, opts ...Option) *Solver {
	d := &Solver{group: g, inner: s, every: 100, divide: true, heavy: 16}
	if g == nil || g.comm == nil {
		d.group, d.err = nil, fmt.Errorf("distributed: Average: want a group made by Join, got nil or the zero Group (%w)", solvers.ErrOption)
	} else if isnil.Of(s) {
		d.inner, d.err = nil, fmt.Errorf("distributed: Average: want a solver, got nil (%w)", solvers.ErrOption)
	}
	for _, o := range opts {
		if o == nil {
			o = func(*Solver) error {
				return fmt.Errorf("distributed: Average: want an option, got nil (%w)", solvers.ErrOption)
			}
		}
		if err := o(d); err != nil && d.err == nil {
			d.err = err
		}
	}
	if d.err == nil {
		d.part = solvers.Share{Size: 1, Agree: d.agree}
		if _, ok := s.(sharer); ok && d.divide {
			d.part = solvers.Share{Rank: g.Rank(), Size: g.Size(), Heavy: d.heavy, Agree: d.agree, Exchange: g.exchange}
		}
	}
	d.fit(nil)
	return d
}

// alone returns the error of a solver without a group.
func (s *Solver) alone() error {
	if s.err != nil {
		return s.err
	}
	return fmt.Errorf("distributed: want a Solver made by Average, got the zero Solver (%w)", solvers.ErrOption)
}

// Init compares the parameters of all ranks, gives all the weights of rank 0, and calls the Init of
// the solver, if it has one. Call it before the first gradients are computed: the first Step does the same,
// but its gradients are then those of the earlier weights.
func (s *Solver) Init(model []gorgonia.ValueGrad) error {
	if s.group == nil {
		return s.alone()
	}
	_, err := s.look(model)
	if err := s.group.Agree(err); err != nil {
		return err
	}
	if err := s.adopt(model); err != nil {
		return err
	}
	i, ok := wrap.Find[initialiser](s.inner)
	if !ok {
		return nil
	}
	if err := s.group.Agree(i.Init(model)); err != nil {
		return err
	}
	return s.group.broadcast(s.weights) // after the projection, because machines may round differently
}

// Step averages the gradients over the ranks and makes the step of the solver. All ranks call it,
// with the same parameters in the same order, and all return nil or all an error. On several ranks a frozen parameter needs a gradient, too.
//
// A step that fails leaves weights, gradients and state as they were on all ranks, if the solver is
// one of package solvers and the error is not solvers.ErrOverwritten. A stock solver that fails on one rank may have moved the weights of
// others.
func (s *Solver) Step(model []gorgonia.ValueGrad) error {
	if s.group == nil {
		return s.alone()
	}
	if s.group.Size() == 1 && s.err == nil {
		return s.inner.Step(model)
	}
	a, ascends := wrap.Find[ascender](s.inner)
	err := s.replace(model, !ascends)
	if err == nil {
		if one, ok := s.inner.(sharer); ok {
			s.made = false
			if err = one.StepShare(model, s.part); err != nil && !s.made {
				s.takeBack(s.grads)
			}
		} else {
			err = s.group.Agree(s.inner.Step(model))
		}
	}
	if err != nil && ascends {
		a.Cancel()
	}
	return err
}

// Ascend averages the gradients over the ranks and calls the Ascend of the solver, a *solvers.SAM or one that wraps
// it, before a Step. All ranks call it, with the same parameters in the same order, and all return nil or all an error.
func (s *Solver) Ascend(model []gorgonia.ValueGrad) error {
	if s.group == nil {
		return s.alone()
	}
	a, ok := wrap.Find[ascender](s.inner)
	if !ok {
		return fmt.Errorf("distributed: Ascend: want a solver that ascends, such as that of solvers.NewSAM, got %s (%w)", wrap.Describe(s.inner), solvers.ErrOption)
	}
	if s.group.Size() == 1 && s.err == nil {
		return a.Ascend(model)
	}
	if err := s.replace(model, true); err != nil {
		return err
	}
	var err error
	if one, ok := s.inner.(sharingAscender); ok {
		err = one.AscendShare(model, s.part)
	} else {
		own := a.Ascend(model)
		if err = s.group.Agree(own); err != nil && own == nil {
			a.Cancel()
		}
	}
	if err != nil {
		s.takeBack(s.grads)
	}
	return err
}

// Cancel calls the Cancel of the solver, if it has one: see Ascend.
func (s *Solver) Cancel() {
	if a, ok := wrap.Find[ascender](s.inner); ok {
		a.Cancel()
	}
}

// replace replaces the gradients by their means. Compare says whether the weights may be compared, which is
// not the case after an ascent, because machines may round it differently.
func (s *Solver) replace(model []gorgonia.ValueGrad, compare bool) error {
	if err := s.average(model); err != nil {
		return err
	}
	if compare {
		if s.steps++; s.every > 0 && s.steps%s.every == 0 {
			if err := s.check(); err != nil {
				return err
			}
		}
	}
	s.put(s.grads, s.group.Size())
	return nil
}

// average sums the gradients over the ranks.
func (s *Solver) average(model []gorgonia.ValueGrad) error {
	for {
		known, err := s.look(model)
		if err == nil && known {
			err = s.takeGradients(model)
		}
		all, e := s.add(s.group.comm, s.grads, err == nil && known)
		switch {
		case e != nil:
			return s.group.failed("sum", e)
		case all && s.finite():
			return nil
		case all:
			return s.notFinite()
		}
		// Some rank has failed, or has parameters that it did not have at the step before.
		if err := s.group.blame(err); err != nil {
			return err
		}
		if err := s.adopt(model); err != nil {
			return err
		}
	}
}

// notFinite finds out which rank's gradients make the sum non-finite.
func (s *Solver) notFinite() error {
	var err error
	for i, g := range s.grads {
		if !(g.Norm() <= math.MaxFloat64) {
			err = s.list[i].fail(solvers.ErrNotFinite, "want a finite gradient, got "+g.FirstBad(), nil)
			break
		}
	}
	if err := s.group.blame(err); err != nil {
		return err
	}
	i, sum := s.firstBad(s.grads)
	return fmt.Errorf("distributed: parameter %v: want a finite sum of the gradients of %d ranks, each of them finite, got %s (%w)",
		&s.list[i], s.group.Size(), sum.FirstBad(), ErrOverflow)
}

// agree decides, after everything in a step that can fail and before a weight moves, whether the ranks make the step, and afterwards whether all have
// made it.
func (s *Solver) agree(err error, plan uint64) error {
	word := plan | 1
	if err != nil {
		word = 0
	}
	all, e := s.group.gatherWord(word)
	if e != nil {
		return e
	}
	failed, same := false, true
	for r := range s.group.Size() {
		w := binary.LittleEndian.Uint64(all[8*r:])
		failed, same = failed || w == 0, same && w == word
	}
	switch {
	case failed:
		return s.group.blame(err)
	case same:
		s.made = true
		return nil
	}
	lines := []string{"the solver " + nameOf(s.inner)}
	if i, ok := wrap.Find[reporter](s.inner); ok {
		r := i.Report()
		lines = append(lines, fmt.Sprint("the learning rate ", r.LearnRate))
		for _, p := range r.Parameters {
			lines = append(lines, fmt.Sprintf("parameter %q %v %s %s", p.Name, p.Shape, p.Manifold, p.Grouping))
		}
	}
	if err := s.group.same(lines); err != nil {
		return err
	}
	return fmt.Errorf("distributed: want one plan of the step on every rank, got several (%w)", ErrDifferent)
}

// String names the solver and the number of ranks.
func (s *Solver) String() string {
	if s.group == nil {
		return fmt.Sprintf("Average(%s, no ranks)", nameOf(s.inner))
	}
	return fmt.Sprintf("Average(%v, %d ranks)", nameOf(s.inner), s.group.Size())
}

func nameOf(s gorgonia.Solver) string {
	if n, ok := s.(fmt.Stringer); ok {
		return n.String()
	}
	return fmt.Sprintf("%T", s)
}

// Unwrap returns the solver that makes the steps. Its options may be changed, in the same way on all ranks.
func (s *Solver) Unwrap() gorgonia.Solver { return s.inner }

// Report returns the report of the solver, or one with only the name if the solver has none. It is not collective: a single rank may call it.
func (s *Solver) Report() solvers.Report {
	r := solvers.Report{}
	if i, ok := wrap.Find[reporter](s.inner); ok {
		r = i.Report()
	}
	r.Solver = s.String()
	return r
}

// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"gorgonia.org/gorgonia"
)

// Solver keeps parameters on manifolds and moves them by a Rule. It implements
// gorgonia.Solver. It is not safe for concurrent use.
type Solver struct{ engine engine }

var _ gorgonia.Solver = (*Solver)(nil)

func newSolver(r Rule, defaults settings, opts []Option) *Solver {
	s := &Solver{}
	s.engine.config, s.engine.err = configure(r, defaults, opts)
	return s
}

// made returns the engine of the solver. That of a nil Solver, as in the zero SAM and the zero Constrained, and of the zero Solver has the error that
// nothing has made it.
func (s *Solver) made() *engine {
	got := "the zero Solver"
	if s == nil {
		s, got = &Solver{}, "nil"
	}
	if e := &s.engine; e.err == nil && e.rule == nil {
		e.err = optionError("want a solver made by NewSGD, NewAdam or another function of this package, got %s", got)
	}
	return &s.engine
}

// String names the solver: its rule.
func (s *Solver) String() string {
	if e := s.made(); e.rule != nil {
		return e.rule.Name()
	}
	return "solver without a rule"
}

// SetLearnRate changes the learning rate from the next step on. Parameters with their own rate keep its ratio to the rate of the solver.
func (s *Solver) SetLearnRate(lr float64) error {
	e := s.made()
	if e.rule == nil {
		return e.err
	}
	if r, ok := e.rule.(interface{ SetLearnRate(float64) error }); ok {
		return r.SetLearnRate(lr)
	}
	return LearnRate(lr).part(&e.settings)
}

// LearnRate returns the learning rate of the next step, including the schedule. Report has it too, but
// measures much more. It is 0 for Constrain, whose rate is that of the wrapped solver.
func (s *Solver) LearnRate() float64 {
	e := s.made()
	return e.learnRate * e.schedule.At(e.steps)
}

// Init binds the parameters to their constraints and projects the weights that
// are not on their manifold, so that the first gradient is already taken there.
// It is optional: the first Step does the same with the gradient it is given.
func (s *Solver) Init(model []gorgonia.ValueGrad) error { return s.made().init(model) }

// Step moves every parameter against its gradient and zeroes the gradient.
//
// A step is atomic: if it returns an error, which names the parameter, then weights,
// gradients and state are as before. The exception is ErrOverwritten: since the last step other code has set
// weights to values from which no step is possible, such as NaN, and this is detected only while other
// parameters move. Parameters may be given in any order, some may be left out, and new ones may join later.
//
// A parameter is recognised by its *gorgonia.Node or other gorgonia.ValueGrad, or by its memory. If a graph
// is built again, for example for another batch size, its nodes are new. A new node with the name, shape and
// precision of a known parameter inherits its state if it holds the weights that the last step left, or if the
// earlier graph is gone. Report says so. An earlier graph that still exists keeps a copy of the state, from which
// it goes on if it is stepped again, unless it now holds the weights of the later graph: then it inherits in turn.
func (s *Solver) Step(model []gorgonia.ValueGrad) error { return s.StepShare(model, alone) }

// Forget removes the parameters that were not in the last Step or Init, with their state, and returns their
// names. It also removes the copies of state that graphs keep which others have replaced.
func (s *Solver) Forget() []string {
	e := s.made()
	e.replaced = book{}
	names := e.drop(func(p *parameter) bool { return p.seen != e.calls })
	if len(names) > 0 {
		e.identify()
	}
	return names
}

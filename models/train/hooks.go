// SPDX-License-Identifier: Apache-2.0

package train

import "errors"

// Hook observes a run. Each of its functions may be nil. An error ends the run and is returned by Fit, except
// ErrStop, which ends the run without an error. All hooks see each step and each epoch, also after one of them has returned an
// error for it; Fit returns the first one. With several ranks, only rank 0 calls hooks.
type Hook struct {
	// Begin is called once, before the first step.
	Begin func(Run) error
	// AfterStep is called after each step of the solver.
	AfterStep func(Step) error
	// AfterEpoch is called after each epoch, its evaluation and its checkpoint.
	AfterEpoch func(Epoch) error
	// End is called once if Begin was, however the run ended. Fit returns its error together with that of the run.
	End func() error
}

// ErrStop ends a run early without an error if a hook returns it.
var ErrStop = errors.New("train: stop")

// Run is the argument of Begin.
type Run struct {
	Epochs     int     // of the run
	Steps      int     // in an epoch
	Batch      int     // examples a step
	Done       []Epoch // before a resumption
	DoneSteps  int     // before a resumption
	Parameters int     // weights of the net

	Resumed string  // the path of the checkpoint that the run continues from, empty for a new run
	Damaged []error // the errors of newer checkpoints
}

// Step is the argument of AfterStep.
type Step struct {
	Number, Of int     // of the run, from 1
	Epoch      int     // from 1
	Loss       float64 // cost of the batch before the step
	Accuracy   float64 // mean score of the batch before the step, NaN without one: see Epoch.TrainAccuracy
	// Ascended is the cost of the batch at the weights of solvers.SAM.Ascend, NaN without a SAM. Ascended - Loss measures
	// how sharp the minimum is.
	Ascended float64
}

// callBegin calls every hook's Begin.
func (r *run) callBegin(b Run) error {
	for _, h := range r.hooks {
		if h.End != nil {
			r.ends = append(r.ends, h.End)
		}
		if h.Begin != nil {
			if err := h.Begin(b); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *run) callStep(s Step) error {
	return r.call(func(h Hook) error {
		if h.AfterStep == nil {
			return nil
		}
		return h.AfterStep(s)
	})
}

func (r *run) callEpoch(e Epoch) error {
	return r.call(func(h Hook) error {
		if h.AfterEpoch == nil {
			return nil
		}
		return h.AfterEpoch(e)
	})
}

// call calls all hooks, so that a log has the epoch after which another hook ends the run. It returns the first error, or ErrStop if
// there is no other.
func (r *run) call(of func(Hook) error) error {
	var first error
	for _, h := range r.hooks {
		if err := of(h); err != nil && (first == nil || errors.Is(first, ErrStop) && !errors.Is(err, ErrStop)) {
			first = err
		}
	}
	return first
}

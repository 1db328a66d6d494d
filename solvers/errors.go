// SPDX-License-Identifier: Apache-2.0

package solvers

import (
	"errors"
	"fmt"

	"gorgonia.org/tensor"
)

// The kinds of failure, for errors.Is. After all of them except ErrOverwritten, all weights, gradients and state are as before the call.
var (
	// ErrNoGradient: a parameter has no gradient, because the graph was not
	// differentiated or not run.
	ErrNoGradient = errors.New("no gradient")
	// ErrNotFinite: a gradient or a weight is NaN or infinite.
	ErrNotFinite = errors.New("not finite")
	// ErrDiverged: a step is too long for the precision of the weights.
	ErrDiverged = errors.New("diverged")
	// ErrParameter: a parameter or its gradient has an unsupported type, shape or precision, or one that has changed, or the parameter appears
	// twice.
	ErrParameter = errors.New("unusable parameter")
	// ErrConstraint: a constraint does not fit the parameter that it applies to,
	// or applies to none.
	ErrConstraint = errors.New("unusable constraint")
	// ErrOption: an option has an invalid value, or the solver does not have it.
	ErrOption = errors.New("unusable option")
	// ErrOverwritten: since the last step other code has written weights from which no step is possible. This is detected while other
	// parameters move, so these have moved; SAM.Ascend moves them back.
	ErrOverwritten = errors.New("overwritten weights")
	// ErrUnrepeatable: the graph has operations that make the cost differ from run to run, or that
	// change in a run, so that it is not a function of the weights.
	ErrUnrepeatable = errors.New("unrepeatable cost")
	// ErrAscent: Ascend and Step of a SAM were not called alternately.
	ErrAscent = errors.New("ascent and step not in turns")
	// ErrGradient: the gradient of a parameter is not that of the cost.
	ErrGradient = errors.New("wrong gradient")
	// ErrAverage: Swap, SwapBack and Step of an Average were called in the wrong order, or there is no average.
	ErrAverage = errors.New("no average, or out of turn")
	// ErrStock: the solver that Constrain wraps failed.
	ErrStock = errors.New("wrapped solver failed")
)

// ParameterError names the parameter that made a step fail, and says what was wanted and what was found.
type ParameterError struct {
	Name  string
	Shape tensor.Shape
	Kind  error  // one of the errors above
	Cause string // what was wanted and what was found
	Err   error  // the error behind it, if there is one
}

// Error describes the failure in one line.
func (e *ParameterError) Error() string {
	return fmt.Sprintf("solvers: parameter %q %v: %s", e.Name, e.Shape, e.Cause)
}

// Unwrap returns the kind and the error behind it.
func (e *ParameterError) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

func optionError(format string, args ...any) error {
	return fmt.Errorf("solvers: "+format+" (%w)", append(args, ErrOption)...)
}

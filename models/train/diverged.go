// SPDX-License-Identifier: Apache-2.0

package train

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/dense"
	"github.com/kernelfold/kernelfold/nodes"
)

// DivergedError reports that a loss, a weight or a gradient of a run is not finite.
type DivergedError struct {
	Step  int     // of the run, from 1
	Epoch int     // from 1
	Loss  float64 // the loss that is not finite, or the last one before weights or gradients were not, NaN if there was none
	Cause error   // what was detected, if it was not the loss
}

// Error describes the failure in one line.
func (e *DivergedError) Error() string {
	switch {
	case e.Cause != nil && math.IsNaN(e.Loss):
		return fmt.Sprintf("train: diverged at step %d (epoch %d): %v", e.Step, e.Epoch, e.Cause)
	case e.Cause != nil:
		return fmt.Sprintf("train: diverged at step %d (epoch %d): %v; last loss %.4g", e.Step, e.Epoch, e.Cause, e.Loss)
	}
	return fmt.Sprintf("train: diverged at step %d (epoch %d): want a finite loss, got %v", e.Step, e.Epoch, e.Loss)
}

// Unwrap returns the cause.
func (e *DivergedError) Unwrap() error { return e.Cause }

var errNotFinite = errors.New("want finite values in the net, got NaN")

// notFinite returns the cause in the error of a graph that stopped at a value that is not finite,
// or nil for any other error.
func notFinite(err error) error {
	if err == nil {
		return nil
	}
	cause := nodes.Cause(err)
	switch {
	case errors.Is(err, errNotFinite), errors.Is(cause, nodes.ErrNotFinite):
		return cause
	case strings.Contains(err.Error(), "NaN found"):
		return errNotFinite // the text of Gorgonia has many lines
	}
	return nil
}

// finite reports whether all elements of a tensor are finite.
func finite(v gorgonia.Value) bool {
	i, _ := dense.NotFinite(v.Data())
	return i < 0
}

// SPDX-License-Identifier: Apache-2.0

package train

import (
	"fmt"
	"math"

	"github.com/kernelfold/kernelfold/internal/wrap"
	"github.com/kernelfold/kernelfold/solvers"
)

// setRate sets the learning rate of the next step, if the options have one.
func (r *run) setRate() error {
	if r.LearnRate == nil {
		return nil
	}
	if err := solvers.SetLearnRate(r.solver, r.LearnRate(r.Steps)); err != nil {
		return fmt.Errorf("train: LearnRate: %w", err)
	}
	return nil
}

// rate returns the learning rate of the next step, or NaN if it is not known.
func (r *run) rate() float64 {
	lr := math.NaN()
	if r.LearnRate != nil {
		lr = r.LearnRate(r.Steps)
		if solvers.SetLearnRate(r.solver, lr) != nil {
			return lr // the step returns the error
		}
	}
	if s, ok := wrap.Find[*solvers.Solver](r.solver); ok {
		return s.LearnRate()
	}
	return lr
}

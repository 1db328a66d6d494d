// SPDX-License-Identifier: Apache-2.0

package train

import (
	"fmt"
	"math"

	"gorgonia.org/gorgonia"
)

// setLearnRate changes the learning rate of a solver. gorgonia.WithLearnRate does nothing, in
// silence, to solvers that it does not know.
func setLearnRate(s gorgonia.Solver, rate float64) error {
	switch s := s.(type) {
	case interface{ SetLearnRate(float64) error }:
		return s.SetLearnRate(rate)
	case interface{ Unwrap() gorgonia.Solver }:
		return setLearnRate(s.Unwrap(), rate)
	case *gorgonia.VanillaSolver, *gorgonia.Momentum, *gorgonia.RMSPropSolver, *gorgonia.AdamSolver, *gorgonia.BarzilaiBorweinSolver:
		gorgonia.WithLearnRate(rate)(s)
		return nil
	}
	return fmt.Errorf("train: LearnRate: want a solver whose learning rate can be set, got %T", s)
}

// learnRate returns the learning rate of the step that comes next, from 0, or NaN if nobody knows
// it.
func (o *Options) learnRate(s gorgonia.Solver, step int) float64 {
	if s := ours(s); s != nil {
		return s.Report().LearnRate
	}
	if o.LearnRate != nil {
		return o.LearnRate(step)
	}
	return math.NaN()
}

// SPDX-License-Identifier: Apache-2.0

package train

import (
	"errors"
	"fmt"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/solvers"
	"github.com/kernelfold/kernelfold/solvers/distributed"
)

// ranks are the processes that make a run together. Without a group there is one.
//
// All ranks make the same collective calls in the same order: whatever decides which come next is the same on all of
// them, or is agreed on before.
type ranks struct{ group *distributed.Group }

func (r ranks) several() bool { return r.group != nil && r.group.Size() > 1 }

func (r ranks) size() int {
	if r.group == nil {
		return 1
	}
	return r.group.Size()
}

func (r ranks) rank() int {
	if r.group == nil {
		return 0
	}
	return r.group.Rank()
}

func (r ranks) root() bool { return r.rank() == 0 }

// cancelled is the error of the context of a run.
type cancelled struct{ error }

func (c cancelled) Unwrap() error { return c.error }

// agree returns nil if err is nil on every rank. Otherwise all ranks return the first error, of the same kind: ErrStop, cancelled,
// a *DivergedError or any other.
func (r ranks) agree(err error) error {
	if !r.several() {
		return err
	}
	cause := err
	var d *DivergedError
	diverged := errors.As(err, &d) && d.Cause != nil
	if diverged {
		cause = d.Cause
	}
	all := r.group.Agree(cause)
	var first *distributed.RankError
	if !errors.As(all, &first) {
		return all
	}
	kind := make([]float64, 6)
	if first.Rank == r.rank() {
		kind[0], kind[1] = number(errors.Is(err, ErrStop)), number(errors.As(err, new(cancelled)))
		if diverged {
			kind = append(kind[:2], 1, float64(d.Step), float64(d.Epoch), d.Loss)
		}
	}
	kind, e := r.group.Sum(kind...)
	switch {
	case e != nil:
		return e
	case kind[0] > 0:
		return ErrStop
	case kind[1] > 0:
		return cancelled{all}
	case kind[2] > 0:
		return &DivergedError{Step: int(kind[3]), Epoch: int(kind[4]), Loss: kind[5], Cause: all}
	}
	return all
}

func number(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// sum returns the sums over the ranks.
func (r ranks) sum(values ...float64) ([]float64, error) {
	if !r.several() {
		return values, nil
	}
	return r.group.Sum(values...)
}

// meet is sum where the run of a machine ends, that may have failed with err: then all ranks return an error as agree has it.
//
// A rank that has failed sums nothing. So the others have an error as well, here or, if the machine sums too, in the
// synchronised batch normalisation to which they come next.
func (r ranks) meet(err error, values ...float64) ([]float64, error) {
	if !r.several() {
		return values, err
	}
	var sums []float64
	own := err // unless it is the failure of another
	switch {
	case err == nil:
		sums, err = r.group.Sum(values...)
	case errors.Is(err, nodes.ErrSums):
		own = nil
	default:
		_, _ = r.group.Sum()
	}
	if err == nil {
		return sums, nil
	}
	if e := r.agree(own); e != nil {
		return nil, e
	}
	return nil, r.agree(err)
}

// admit refuses a solver that is not of all ranks.
func (r ranks) admit(s gorgonia.Solver) error {
	if !r.several() {
		return nil
	}
	for of := s; ; {
		switch w := of.(type) {
		case *distributed.Solver:
			return nil
		case interface{ Unwrap() gorgonia.Solver }:
			of = w.Unwrap()
		default:
			return fmt.Errorf("train: want a solver of all %d ranks, made by distributed.Average, got %T", r.size(), s)
		}
	}
}

// inner is the solver that makes the steps of a rank.
func inner(s gorgonia.Solver) gorgonia.Solver {
	if d, ok := s.(*distributed.Solver); ok {
		return d.Unwrap()
	}
	return s
}

// ours is the solver of package solvers that makes the steps of a rank, or nil.
func ours(s gorgonia.Solver) *solvers.Solver {
	o, _ := inner(s).(*solvers.Solver)
	return o
}

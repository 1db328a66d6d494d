// SPDX-License-Identifier: Apache-2.0

package train

import (
	"errors"
	"fmt"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/wrap"
	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/solvers/distributed"
)

// processes are the processes of a run. Except for Rank and Size, all of them make the same calls in the same
// order: whatever determines the next call is the same on all of them, or is agreed on before.
type processes interface {
	Rank() int
	Size() int
	// Agree returns nil if err is nil on every process, and otherwise the error of the first that failed.
	Agree(err error) error
	// Sum returns the sum over the processes of each value.
	Sum(values ...float64) ([]float64, error)
	// Broadcast returns the argument of process 0.
	Broadcast(b []byte) ([]byte, error)
}

var (
	_ processes = (*distributed.Group)(nil)
	_ processes = alone{}
)

// alone is the one process of a run without a group.
type alone struct{}

func (alone) Rank() int                           { return 0 }
func (alone) Size() int                           { return 1 }
func (alone) Agree(err error) error               { return err }
func (alone) Sum(v ...float64) ([]float64, error) { return v, nil }
func (alone) Broadcast(b []byte) ([]byte, error)  { return b, nil }

// ranks are the processes of a run, with the agreements that a training loop needs.
type ranks struct{ processes }

func ranksOf(g *distributed.Group) ranks {
	if g == nil {
		return ranks{alone{}}
	}
	return ranks{g}
}

func (r ranks) several() bool { return r.Size() > 1 }

func (r ranks) root() bool { return r.Rank() == 0 }

// cancelled is the error of the context of a run.
type cancelled struct{ error }

func (c cancelled) Unwrap() error { return c.error }

// agree returns nil if err is nil on every rank. Otherwise all ranks return the first error, of the
// same kind: ErrStop, cancelled, a *DivergedError or any other.
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
	all := r.Agree(cause)
	var first *distributed.RankError
	if !errors.As(all, &first) {
		return all
	}
	kind := make([]float64, 6)
	if first.Rank == r.Rank() {
		kind[0], kind[1] = number(errors.Is(err, ErrStop)), number(errors.As(err, new(cancelled)))
		if diverged {
			kind = append(kind[:2], 1, float64(d.Step), float64(d.Epoch), d.Loss)
		}
	}
	kind, e := r.Sum(kind...)
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

// meet is Sum for the end of the run of a machine: it also passes on err, so that every rank
// returns an error, that of agree, if the run failed on one.
//
// A rank that has failed adds nothing to a sum. The others then get an error too: here or, if their machines
// sum as well, in the next synchronised batch normalisation.
func (r ranks) meet(err error, values ...float64) ([]float64, error) {
	var sums []float64
	own := err // unless it is the failure of another
	switch {
	case err == nil:
		sums, err = r.Sum(values...)
	case errors.Is(err, nodes.ErrSums):
		own = nil
	default:
		_, _ = r.Sum()
	}
	if err == nil {
		return sums, nil
	}
	if e := r.agree(own); e != nil {
		return nil, e
	}
	return nil, r.agree(err)
}

// admit returns an error for a solver that does not average over all ranks.
func (r ranks) admit(s gorgonia.Solver) error {
	if _, ok := wrap.Find[*distributed.Solver](s); !ok && r.several() {
		return fmt.Errorf("train: want a solver of all %d ranks, made by distributed.Average, got %s", r.Size(), wrap.Describe(s))
	}
	return nil
}

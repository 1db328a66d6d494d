// SPDX-License-Identifier: Apache-2.0

package distributed

import (
	"context"
	"errors"
	"fmt"

	"github.com/kernelfold/kernelfold/solvers"
)

// The kinds of failure, for errors.Is, in addition to those of package solvers.
var (
	// ErrDifferent: the ranks have different parameters, constraints, states or learning rates.
	ErrDifferent = errors.New("ranks differ")
	// ErrOutOfSync: the weights of the ranks are no longer the same.
	ErrOutOfSync = errors.New("ranks out of sync")
	// ErrOverflow: the sum of the gradients of all ranks overflows, though each is finite.
	ErrOverflow = errors.New("sum overflows")
)

// RankError is the failure of a rank, returned on all ranks. If several ranks failed, it is that of the first.
type RankError struct {
	Rank int
	// Err is the failure itself on the rank that failed. On the others it has the same message, and errors.Is
	// reports the same errors of this package, of package solvers and of package context.
	Err error
}

// Error describes the failure, usually in one line.
func (e *RankError) Error() string { return fmt.Sprintf("distributed: rank %d: %v", e.Rank, e.Err) }

// Unwrap returns the failure.
func (e *RankError) Unwrap() error { return e.Err }

// kinds are the errors that errors.Is finds on every rank.
var kinds = []error{
	ErrDifferent, ErrOutOfSync, ErrOverflow,
	solvers.ErrNoGradient, solvers.ErrNotFinite, solvers.ErrDiverged, solvers.ErrParameter, solvers.ErrConstraint, solvers.ErrOption,
	solvers.ErrOverwritten, solvers.ErrUnrepeatable, solvers.ErrAscent, solvers.ErrGradient, solvers.ErrAverage, solvers.ErrStock,
	context.Canceled, context.DeadlineExceeded,
}

// remote is the error of another rank.
type remote struct {
	message string
	kinds   []error
}

func (e *remote) Error() string   { return e.message }
func (e *remote) Unwrap() []error { return e.kinds }

// encode and decode carry an error to another rank: a byte for each of kinds, and the message. No
// error is no byte.
func encode(err error) []byte {
	if err == nil {
		return nil
	}
	b := make([]byte, len(kinds))
	for i, k := range kinds {
		if errors.Is(err, k) {
			b[i] = 1
		}
	}
	return append(b, err.Error()...)
}

func decode(b []byte) error {
	e := &remote{message: string(b[len(kinds):])}
	for i, k := range kinds {
		if b[i] == 1 {
			e.kinds = append(e.kinds, k)
		}
	}
	return e
}

// Agree returns nil if err is nil on every rank, and otherwise the same *RankError on all of them.
func (g *Group) Agree(err error) error {
	bad := uint64(0)
	if err != nil {
		bad = 1
	}
	all, e := g.gatherWord(bad)
	if e != nil {
		return e
	}
	for _, b := range all {
		if b != 0 {
			return g.blame(err)
		}
	}
	return nil
}

// blame is Agree for the case that some rank may have failed. It returns nil if none has.
func (g *Group) blame(err error) error {
	all, e := g.Gather(encode(err))
	if e != nil {
		return e
	}
	for r, b := range all {
		switch {
		case len(b) == 0:
		case r == g.Rank():
			return &RankError{r, err}
		default:
			return &RankError{r, decode(b)}
		}
	}
	return nil
}

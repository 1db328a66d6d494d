// SPDX-License-Identifier: Apache-2.0

package train

import (
	"fmt"
	"math"
	"slices"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/wrap"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/solvers"
	"github.com/kernelfold/kernelfold/solvers/distributed"
)

// Ascender is implemented by solvers whose step needs the gradient of one batch at two points, like
// solvers.SAM. Fit calls Ascend of the solver, or of the first Ascender that it wraps, after the run of the
// graph. It then runs the graph again on the same batch, with the same noise, and calls Step. If the second
// run fails, it calls Cancel, which restores the weights from before Ascend. The running statistics of batch
// normalisations are those of the first run.
type Ascender interface {
	Ascend([]gorgonia.ValueGrad) error
	Cancel()
}

var (
	_ Ascender = (*solvers.SAM)(nil)
	_ Ascender = (*distributed.Solver)(nil)
)

// ascender returns the solver that ascends, or nil if none does.
func ascender(s gorgonia.Solver) Ascender {
	a, ok := wrap.Find[Ascender](s)
	if d, averages := a.(*distributed.Solver); averages {
		_, ok = wrap.Find[Ascender](d.Unwrap())
	}
	if !ok {
		return nil
	}
	return a
}

// ascend lets an Ascender move the weights, and runs the graph again on the same batch, with the noise of the first run.
func (r *run) ascend(at *Step, noise []uint64) error {
	at.Ascended = math.NaN()
	if r.ascender == nil {
		return nil
	}
	err := r.failed(r.ascender.Ascend(r.weights), at)
	if err != nil {
		return err
	}
	if at.Ascended, err = r.runAgain(at, noise); err != nil {
		r.ascender.Cancel()
	}
	return err
}

// runAgain runs the graph at the ascended weights and returns the loss.
func (r *run) runAgain(at *Step, noise []uint64) (float64, error) {
	restore, err := rewind(r.model.Buffers, noise)
	if err == nil {
		r.vm.Reset()
		err = r.runGraph(at)
		if e := restore(); err == nil {
			err = e
		}
	}
	sums, err := r.meet(err, r.model.Loss())
	if err != nil {
		return math.NaN(), err
	}
	loss := sums[0] / float64(r.Size())
	if math.IsNaN(loss) || math.IsInf(loss, 0) {
		return loss, &DivergedError{at.Number, at.Epoch, at.Loss, fmt.Errorf("want a finite loss at the ascended weights, got %v", loss)}
	}
	return loss, nil
}

// runs returns the number of runs of the noise of each buffer.
func runs(buffers []models.Buffer) []uint64 {
	n := make([]uint64, len(buffers))
	for i, b := range buffers {
		if b.Noise != nil {
			n[i] = b.Noise.Run
		}
	}
	return n
}

// rewind makes the noise draw the numbers of the given runs again, and returns a function that restores the current state of all buffers.
func rewind(buffers []models.Buffer, noise []uint64) (restore func() error, err error) {
	var undo []func() error
	for i, b := range buffers {
		switch {
		case b.Running() != nil:
			s := *b.Running()
			s.Mean, s.Variance = slices.Clone(s.Mean), slices.Clone(s.Variance)
			undo = append(undo, func() error { return b.SetRunning(&s) })
		case b.Iteration != nil:
			was := new(nodes.PowerIteration)
			packed, err := b.Iteration.MarshalBinary()
			if err == nil {
				err = was.UnmarshalBinary(packed)
			}
			if err != nil {
				return nil, fmt.Errorf("train: buffer %s: %w", b.Name, err)
			}
			undo = append(undo, func() error {
				b.Iteration.Exchange(was)
				return nil
			})
		case b.Noise != nil:
			was := b.Noise.Run
			b.Noise.Run = noise[i]
			undo = append(undo, func() error {
				b.Noise.Run = was
				return nil
			})
		}
	}
	return func() (first error) {
		for _, u := range undo {
			if err := u(); err != nil && first == nil {
				first = fmt.Errorf("train: %w", err)
			}
		}
		return first
	}, nil
}

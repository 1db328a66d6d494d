// SPDX-License-Identifier: Apache-2.0

package train

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/wrap"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/solvers"
	"github.com/kernelfold/kernelfold/solvers/distributed"
)

// calibration is the default number of batches from which running statistics are computed.
const calibration = 64

// Recalibrate computes the running statistics of the batch normalisations of m again, for weights that are
// not the result of training steps: an average of weights (solvers.Average.Swap), or weights from elsewhere.
// They become the means, over batches of the data, of the mean and the variance of each batch, as in
// stochastic weight averaging (Izmailov et al., UAI 2018). The vectors of spectral normalisations are updated
// for these weights too. Weights and noise do not change. If Recalibrate fails, nothing changes.
//
// It uses the options Recalibrate, the number of batches, and Seed, Augment and Group, which determine the
// batches: with those of a run, the statistics are those with which Fit evaluated.
//
// Gorgonia's own BatchNorm does not give access to the statistics of a single batch, so its statistics are
// moving averages that start from the current ones. A net without any of these layers does not change.
func Recalibrate(ctx context.Context, of models.Trainable, data Data, o Options) error {
	all := ranksOf(o.Group)
	if err := all.agree(checkBatches("Recalibrate", of, data, o.Recalibrate, all)); err != nil {
		return err
	}
	m := of.Base()
	if !calibrates(m) {
		return nil
	}
	data, err := augment(data, o.Augment, imagesOf(m))
	var vm gorgonia.VM
	if err == nil {
		vm, err = m.Machine()
	}
	if err := all.agree(named(err)); err != nil {
		return err
	}
	defer vm.Close()
	c := calibrator{all, ctx, m, vm, plan{o.Seed, data.Len(), m.Batch() * all.Size(), imagesOf(m), o.Augment}, data}
	return plain(c.calibrate(o.Recalibrate))
}

// calibrates reports whether a net has statistics that follow from weights and data.
func calibrates(m *models.Net) bool {
	return slices.ContainsFunc(m.Buffers, func(b models.Buffer) bool { return b.Running() != nil || b.Iteration != nil })
}

// calibrator runs the graph for its running statistics.
type calibrator struct {
	ranks
	ctx   context.Context
	model *models.Net
	vm    gorgonia.VM
	plan  plan // of its batches
	data  Data
}

// calibrate computes running statistics again from batches of the data: those of an epoch before the first.
func (c calibrator) calibrate(batches int) error {
	if batches == 0 {
		batches = calibration
	}
	batches = min(batches, c.plan.steps())
	noise := runs(c.model.Buffers)
	restore, err := rewind(c.model.Buffers, noise)
	if err := c.agree(err); err != nil {
		return err
	}
	trained := make([]uint64, len(c.model.Buffers))
	for i, b := range c.model.Buffers {
		if b.Statistics != nil {
			trained[i] = b.Statistics.Batches
		}
	}
	if err := c.run(batches); err != nil {
		return errors.Join(err, restore())
	}
	for i, b := range c.model.Buffers {
		if b.Statistics != nil {
			b.Statistics.Batches = trained[i]
		}
		if b.Noise != nil {
			b.Noise.Run = noise[i]
		}
	}
	return nil
}

// run runs the graph on the batches; the k-th has the weight 1/k in the statistics.
func (c calibrator) run(batches int) error {
	part := c.plan.part(c.ranks)
	if c.several() {
		part.place(c.model)
	}
	b, err := newBatch(c.model, part.examples)
	if err := c.agree(named(err)); err != nil {
		return err
	}
	for _, b := range c.model.Buffers {
		if s := b.Statistics; s != nil {
			momentum := s.Momentum
			defer func() { s.Momentum = momentum }()
		}
	}
	defer c.vm.Reset()
	g := newGatherer(c.plan, part, c.data)
	g.shuffle(0)
	for k := range batches {
		if _, err := c.meet(c.runBatch(g, b, k)); err != nil {
			return err
		}
	}
	return nil
}

// runBatch runs the graph on the part of a batch, and clears the gradients.
func (c calibrator) runBatch(g *gatherer, b *batch, k int) error {
	if err := c.ctx.Err(); err != nil {
		return cancelled{err}
	}
	if g.gather(b, 0, k); b.err != nil {
		return named(b.err)
	}
	for _, b := range c.model.Buffers {
		if s := b.Statistics; s != nil {
			s.Momentum = 1 / float64(k+1)
		}
	}
	if err := c.model.Feed(b.values...); err != nil {
		return err
	}
	c.vm.Reset()
	err := c.vm.RunAll()
	clearGradients(c.model)
	if cause := nodes.Cause(err); errors.Is(cause, nodes.ErrSums) {
		err = cause
	}
	if err != nil {
		return fmt.Errorf("train: batch %d of those for the running statistics: %w", k+1, err)
	}
	return nil
}

// clearGradients sets the gradients of a net to 0. Those of several runs of a machine add up until a solver makes a step.
func clearGradients(m *models.Net) {
	for _, l := range m.Learnables {
		if g, err := l.Grad(); err == nil && g != nil {
			gorgonia.ZeroValue(g)
		}
	}
}

// averageOf returns the average of weights of a solver, or nil.
func averageOf(s gorgonia.Solver) *solvers.Average {
	a, _ := wrap.Find[*solvers.Average](s)
	return a
}

func (o *Options) checkAverage(all ranks, s gorgonia.Solver) error {
	a := averageOf(s)
	d, _ := wrap.Find[*distributed.Solver](s)
	switch {
	case o.Average && a == nil:
		return fmt.Errorf("train: Average: want a solver made by solvers.NewEMA or solvers.NewSWA, got %s", wrap.Describe(s))
	case o.Recalibrate < 0:
		return fmt.Errorf("train: Recalibrate: want 0 batches (%d) or more, got %d", calibration, o.Recalibrate)
	case o.Recalibrate > 0 && !o.Average:
		return fmt.Errorf("train: Recalibrate: want Average beside it, got %d batches without", o.Recalibrate)
	case all.several() && a != nil && averageOf(d.Unwrap()) == nil:
		return fmt.Errorf("train: want the average of weights inside the solver of all ranks, distributed.Average(group, solvers.NewEMA(...)), got %s", wrap.Describe(s))
	case a != nil && a.Swapped():
		return errors.New("train: want the weights of the solver, got their average: call SwapBack")
	}
	return nil
}

// exchange puts the average of the weights, with its running statistics, in place of the weights, if that is
// wanted and there is an average. It returns a function that restores the weights and the statistics.
func (r *run) exchange() (back func() error, err error) {
	a := averageOf(r.solver)
	if !r.Average || a.Count() == 0 {
		return func() error { return nil }, nil
	}
	restore, err := rewind(r.model.Buffers, runs(r.model.Buffers))
	if err == nil {
		err = named(a.Swap(r.weights))
	}
	back = func() error {
		a.SwapBack()
		return restore()
	}
	if err = r.agree(err); err == nil && calibrates(r.model) {
		var data Data
		if data, err = augment(r.data, r.Augment, r.Plan.Shape); err == nil {
			err = calibrator{r.ranks, r.ctx, r.model, r.vm, r.Plan, data}.calibrate(r.Recalibrate)
		}
	}
	if err != nil {
		if restore != nil {
			err = errors.Join(err, back())
		}
		return nil, err
	}
	return back, nil
}

// SPDX-License-Identifier: Apache-2.0

package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/wrap"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/solvers"
	"github.com/kernelfold/kernelfold/solvers/distributed"
)

// run is a run under way.
type run struct {
	Options
	state
	ranks
	ctx       context.Context
	model     *models.Model
	solver    gorgonia.Solver
	data      images.Split
	weights   []gorgonia.ValueGrad
	vm        gorgonia.VM
	predictor *models.Predictor
	logits    gorgonia.Value // of the last batch
	feed      *feed
	hooks     []Hook
	ends      []func()
	kept      kept
}

// state is what the loop knows between two steps, apart from the weights and the solver. Checkpoints
// hold it.
type state struct {
	Plan      plan
	Done      []Epoch
	Current   Epoch   // under way, its sums over its steps
	Step      int     // made in it
	Right     int     // images classified correctly in it
	Steps     int     // made in the run
	Loss      float64 // of the last step
	BestSoFar int     // number of the best epoch, 0 before there is one

	epochs int // that are wanted, which is not saved
}

// newRun makes a run of which nothing has been written yet.
func newRun(ctx context.Context, m *models.Model, solver gorgonia.Solver, data images.Split, o Options) (_ *run, err error) {
	r := &run{Options: o, ranks: ranksOf(o.Group), ctx: ctx, model: m, solver: solver, data: data, weights: gorgonia.NodesToValueGrads(m.Learnables)}
	spec := m.Spec()
	r.Plan = plan{o.Seed, data.Len(), spec.Batch * r.Size(), spec.Shape, o.Augment}
	part := r.Plan.part(r.ranks)
	if r.root() {
		r.hooks = append(append(r.hooks, o.Hooks...), Hook{AfterStep: o.AfterStep, AfterEpoch: o.AfterEpoch})
	}
	defer func() {
		if err != nil {
			r.kept.leave()
		}
	}()
	if err := r.begin(); err != nil {
		return nil, err
	}
	for _, b := range m.Buffers() {
		if b.Noise != nil {
			b.Noise.First = part.first
		}
	}
	if err := r.agree(r.goOn(nil)); err != nil {
		return nil, err
	}
	r.predictor, err = m.Predictor()
	if err := r.agree(err); err != nil {
		return nil, err
	}
	gorgonia.Read(m.Logits, &r.logits)
	if err := r.agree(nodes.CheckGraph(m.Graph)); err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	r.vm = gorgonia.NewTapeMachine(m.Graph, gorgonia.BindDualValues(m.Learnables...))
	r.feed = startFeed(r.Plan, part, data, len(r.Done)+1, r.Step, o.Epochs)
	return r, nil
}

// begin takes the state from the checkpoint, or makes the first one.
func (r *run) begin() error {
	if err := r.agree(r.enter()); err != nil {
		return err
	}
	if err := r.compare(); err != nil {
		return err
	}
	if r.Checkpoint.Resume {
		if err := r.resume(); err != nil {
			return err
		}
	} else if s, ok := wrap.Find[Initialiser](r.solver); ok {
		if err := s.Init(r.weights); err != nil {
			return fmt.Errorf("train: %w", err)
		}
	}
	if err := r.share(true); err != nil {
		return err
	}
	if r.Checkpoint.Resume {
		r.kept.steps, r.kept.epochs = r.Steps, len(r.Done)
	}
	return nil
}

// close frees what the run holds. The graph writes to r.logits, so the machine, which has
// a finalizer, would reach itself through r and stay in memory for good.
func (r *run) close() {
	for _, end := range r.ends {
		end()
	}
	r.feed.close()
	_ = r.predictor.Close()
	_ = r.vm.Close()
	r.vm = nil
	r.kept.leave()
}

// all makes the epochs that are left, and saves the run where it ends, unless it failed.
func (r *run) all() error {
	err := r.agree(r.callBegin(Run{
		Epochs: r.Epochs, Steps: r.Plan.steps(), Batch: r.Plan.Batch,
		Done: r.Done, DoneSteps: r.Steps, Parameters: r.model.Parameters(),
		Resumed: r.kept.resumed, Damaged: r.kept.damaged,
	}))
	if err == nil {
		err = r.saveFirst()
	}
	for err == nil && len(r.Done) < r.Epochs && !r.outOfPatience() {
		err = r.epoch()
	}
	if err != nil && !errors.Is(err, ErrStop) && !errors.As(err, new(cancelled)) {
		return err
	}
	if e := r.share(false); e != nil {
		return e
	}
	if e := r.save(); e != nil {
		return e
	}
	return err
}

// outOfPatience reports whether too many epochs went by without a better one.
func (r *run) outOfPatience() bool {
	return r.Patience > 0 && len(r.Done)-r.BestSoFar >= r.Patience
}

// epoch makes the steps that are left of an epoch, evaluates and saves.
func (r *run) epoch() error {
	number := len(r.Done) + 1
	if r.Step == 0 {
		r.Current = Epoch{Number: number, LearnRate: r.rate()}
	}
	var hook error // of the step before, so that each step agrees once
	for r.Step < r.Plan.steps() {
		if err := r.agree(r.goOn(hook)); err != nil {
			return err
		}
		at, err := r.step(number)
		if err != nil {
			return err
		}
		hook = r.callStep(at)
		if err := r.saveStep(); err != nil {
			return err
		}
	}
	if err := r.agree(hook); err != nil {
		return err
	}
	e, err := r.evaluate()
	if err != nil {
		return err
	}
	if e.Best = r.BestSoFar == 0 || r.Best.better(e, r.Done[r.BestSoFar-1]); e.Best {
		r.BestSoFar = number
	}
	r.Done = append(r.Done, e)
	r.Current, r.Step, r.Right = Epoch{}, 0, 0
	if err := r.saveEpoch(e); err != nil {
		return err
	}
	return r.agree(r.callEpoch(e))
}

// goOn returns the error of a hook or of the context that keeps this rank from another step.
func (r *run) goOn(hook error) error {
	if err := r.ctx.Err(); hook == nil && err != nil {
		return cancelled{err}
	}
	return hook
}

// evaluate completes the epoch under way, whose steps are made.
func (r *run) evaluate() (Epoch, error) {
	if err := r.share(false); err != nil {
		return Epoch{}, err
	}
	e, steps := r.Current, float64(r.Plan.steps())
	e.Of, e.Images = r.Epochs, r.Plan.steps()*r.Plan.Batch
	e.TrainLoss /= steps
	e.TrainAccuracy = float64(r.Right) / float64(e.Images)
	for _, part := range []struct {
		split          images.Split
		loss, accuracy *float64
	}{
		{r.Test, &e.TestLoss, &e.TestAccuracy},
		{r.Validation, &e.ValidationLoss, &e.ValidationAccuracy},
	} {
		*part.loss, *part.accuracy = math.NaN(), math.NaN()
		if part.split.Len() == 0 {
			continue
		}
		var err error
		if *part.loss, *part.accuracy, err = r.measure(part.split); err != nil {
			return e, err
		}
	}
	return e, nil
}

// step makes one step and adds it to the epoch under way.
func (r *run) step(epoch int) (Step, error) {
	start := time.Now()
	b := <-r.feed.ready
	at := Step{Number: r.Steps + 1, Of: r.Epochs * r.Plan.steps(), Epoch: epoch}
	right, err := r.move(b, &at)
	r.feed.empty <- b
	if err != nil {
		return at, err
	}
	at.Accuracy = float64(right) / float64(r.Plan.Batch)
	r.Current.TrainLoss += at.Loss
	r.Current.Elapsed += time.Since(start)
	r.Right += right
	r.Step++
	r.Steps++
	r.Loss = at.Loss
	return at, nil
}

// move runs the graph on one batch and lets the solver move the weights. It returns how
// many images were classified correctly before.
func (r *run) move(b *batch, at *Step) (int, error) {
	defer r.vm.Reset()
	loss, hits, err := r.compute(b, at)
	sums, err := r.meet(err, loss, float64(hits), number(r.isDue()))
	if err != nil {
		return 0, err
	}
	at.Loss = sums[0] / float64(r.Size())
	if math.IsNaN(at.Loss) || math.IsInf(at.Loss, 0) {
		return 0, &DivergedError{at.Number, at.Epoch, at.Loss, nil}
	}
	if err := r.solver.Step(r.weights); err != nil {
		if r.diverged(err) {
			return 0, &DivergedError{at.Number, at.Epoch, at.Loss, err}
		}
		return 0, fmt.Errorf("train: step %d: %w", at.Number, err)
	}
	r.kept.due = r.kept.due || sums[2] > 0
	return int(sums[1]), nil
}

// compute runs the graph on the part of a batch that is this rank's.
func (r *run) compute(b *batch, at *Step) (loss float64, hits int, err error) {
	if err := r.model.SetBatch(b.pixels, b.labels); err != nil {
		return 0, 0, err
	}
	if err := r.setRate(); err != nil {
		return 0, 0, err
	}
	if err := r.vm.RunAll(); err != nil {
		if cause := notFinite(err); cause != nil {
			return 0, 0, &DivergedError{at.Number, at.Epoch, r.Loss, cause}
		}
		if cause := nodes.Cause(err); errors.Is(cause, nodes.ErrSums) {
			err = cause
		}
		return 0, 0, fmt.Errorf("train: step %d: %w", at.Number, err)
	}
	return r.model.Loss(), right(r.logits.Data(), b.labels), nil
}

// diverged reports whether a step failed because a weight or a gradient is not finite, or because
// it is too long.
func (r *run) diverged(err error) bool {
	if errors.Is(err, solvers.ErrNotFinite) || errors.Is(err, solvers.ErrDiverged) || errors.Is(err, distributed.ErrOverflow) {
		return true
	}
	if r.several() { // the gradients may be finite on this rank
		return false
	}
	for _, w := range r.weights {
		if g, e := w.Grad(); e == nil && g != nil && !finite(g) {
			return true
		}
	}
	return false
}

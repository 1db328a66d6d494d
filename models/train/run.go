// SPDX-License-Identifier: Apache-2.0

package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/wrap"
	"github.com/kernelfold/kernelfold/models"
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
	model     *models.Net
	solver    gorgonia.Solver
	ascender  Ascender // of the solver, or nil
	data      Data
	weights   []gorgonia.ValueGrad
	vm        gorgonia.VM
	predictor *models.Predictor
	rescaler  rescaler
	feed      *feed
	hooks     []Hook
	ends      []func() error
	kept      kept

	torn         bool // a step or a save has failed, so weights, state and files may not belong together
	synchronised bool // batch normalisations sum over all ranks
}

// state is the state of the loop between two steps, apart from the weights and the solver. Checkpoints hold it.
type state struct {
	Plan      plan
	Data      fingerprint `json:",omitempty"` // none in runs of earlier versions, and in those that are not saved
	Done      []Epoch
	Current   Epoch   // under way, its sums over its steps
	Step      int     // made in it
	Right     float64 // sum of the scores of its examples, such as images classified correctly
	Steps     int     // made in the run
	Loss      float64 // of the last step
	BestSoFar int     // number of the best epoch, 0 before there is one
	Rescaling int     `json:",omitempty"` // batches by which kernels are rescaled, 0 if they are not
	Rescaled  int     `json:",omitempty"` // number of the epoch before which kernels were rescaled last

	epochs int // that are wanted, which is not saved
}

// newRun makes a run. It writes nothing to disk.
func newRun(ctx context.Context, of models.Trainable, solver gorgonia.Solver, data Data, o Options) (_ *run, err error) {
	m := of.Base()
	r := &run{Options: o, ranks: ranksOf(o.Group), ctx: ctx, model: m, solver: solver, ascender: ascender(solver), data: data, weights: gorgonia.NodesToValueGrads(m.Learnables)}
	r.Plan = plan{o.Seed, data.Len(), m.Batch() * r.Size(), imagesOf(m), o.Augment}
	if o.Checkpoint.Dir != "" || r.several() {
		r.Data = r.fingerprint()
	}
	r.Rescaling = o.Rescale
	part := r.Plan.part(r.ranks)
	if r.root() {
		r.hooks = append(append(r.hooks, o.Hooks...), Hook{AfterStep: o.AfterStep, AfterEpoch: o.AfterEpoch})
	}
	made := false
	defer func() {
		if !made { // there is an error, or the solver has panicked
			r.release()
		}
	}()
	if s, ok := of.(interface{ Spec() models.Spec }); ok {
		r.synchronised = s.Spec().BatchNormOver != nil
	}
	if err := r.begin(); err != nil {
		return nil, err
	}
	part.place(m)
	if err := r.agree(r.goOn(nil)); err != nil {
		return nil, err
	}
	r.predictor, err = m.Predictor()
	if err := r.agree(err); err != nil {
		return nil, err
	}
	if err := r.agree(r.goOn(nil)); err != nil {
		return nil, err
	}
	r.vm, err = m.Machine()
	if err := r.agree(err); err != nil {
		return nil, named(err)
	}
	clearGradients(m) // a run that failed may have left some, or the caller
	if o.Rescale > 0 {
		r.rescaler, err = newRescaler(r.ranks, m, solver, o.Group)
		if err := r.agree(named(err)); err != nil {
			return nil, err
		}
	}
	if data, err = augment(data, o.Augment, r.Plan.Shape); err == nil {
		count := (o.Epochs-len(r.Done))*r.Plan.steps() - r.Step
		r.feed, err = startFeed(m, part.examples, count, data, newGatherer(r.Plan, part, data).epochs(len(r.Done)+1, r.Step, o.Epochs))
	}
	if err := r.agree(err); err != nil {
		return nil, err
	}
	made = true
	return r, nil
}

// begin takes the state from the checkpoint, or makes the initial state.
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

// close ends the hooks, whose errors it returns, and releases everything else.
func (r *run) close() error {
	var all []error
	for _, end := range r.ends {
		all = append(all, end())
	}
	r.release()
	return errors.Join(all...)
}

// release ends the goroutine of the feed, closes the machines, as far as the run has them yet, and releases the lock.
func (r *run) release() {
	if r.feed != nil {
		r.feed.close()
	}
	if r.predictor != nil {
		_ = r.predictor.Close()
	}
	r.rescaler.close()
	if r.vm != nil {
		_ = r.vm.Close()
	}
	r.kept.leave()
}

// all makes the remaining epochs, and saves the run at its end if it is whole.
func (r *run) all() error {
	var left error
	if !r.kept.stays() {
		left = r.goOn(nil)
	}
	if err := r.agree(left); err != nil {
		return err
	}
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
	if !r.whole(err) {
		return err
	}
	e := r.share(false)
	if e == nil {
		e = r.save()
	}
	if e == nil {
		return err
	}
	if asked(err) {
		return e
	}
	return fmt.Errorf("%w; %w: %w", err, ErrUnsaved, e)
}

// asked reports whether a run ends because it is complete, or as somebody wanted.
func asked(err error) bool {
	return err == nil || errors.Is(err, ErrStop) || errors.As(err, new(cancelled))
}

// whole reports whether a run that ends with err can be saved: after an error of an example, of an evaluation or of a hook it can, after a
// step that failed or diverged it cannot. Of several ranks all must know the error, since all take part.
func (r *run) whole(err error) bool {
	switch {
	case asked(err):
		return true
	case r.torn || r.Steps == 0 || errors.As(err, new(*DivergedError)):
		return false
	}
	return !r.several() || errors.As(err, new(*distributed.RankError))
}

// outOfPatience reports whether too many epochs have passed without a better one.
func (r *run) outOfPatience() bool {
	return r.Patience > 0 && len(r.Done)-r.BestSoFar >= r.Patience
}

// epoch makes the remaining steps of an epoch, evaluates and saves.
func (r *run) epoch() error {
	number := len(r.Done) + 1
	if err := r.rescaleOnce(number); err != nil {
		return err
	}
	if r.Step == 0 {
		r.Current = Epoch{Number: number, LearnRate: r.rate()}
	}
	var hook error // of the step before, so that each step agrees once
	for r.Step < r.Plan.steps() {
		b, err := r.next(hook)
		if err := r.agree(err); err != nil {
			return err
		}
		at, err := r.step(number, b)
		if err != nil {
			r.torn = true
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
	e, err := r.complete(number)
	if err != nil {
		return err
	}
	if err := r.saveEpoch(e); err != nil {
		return err
	}
	return r.agree(r.callEpoch(e))
}

// complete evaluates the epoch after its last step, with the average of the weights if that is wanted, and keeps the best.
func (r *run) complete(number int) (e Epoch, err error) {
	if r.Average { // while the weights are those of the run
		if err := r.saveBefore(); err != nil {
			return e, err
		}
	}
	back, err := r.exchange()
	if err != nil {
		return e, err
	}
	defer func() {
		if b := back(); b != nil {
			r.torn, err = true, errors.Join(err, b)
		}
	}()
	if e, err = r.evaluate(); err != nil {
		return e, err
	}
	if e.Best = r.BestSoFar == 0 || r.Best.better(e, r.Done[r.BestSoFar-1]); e.Best {
		r.BestSoFar = number
	}
	r.Done = append(r.Done, e)
	r.Current, r.Step, r.Right = Epoch{}, 0, 0
	return e, r.saveBest(e)
}

// goOn returns the error of a hook or of the context that ends the run on this rank.
func (r *run) goOn(hook error) error {
	if err := r.ctx.Err(); hook == nil && err != nil {
		return cancelled{err}
	}
	return hook
}

// evaluate evaluates the epoch after its last step.
func (r *run) evaluate() (Epoch, error) {
	if err := r.share(false); err != nil {
		return Epoch{}, err
	}
	e, steps := r.Current, float64(r.Plan.steps())
	e.Of, e.Images = r.Epochs, r.Plan.steps()*r.Plan.Batch
	e.TrainLoss /= steps
	e.TrainAccuracy = math.NaN()
	if r.model.Score != nil {
		e.TrainAccuracy = r.Right / float64(e.Images)
	}
	for _, part := range []struct {
		name           string
		data           Data
		loss, accuracy *float64
	}{
		{"Test", r.Test, &e.TestLoss, &e.TestAccuracy},
		{"Validation", r.Validation, &e.ValidationLoss, &e.ValidationAccuracy},
	} {
		*part.loss, *part.accuracy = math.NaN(), math.NaN()
		if isEmpty(part.data) {
			continue
		}
		var err error
		if *part.loss, *part.accuracy, err = r.measure(part.name, part.data); err != nil {
			return e, err
		}
	}
	return e, nil
}

// next waits for the batch of the next step. The error of an example, like that of a hook or of the context, ends the run before any rank has begun
// the step, so that the run can be saved.
func (r *run) next(hook error) (*batch, error) {
	if err := r.goOn(hook); err != nil {
		return nil, err
	}
	start := time.Now()
	select {
	case b := <-r.feed.ready:
		waited := time.Since(start)
		r.Current.Waited += waited
		r.Current.Elapsed += waited
		return b, named(b.err)
	case <-r.ctx.Done():
		return nil, cancelled{r.ctx.Err()}
	}
}

// step makes one step with a batch and adds it to the epoch under way.
func (r *run) step(epoch int, b *batch) (Step, error) {
	start := time.Now()
	at := Step{Number: r.Steps + 1, Of: r.Epochs * r.Plan.steps(), Epoch: epoch}
	score, err := r.move(b, &at)
	r.feed.empty <- b
	if err != nil {
		return at, err
	}
	at.Accuracy = math.NaN()
	if r.model.Score != nil {
		at.Accuracy = score / float64(r.Plan.Batch)
		r.Right += score
	}
	r.Current.TrainLoss += at.Loss
	r.Current.Elapsed += time.Since(start)
	r.Step++
	r.Steps++
	r.Loss = at.Loss
	return at, nil
}

// move runs the graph on one batch and lets the solver move the weights. It returns the sum of the
// scores of the examples before, 0 without scores.
func (r *run) move(b *batch, at *Step) (float64, error) {
	defer r.vm.Reset()
	var noise []uint64 // before the run
	if r.ascender != nil {
		noise = runs(r.model.Buffers)
	}
	loss, score, err := r.compute(b, at)
	sums, err := r.meet(err, loss, score, number(r.isDue()))
	if err != nil {
		return 0, err
	}
	at.Loss = sums[0] / float64(r.Size())
	if math.IsNaN(at.Loss) || math.IsInf(at.Loss, 0) {
		return 0, &DivergedError{at.Number, at.Epoch, at.Loss, nil}
	}
	if err := r.ascend(at, noise); err != nil {
		return 0, err
	}
	if err := r.failed(r.solver.Step(r.weights), at); err != nil {
		return 0, err
	}
	r.kept.due = r.kept.due || sums[2] > 0
	return sums[1], nil
}

// failed returns the error of Fit for an error of a solver.
func (r *run) failed(err error, at *Step) error {
	switch {
	case err == nil:
		return nil
	case r.diverged(err):
		return &DivergedError{at.Number, at.Epoch, at.Loss, err}
	}
	return fmt.Errorf("train: step %d: %w", at.Number, err)
}

// compute runs the graph on the part of a batch that is this rank's.
func (r *run) compute(b *batch, at *Step) (loss, score float64, err error) {
	if err := r.model.Feed(b.values...); err != nil {
		return 0, 0, err
	}
	if err := r.setRate(); err != nil {
		return 0, 0, err
	}
	if err := r.runGraph(at); err != nil {
		return 0, 0, err
	}
	if r.model.Score != nil {
		outputs := make([]*tensor.Dense, len(r.model.Outputs))
		for i := range outputs {
			outputs[i] = r.model.Output(i)
		}
		if score = r.model.Score(outputs, b.values[len(r.model.Inputs):]); score-score != 0 {
			return 0, 0, fmt.Errorf("train: step %d: want a finite score, got %v", at.Number, score)
		}
	}
	return r.model.Loss(), score, nil
}

// runGraph runs the graph on the current inputs.
func (r *run) runGraph(at *Step) error {
	err := r.vm.RunAll()
	if err == nil {
		return nil
	}
	if cause := notFinite(err); cause != nil {
		last := r.Loss
		if r.Steps == 0 {
			last = math.NaN()
		}
		return &DivergedError{at.Number, at.Epoch, last, cause}
	}
	if cause := nodes.Cause(err); errors.Is(cause, nodes.ErrSums) {
		err = cause
	}
	return fmt.Errorf("train: step %d: %w", at.Number, err)
}

// diverged reports whether a step failed because a weight or a gradient is not finite, or because the step is too long.
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

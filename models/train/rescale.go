// SPDX-License-Identifier: Apache-2.0

package train

import (
	"context"
	"errors"
	"fmt"
	"math"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/isnil"
	"github.com/kernelfold/kernelfold/internal/wrap"
	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/solvers"
	"github.com/kernelfold/kernelfold/solvers/distributed"
)

// Rescale gives the manifolds of convolution kernels the scale of FG-SGD (Ozay, NeurIPS 2019),
//
//	R = gamma / lambda,
//
// where gamma is the scale from the constraint, such as manifolds.UnitFilters, and lambda the standard
// deviation of the features that the points of the part see: lambda^2 is the variance of the channel that a
// weight multiplies, over the images and pixels of a batch, averaged over the weights and the batches. If the
// features are white noise, the output of the layer then has the variance that features of standard deviation
// 1 would give it at the scale gamma. All layers are measured before the first is rescaled. A part with
// constant features keeps its scale, and so do unconstrained kernels and weights that are not kernels.
//
// The solver must be a solvers.Rescaler, or wrap one. A kernel on a manifold without a scale is an error.
// Running statistics, noise and power iterations do not change. If Rescale fails, nothing changes.
//
// It uses the options Rescale, the number of batches, and Seed, Augment and Group, which determine the
// batches: those of an epoch before the first. If Rescale is 0, the number is 64, or that of an epoch if it
// has fewer.
func Rescale(ctx context.Context, of models.Trainable, solver gorgonia.Solver, data Data, o Options) error {
	all := ranksOf(o.Group)
	err := checkBatches("Rescale", of, data, o.Rescale, all)
	var r rescaler
	if err == nil {
		r, err = newRescaler(all, of.Base(), solver, o.Group)
	}
	defer r.close()
	if err == nil {
		data, err = augment(data, o.Augment, imagesOf(of.Base()))
	}
	if err := all.agree(named(err)); err != nil {
		return err
	}
	m := of.Base()
	return plain(r.rescale(ctx, plan{o.Seed, data.Len(), m.Batch() * all.Size(), imagesOf(m), o.Augment}, data, o.Rescale))
}

// rescaler measures the features of a net, and rescales its kernels.
type rescaler struct {
	ranks
	model    *models.Net
	solver   solvers.Rescaler
	features *models.Features
}

func newRescaler(all ranks, m *models.Net, s gorgonia.Solver, g *distributed.Group) (r rescaler, err error) {
	r = rescaler{ranks: all, model: m}
	if r.solver, err = rescalerOf(s); err != nil {
		return r, err
	}
	var over nodes.Sums
	if all.several() {
		over = g
	}
	if r.features, err = m.Features(over); err != nil {
		return r, err
	}
	return r, r.check()
}

// check returns an error if a kernel has no scale, before anything is written.
func (r rescaler) check() error {
	return r.each(func(p *solvers.Part) (float64, error) {
		if _, ok := p.Manifold.(manifolds.Scalable); !ok {
			return 0, fmt.Errorf("train: Rescale: want kernels on manifolds that are manifolds.Scalable, got %s", manifolds.Name(p.Manifold))
		}
		return p.Scale(), nil
	})
}

// each calls Rescale of the solver for the kernels.
func (r rescaler) each(scale func(p *solvers.Part) (float64, error)) error {
	return r.solver.Rescale(gorgonia.NodesToValueGrads(r.model.Learnables), func(p *solvers.Part) (float64, error) {
		if name, _ := p.Parameter(); r.features.Kernel(name) {
			return scale(p)
		}
		return p.Scale(), nil
	})
}

func (r rescaler) close() {
	if r.features != nil {
		_ = r.features.Close()
	}
}

// rescalerOf returns the solver that rescales.
func rescalerOf(s gorgonia.Solver) (solvers.Rescaler, error) {
	r, ok := wrap.Find[solvers.Rescaler](s)
	if !ok {
		return nil, fmt.Errorf("train: Rescale: want a solver of package solvers, got %s", wrap.Describe(s))
	}
	return r, nil
}

// rescale measures batches of the data, and rescales.
func (r rescaler) rescale(ctx context.Context, p plan, data Data, batches int) error {
	if batches == 0 {
		batches = calibration
	}
	restore, err := rewind(r.model.Buffers, runs(r.model.Buffers))
	if err := r.agree(err); err != nil {
		return err
	}
	r.features.Clear()
	err = r.measure(ctx, p, data, min(batches, p.steps()))
	if e := restore(); e != nil {
		err = errors.Join(err, e)
	}
	if err := r.agree(err); err != nil {
		return err
	}
	return r.agree(named(r.each(func(p *solvers.Part) (float64, error) {
		name, _ := p.Parameter()
		variance, err := p.Mean(r.features.Variances(name))
		if err != nil || variance == 0 {
			return p.Scale(), err
		}
		return 1 / math.Sqrt(variance), nil
	})))
}

// measure runs the graph of the features on the batches of an epoch before the first.
func (r rescaler) measure(ctx context.Context, p plan, data Data, batches int) error {
	part := p.part(r.ranks)
	if r.several() {
		part.place(r.model)
	}
	b, err := newBatch(r.model, part.examples)
	if err := r.agree(named(err)); err != nil {
		return err
	}
	g := newGatherer(p, part, data)
	g.shuffle(0)
	for k := range batches {
		err := ctx.Err()
		if err != nil {
			err = cancelled{err}
		} else if g.gather(b, 0, k); b.err != nil {
			err = named(b.err)
		} else if err = r.features.Run(b.values...); errors.Is(nodes.Cause(err), nodes.ErrSums) {
			err = nodes.ErrSums
		} else if err != nil {
			err = fmt.Errorf("train: batch %d of those for the scales: %w", k+1, err)
		}
		if _, err := r.meet(err); err != nil {
			return err
		}
	}
	return nil
}

// checkBatches returns an error if no batches can be made from the arguments.
func checkBatches(what string, of models.Trainable, data Data, batches int, all ranks) error {
	switch {
	case isnil.Of(of) || of.Base() == nil || of.Base().Batch() < 1:
		return fmt.Errorf("train: %s: want a net made by models.New, got none", what)
	case of.Base().Cost == nil:
		return fmt.Errorf("train: %s: want a net with a cost, got none", what)
	case isEmpty(data):
		return fmt.Errorf("train: %s: want examples, got none", what)
	case batches < 0:
		return fmt.Errorf("train: %s: want 0 batches (%d) or more, got %d", what, calibration, batches)
	case data.Len() < of.Base().Batch()*all.Size():
		return fmt.Errorf("train: %s: want at least one batch of %d examples, got %d examples", what, of.Base().Batch()*all.Size(), data.Len())
	}
	return named(probe(of.Base(), data))
}

func (o *Options) checkRescale(s gorgonia.Solver) error {
	if o.Rescale < 0 {
		return fmt.Errorf("train: Rescale: want 0 batches or more, got %d", o.Rescale)
	}
	if o.Rescale == 0 {
		return nil
	}
	_, err := rescalerOf(s)
	return err
}

// rescaleOnce rescales before the first step of an epoch.
func (r *run) rescaleOnce(epoch int) error {
	if r.Rescale == 0 || r.Rescaled >= epoch || r.Step > 0 {
		return nil
	}
	data, err := augment(r.data, r.Augment, r.Plan.Shape)
	if err := r.agree(err); err != nil {
		return err
	}
	if err := r.rescaler.rescale(r.ctx, r.Plan, data, r.Rescale); err != nil {
		return err
	}
	r.Rescaled = epoch
	return nil
}

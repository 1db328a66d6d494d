// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/solvers"
)

// contestant is a net and its solver.
type contestant struct {
	name   string
	build  func() (*models.Model, error)
	solver func(...solvers.Option) *solvers.Solver
}

const batch = 50

// freeRates are the learning rates of layers whose learnables are free. Large steps make kernels of noise, which the rescaling shrinks.
var freeRates = map[models.Variant]float64{models.AOLVariant: 0.001, models.SLLVariant: 0.004, models.CPLVariant: 0.004}

// contestants are the 1-Lipschitz net, and two of the same shape.
func (s *settings) contestants(set *images.Set) []contestant {
	widths := []int{16, 32, 64}
	o := models.Options{Shape: set.Shape(), Classes: len(set.Classes), Seed: s.seed, Widths: widths, Variant: models.Variant(s.variant)}
	plain := func() (*models.Model, error) {
		return models.Build(models.Spec{Batch: batch, Shape: o.Shape, Classes: o.Classes, Seed: o.Seed}, func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
			return plainNet(b, x, widths)
		})
	}
	adam := func(own ...solvers.Option) func(...solvers.Option) *solvers.Solver {
		return func(opts ...solvers.Option) *solvers.Solver { return solvers.NewAdam(append(own, opts...)...) }
	}
	last := solvers.Param("fc.weight", manifolds.Sphere{}, manifolds.PerFilter, manifolds.FilterNorm(s.temperature))
	lipschitz := []solvers.Option{solvers.LearnRate(0.2), last, solvers.Natural()}
	if rate, free := freeRates[o.Variant]; free {
		lipschitz = []solvers.Option{solvers.LearnRate(rate), last.With(solvers.LearnRate(0.03))}
	}
	return []contestant{
		{"1-Lipschitz, " + s.variant, func() (*models.Model, error) { return models.Certifiable(batch, o) }, adam(lipschitz...)},
		{"kernels on Stiefel", plain, adam(solvers.LearnRate(0.02), solvers.Kernels(manifolds.Stiefel{}))},
		{"free", plain, adam(solvers.LearnRate(0.003))},
	}
}

// plainNet has the layers of models.Certifiable, of ordinary convolutions.
func plainNet(b *models.Builder, x *gorgonia.Node, widths []int) *gorgonia.Node {
	layer := func(b *models.Builder, name string, x *gorgonia.Node, filters, size, stride int) *gorgonia.Node {
		return b.MaxMin(b.Bias(name, b.Apply(name, x, func(x *gorgonia.Node) (*gorgonia.Node, error) {
			w, err := b.Weight(name+".weight", b.Spec().Kernels, filters, x.Shape()[1], size, size)
			if err != nil {
				return nil, err
			}
			pad := (size - 1) / 2
			return nodes.Conv2dWith(x, w, tensor.Shape{size, size}, []int{pad, pad}, []int{stride, stride}, nil, nodes.Circular())
		})))
	}
	for i, width := range widths {
		stage, size, stride := b.In(fmt.Sprintf("stage%d", i+1)), 3, 1
		if i > 0 {
			size, stride = 2, 2
		}
		x = layer(stage, "block", layer(stage, "conv", x, width, size, stride), width, 3, 1)
	}
	return b.Linear("fc", x, b.Spec().Classes)
}

// train trains a net and measures what it can promise.
func (s *settings) train(ctx context.Context, c contestant, set *images.Set, stderr io.Writer) (*models.Model, *result, error) {
	m, err := c.build()
	if err != nil {
		return nil, nil, err
	}
	steps := s.epochs * (set.Train.Len() / batch)
	start := time.Now()
	_, err = train.Fit(ctx, m, c.solver(solvers.Anneal(solvers.Cosine(max(1, steps), 0.01))), set.Train, train.Options{
		Epochs: s.epochs, Seed: s.seed,
		AfterEpoch: func(e train.Epoch) error {
			fmt.Fprintf(stderr, "%s: epoch %d of %d, loss %.4f, accuracy %.1f %%\n", c.name, e.Number, e.Of, e.TrainLoss, 100*e.TrainAccuracy)
			return nil
		},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", c.name, err)
	}
	r := &result{Net: c.name, Seconds: time.Since(start).Seconds(), Radii: radii()}
	bounds, err := models.Lipschitz(m, nodes.Slack(slack))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", c.name, err)
	}
	r.Bound = bounds.Bound
	p, err := m.Predictor()
	if err != nil {
		return nil, nil, err
	}
	defer p.Close()
	test := set.Test.First(s.certified)
	// A change of r in pixel values is one of r/σ at most in the numbers that the net takes.
	σ := float64(slices.Min(set.Std))
	inNet := make([]float64, len(r.Radii))
	for i, radius := range r.Radii {
		inNet[i] = radius / σ
	}
	if r.Certified, err = p.CertifiedAccuracy(test.Images, test.Labels, inNet, nodes.Slack(slack)); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", c.name, err)
	}
	if r.Spectra, err = spectraOf(m); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", c.name, err)
	}
	return m, r, nil
}

// slack is how far bounds of convolutions may be above the norm.
const slack = 0.05

// radii are those at which certified accuracy is measured, with those of the table.
func radii() (all []float64) {
	for i := range 61 {
		all = append(all, float64(i)/100)
	}
	for _, r := range shown {
		if !slices.Contains(all, r) {
			all = append(all, r)
		}
	}
	slices.Sort(all)
	return all
}

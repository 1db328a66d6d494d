// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"gorgonia.org/gorgonia"

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
	choice choice // for drawn digits, found by -tune
	solver func(choice, ...solvers.Option) *solvers.Solver
}

// choice is what is chosen on validation images.
type choice struct {
	Rate        float64 `json:"learning_rate"`
	Temperature float64 `json:"temperature,omitempty"` // of the last layer, if its columns are kept at a norm
}

const batch = 50

// choices are those of the variants. Large steps make free kernels of noise, which the rescaling shrinks.
var choices = map[models.Variant]choice{
	models.OrthogonalVariant: {0.1, 1}, models.AOLVariant: {0.001, 0.5}, models.SLLVariant: {0.016, 0.5}, models.CPLVariant: {0.016, 1},
}

// temperatures names those of all variants.
func temperatures() string {
	var all []string
	for _, v := range slices.Sorted(maps.Keys(choices)) {
		all = append(all, fmt.Sprintf("%s %g", v, choices[v].Temperature))
	}
	return strings.Join(all, ", ")
}

// contestants are the 1-Lipschitz nets, and two of the same shape.
func (s *settings) contestants(set *images.Set) (all []contestant) {
	o := models.Options{Shape: set.Shape(), Classes: len(set.Classes), Seed: s.seed, Widths: []int{16, 32, 64}}
	adam := func(own ...solvers.Option) func(choice, ...solvers.Option) *solvers.Solver {
		return func(c choice, opts ...solvers.Option) *solvers.Solver {
			return solvers.NewAdam(slices.Concat([]solvers.Option{solvers.LearnRate(c.Rate)}, own, opts)...)
		}
	}
	for _, v := range s.variants {
		o, c := o, choices[v]
		if o.Variant = v; s.temperature > 0 {
			c.Temperature = s.temperature
		}
		all = append(all, contestant{
			name:   "1-Lipschitz, " + string(v),
			build:  func() (*models.Model, error) { return models.Certifiable(batch, o) },
			choice: c,
			solver: func(c choice, opts ...solvers.Option) *solvers.Solver {
				last := solvers.Param("fc.weight", manifolds.Sphere{}, manifolds.PerFilter, manifolds.FilterNorm(c.Temperature))
				if v == models.OrthogonalVariant {
					return adam(last, solvers.Natural())(c, opts...)
				}
				return adam(last.With(solvers.LearnRate(0.03)))(c, opts...)
			},
		})
	}
	plain := func() (*models.Model, error) {
		return models.Build(models.Spec{Batch: batch, Shape: o.Shape, Classes: o.Classes, Seed: o.Seed}, func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
			return plainNet(b, x, o.Widths)
		})
	}
	return append(all,
		contestant{name: "kernels on Stiefel", build: plain, choice: choice{Rate: 0.04}, solver: adam(solvers.Kernels(manifolds.Stiefel{}))},
		contestant{name: "free", build: plain, choice: choice{Rate: 0.006}, solver: adam()},
	)
}

// plainNet has the layers of models.Certifiable, of ordinary convolutions.
func plainNet(b *models.Builder, x *gorgonia.Node, widths []int) *gorgonia.Node {
	layer := func(b *models.Builder, name string, x *gorgonia.Node, filters, size, stride int) *gorgonia.Node {
		return b.MaxMin(b.Bias(name, b.Conv(name, x, filters, size, stride, (size-1)/2, nodes.Circular())))
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

// fit trains a net on a part of the images.
func (s *settings) fit(ctx context.Context, c contestant, of choice, on images.Split, epochs int, after func(train.Epoch)) (*models.Model, error) {
	m, err := c.build()
	if err != nil {
		return nil, err
	}
	steps := epochs * (on.Len() / batch)
	_, err = train.Fit(ctx, m, c.solver(of, solvers.Anneal(solvers.Cosine(max(1, steps), 0.01))), on, train.Options{
		Epochs: epochs, Seed: s.seed,
		AfterEpoch: func(e train.Epoch) error {
			after(e)
			return nil
		},
	})
	return m, err
}

// measure returns the certified accuracy of a net at each radius, in pixel values.
func (s *settings) measure(m *models.Model, on images.Split, σ float64, radii []float64) ([]float64, error) {
	p, err := m.Predictor()
	if err != nil {
		return nil, err
	}
	defer p.Close()
	inNet := make([]float64, len(radii))
	for i, r := range radii {
		inNet[i] = r / σ
	}
	on = on.First(s.certified)
	return p.CertifiedAccuracy(on.Images, on.Labels, inNet, nodes.Slack(slack))
}

// deviation is the smallest σ by which pixels are divided: a change of r in pixel values is one of r/σ at most in the numbers that a net receives.
func deviation(set *images.Set) float64 { return float64(slices.Min(set.Std)) }

// tune doubles or halves the learning rate, and then the temperature, as long as the certified accuracy at 36/255 increases, or the clean accuracy while
// nothing is certified, on a tenth of the training images after training on the others. Test images are not used.
func (s *settings) tune(ctx context.Context, c contestant, set *images.Set, stderr io.Writer) (choice, error) {
	rest, held, err := set.Train.Holdout(set.Train.Len()/10, s.seed)
	if err != nil {
		return choice{}, err
	}
	best, most := c.choice, []float64{-1, -1} // certified, clean
	better := func(of choice) (bool, error) {
		m, err := s.fit(ctx, c, of, rest, s.tuning, func(train.Epoch) {})
		if diverged := new(train.DivergedError); errors.As(err, &diverged) {
			return false, nil
		} else if err != nil {
			return false, err
		}
		accuracies, err := s.measure(m, held, deviation(set), shown)
		if err != nil {
			return false, err
		}
		fmt.Fprintf(stderr, "%s: %v: validation accuracies %.3f\n", c.name, of, accuracies)
		got := []float64{accuracies[1], accuracies[0]}
		if slices.Compare(got, most) <= 0 {
			return false, nil
		}
		best, most = of, got
		return true, nil
	}
	climb := func(by choice) (bool, error) {
		for steps := 0; ; steps++ {
			if ok, err := better(choice{by.Rate * best.Rate, by.Temperature * best.Temperature}); err != nil || !ok {
				return steps > 0, err
			}
		}
	}
	if _, err := better(best); err != nil {
		return choice{}, err
	}
	ways := [][2]choice{{{2, 1}, {0.5, 1}}}
	if c.choice.Temperature > 0 {
		ways = append(ways, [2]choice{{1, 2}, {1, 0.5}})
	}
	for _, w := range ways {
		up, err := climb(w[0])
		if err == nil && !up {
			_, err = climb(w[1])
		}
		if err != nil {
			return choice{}, err
		}
	}
	return best, nil
}

func (c choice) String() string {
	if c.Temperature == 0 {
		return fmt.Sprintf("learning rate %g", c.Rate)
	}
	return fmt.Sprintf("learning rate %g, temperature %g", c.Rate, c.Temperature)
}

// train trains a net and measures its certified accuracy.
func (s *settings) train(ctx context.Context, c contestant, set *images.Set, stderr io.Writer) (*models.Model, *result, error) {
	r := &result{Net: c.name, Radii: radii(), choice: c.choice}
	var err error
	if s.tuning > 0 {
		if r.choice, err = s.tune(ctx, c, set, stderr); err != nil {
			return nil, nil, err
		}
		fmt.Fprintf(stderr, "%s: %v, chosen on validation images\n", c.name, r.choice)
	}
	start := time.Now()
	m, err := s.fit(ctx, c, r.choice, set.Train, s.epochs, func(e train.Epoch) {
		fmt.Fprintf(stderr, "%s: epoch %d of %d, loss %.4f, accuracy %.1f %%\n", c.name, e.Number, e.Of, e.TrainLoss, 100*e.TrainAccuracy)
	})
	if err != nil {
		return nil, nil, err
	}
	r.Seconds = time.Since(start).Seconds()
	bounds, err := models.Lipschitz(m, nodes.Slack(slack))
	if err != nil {
		return nil, nil, err
	}
	r.Bound = bounds.Bound
	if r.Certified, err = s.measure(m, set.Test, deviation(set), r.Radii); err != nil {
		return nil, nil, err
	}
	r.Spectra, err = spectraOf(m)
	return m, r, err
}

// slack is the relative amount by which bounds of convolutions may exceed the norm.
const slack = 0.05

// radii returns the radii at which certified accuracy is measured, including those of the table.
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

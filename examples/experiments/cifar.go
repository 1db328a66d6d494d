// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/solvers"
)

// cifar trains ResNet-20 with the augmentation and the weight decay of He, Zhang, Ren and
// Sun (2016), and a cosine schedule instead of steps, since there are fewer epochs. The rate is chosen by
// short runs on some of the images, with the same schedule. The momentum is the paper's, through which the decay acts. A run is saved after each epoch and when it is interrupted.
var cifar = experiment{
	"cifar",
	size{Train: 28000, Validation: 2000, Test: 10000, Epochs: 10, Batch: 64, SearchTrain: 5120, SearchEpoch: 3, seeds: 3},
	size{Train: 64, Validation: 32, Test: 32, Epochs: 1, Batch: 32, SearchTrain: 32, SearchEpoch: 1, seeds: 1},
	func(ctx context.Context, c *campaign) error {
		rates, depth := []float64{0.01, 0.03, 0.1, 0.3}, 20
		if c.quick {
			rates, depth = []float64{0.1}, 8
		}
		o := train.Options{Augment: images.Augmentation{Pad: 4, Flip: true}}
		net := func(seed uint64) (*models.Model, error) {
			return models.ResNet(c.Batch, depth, models.Options{Shape: c.shape, Classes: c.classes, Seed: seed})
		}
		make := func(m method, s spec) job {
			data, epochs := c.material(s.Search)
			steps := data.Len() / c.Batch * epochs
			solver := func(rate float64) gorgonia.Solver {
				return m.solver(solvers.AmbientMomentum(), solvers.Anneal(solvers.Cosine(steps, 0)), solvers.AmbientDecay(5e-4))(rate)
			}
			return job{spec: s, net: net, solver: solver, options: o, resumable: true}
		}
		c.expectTuned("", cifarMethods(), rates)
		all, err := c.tuned(ctx, "", cifarMethods(), rates, make)
		if err != nil {
			return err
		}
		if err := c.report("", all); err != nil {
			return err
		}
		return c.plotLosses(all)
	},
}

func cifarMethods() []method {
	list := []method{euclidean}
	for _, k := range constraints {
		switch k.name {
		case "sphere per filter", "Stiefel bank":
			list = append(list, k.method(""))
		}
	}
	return list
}

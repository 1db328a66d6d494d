// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/kernelfold/kernelfold/solvers"
)

// fashion is the paper's comparison on a small net: every method at the rate that is best for it
// on validation images.
var fashion = experiment{
	"fashion",
	size{Train: 5000, Validation: 2000, Test: 10000, Epochs: 3, Batch: 32, seeds: 5, again: 2},
	size{Train: 96, Validation: 50, Test: 50, Epochs: 1, Batch: 32, seeds: 2, again: 1},
	func(ctx context.Context, c *campaign) error {
		rates := []float64{0.003, 0.01, 0.03, 0.1, 0.3}
		if c.quick {
			rates = []float64{0.01, 0.03}
		}
		for _, kase := range normCases {
			c.expectTuned(kase, fashionMethods(), rates)
		}
		for _, kase := range normCases {
			make := func(m method, s spec) job { return job{spec: s, net: c.smallCNN(kase), solver: m.solver()} }
			all, err := c.tuned(ctx, kase, fashionMethods(), rates, make)
			if err != nil {
				return err
			}
			if err := c.report(kase, all); err != nil {
				return err
			}
		}
		return nil
	},
}

// fashionMethods are the stock solvers, Euclidean SGD, and each constraint with tangent momentum and with the ambient momentum of
// the paper, with and without its geometric step.
func fashionMethods() []method {
	list := []method{stockMomentum, stockAdam, euclidean}
	for _, k := range constraints {
		ambient := k.method(", ambient", solvers.AmbientMomentum())
		both := k.method(", ambient, g_t", solvers.AmbientMomentum(), solvers.SampledGeometricStep())
		ambient.minor, both.minor = true, true
		list = append(list, k.method(""), k.method(", g_t", solvers.SampledGeometricStep()), ambient, both)
	}
	return list
}

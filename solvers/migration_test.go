// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"math"
	"testing"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/solvers"
)

// What docs/migration.md says beyond TestStockSolversAgree.
func TestMigration(t *testing.T) {
	const steps = 50
	const rho, tiny = 0.99, 1e-30 // tiny: the stock solver adds it under the root, Adam to the root
	corrected := solvers.Anneal(solvers.NewSchedule("uncorrected", func(step int) float64 {
		return 1 / math.Sqrt(1-math.Pow(rho, float64(step+1)))
	}))
	for _, c := range []struct {
		name       string
		stock, own gorgonia.Solver
	}{
		{"RMSProp is Adam without a first moment, but for the bias correction",
			gorgonia.NewRMSPropSolver(gorgonia.WithLearnRate(0.001), gorgonia.WithRho(rho), gorgonia.WithEps(tiny)),
			solvers.NewAdam(solvers.LearnRate(0.001), solvers.Betas(0, rho), solvers.Eps(1e-15), corrected)},
		{"L2 of RMSProp is a decay apart from the learning rate",
			gorgonia.NewRMSPropSolver(gorgonia.WithLearnRate(0.001), gorgonia.WithRho(rho), gorgonia.WithEps(tiny), gorgonia.WithL2Reg(1e-4)),
			twice{solvers.NewAdam(solvers.LearnRate(0.001), solvers.Betas(0, rho), solvers.Eps(1e-15), corrected), 1e-4}},
		{"L2 of Vanilla is divided by the batch size",
			gorgonia.NewVanillaSolver(gorgonia.WithLearnRate(lr), gorgonia.WithBatchSize(4), gorgonia.WithL2Reg(0.1)),
			solvers.NewSGD(solvers.LearnRate(lr), solvers.BatchSize(4), solvers.AmbientDecay(0.1/4))},
		{"L2 of Adam too",
			gorgonia.NewAdamSolver(gorgonia.WithLearnRate(lr), gorgonia.WithBatchSize(4), gorgonia.WithL2Reg(0.1)),
			solvers.NewAdam(solvers.LearnRate(lr), solvers.BatchSize(4), solvers.AmbientDecay(0.1/4))},
	} {
		t.Run(c.name, func(t *testing.T) {
			agree(t, c.stock, c.own, model(tensor.Float64, 1), model(tensor.Float64, 1), steps, tensor.Float64)
		})
	}
}

// twice takes a share of the weights of before the step off them after it.
type twice struct {
	gorgonia.Solver
	share float64
}

func (s twice) Step(model []gorgonia.ValueGrad) error {
	var before [][]float64
	for _, p := range model {
		before = append(before, append([]float64(nil), p.Value().Data().([]float64)...))
	}
	if err := s.Solver.Step(model); err != nil {
		return err
	}
	for i, p := range model {
		for j, w := range p.Value().Data().([]float64) {
			p.Value().Data().([]float64)[j] = w - s.share*before[i][j]
		}
	}
	return nil
}

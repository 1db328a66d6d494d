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
	const rho, tiny = 0.99, 1e-30 // tiny: the stock solver adds it under the root, ours to the root
	corrected := solvers.Anneal(solvers.NewSchedule("uncorrected", func(step int) float64 {
		return 1 / math.Sqrt(1-math.Pow(rho, float64(step+1)))
	}))
	for _, c := range []struct {
		name       string
		stock, own gorgonia.Solver
	}{
		{"RMSProp",
			gorgonia.NewRMSPropSolver(gorgonia.WithLearnRate(0.001), gorgonia.WithRho(rho), gorgonia.WithEps(tiny)),
			solvers.NewRMSProp(solvers.LearnRate(0.001), solvers.Rho(rho), solvers.Eps(tiny))},
		{"RMSProp by default, but for rho",
			gorgonia.NewRMSPropSolver(gorgonia.WithEps(tiny)), solvers.NewRMSProp(solvers.Rho(0.999), solvers.Eps(tiny))},
		{"RMSProp is Adam without a first moment, but for the bias correction",
			gorgonia.NewRMSPropSolver(gorgonia.WithLearnRate(0.001), gorgonia.WithRho(rho), gorgonia.WithEps(tiny)),
			solvers.NewAdam(solvers.LearnRate(0.001), solvers.Betas(0, rho), solvers.Eps(1e-15), corrected)},
		{"L2 of RMSProp is a decay apart from the learning rate",
			gorgonia.NewRMSPropSolver(gorgonia.WithLearnRate(0.001), gorgonia.WithRho(rho), gorgonia.WithEps(tiny), gorgonia.WithL2Reg(1e-4)),
			solvers.NewRMSProp(solvers.LearnRate(0.001), solvers.Rho(rho), solvers.Eps(tiny), solvers.EuclideanDecay(0.1))},
		{"AdaGrad", scaled{gorgonia.NewAdaGradSolver(), 1e6}, scaled{solvers.NewAdagrad(solvers.LearnRate(0.001), solvers.Eps(tiny)), 1e6}},
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

// scaled multiplies the gradients: the eps of the stock solver cannot be set, and is lost in the squares of large ones.
type scaled struct {
	gorgonia.Solver
	by float64
}

func (s scaled) Step(model []gorgonia.ValueGrad) error {
	for _, p := range model {
		g, err := p.Grad()
		if err != nil {
			return err
		}
		for i := range g.Data().([]float64) {
			g.Data().([]float64)[i] *= s.by
		}
	}
	return s.Solver.Step(model)
}

// SPDX-License-Identifier: Apache-2.0

package solvers_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/roles/rolestest"
	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// Kernels constrains what the graph convolves with, and nothing else: neither scales and biases in the shape of
// activations, as those of a stock BatchNorm(x, nil, nil, ...), nor learnt images.
func TestKernelsOfPrograms(t *testing.T) {
	type solver interface {
		gorgonia.Solver
		Report() solvers.Report
	}
	makers := map[string]func() solver{
		"SGD": func() solver {
			return solvers.NewSGD(solvers.LearnRate(1e-4), solvers.Momentum(0.9), solvers.Kernels(manifolds.Sphere{}))
		},
		"Adam": func() solver {
			return solvers.NewAdam(solvers.LearnRate(1e-4), solvers.Kernels(manifolds.Stiefel{}))
		},
		"Constrain": func() solver {
			return solvers.Constrain(gorgonia.NewVanillaSolver(gorgonia.WithLearnRate(1e-4)), manifolds.Sphere{})
		},
	}
	for _, p := range rolestest.Programs() {
		for _, of := range precisions {
			for name, make := range makers {
				t.Run(p.Name+"/"+of.String()+"/"+name, func(t *testing.T) {
					for i, net := range p.Nets(of) {
						vm, err := net.Machine()
						require.NoError(t, err)
						defer vm.Close()
						s := make()
						model := gorgonia.NodesToValueGrads(net.Learnables)
						for range 2 {
							require.NoError(t, vm.RunAll())
							err := s.Step(model)
							vm.Reset()
							if len(net.Kernels) == 0 {
								require.ErrorIs(t, err, solvers.ErrConstraint)
								continue
							}
							require.NoError(t, err, "net %d", i)
						}
						var constrained, kernels []string
						for _, row := range s.Report().Parameters {
							if row.Grouping != "" {
								constrained = append(constrained, row.Name)
								assert.LessOrEqual(t, row.Membership, 1e-6, row.Name)
							}
							if row.Kernel {
								kernels = append(kernels, row.Name)
							}
							assert.NotEmpty(t, row.Role, row.Name)
							assert.NotContains(t, row.Role, "by its shape", row.Name)
						}
						assert.Equal(t, net.Kernels, constrained, "net %d", i)
						assert.Equal(t, net.Kernels, kernels, "net %d", i)
					}
				})
			}
		}
	}
}

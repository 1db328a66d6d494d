// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// rule is a solver whose step is compared with the number of its floating-point operations.
type rule struct {
	name string
	make func(...solvers.Option) gorgonia.Solver
	// flops are those for each unconstrained weight: additions, multiplications, divisions and roots.
	flops float64
	// bank and square count those on a Stiefel bank of n x p, p the shorter side, in n p^2 and p^3: 2 and 0 for a product with
	// a p x p matrix, half of that where the result or a factor is a triangle.
	bank, square float64
	// matrix and cube are the same for an unconstrained bank, of a rule for matrices.
	matrix, cube float64
}

// A projection onto the tangent space takes 4 n p^2, and Cholesky-QR 2 n p^2 and less than p^3.
const project, retract, factor = 4, 2, 1

var rules = []rule{
	{name: "SGD with momentum", flops: 4, bank: project + retract, square: factor, make: func(o ...solvers.Option) gorgonia.Solver {
		return solvers.NewSGD(append(o, solvers.Momentum(0.9))...)
	}},
	// Adaptive rules also want the length of the projected gradient: one product.
	{name: "Adam", flops: 12, bank: 2 + project + retract, square: factor, make: func(o ...solvers.Option) gorgonia.Solver { return solvers.NewAdam(o...) }},
	{name: "Adagrad", flops: 7, bank: 2 + project + retract, square: factor, make: func(o ...solvers.Option) gorgonia.Solver { return solvers.NewAdagrad(o...) }},
	{name: "RMSProp", flops: 9, bank: 2 + project + retract, square: factor, make: func(o ...solvers.Option) gorgonia.Solver { return solvers.NewRMSProp(o...) }},
	// The lengths of gradient and way take 5 flops for each weight.
	{name: "RDoG", flops: 7, bank: project + retract, square: factor, make: func(o ...solvers.Option) gorgonia.Solver { return solvers.NewRDoG(o...) }},
	{name: "RDoWG", flops: 7, bank: project + retract, square: factor, make: func(o ...solvers.Option) gorgonia.Solver { return solvers.NewRDoWG(o...) }},
	// Five times a Gram matrix, its square and a product; on Stiefel three projections, and a bound of the spectral norm by a
	// Gram matrix and three squares. On long matrices frames.QuinticSign needs fewer: these are those of the algorithm as published.
	{name: "Muon", flops: 8, matrix: 5 * 3, cube: 5, bank: 5*3 + 3*project + retract + 1, square: 5 + factor + 3, make: func(o ...solvers.Option) gorgonia.Solver {
		return solvers.NewMuon(o...)
	}},
	// The ascent projects and retracts, and the second gradient is projected and transported.
	{name: "SAM of SGD with momentum", flops: 4 + 4, bank: 4*project + 2*retract, square: 2 * factor, make: func(o ...solvers.Option) gorgonia.Solver {
		return solvers.NewSAM(solvers.NewSGD(append(o, solvers.Momentum(0.9))...), 0.05)
	}},
	// Averages lie in the ambient space.
	{name: "EMA of SGD with momentum", flops: 4 + 3, bank: project + retract, square: factor, make: func(o ...solvers.Option) gorgonia.Solver {
		return solvers.NewEMA(solvers.NewSGD(append(o, solvers.Momentum(0.9))...), 0.999)
	}},
	{name: "SWA of SGD with momentum", flops: 4 + 3, bank: project + retract, square: factor, make: func(o ...solvers.Option) gorgonia.Solver {
		return solvers.NewSWA(solvers.NewSGD(append(o, solvers.Momentum(0.9))...))
	}},
}

// flopsOf returns the flops of a step on kernels of the shapes, all unconstrained or all Stiefel banks.
func (r rule) flopsOf(s shapes, stiefel bool) (sum float64) {
	for _, shape := range s {
		out, rest := float64(shape[0]), float64(product(shape[1:]))
		n, p := max(out, rest), min(out, rest)
		sum += r.flops * n * p
		if stiefel {
			sum += r.bank*n*p*p + r.square*p*p*p
		} else {
			sum += r.matrix*n*p*p + r.cube*p*p*p
		}
	}
	return sum
}

// flopsContest is a step of each solver beside the time that a product of large matrices takes for as many flops.
func flopsContest(net string, s shapes) contest {
	const alone = "product of matrices"
	c := contest{name: "solver steps, " + net, entrants: []entrant{multiplies(alone)}}
	for _, on := range []struct {
		name     string
		manifold manifolds.Manifold
	}{{"unconstrained", manifolds.Euclidean{}}, {"Stiefel bank", manifolds.Stiefel{}}} {
		for _, r := range rules {
			name, flops := r.name+", "+on.name, r.flopsOf(s, on.name == "Stiefel bank")
			c.entrants = append(c.entrants, entrant{name, func(_ context.Context, stage *stage) (contestant, error) {
				return solverStep(stage.clock, s, r.make(solvers.Kernels(on.manifold))), nil
			}})
			c.rows = append(c.rows, row{
				what: "solver step, " + name + ", " + net, peer: fmt.Sprintf("a product of its %s MFLOP", digits(flops/1e6)),
				ours: of(name), its: cost{{alone, flops / productFlops}}, as: timesTheFloor,
			})
		}
	}
	return c
}

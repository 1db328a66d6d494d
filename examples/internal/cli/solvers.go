// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/manifolds"
)

// Named is a value and its name on a command line.
type Named[T any] struct {
	Name  string
	Value T
}

// Names returns the names in a list.
func Names[T any](list []Named[T]) (names []string) {
	for _, n := range list {
		names = append(names, n.Name)
	}
	return names
}

// Find returns the value of a name in a list. For another name the error is that of Usage, for a flag.
func Find[T any](flag, name string, list []Named[T]) (T, error) {
	for _, n := range list {
		if n.Name == name {
			return n.Value, nil
		}
	}
	var none T
	return none, Usage("-%s: want one of %s, got %q", flag, strings.Join(Names(list), ", "), name)
}

// Manifolds are the constraints of the programs. The first, the Euclidean space, is none.
var Manifolds = []Named[manifolds.Manifold]{
	{"euclidean", manifolds.Euclidean{}},
	{"sphere", manifolds.Sphere{}},
	{"centred", manifolds.CentredSphere{}},
	{"oblique", manifolds.Oblique{}},
	{"stiefel", manifolds.Stiefel{}},
	{"grassmann", manifolds.Grassmann{}},
	{"orthogonal", manifolds.Orthogonal{}},
}

// Groupings are the ways to cut a kernel into points, if a program does not leave it to the manifold.
var Groupings = []Named[manifolds.Option]{
	{"slice", manifolds.PerSlice},
	{"filter", manifolds.PerFilter},
	{"channel", manifolds.PerInputChannel},
	{"tap", manifolds.PerTap},
	{"bank", manifolds.FilterBank},
}

// StockSolver is a solver of Gorgonia.
type StockSolver struct {
	Name  string
	About string // with the momentum 0.9
	Make  func(rate, momentum float64) gorgonia.Solver
}

// Stock are the solvers of Gorgonia that work: AdamW never moves a weight, AdaGrad ignores its options, and Barzilai-Borwein supports float64 only.
var Stock = []StockSolver{
	{"vanilla", "gorgonia.NewVanillaSolver", func(rate, _ float64) gorgonia.Solver {
		return gorgonia.NewVanillaSolver(gorgonia.WithLearnRate(rate))
	}},
	{"momentum", "gorgonia.NewMomentum, momentum 0.9", func(rate, momentum float64) gorgonia.Solver {
		return gorgonia.NewMomentum(gorgonia.WithLearnRate(rate), gorgonia.WithMomentum(momentum))
	}},
	{"rmsprop", "gorgonia.NewRMSPropSolver", func(rate, _ float64) gorgonia.Solver {
		return gorgonia.NewRMSPropSolver(gorgonia.WithLearnRate(rate))
	}},
	{"adam", "gorgonia.NewAdamSolver", func(rate, _ float64) gorgonia.Solver {
		return gorgonia.NewAdamSolver(gorgonia.WithLearnRate(rate))
	}},
}

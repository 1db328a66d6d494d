// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/examples/internal/cli"
	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/solvers"
)

// momentum is that of every solver that has one, except Muon.
const momentum = 0.9

// entry is a solver that can be named on the command line.
type entry struct {
	name               string
	manifold, grouping string // "Euclidean" and "" where nothing is constrained
	stock              bool   // of Gorgonia, as it is
	rate               float64
	make               func(rate float64) gorgonia.Solver
}

// family is a solver that constrains the kernels to a manifold.
type family struct {
	name, about string
	make        func(rate float64, m manifolds.Manifold, o []manifolds.Option) gorgonia.Solver
}

// families returns those of package solvers, and the stock ones wrapped by it.
func families() []family {
	all := []family{
		{"sgd", "solvers.NewSGD, momentum 0.9", func(lr float64, m manifolds.Manifold, o []manifolds.Option) gorgonia.Solver {
			return solvers.NewSGD(solvers.LearnRate(lr), solvers.Momentum(momentum), solvers.Kernels(m, o...))
		}},
		{"adam", "solvers.NewAdam", func(lr float64, m manifolds.Manifold, o []manifolds.Option) gorgonia.Solver {
			return solvers.NewAdam(solvers.LearnRate(lr), solvers.Kernels(m, o...))
		}},
		{"adagrad", "solvers.NewAdagrad", func(lr float64, m manifolds.Manifold, o []manifolds.Option) gorgonia.Solver {
			return solvers.NewAdagrad(solvers.LearnRate(lr), solvers.Kernels(m, o...))
		}},
		{"rmsprop", "solvers.NewRMSProp", func(lr float64, m manifolds.Manifold, o []manifolds.Option) gorgonia.Solver {
			return solvers.NewRMSProp(solvers.LearnRate(lr), solvers.Kernels(m, o...))
		}},
		{"muon", "solvers.NewMuon, momentum 0.95; AdamW moves the biases", func(lr float64, m manifolds.Manifold, o []manifolds.Option) gorgonia.Solver {
			return solvers.NewMuon(solvers.LearnRate(lr), solvers.Kernels(m, o...))
		}},
		{"rdog", "solvers.NewRDoG, which needs no rate", func(lr float64, m manifolds.Manifold, o []manifolds.Option) gorgonia.Solver {
			return solvers.NewRDoG(solvers.LearnRate(lr), solvers.Kernels(m, o...))
		}},
		{"rdowg", "solvers.NewRDoWG, which needs no rate", func(lr float64, m manifolds.Manifold, o []manifolds.Option) gorgonia.Solver {
			return solvers.NewRDoWG(solvers.LearnRate(lr), solvers.Kernels(m, o...))
		}},
	}
	all = append(all, family{"sam", "solvers.NewSAM around solvers.NewSGD, momentum 0.9; rho 0.05, two passes a step", func(lr float64, m manifolds.Manifold, o []manifolds.Option) gorgonia.Solver {
		return solvers.NewSAM(solvers.NewSGD(solvers.LearnRate(lr), solvers.Momentum(momentum), solvers.Kernels(m, o...)), 0.05)
	}})
	for _, s := range cli.Stock {
		all = append(all, family{"constrain-" + s.Name, "solvers.Constrain(" + s.About + ")", func(lr float64, m manifolds.Manifold, o []manifolds.Option) gorgonia.Solver {
			return solvers.Constrain(s.Make(lr, momentum), m, o...)
		}})
	}
	return all
}

// rates are the default learning rates, found by a search in factors of two to
// three over six epochs of the drawn digits and three or four of 10,000 images
// of Fashion-MNIST, by test accuracy. The rate of a family applies to every manifold without its own rate.
var rates = map[string]float64{
	"vanilla": 0.1, "momentum": 0.01, "rmsprop": 0.001, "adam": 0.003,
	"sgd": 0.02, "sgd-euclidean": 0.01,
	"adam-euclidean": 0.003, "adam-sphere": 0.01, "adam-centred": 0.01, "adam-oblique": 0.01, "adam-stiefel": 0.03, "adam-grassmann": 0.03,
	"adagrad": 0.1, "adagrad-euclidean": 0.02, "adagrad-oblique": 0.05, "adagrad-stiefel": 0.2, "adagrad-grassmann": 0.2,
	"rmsprop-euclidean": 0.003, "rmsprop-sphere": 0.01, "rmsprop-centred": 0.01, "rmsprop-oblique": 0.01, "rmsprop-stiefel": 0.02, "rmsprop-grassmann": 0.02,
	"rmsprop-orthogonal": 0.01,
	"muon":               0.02,
	"rdog":               1, "rdowg": 1,
	"sam":               0.02,
	"constrain-vanilla": 0.1, "constrain-momentum": 0.02, "constrain-momentum-euclidean": 0.01, "constrain-rmsprop": 0.001, "constrain-adam": 0.003,
}

// lookup finds the solver of a name: that of a stock solver, or
// family-manifold, family-manifold-grouping, or family-ensemble.
func lookup(name string) (entry, error) {
	for _, s := range cli.Stock {
		if s.Name == name {
			return entry{name: name, manifold: manifolds.Name(manifolds.Euclidean{}), stock: true, rate: rates[name], make: func(lr float64) gorgonia.Solver { return s.Make(lr, momentum) }}, nil
		}
	}
	for _, f := range families() {
		for _, k := range cli.Manifolds {
			full := f.name + "-" + k.Name
			if name == full {
				return f.entry(full, k.Name, k.Value, nil), nil
			}
			for _, g := range cli.Groupings {
				if k.Name != "euclidean" && name == full+"-"+g.Name {
					return f.entry(name, k.Name, k.Value, []manifolds.Option{g.Value}), nil
				}
			}
		}
	}
	for _, f := range families() {
		of, is := strings.CutPrefix(name, f.name+"-")
		if !is {
			continue
		}
		e, is, err := cli.Ensemble(of, 1)
		if is && err == nil {
			return f.entry(name, "ensemble", e, nil), nil
		}
		if is {
			return entry{}, cli.Usage("-solvers: %v", err)
		}
	}
	return entry{}, cli.Usage("-solvers: want names as -solvers list shows them, got %q", name)
}

// entry makes the entry of a manifold in the family.
func (f family) entry(name, kind string, m manifolds.Manifold, o []manifolds.Option) entry {
	e := entry{name: name, rate: f.rate(kind), make: func(lr float64) gorgonia.Solver { return f.make(lr, m, o) }}
	c := manifolds.On(m, o...)
	e.manifold = manifolds.Name(c.Manifold)
	if kind != "euclidean" {
		e.grouping = c.Grouping.String()
	}
	return e
}

// rate returns the default learning rate on a manifold.
func (f family) rate(kind string) float64 {
	if r, ok := rates[f.name+"-"+kind]; ok {
		return r
	}
	return rates[f.name]
}

// list prints the names, in 80 columns.
func list(w io.Writer) error {
	var b strings.Builder
	line := func(name, rate, manifold, grouping string) {
		b.WriteString(strings.TrimRight(fmt.Sprintf("%-30s  %-6s  %-13s  %s", name, rate, manifold, grouping), " ") + "\n")
	}
	line("name", "rate", "manifold", "grouping")
	b.WriteString("\nStock solvers, which constrain nothing\n")
	for _, s := range cli.Stock {
		line(s.Name, fmt.Sprint(rates[s.Name]), "-", "")
	}
	for _, f := range families() {
		fmt.Fprintf(&b, "\n%s\n", f.about)
		for _, k := range cli.Manifolds {
			e, _ := lookup(f.name + "-" + k.Name)
			line(e.name, fmt.Sprint(e.rate), e.manifold, e.grouping)
		}
	}
	var names []string
	for _, g := range cli.Groupings {
		names = append(names, "-"+g.Name)
	}
	fmt.Fprintf(&b, `
A constrained solver takes a suffix to cut the kernels otherwise, such as
sgd-stiefel-slice: %s.
Several manifolds share the slices of a layer in an ensemble:
sgd-%s.
Without -solvers:
%s
`, strings.Join(names, ", "), cli.EnsembleSyntax, strings.ReplaceAll(defaultSolvers, ",", ", "))
	_, err := io.WriteString(w, b.String())
	return err
}

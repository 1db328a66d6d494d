// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"math/rand/v2"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/solvers"
)

// residual is a residual net, on images of CIFAR's size or of side x side pixels.
type residual struct {
	name  string // as in the rows
	kind  string // as in peer_torch.py
	batch int
	build func(batch int, o models.Options) (*models.Model, error)
	side  int
}

// resNet is the ResNet-20 of He, Zhang, Ren and Sun (2016).
func resNet(batch int) residual {
	return residual{"ResNet-20", "resnet20", batch, func(batch int, o models.Options) (*models.Model, error) {
		return models.ResNet(batch, 20, o)
	}, side}
}

// wideResNet is the WRN-16-4 of Zagoruyko and Komodakis (2016): its blocks have 64 to 256 channels.
func wideResNet(batch int) residual {
	return residual{"WRN-16-4", "wrn16-4", batch, func(batch int, o models.Options) (*models.Model, error) {
		return models.WideResNet(batch, 16, 4, o)
	}, side}
}

// The batches of the nets whose training steps are compared.
const (
	resNetBatch     = 64
	wideResNetBatch = 32
)

// contest is the training step, unconstrained and on Stiefel, beside the same layers in PyTorch, and what a
// constraint adds to it. All are SGD with momentum; the training steps also have weight decay.
func (r residual) contest(b bar) contest {
	what := "training step, " + r.name + ", "
	against := func(entrant, constraint string) row {
		return row{what: what + constraint, peer: "PyTorch, unconstrained", ours: of(entrant), its: of("torch"), bar: b, as: ofItsTime}
	}
	c := contest{
		name: "training step, " + r.name,
		entrants: []entrant{
			r.trains("free", decaySGD()),
			r.trains("Stiefel", decaySGD(solvers.Kernels(manifolds.Stiefel{}))),
			r.peer("torch", r.kind),
			r.steps("SGD, free", func(shapes) gorgonia.Solver { return momentumSGD()() }),
		},
		rows: []row{against("free", "unconstrained"), against("Stiefel", "Stiefel bank")},
	}
	for _, m := range constraints {
		kept := "SGD, " + m.name
		c.entrants = append(c.entrants, r.steps(kept, func(s shapes) gorgonia.Solver {
			opts := []solvers.Option{solvers.Kernels(m.manifold, m.opts...)}
			for i, shape := range s {
				if len(m.opts) > 0 && len(shape) == 4 && shape[2]*shape[3] == 1 { // a slice of 1x1 cannot move
					opts = append(opts, solvers.Param(parameterName(i), manifolds.Euclidean{}))
				}
			}
			return momentumSGD(opts...)()
		}))
		c.rows = append(c.rows, share(r.name+", "+kept, of(kept).minus("SGD, free"), of("free").plus(kept).minus("SGD, free")))
	}
	return c
}

// decaySGD is the solver of the training step.
func decaySGD(opts ...solvers.Option) func() gorgonia.Solver {
	return momentumSGD(append(opts, solvers.AmbientDecay(5e-4))...)
}

// model makes the net.
func (r residual) model(batch int) (*models.Model, error) {
	return r.build(batch, models.Options{Shape: [3]int{channels, r.side, r.side}, Classes: classes, Seed: 1})
}

// images draws n images with labels.
func (r residual) images(n int) (images []float32, labels []int) {
	rng := rand.New(rand.NewPCG(3, 3))
	images, labels = make([]float32, n*channels*r.side*r.side), make([]int, n)
	for i := range images {
		images[i] = float32(rng.NormFloat64())
	}
	for i := range labels {
		labels[i] = rng.IntN(classes)
	}
	return images, labels
}

// training is the training step on random images.
func (r residual) training(c clock, solver gorgonia.Solver) (contestant, error) {
	m, err := r.model(r.batch)
	if err != nil {
		return nil, err
	}
	if err := m.SetBatch(r.images(r.batch)); err != nil {
		return nil, err
	}
	n := &net{learnables: m.Learnables, vm: gorgonia.NewTapeMachine(m.Graph, gorgonia.BindDualValues(m.Learnables...))}
	return n.training(c, solver), nil
}

// trains is the entrant of training.
func (r residual) trains(name string, solver func() gorgonia.Solver) entrant {
	return entrant{name, func(_ context.Context, s *stage) (contestant, error) {
		return r.training(s.clock, solver())
	}}
}

// steps is the entrant of a step of the solver for parameters of the net's shapes.
func (r residual) steps(name string, solver func(shapes) gorgonia.Solver) entrant {
	return entrant{name, func(_ context.Context, s *stage) (contestant, error) {
		m, err := r.model(1)
		if err != nil {
			return nil, err
		}
		var all shapes
		for _, l := range m.Learnables {
			all = append(all, l.Shape())
		}
		return solverStep(s.clock, all, solver(all)), nil
	}}
}

// peer is the entrant of the net in PyTorch: its training step, or what else the kind says.
func (r residual) peer(name, kind string) entrant {
	return entrant{name, func(ctx context.Context, s *stage) (contestant, error) {
		p, err := s.peers.get(ctx, "torch")
		if err != nil {
			return nil, err
		}
		return p.contestant(name, kind, r.request())
	}}
}

// request describes the net to a peer.
func (r residual) request() map[string]any {
	return map[string]any{"input": []int{r.batch, channels, r.side, r.side}, "classes": classes}
}

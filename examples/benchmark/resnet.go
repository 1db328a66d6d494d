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

// resNetBatch is the batch of the ResNet-20 whose training step is compared.
const resNetBatch = 64

// resNetContest is the training step of ResNet-20 on images of CIFAR-10's size, unconstrained and on Stiefel,
// beside the same layers in PyTorch: SGD with momentum and weight decay.
func resNetContest() contest {
	const what = "training step, ResNet-20, "
	against := func(entrant, constraint string) row {
		return row{what: what + constraint, peer: "PyTorch, unconstrained", ours: of(entrant), its: of("torch"), as: ofItsTime}
	}
	return contest{
		name: "training step, ResNet-20",
		entrants: []entrant{
			resNetTrains("free"),
			resNetTrains("Stiefel", solvers.Kernels(manifolds.Stiefel{})),
			resNetPeer("torch"),
		},
		rows: []row{against("free", "unconstrained"), against("Stiefel", "Stiefel bank")},
	}
}

// resNetTrains is the entrant of our ResNet-20 on random images.
func resNetTrains(name string, opts ...solvers.Option) entrant {
	return entrant{name, func(_ context.Context, s *stage) (contestant, error) {
		m, err := models.ResNet(resNetBatch, 20, models.Options{Shape: [3]int{channels, side, side}, Classes: classes, Seed: 1})
		if err != nil {
			return nil, err
		}
		rng := rand.New(rand.NewPCG(3, 3))
		images, labels := make([]float32, resNetBatch*channels*side*side), make([]int, resNetBatch)
		for i := range images {
			images[i] = float32(rng.NormFloat64())
		}
		for i := range labels {
			labels[i] = rng.IntN(classes)
		}
		if err := m.SetBatch(images, labels); err != nil {
			return nil, err
		}
		n := &net{learnables: m.Learnables, vm: gorgonia.NewTapeMachine(m.Graph, gorgonia.BindDualValues(m.Learnables...))}
		opts := append(opts, solvers.LearnRate(1e-3), solvers.Momentum(0.9), solvers.AmbientDecay(5e-4))
		return n.training(s.clock, solvers.NewSGD(opts...)), nil
	}}
}

// resNetPeer is the entrant of the net in PyTorch.
func resNetPeer(name string) entrant {
	return entrant{name, func(ctx context.Context, s *stage) (contestant, error) {
		p, err := s.peers.get(ctx, "torch")
		if err != nil {
			return nil, err
		}
		return p.contestant(name, "resnet20", map[string]any{"input": []int{resNetBatch, channels, side, side}, "classes": classes})
	}}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/solvers"
)

// blocksNet is the net of plainNet by package models, with kernels that are free, or with orthogonal convolutions.
func blocksNet(orthogonal bool) residual {
	conv := func(b *models.Builder, layer string, x *gorgonia.Node, filters int) *gorgonia.Node {
		if orthogonal {
			return b.Orthogonal(layer, x, filters, 3, 1)
		}
		return b.Conv(layer, x, filters, 3, 1, 1)
	}
	return residual{name: "small CNN", batch: plainNet.batch, side: side, build: func(batch int, o models.Options) (*models.Model, error) {
		return models.Build(models.Spec{Batch: batch, Shape: o.Shape, Classes: o.Classes, Seed: o.Seed}, func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
			for i, width := range plainNet.widths {
				layer := fmt.Sprintf("conv%d", i+1)
				x = b.MaxPool(b.Rectify(b.Bias(layer, conv(b, layer, x, width))), 2)
			}
			return b.Linear("fc", x, o.Classes)
		})
	}}
}

// orthogonium is the net of orthogonal convolutions in that library.
func orthogonium(name string, adam bool) entrant {
	return entrant{name, func(ctx context.Context, s *stage) (contestant, error) {
		p, err := s.peers.get(ctx, "orthogonium")
		if err != nil {
			return nil, err
		}
		return p.contestant(name, "training", map[string]any{
			"input": []int{plainNet.batch, channels, side, side}, "widths": plainNet.widths, "classes": classes, "adam": adam,
		})
	}}
}

// orthogonalContest is the training step of the small net with orthogonal convolutions, beside the same net with free kernels and that of orthogonium.
func orthogonalContest() contest {
	c := contest{name: "training step, orthogonal convolutions"}
	for _, rule := range []struct {
		name             string
		free, orthogonal func() gorgonia.Solver
	}{
		{"SGD", momentumSGD(), momentumSGD(solvers.Natural())},
		{"Adam", ourAdam, func() gorgonia.Solver { return solvers.NewAdam(solvers.Natural()) }},
	} {
		ours, its, peer := rule.name+", orthogonal", rule.name+", free", rule.name+", orthogonium"
		c.entrants = append(c.entrants, blocksNet(true).trains(ours, rule.orthogonal), blocksNet(false).trains(its, rule.free), orthogonium(peer, rule.name == "Adam"))
		c.rows = append(c.rows, row{
			what: "training step, orthogonal convolutions, " + rule.name, peer: "the same net, free",
			ours: of(ours), its: of(its), bar: bar{1.3, 1.1}, as: ofItsTime,
		}, row{
			what: "training step, orthogonal convolutions, " + rule.name, peer: "orthogonium",
			ours: of(ours), its: of(peer), as: ofItsTime,
		})
	}
	return c
}

// transposedLayer is a transposed convolution of a decoder.
type transposedLayer struct {
	channels, filters, side   int
	size, stride, pad, output int // output is the output padding
}

// transposedContest is the value of a transposed convolution and both gradients, beside PyTorch.
func transposedContest() contest {
	c := contest{name: "ConvTranspose2d"}
	for _, l := range []transposedLayer{{128, 64, 8, 4, 2, 1, 0}, {64, 32, 16, 3, 2, 1, 1}, {64, 64, 16, 3, 1, 1, 0}} {
		what := fmt.Sprintf("ConvTranspose2d with gradients, %dx%dx%d to %d, %dx%d, stride %d", l.channels, l.side, l.side, l.filters, l.size, l.size, l.stride)
		ours, its := "ours, "+what, "torch, "+what
		c.entrants = append(c.entrants, l.ours(ours), l.peer(its))
		c.rows = append(c.rows, row{what: what, peer: "PyTorch", ours: of(ours), its: of(its), bar: bar{0.9, 0.7}, as: ofItsTime})
	}
	return c
}

func (l transposedLayer) ours(name string) entrant {
	return entrant{name, func(_ context.Context, s *stage) (contestant, error) {
		g := gorgonia.NewGraph()
		leaf := func(name string, shape ...int) *gorgonia.Node {
			return gorgonia.NewTensor(g, tensor.Float32, 4, gorgonia.WithName(name), gorgonia.WithShape(shape...), gorgonia.WithInit(nodes.HeNormal(1, 1)))
		}
		x, w := leaf("images", plainNet.batch, l.channels, l.side, l.side), leaf("kernel", l.channels, l.filters, l.size, l.size)
		y, err := nodes.ConvTranspose2d(x, w, tensor.Shape{l.size, l.size}, []int{l.pad, l.pad}, []int{l.stride, l.stride}, nil, nodes.OutputPadding(l.output, l.output))
		if err != nil {
			return nil, err
		}
		gradient := leaf("gradient", y.Shape()...)
		if _, err := gorgonia.Backpropagate(gorgonia.Nodes{y}, gorgonia.Nodes{gradient}, gorgonia.Nodes{x, w}); err != nil {
			return nil, err
		}
		n := &net{vm: gorgonia.NewTapeMachine(g)}
		return local{clock: s.clock, prepare: func() {}, step: n.backward, done: n.close}, nil
	}}
}

func (l transposedLayer) peer(name string) entrant {
	return entrant{name, func(ctx context.Context, s *stage) (contestant, error) {
		p, err := s.peers.get(ctx, "torch")
		if err != nil {
			return nil, err
		}
		return p.contestant(name, "transposed", map[string]any{
			"input": []int{plainNet.batch, l.channels, l.side, l.side}, "filters": l.filters,
			"size": l.size, "stride": l.stride, "pad": l.pad, "output": l.output,
		})
	}}
}

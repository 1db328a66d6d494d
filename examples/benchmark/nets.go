// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/nodes"
	"github.com/kernelfold/kernelfold/solvers"
)

const (
	channels, side = 3, 32 // of the images
	classes        = 10
)

// netSpec is a net: a block of convolution 3x3, ReLU and max pooling 2x2 for each
// width, then a linear layer and the cross-entropy.
type netSpec struct {
	batch  int
	widths []int
}

// plainNet is the net whose training step is compared.
var plainNet = netSpec{32, []int{32, 64, 128}}

// shapes are those of the learnables: weight and bias of each layer in turn.
func (n netSpec) shapes() (s shapes) {
	in, area := channels, side*side
	for _, out := range n.widths {
		s = append(s, []int{out, in, 3, 3}, []int{1, out, 1, 1})
		in, area = out, area/4
	}
	return append(s, []int{in * area, classes}, []int{1, classes})
}

// values holds the inputs and the initial weights of a net, the same for every net of a spec.
type values struct {
	weights [][]float32
	images  []float32
	labels  []int
}

func (n netSpec) values() values {
	rng := rand.New(rand.NewPCG(2, 2))
	normal := func(size int, std float64) []float32 {
		x := make([]float32, size)
		for i := range x {
			x[i] = float32(std * rng.NormFloat64())
		}
		return x
	}
	var v values
	for _, shape := range n.shapes() {
		fanIn := product(shape[1:])
		if len(shape) == 2 {
			fanIn = 2 * shape[0]
		}
		std := math.Sqrt(2 / float64(fanIn)) // He, Zhang, Ren and Sun 2015
		if shape[0] == 1 {
			std = 0.1
		}
		v.weights = append(v.weights, normal(product(shape), std))
	}
	v.images = normal(n.batch*channels*side*side, 1)
	for range n.batch {
		v.labels = append(v.labels, rng.IntN(classes))
	}
	return v
}

// ops are the operations from which a net is built.
type ops struct {
	conv   func(x, w *gorgonia.Node, kernel tensor.Shape, pad, stride, dilation []int) (*gorgonia.Node, error)
	bias   func(x, b *gorgonia.Node) (*gorgonia.Node, error)
	relu   func(x *gorgonia.Node) (*gorgonia.Node, error)
	pool   func(x *gorgonia.Node, kernel tensor.Shape, pad, stride []int) (*gorgonia.Node, error)
	linear func(x, w, b *gorgonia.Node) (*gorgonia.Node, error) // flattens x
	cost   func(logits, targets *gorgonia.Node) (*gorgonia.Node, error)
}

var stockOps = ops{
	conv: gorgonia.Conv2d,
	bias: func(x, b *gorgonia.Node) (*gorgonia.Node, error) {
		return gorgonia.BroadcastAdd(x, b, nil, []byte{0, 2, 3})
	},
	relu: gorgonia.Rectify,
	pool: gorgonia.MaxPool2D,
	linear: func(x, w, b *gorgonia.Node) (*gorgonia.Node, error) {
		x, err := gorgonia.Reshape(x, tensor.Shape{x.Shape()[0], w.Shape()[0]})
		if err != nil {
			return nil, err
		}
		y, err := gorgonia.Mul(x, w)
		if err != nil {
			return nil, err
		}
		return gorgonia.BroadcastAdd(y, b, nil, []byte{0})
	},
	cost: func(logits, targets *gorgonia.Node) (*gorgonia.Node, error) {
		logp, err := gorgonia.LogSoftMax(logits, 1)
		if err != nil {
			return nil, err
		}
		picked, err := gorgonia.HadamardProd(logp, targets)
		if err != nil {
			return nil, err
		}
		mean, err := gorgonia.Mean(picked) // over batch and classes
		if err != nil {
			return nil, err
		}
		return gorgonia.Mul(mean, gorgonia.NewConstant(-float32(classes), gorgonia.WithName("-classes")))
	},
}

var ourOps = ops{
	conv: nodes.Conv2d, bias: nodes.Bias, relu: nodes.Rectify, pool: nodes.MaxPool2D, linear: nodes.Linear, cost: nodes.CrossEntropy,
}

// net is a net as a graph with its machine.
type net struct {
	learnables gorgonia.Nodes
	loss       gorgonia.Value
	vm         gorgonia.VM
}

// build builds the net from ops.
func (n netSpec) build(o ops, v values) (*net, error) {
	g := gorgonia.NewGraph()
	leaf := func(name string, data []float32, shape ...int) *gorgonia.Node {
		t := tensor.New(tensor.WithShape(shape...), tensor.WithBacking(append([]float32(nil), data...)))
		return gorgonia.NewTensor(g, tensor.Float32, len(shape), gorgonia.WithName(name), gorgonia.WithValue(t))
	}
	var m net
	for i, shape := range n.shapes() {
		m.learnables = append(m.learnables, leaf(fmt.Sprintf("learnable%d", i), v.weights[i], shape...))
	}
	oneHot := make([]float32, n.batch*classes)
	for i, label := range v.labels {
		oneHot[i*classes+label] = 1
	}
	x := leaf("images", v.images, n.batch, channels, side, side)
	targets := leaf("targets", oneHot, n.batch, classes)

	cost, err := o.forward(x, targets, m.learnables)
	if err != nil {
		return nil, err
	}
	gorgonia.Read(cost, &m.loss)
	if _, err := gorgonia.Grad(cost, m.learnables...); err != nil {
		return nil, err
	}
	m.vm = gorgonia.NewTapeMachine(g, gorgonia.BindDualValues(m.learnables...))
	return &m, nil
}

// forward goes from images to the cost.
func (o ops) forward(x, targets *gorgonia.Node, learnables gorgonia.Nodes) (cost *gorgonia.Node, err error) {
	two, one := []int{2, 2}, []int{1, 1}
	last := len(learnables) - 2
	for i := 0; i < last && err == nil; i += 2 {
		steps := []func() (*gorgonia.Node, error){
			func() (*gorgonia.Node, error) {
				return o.conv(x, learnables[i], tensor.Shape{3, 3}, one, one, one)
			},
			func() (*gorgonia.Node, error) { return o.bias(x, learnables[i+1]) },
			func() (*gorgonia.Node, error) { return o.relu(x) },
			func() (*gorgonia.Node, error) { return o.pool(x, tensor.Shape{2, 2}, []int{0, 0}, two) },
		}
		for _, step := range steps {
			if x, err = step(); err != nil {
				return nil, err
			}
		}
	}
	if x, err = o.linear(x, learnables[last], learnables[last+1]); err != nil {
		return nil, err
	}
	return o.cost(x, targets)
}

// backward computes the cost and adds its gradients to the existing ones.
func (n *net) backward() error {
	defer n.vm.Reset()
	return n.vm.RunAll()
}

// clear sets the gradients to zero, as every solver does after its step.
func (n *net) clear() {
	for _, l := range n.learnables {
		if g, err := l.Grad(); err == nil && g != nil {
			gorgonia.ZeroValue(g)
		}
	}
}

// close frees the net. The graph writes to n.loss, so the machine, which has a finalizer, would refer to itself through n and never be freed.
func (n *net) close() {
	_ = n.vm.Close()
	n.vm = nil
}

// training is a training step: the graph, then the solver. Without a solver it is
// the graph alone.
func (n *net) training(c clock, solver gorgonia.Solver) contestant {
	l := local{clock: c, prepare: func() {}, done: n.close}
	if solver == nil {
		l.prepare, l.step = n.clear, n.backward
		return l
	}
	model := gorgonia.NodesToValueGrads(n.learnables)
	l.step = func() error {
		if err := n.backward(); err != nil {
			return err
		}
		return solver.Step(model)
	}
	return l
}

// ourAdam and stockAdam have the same defaults.
func ourAdam() gorgonia.Solver   { return solvers.NewAdam() }
func stockAdam() gorgonia.Solver { return gorgonia.NewAdamSolver(gorgonia.WithLearnRate(0.001)) }

// trains is the entrant of training.
func (n netSpec) trains(name string, o ops, solver func() gorgonia.Solver) entrant {
	return entrant{name, func(_ context.Context, s *stage) (contestant, error) {
		m, err := n.build(o, n.values())
		if err != nil {
			return nil, err
		}
		if solver == nil {
			return m.training(s.clock, nil), nil
		}
		return m.training(s.clock, solver()), nil
	}}
}

// peerTrains is the entrant of the net in PyTorch.
func (n netSpec) peerTrains(name string) entrant {
	return entrant{name, func(ctx context.Context, s *stage) (contestant, error) {
		p, err := s.peers.get(ctx, "torch")
		if err != nil {
			return nil, err
		}
		return p.contestant(name, "net", n.request())
	}}
}

// request describes the net to a peer.
func (n netSpec) request() map[string]any {
	v := n.values()
	return map[string]any{
		"widths": n.widths, "weights": v.weights, "images": v.images, "labels": v.labels,
		"input": []int{n.batch, channels, side, side},
	}
}

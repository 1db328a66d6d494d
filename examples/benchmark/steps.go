// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/vec"
	"github.com/kernelfold/kernelfold/solvers"
)

// shapes are those of the parameters of a net, kernels as (out, in, height, width).
type shapes [][]int

// resNet18 returns the convolutions of the ImageNet ResNet-18: 11.2 million weights (He, Zhang,
// Ren, Sun 2016).
func resNet18() shapes {
	s := shapes{{64, 3, 7, 7}}
	in := 64
	for _, out := range []int{64, 128, 256, 512} {
		if in != out {
			s = append(s, []int{out, in, 1, 1})
		}
		for range 4 {
			s = append(s, []int{out, in, 3, 3})
			in = out
		}
	}
	return s
}

// resNet20 returns the convolutions of the CIFAR ResNet-20: 0.27 million weights (ibid.).
func resNet20() shapes {
	s := shapes{{16, 3, 3, 3}}
	in := 16
	for _, out := range []int{16, 32, 64} {
		for range 6 {
			s = append(s, []int{out, in, 3, 3})
			in = out
		}
	}
	return s
}

// kernels returns the shapes with slices of 3x3.
func (s shapes) kernels() (k shapes) {
	for _, shape := range s {
		if shape[2] == 3 && shape[3] == 3 {
			k = append(k, shape)
		}
	}
	return k
}

// weights returns how many there are.
func (s shapes) weights() (n int) {
	for _, shape := range s {
		n += product(shape)
	}
	return n
}

func product(shape []int) int { return tensor.Shape(shape).TotalSize() }

// parameter is a weight with its gradient. It implements gorgonia.ValueGrad and
// gorgonia.Namer.
type parameter struct {
	name         string
	weight, grad *tensor.Dense
	saved        []float32 // what the gradient is before every second step, and the negative of what it is before the others
	sign         float64
}

func (p *parameter) Name() string                  { return p.name }
func (p *parameter) Value() gorgonia.Value         { return p.weight }
func (p *parameter) Grad() (gorgonia.Value, error) { return p.grad, nil }

func parameterName(i int) string { return fmt.Sprintf("parameter%d", i) }

// newParameters draws weights and gradients.
func newParameters(s shapes) (all []*parameter) {
	rng := rand.New(rand.NewPCG(1, 1))
	for i, shape := range s {
		dense := func() *tensor.Dense {
			return tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(shape...))
		}
		p := &parameter{name: parameterName(i), weight: dense(), grad: dense(), sign: 1}
		w := p.weight.Float32s()
		p.saved = make([]float32, len(w))
		for i := range w {
			w[i], p.saved[i] = float32(rng.NormFloat64()), 0.05*float32(rng.NormFloat64())
		}
		all = append(all, p)
	}
	return all
}

// restore writes the gradients from the last layer to the first, as a backward pass writes them. Their sign alternates: weights of constant norm
// would go to where a constant gradient has next to no tangent part, as no gradient of a net has.
func restore(all []*parameter) {
	for _, p := range slices.Backward(all) {
		vec.Scale(p.grad.Float32s(), p.sign, p.saved)
		p.sign = -p.sign
	}
}

// solverStep is a step of a solver on parameters of the given shapes. Solvers zero the gradients, which are
// written again outside of the measured time; for SAM, which moves the weights twice, before each move.
func solverStep(c clock, s shapes, solver gorgonia.Solver) contestant {
	parameters := newParameters(s)
	var model []gorgonia.ValueGrad
	for _, p := range parameters {
		model = append(model, p)
	}
	l := local{
		clock:   c,
		prepare: func() { restore(parameters) },
		step:    func() error { return solver.Step(model) },
	}
	if sam, ok := solver.(*solvers.SAM); ok {
		l.first = func() error { return sam.Ascend(model) }
	}
	return l
}

// steps is the entrant of solverStep.
func steps(name string, s shapes, solver func() gorgonia.Solver) entrant {
	return entrant{name, func(_ context.Context, stage *stage) (contestant, error) {
		return solverStep(stage.clock, s, solver()), nil
	}}
}

// peerSteps is the entrant of an optimizer in a peer on kernels of the given shapes. With clear it
// zeroes the gradients, as solvers do.
func peerSteps(name, script, kind string, s shapes, clear bool) entrant {
	return entrant{name, func(ctx context.Context, stage *stage) (contestant, error) {
		p, err := stage.peers.get(ctx, script)
		if err != nil {
			return nil, err
		}
		return p.contestant(name, kind, map[string]any{"shapes": s, "clear": clear})
	}}
}

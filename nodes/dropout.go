// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"math/rand/v2"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/vec"
)

// Noise is the random state of a node. Run r in training draws from the stream of
// (Seed, r), so that a net that is loaded goes on with the numbers that it would
// have had if it had never stopped. To save and load it, read and write the fields between
// runs. Give each node a Noise of its own.
type Noise struct {
	Seed uint64
	Run  uint64 // runs in training so far
}

// Dropout is inverted dropout (Srivastava et al. 2014, section 10): in training
//
//	y[i] = x[i] m[i] / (1-p),   m[i] = 0 with probability p, else 1,
//
// with a mask m that each run draws from the noise, and in evaluation, on a machine with
// gorgonia.EvalMode, a copy of x. The gradient is dx[i] = dy[i] m[i] / (1-p), and dy in
// evaluation. The mode is that of the machine made last of the graph.
//
// x has any shape. Errors are a p outside of [0, 1) and noise that is nil.
//
// The gradient of gorgonia.Dropout is wrong unless p = 1/2, and its masks come from
// the clock.
func Dropout(x *gorgonia.Node, p float64, noise *Noise) (*gorgonia.Node, error) {
	const name = "nodes.Dropout"
	shapes, err := admit(name, []int{0}, x)
	if err != nil {
		return nil, err
	}
	if !(p >= 0 && p < 1) {
		return nil, fmt.Errorf("%s: want a probability from 0 to less than 1, got %v", name, p)
	}
	if noise == nil {
		return nil, fmt.Errorf("%s: want noise, got nil", name)
	}
	m := &mode{training: true}
	l := dropoutLayer{probability: p, noise: noise, mode: m, mask: &mask{keep: make([]bool, shapes[0].TotalSize())}}
	s := signature{name: name, in: shapes, out: append(tensor.Shape{}, shapes[0]...), mode: m}
	return apply(s, dropout[float32]{l}, dropout[float64]{l}, x)
}

type dropoutLayer struct {
	probability float64
	noise       *Noise
	mode        *mode
	mask        *mask
}

// mask is that of the last run, which its gradient needs.
type mask struct {
	keep     []bool
	training bool
}

type dropout[T vec.Float] struct{ dropoutLayer }

func (d dropout[T]) Forward(out []T, in [][]T) error {
	m := d.mask
	if m.training = d.mode.training; m.training {
		rng := rand.New(rand.NewPCG(d.noise.Seed, d.noise.Run))
		d.noise.Run++
		for i := range m.keep {
			m.keep[i] = rng.Float64() >= d.probability
		}
	}
	d.apply(out, in[0])
	return nil
}

func (d dropout[T]) Backward(dst []T, _ int, _ [][]T, _, grad []T) error {
	d.apply(dst, grad)
	return nil
}

// apply is the linear map of the last run.
func (d dropout[T]) apply(dst, x []T) {
	if !d.mask.training {
		copy(dst, x)
		return
	}
	scale := T(1 / (1 - d.probability))
	for i, k := range d.mask.keep {
		if k {
			dst[i] = x[i] * scale
		} else {
			dst[i] = 0
		}
	}
}

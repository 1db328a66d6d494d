// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"math/rand/v2"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/vec"
)

// Noise is the random state of a node. The numbers that run r in training draws are a function of
// Seed, r and, where each image has numbers of its own, the position of the image in the batch. A
// net that is loaded therefore continues with the same numbers as if it had never stopped. To save
// and load a Noise, use encoding/gob or encoding/json between runs. Give each node a Noise of its own.
type Noise struct {
	Seed uint64
	Run  uint64 // number of runs in training so far

	// First is the position of this process's first image in the whole batch, if several
	// processes share a batch. All parts together then draw the same numbers as the whole batch
	// in one process. It is not saved.
	First int `json:"-"`
}

// draw returns the source of random numbers for image i of the whole batch in the next run.
func (n *Noise) draw(i int) rand.PCG {
	const golden = 0x9e3779b97f4a7c15 // 2^64 over the golden ratio; separates images of close seeds
	var pcg rand.PCG
	pcg.Seed(n.Seed+golden*uint64(i), n.Run)
	return pcg
}

// Dropout is inverted dropout (Srivastava et al. 2014, section 10): in training
//
//	y[i] = x[i] m[i] / (1-p),   m[i] = 0 with probability p, else 1,
//
// where each run draws the mask m from the noise, separately for each image (along the first axis).
// In evaluation, on a machine with gorgonia.EvalMode, y is a copy of x. The gradient is dx[i] =
// dy[i] m[i] / (1-p), and dy in evaluation. The mode of a graph is that of the machine made last
// for it.
//
// x has any shape. Dropout returns an error for a p outside of [0, 1) and for a nil noise.
//
// The gradient of gorgonia.Dropout is wrong unless p = 1/2, and its masks are seeded by the clock.
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
	l := dropoutLayer{probability: p, images: 1, noise: noise, mode: m, mask: &mask{keep: make([]bool, shapes[0].TotalSize())}}
	if len(shapes[0]) > 0 {
		l.images = shapes[0][0]
	}
	s := signature{name: name, in: shapes, out: append(tensor.Shape{}, shapes[0]...), mode: m}
	return apply(s, dropout[float32]{l}, dropout[float64]{l}, x)
}

type dropoutLayer struct {
	probability float64
	images      int // along the first axis
	noise       *Noise
	mode        *mode
	mask        *mask
}

// mask is the mask of the last run, which the gradient of that run needs.
type mask struct {
	keep     []bool
	training bool
}

type dropout[T vec.Float] struct{ dropoutLayer }

func (d dropout[T]) Forward(out []T, in [][]T) error {
	m := d.mask
	if m.training = d.mode.training; m.training {
		each := len(m.keep) / d.images
		for i := range d.images {
			pcg := d.noise.draw(d.noise.First + i)
			rng := rand.New(&pcg)
			for k := range each {
				m.keep[i*each+k] = rng.Float64() >= d.probability
			}
		}
		d.noise.Run++
	}
	d.apply(out, in[0])
	return nil
}

func (d dropout[T]) Backward(dst []T, _ int, _ [][]T, _, grad []T) error {
	d.apply(dst, grad)
	return nil
}

// apply applies the linear map of the last run.
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

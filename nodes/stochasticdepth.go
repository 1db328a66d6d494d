// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/par"
	"github.com/kernelfold/kernelfold/internal/vec"
)

// StochasticDepth adds the branch of a residual block to its shortcut, or leaves it out
// (Huang, Sun, Liu, Sedra and Weinberger 2016, eq. 2 and 5). In training
//
//	y = shortcut + b branch,   b = 1 with the probability survival, else 0,
//
// with one b for the whole batch, that each run draws from the noise, and in evaluation, on
// a machine with gorgonia.EvalMode,
//
//	y = shortcut + survival branch.
//
// The gradients are dy in the shortcut, and b dy, or survival dy, in the branch. The mode
// is that of the machine made last of the graph. A graph has all its nodes in every run, so
// a branch that is left out is computed all the same, and the statistics of batch
// normalisations in it move.
//
// Both inputs have one shape, any. Errors are other shapes, a probability outside of (0, 1]
// and noise that is nil.
func StochasticDepth(branch, shortcut *gorgonia.Node, survival float64, noise *Noise) (*gorgonia.Node, error) {
	const name = "nodes.StochasticDepth"
	shapes, err := admit(name, []int{0, 0}, branch, shortcut)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(shapes[0], shapes[1]) {
		return nil, fmt.Errorf("%s: want a branch of the shape of the shortcut, %v, got %v", name, shapes[1], shapes[0])
	}
	if !(survival > 0 && survival <= 1) {
		return nil, fmt.Errorf("%s: want a probability of survival above 0 and up to 1, got %v", name, survival)
	}
	if noise == nil {
		return nil, fmt.Errorf("%s: want noise, got nil", name)
	}
	m := &mode{training: true}
	l := depthLayer{survival: survival, noise: noise, mode: m, factor: new(float64)}
	s := signature{name: name, in: shapes, out: shapes[0].Clone(), mode: m}
	return apply(s, stochasticDepth[float32]{l}, stochasticDepth[float64]{l}, branch, shortcut)
}

type depthLayer struct {
	survival float64
	noise    *Noise
	mode     *mode
	factor   *float64 // of the branch in the last run, which its gradient needs
}

type stochasticDepth[T vec.Float] struct{ depthLayer }

func (s stochasticDepth[T]) Forward(out []T, in [][]T) error {
	*s.factor = s.survival
	if s.mode.training {
		rng := rand.New(rand.NewPCG(s.noise.Seed, s.noise.Run))
		s.noise.Run++
		*s.factor = 0
		if rng.Float64() < s.survival {
			*s.factor = 1
		}
	}
	if *s.factor == 0 { // also of a branch that is not finite
		copy(out, in[1])
		return nil
	}
	par.Ranges(len(out), grain, func(from, to int) {
		vec.Combine(out[from:to], *s.factor, in[0][from:to], 1, in[1][from:to])
	})
	return nil
}

func (s stochasticDepth[T]) Backward(dst []T, input int, _ [][]T, _, grad []T) error {
	switch {
	case input == 1 || *s.factor == 1:
		copy(dst, grad)
	case *s.factor == 0:
		clear(dst)
	default:
		vec.Scale(dst, *s.factor, grad)
	}
	return nil
}

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
// where each run draws one b for the whole batch from the noise. In evaluation, on a machine with
// gorgonia.EvalMode,
//
//	y = shortcut + survival branch.
//
// The gradient is dy with respect to the shortcut, and b dy (in evaluation survival dy) with
// respect to the branch. The mode of a graph is that of the machine made last for it. Every run
// computes all nodes of a graph, so a branch that is left out is computed nevertheless, and batch
// normalisations in it update their statistics.
//
// The inputs may have any shape. StochasticDepth returns an error for inputs of different shapes,
// for a probability outside of (0, 1] and for a nil noise.
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
	factor   *float64 // factor of the branch in the last run, for the gradient of that run
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
	if *s.factor == 0 { // the branch may be NaN or Inf, so do not multiply
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

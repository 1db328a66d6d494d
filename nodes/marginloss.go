// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"math"

	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/internal/vec"
)

// MarginCrossEntropy is the mean cross-entropy at a temperature, with the logit of the label reduced by a margin:
//
//	L = temperature CrossEntropy((z - margin t)/temperature, t)
//
// (Prach and Lampert 2022, section 5). It trains nets for certificates. An image has a loss even if it is
// classified correctly, as long as its logit margin is small, so margins grow to about the given one. For larger
// margins the loss goes to 0, faster for lower temperatures, so that the net, whose slopes are bounded, can use
// its capacity for other images. The authors take margin = sqrt(2) and temperature = 1/4 for 1-Lipschitz nets;
// for radii ε that are to be certified the margin is about sqrt(2) ε, with images in the units of ε. With margin
// 0 and temperature 1 it is CrossEntropy.
//
// Shapes and the gradient are those of CrossEntropy. MarginCrossEntropy returns an error for a margin that is negative or not finite, and for a
// temperature that is not positive and finite.
func MarginCrossEntropy(logits, targets *gorgonia.Node, margin, temperature float64) (*gorgonia.Node, error) {
	const name = "nodes.MarginCrossEntropy"
	s, c, err := lossSignature(name, logits, targets)
	if err != nil {
		return nil, err
	}
	switch {
	case !(margin >= 0) || math.IsInf(margin, 0):
		return nil, fmt.Errorf("%s: want a finite margin of at least 0, got %v", name, margin)
	case !(temperature > 0) || math.IsInf(temperature, 0):
		return nil, fmt.Errorf("%s: want a positive and finite temperature, got %v", name, temperature)
	}
	return apply(s, newMarginLoss[float32](c, margin, temperature), newMarginLoss[float64](c, margin, temperature), logits, targets)
}

type marginLoss[T vec.Float] struct {
	crossEntropy[T]
	margin, temperature float64
	shifted             *[]T // the logits of the last run
}

func newMarginLoss[T vec.Float](classes int, margin, temperature float64) marginLoss[T] {
	return marginLoss[T]{crossEntropy[T]{classes, &softmax[T]{}}, margin, temperature, new([]T)}
}

func (m marginLoss[T]) Forward(out []T, in [][]T) error {
	if len(*m.shifted) != len(in[0]) {
		*m.shifted = make([]T, len(in[0]))
	}
	vec.Combine(*m.shifted, 1/m.temperature, in[0], -m.margin/m.temperature, in[1])
	if err := m.crossEntropy.Forward(out, [][]T{*m.shifted, in[1]}); err != nil {
		return err
	}
	out[0] = T(m.temperature * float64(out[0]))
	return nil
}

// Backward is that of the cross-entropy: the factors temperature and 1/temperature cancel.
func (m marginLoss[T]) Backward(dst []T, i int, in [][]T, out, grad []T) error {
	return m.crossEntropy.Backward(dst, i, in, out, grad)
}

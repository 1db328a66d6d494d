// SPDX-License-Identifier: Apache-2.0

package models

import (
	"fmt"
	"math"
	"runtime/debug"

	"gorgonia.org/tensor"
)

// maxNumbers is the largest number of weights of a net, and of numbers in a batch of its inputs: more than any published convolutional net has, 0.94e9 in
// the ResNet-152x4 of Kolesnikov et al. 2020 (Big transfer). A mistyped width would otherwise allocate until the process dies.
const maxNumbers = min(1<<30, math.MaxInt/8)

// SizeError reports that a net is too large: it has more than 2^30 weights, or a batch of it more than 2^30 numbers, or more than the runtime may
// allocate (the environment variable GOMEMLIMIT, if it is set). Nothing has been allocated for its weights.
type SizeError struct {
	What  string // "the weights of a net" or "a batch"
	Most  int    // numbers that they may have
	Name  string // of the learnable or the input that is too much
	Shape tensor.Shape
}

// Error says what was wanted.
func (e *SizeError) Error() string {
	return fmt.Sprintf("want at most %d numbers in %s, got more with %s of shape %v", e.Most, e.What, e.Name, e.Shape)
}

// tally adds the numbers of a shape, whose sizes are positive, to those that there are already.
func tally(before int, what string, of tensor.Dtype, name string, shape tensor.Shape) (int, error) {
	most := int(min(maxNumbers, debug.SetMemoryLimit(-1)/int64(of.Size())))
	left := most - before
	for _, s := range shape {
		left /= s // the product exceeds what is left just when this reaches 0
	}
	if left < 1 {
		return before, &SizeError{What: what, Most: most, Name: name, Shape: shape}
	}
	return before + shape.TotalSize(), nil
}

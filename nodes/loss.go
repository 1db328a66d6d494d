// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"math"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/internal/vec"
)

// CrossEntropy is the mean cross-entropy of a batch, a scalar, from logits:
//
//	L = -1/B sum_b sum_k t[b,k] log p[b,k],   p[b,k] = exp z[b,k] / sum_j exp z[b,j].
//
// Logits z and targets t have shape (B, K). A target is 1 at the label and 0 elsewhere,
// or any weights of the classes, such as smoothed labels. The node is not
// differentiated in the targets. The gradient is
//
//	dL/dz[b,k] = (p[b,k] sum_j t[b,j] - t[b,k]) / B.
//
// Logits are shifted by the largest of their row, so finite ones give no overflow and
// log p is right where p vanishes. A class of target 0 counts for nothing, also if its
// logit is -Inf. Where a row has a NaN or +Inf, or nothing but -Inf, L is NaN: a net
// that diverges is seen in its cost.
//
// Inputs that are not of rank 2, and of one shape, are an error.
func CrossEntropy(logits, targets *gorgonia.Node) (*gorgonia.Node, error) {
	const name = "nodes.CrossEntropy"
	shapes, err := admit(name, []int{2, 2}, logits, targets)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(shapes[0], shapes[1]) {
		return nil, fmt.Errorf("%s: want targets of the shape of the logits, %v, got %v", name, shapes[0], shapes[1])
	}
	s := signature{name: name, in: shapes, out: tensor.Shape{}, constant: 1 << 1}
	c := shapes[0][1]
	return apply(s, crossEntropy[float32]{c}, crossEntropy[float64]{c}, logits, targets)
}

type crossEntropy[T vec.Float] struct{ classes int }

// partition returns the largest of the logits z and log sum exp (z - largest).
func partition[T vec.Float](z []T) (largest, logSum float64) {
	largest = float64(slices.Max(z)) // NaN if there is one
	sum := 0.0
	for _, v := range z {
		sum += math.Exp(float64(v) - largest)
	}
	return largest, math.Log(sum)
}

func (c crossEntropy[T]) Forward(out []T, in [][]T) error {
	z, t := in[0], in[1]
	rows := len(z) / c.classes
	loss := 0.0
	for ; len(z) > 0; z, t = z[c.classes:], t[c.classes:] {
		row := z[:c.classes]
		largest, logSum := partition(row)
		for k, v := range row {
			if a := float64(t[k]); a != 0 || math.IsNaN(logSum) {
				loss -= a * (float64(v) - largest - logSum)
			}
		}
	}
	out[0] = T(loss / float64(rows))
	return nil
}

func (c crossEntropy[T]) Backward(dst []T, _ int, in [][]T, _, grad []T) error {
	z, t := in[0], in[1]
	g := float64(grad[0]) / float64(len(z)/c.classes)
	for ; len(z) > 0; z, t, dst = z[c.classes:], t[c.classes:], dst[c.classes:] {
		row, targets := z[:c.classes], t[:c.classes]
		largest, logSum := partition(row)
		total := vec.Sum(targets)
		for k, v := range row {
			p := math.Exp(float64(v) - largest - logSum)
			dst[k] = T(g * (p*total - float64(targets[k])))
		}
	}
	return nil
}

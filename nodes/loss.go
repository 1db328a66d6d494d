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

// CrossEntropy is the mean cross-entropy of a batch, a scalar, computed from logits:
//
//	L = -1/B sum_b sum_k t[b,k] log p[b,k],   p[b,k] = exp z[b,k] / sum_j exp z[b,j].
//
// Logits z and targets t have shape (B, K). A target is 1 at the label and 0 elsewhere, or any other
// weights of the classes, such as smoothed labels. There is no gradient with respect to the targets.
// The gradient with respect to the logits is
//
//	dL/dz[b,k] = (p[b,k] sum_j t[b,j] - t[b,k]) / B.
//
// The largest logit of a row is subtracted first, so finite logits do not overflow, and log p is
// accurate even where p underflows to 0. A class with target 0 contributes nothing, even if its logit
// is -Inf. L is NaN if a row contains NaN or +Inf or only -Inf, so the cost shows that a net has
// diverged.
//
// CrossEntropy returns an error unless both inputs have rank 2 and the same shape.
func CrossEntropy(logits, targets *gorgonia.Node) (*gorgonia.Node, error) {
	const name = "nodes.CrossEntropy"
	s, c, err := lossSignature(name, logits, targets)
	if err != nil {
		return nil, err
	}
	return apply(s, crossEntropy[float32]{c, &softmax[float32]{}}, crossEntropy[float64]{c, &softmax[float64]{}}, logits, targets)
}

// lossSignature returns the signature of a loss of logits and targets, and the number of classes.
func lossSignature(name string, logits, targets *gorgonia.Node) (s signature, classes int, err error) {
	shapes, err := admit(name, []int{2, 2}, logits, targets)
	if err != nil {
		return s, 0, err
	}
	if !slices.Equal(shapes[0], shapes[1]) {
		return s, 0, fmt.Errorf("%s: want targets of the shape of the logits, %v, got %v", name, shapes[0], shapes[1])
	}
	return signature{name: name, in: shapes, out: tensor.Shape{}, constant: 1 << 1}, shapes[0][1], nil
}

type crossEntropy[T vec.Float] struct {
	classes int
	softmax *softmax[T]
}

// softmax is the softmax of the last run, which the gradient of that run needs.
type softmax[T vec.Float] struct {
	p      []T
	losses []float64 // one for each row
}

// size allocates memory for the given number of rows and classes.
func (s *softmax[T]) size(rows, classes int) {
	if len(s.losses) != rows {
		s.p, s.losses = make([]T, rows*classes), make([]float64, rows)
	}
}

func (c crossEntropy[T]) Forward(out []T, in [][]T) error {
	rows := len(in[0]) / c.classes
	c.softmax.size(rows, c.classes)
	parallel(rows, 16*len(in[0]), func(from, to int) {
		for b := from; b < to; b++ {
			i, j := b*c.classes, (b+1)*c.classes
			c.softmax.losses[b] = entropy(c.softmax.p[i:j], in[0][i:j], in[1][i:j])
		}
	})
	out[0] = T(vec.Sum(c.softmax.losses) / float64(rows))
	return nil
}

// entropy sets p to the softmax of the logits z and returns the cross-entropy of the
// targets t: with a the largest logit,
//
//	p = exp(z - a) / sum exp(z - a),  -sum t (z - a - log sum exp(z - a)).
func entropy[T vec.Float](p, z, t []T) float64 {
	largest := float64(slices.Max(z)) // NaN if any logit is NaN
	sum := 0.0
	for k, v := range z {
		e := math.Exp(float64(v) - largest)
		sum += e
		p[k] = T(e)
	}
	vec.Scale(p, 1/sum, p)
	logSum, loss := math.Log(sum), 0.0
	for k, v := range z {
		if a := float64(t[k]); a != 0 || math.IsNaN(logSum) {
			loss -= a * (float64(v) - largest - logSum)
		}
	}
	return loss
}

func (c crossEntropy[T]) Backward(dst []T, _ int, in [][]T, _, grad []T) error {
	rows := len(in[0]) / c.classes
	g := float64(grad[0]) / float64(rows)
	parallel(rows, len(in[0]), func(from, to int) {
		for b := from; b < to; b++ {
			i, j := b*c.classes, (b+1)*c.classes
			t := in[1][i:j]
			vec.Combine(dst[i:j], g*vec.Sum(t), c.softmax.p[i:j], -g, t)
		}
	})
	return nil
}

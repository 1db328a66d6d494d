// SPDX-License-Identifier: Apache-2.0

package train

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
)

// Evaluate returns the mean cross-entropy of any number of images and the
// share, 0..1, whose largest logit is that of the label.
func Evaluate(ctx context.Context, p *models.Predictor, data images.Split) (loss, accuracy float64, err error) {
	n := data.Len()
	if n == 0 {
		return 0, 0, fmt.Errorf("train: want images to evaluate, got none")
	}
	spec := p.Spec()
	if size := spec.Shape[0] * spec.Shape[1] * spec.Shape[2]; len(data.Images) != n*size {
		return 0, 0, fmt.Errorf("train: %s: want %d numbers for %d images of %v, got %d", data.Name, n*size, n, spec.Shape, len(data.Images))
	}
	loss, right, err := count(ctx, p, data, 0, n)
	return loss / float64(n), float64(right) / float64(n), err
}

// measure is Evaluate on all ranks, each of which counts its part.
func (r *run) measure(data images.Split) (loss, accuracy float64, err error) {
	n, np, k := data.Len(), r.Size(), r.Rank()
	loss, right, err := count(r.ctx, r.predictor, data, n*k/np, n*(k+1)/np)
	switch cause := notFinite(err); {
	case err == nil:
	case cause != nil:
		err = &DivergedError{r.Steps, r.Current.Number, r.Loss, cause}
	case r.ctx.Err() != nil && errors.Is(err, r.ctx.Err()):
		err = cancelled{err}
	}
	if err := r.agree(err); err != nil {
		return 0, 0, err
	}
	sums, err := r.Sum(loss, float64(right))
	if err != nil {
		return 0, 0, err
	}
	return sums[0] / float64(n), sums[1] / float64(n), nil
}

// count returns the sum of the cross-entropies of the images from..to, and how many are classified
// correctly.
func count(ctx context.Context, p *models.Predictor, data images.Split, first, last int) (loss float64, right int, err error) {
	spec := p.Spec()
	size := spec.Shape[0] * spec.Shape[1] * spec.Shape[2]
	for from := first; from < last; from += spec.Batch {
		if err := ctx.Err(); err != nil {
			return 0, 0, err
		}
		to := min(last, from+spec.Batch)
		logits, err := p.Logits(data.Images[from*size : to*size])
		if err != nil {
			return 0, 0, err
		}
		for i, label := range data.Labels[from:to] {
			if label < 0 || label >= spec.Classes {
				return 0, 0, fmt.Errorf("train: %s: label %d: want 0..%d, got %d", data.Name, from+i, spec.Classes-1, label)
			}
			row := logits[i*spec.Classes : (i+1)*spec.Classes]
			best, z := largest(row), 0.0
			for _, v := range row {
				z += math.Exp(v - row[best])
			}
			loss += row[best] + math.Log(z) - row[label]
			if best == label {
				right++
			}
		}
	}
	return loss, right, nil
}

// largest returns the index of the first of the largest numbers.
func largest[T float32 | float64](row []T) int {
	best := 0
	for i, v := range row {
		if v > row[best] {
			best = i
		}
	}
	return best
}

// right counts the labels whose logit is the largest of its image.
func right(logits any, labels []int) int {
	switch l := logits.(type) {
	case []float32:
		return hits(l, labels)
	case []float64:
		return hits(l, labels)
	}
	return 0
}

func hits[T float32 | float64](logits []T, labels []int) (n int) {
	classes := len(logits) / len(labels)
	for i, label := range labels {
		if largest(logits[i*classes:(i+1)*classes]) == label {
			n++
		}
	}
	return n
}

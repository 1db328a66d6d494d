// SPDX-License-Identifier: Apache-2.0

package train

import (
	"context"
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
	size := spec.Shape[0] * spec.Shape[1] * spec.Shape[2]
	if len(data.Images) != n*size {
		return 0, 0, fmt.Errorf("train: %s: want %d numbers for %d images of %v, got %d", data.Name, n*size, n, spec.Shape, len(data.Images))
	}
	right := 0
	for from := 0; from < n; from += spec.Batch {
		if err := ctx.Err(); err != nil {
			return 0, 0, err
		}
		to := min(n, from+spec.Batch)
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
	return loss / float64(n), float64(right) / float64(n), nil
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
		return count(l, labels)
	case []float64:
		return count(l, labels)
	}
	return 0
}

func count[T float32 | float64](logits []T, labels []int) (n int) {
	classes := len(logits) / len(labels)
	for i, label := range labels {
		if largest(logits[i*classes:(i+1)*classes]) == label {
			n++
		}
	}
	return n
}

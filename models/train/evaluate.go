// SPDX-License-Identifier: Apache-2.0

package train

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/kernelfold/kernelfold/models"
)

// Evaluate returns the mean cost of any number of examples and the mean of their scores: for a
// models.Model the cross-entropy and the share, 0..1, of images whose largest logit is that of the
// label. The score is NaN for a net without one.
func Evaluate(ctx context.Context, p *models.Predictor, data Data) (loss, accuracy float64, err error) {
	if err := given(p); err != nil {
		return 0, 0, err
	}
	if isEmpty(data) {
		return 0, 0, fmt.Errorf("train: want examples to evaluate, got none")
	}
	n := data.Len()
	loss, score, err := total(ctx, p, "", data, 0, n)
	return loss / float64(n), score / float64(n), err
}

// given returns an error for a predictor that no net has made.
func given(p *models.Predictor) error {
	if p == nil || p.Net() == nil {
		return errors.New("train: want a predictor made by the method Predictor of a net, got nil or the zero Predictor")
	}
	return nil
}

// measure is Evaluate on all ranks, each of which evaluates its part. An error of the data names them.
func (r *run) measure(name string, data Data) (loss, accuracy float64, err error) {
	n, np, k := data.Len(), r.Size(), r.Rank()
	loss, score, err := total(r.ctx, r.predictor, name+": ", data, n*k/np, n*(k+1)/np)
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
	sums, err := r.Sum(loss, score)
	if err != nil {
		return 0, 0, err
	}
	return sums[0] / float64(n), sums[1] / float64(n), nil
}

// total returns the sums of the costs and of the scores of the examples first..last. The error of an example begins with the prefix.
func total(ctx context.Context, p *models.Predictor, prefix string, data Data, first, last int) (loss, score float64, err error) {
	err = eachBatch(ctx, p.Net(), prefix, data, first, last, func(b *batch) error {
		l, s, err := p.Evaluate(b.values...)
		loss, score = loss+l, score+s
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	return loss, score, nil
}

// eachBatch calls do with batches of the examples first..last, in their order. It gathers the next ones meanwhile. The error of an
// example begins with the prefix.
func eachBatch(ctx context.Context, n *models.Net, prefix string, data Data, first, last int, do func(*batch) error) error {
	if first == last {
		return nil
	}
	size := min(last-first, n.Batch())
	f, err := startFeed(n, size, (last-first+size-1)/size, data, inOrder(first, last, size))
	if err != nil {
		return err
	}
	defer f.close()
	for b := range f.ready {
		if err := ctx.Err(); err != nil {
			return err
		}
		if b.err != nil {
			return fmt.Errorf("train: %s%w", prefix, b.err)
		}
		if err := do(b); err != nil {
			return err
		}
		f.empty <- b
	}
	return nil
}

// inOrder is the examples first..last in batches of the given size, without random numbers.
func inOrder(first, last, size int) iter.Seq2[[]int, draw] {
	return func(yield func([]int, draw) bool) {
		for from := first; from < last; from += size {
			examples := make([]int, min(size, last-from))
			for i := range examples {
				examples[i] = from + i
			}
			if !yield(examples, nil) {
				return
			}
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package train_test

import (
	"context"
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/nodes"
)

// The mean of the losses of predictions, and the share of those that are right, are what Evaluate returns.
func TestPredictAgreesWithEvaluate(t *testing.T) {
	set, err := images.Digits(1, 50, 37, images.DigitOptions{})
	require.NoError(t, err)
	m, err := models.CNN(16, models.Options{Shape: set.Shape(), Classes: len(set.Classes), Widths: []int{3}, Seed: 1})
	require.NoError(t, err)
	p, err := m.Predictor()
	require.NoError(t, err)
	defer p.Close()
	ctx := context.Background()
	loss, right := 0.0, 0
	var all []train.Prediction
	require.NoError(t, train.Predict(ctx, p, set.Test, func(e train.Prediction) error {
		loss += e.Loss()
		if e.Class() == e.Label {
			right++
		}
		all = append(all, e)
		return nil
	}))
	require.Len(t, all, 37)
	for i, e := range all {
		assert.Equal(t, i, e.Example)
		assert.Equal(t, set.Test.Labels[i], e.Label)
		assert.InDelta(t, -math.Log(models.Softmax(e.Logits)[e.Label]), e.Loss(), 1e-9)
	}
	mean, accuracy, err := train.Evaluate(ctx, p, set.Test)
	require.NoError(t, err)
	assert.InDelta(t, mean, loss/37, 1e-5)
	assert.Equal(t, accuracy, float64(right)/37)

	stop := errors.New("stop")
	calls := 0
	assert.Equal(t, stop, train.Predict(ctx, p, set.Test, func(train.Prediction) error { calls++; return stop }))
	assert.Equal(t, 1, calls)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	none := func(train.Prediction) error { return nil }
	assert.Equal(t, context.Canceled, train.Predict(cancelled, p, set.Test, none))
	assert.ErrorContains(t, train.Predict(ctx, p, images.Split{}, none), "want examples to predict, got none")
	wrong := set.Test
	wrong.Labels = append([]int{10}, wrong.Labels[1:]...)
	assert.ErrorContains(t, train.Predict(ctx, p, wrong, none), "label 0: want 0..9, got 10")
	wrong = set.Test
	wrong.Images = append([]float32{float32(math.NaN())}, wrong.Images[1:]...)
	assert.ErrorIs(t, train.Predict(ctx, p, wrong, none), nodes.ErrNotFinite)
}

// The loss is what the net's cost would be, also for large logits.
func TestLossOfLargeLogits(t *testing.T) {
	assert.InDelta(t, math.Ln2, train.Prediction{Logits: []float64{1e16, 1e16}}.Loss(), 1e-15)
}

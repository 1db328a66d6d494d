// SPDX-License-Identifier: Apache-2.0

package train_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/solvers"
)

// TestDefaultConstraintsTrain changes the one line of an ordinary CNN, with and
// without batch norm: under every manifold with its default grouping and scale it trains
// wherever the unconstrained net does, and without batch norm also at a learning rate where
// that fails. docs/choosing.md has the experiment behind the default scale. Everything is seeded; the
// thresholds lie below what was measured by at least 0.05.
func TestDefaultConstraintsTrain(t *testing.T) {
	if testing.Short() {
		t.Skip("trains 22 nets")
	}
	set, err := images.Digits(3, 640, 400, images.DigitOptions{Side: 12, Noise: 0.05, Clutter: -1, Distortion: 0.4})
	require.NoError(t, err)
	accuracy := func(norm bool, opts ...solvers.Option) float64 {
		m, err := models.CNN(32, models.Options{Shape: set.Shape(), Classes: 10, Widths: []int{8, 16}, BatchNorm: norm, Seed: 1})
		require.NoError(t, err)
		s := solvers.NewSGD(append(opts, solvers.Momentum(0.9))...)
		epochs, err := train.Fit(context.Background(), m, s, set.Train, train.Options{Epochs: 6, Seed: 1, Test: set.Test})
		var diverged *train.DivergedError
		if errors.As(err, &diverged) {
			return 0
		}
		require.NoError(t, err)
		return epochs[len(epochs)-1].TestAccuracy
	}
	assert.Less(t, accuracy(false, solvers.LearnRate(0.1)), 0.5, "unconstrained, learning rate 0.1: too easy to tell anything")

	for _, m := range []manifolds.Manifold{manifolds.Sphere{}, manifolds.CentredSphere{}, manifolds.Oblique{}, manifolds.Stiefel{}} {
		for _, c := range []struct {
			norm bool
			rate float64
			want float64
		}{
			{false, 0.02, 0.65}, {false, 0.05, 0.75}, {false, 0.1, 0.75},
			{true, 0.02, 0.8}, {true, 0.05, 0.8},
		} {
			t.Run(fmt.Sprintf("%s, batch norm %v, learning rate %g", manifolds.Name(m), c.norm, c.rate), func(t *testing.T) {
				a := accuracy(c.norm, solvers.LearnRate(c.rate), solvers.Kernels(m))
				t.Logf("accuracy %.3f", a)
				assert.Greater(t, a, c.want)
			})
		}
	}
}

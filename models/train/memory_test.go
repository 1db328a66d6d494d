// SPDX-License-Identifier: Apache-2.0

package train_test

import (
	"context"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/solvers"
)

// TestTrainedModelsAreFreed trains one net after the other, as a comparison
// does: memory must not grow with their number.
func TestTrainedModelsAreFreed(t *testing.T) {
	set, err := images.Digits(1, 64, 32, images.DigitOptions{})
	require.NoError(t, err)
	heap := func() float64 {
		for range 3 { // finalizers free what they hold at the next collection
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc) / (1 << 20)
	}
	var first, last float64
	for i := range 6 {
		m, err := models.CNN(32, models.Options{Shape: set.Shape(), Classes: 10, Seed: 1})
		require.NoError(t, err)
		_, err = train.Fit(context.Background(), m, solvers.NewSGD(solvers.Kernels(manifolds.Sphere{})), set.Train, train.Options{Test: set.Test})
		require.NoError(t, err)
		if last = heap(); i == 1 {
			first = last
		}
	}
	assert.Less(t, last, first+8, "MiB after six nets, and after two")
	t.Logf("%.1f MiB after two nets, %.1f after six", first, last)
}

// SPDX-License-Identifier: Apache-2.0

package train_test

import (
	"context"
	"math"
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/solvers"
)

// A net learns from a folder, which it reads in the same way on any number of cores; a picture that is lost meanwhile ends the run by name.
func TestPictures(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, images.Draw(t.Context(), dir, images.DrawOptions{Classes: "LOX", PerClass: 40, Side: 24}))
	tr := images.StandardTransform()
	tr.Scale, tr.Flip, tr.Brightness, tr.Hue = [2]float64{0.7, 1}, false, 0.2, 0.1
	all, err := images.Folder(dir, images.FolderOptions{Preprocessing: images.Preprocessing{Size: 16, Resize: 18}, Transform: tr})
	require.NoError(t, err)
	parts, err := all.Split(1, 0.8, 0.2)
	require.NoError(t, err)
	fit := func(epochs int) ([]train.Epoch, error) {
		m, err := models.CNN(16, models.Options{Shape: all.Shape(), Classes: 3, Widths: []int{8, 16}, BatchNorm: true, Seed: 1})
		require.NoError(t, err)
		return train.Fit(context.Background(), m, solvers.NewSGD(solvers.LearnRate(0.1)), parts[0], train.Options{Epochs: epochs, Test: parts[1]})
	}
	long, err := fit(12)
	require.NoError(t, err)
	last := long[len(long)-1]
	assert.Greater(t, last.TestAccuracy, 0.6)
	assert.Positive(t, last.Waited)
	assert.Less(t, last.Waited, last.Elapsed)

	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	short, err := fit(1)
	require.NoError(t, err)
	assert.InDelta(t, long[0].TrainLoss, short[0].TrainLoss, 1e-4*math.Abs(long[0].TrainLoss)) // sums are in another order

	require.NoError(t, os.Remove(parts[0].Path(5)))
	_, err = fit(1)
	assert.ErrorContains(t, err, "train: example 5: images: ")
	assert.ErrorContains(t, err, parts[0].Path(5))
	assert.ErrorIs(t, err, os.ErrNotExist)
}

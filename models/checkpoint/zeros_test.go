// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/internal/disk"
	"github.com/kernelfold/kernelfold/models"
)

// resnet is a net with two shortcuts of option A.
func resnet(t testing.TB, zeros models.Zeros) *models.Model {
	t.Helper()
	m, err := models.ResNet(2, 8, models.Options{Shape: [3]int{3, 8, 8}, Classes: 3, Zeros: zeros})
	require.NoError(t, err)
	return m
}

// A checkpoint of a net whose shortcuts put zeros elsewhere is refused, and so is one from before checkpoints
// said it by a net that puts them around. Import knows the same.
func TestCheckpointsKnowZeros(t *testing.T) {
	dir := t.TempDir()
	path := map[models.Zeros]string{}
	for zeros, version := range map[models.Zeros]string{models.ZerosAfter: version1, models.ZerosAround: version2} {
		path[zeros] = filepath.Join(dir, string(zeros))
		require.NoError(t, Save(path[zeros], resnet(t, zeros), nil, nil))
		f, err := open(path[zeros])
		require.NoError(t, err)
		assert.Equal(t, version, f.Metadata()[versionKey])
		assert.Equal(t, string(zeros), f.Metadata()[zerosKey])
		require.NoError(t, f.Close())
		require.NoError(t, Load(path[zeros], resnet(t, zeros), nil, nil))
	}
	after, around := &run{model: resnet(t, models.ZerosAfter)}, &run{model: resnet(t, models.ZerosAround)}
	refuse := func(r *run, path, want string) {
		t.Helper()
		before := r.memory(t)
		err := Load(path, r.model, nil, nil)
		assert.ErrorIs(t, err, ErrMismatch)
		assert.ErrorContains(t, err, want)
		assert.Equal(t, before, r.memory(t))
	}
	refuse(after, path[models.ZerosAround], "want channels of zeros after those of the input, as in the model, got them \"around\": see models.Options.Zeros")
	refuse(around, path[models.ZerosAfter], "want channels of zeros around those of the input, as in the model, got them \"after\": see models.Options.Zeros")

	old := filepath.Join(dir, "old")
	c, err := contentOf(after.model, nil, nil)
	require.NoError(t, err)
	delete(c.metadata, zerosKey)
	require.NoError(t, disk.Replace(disk.OS{}, old, c.write))
	require.NoError(t, Load(old, after.model, nil, nil))
	refuse(around, old, `got them "after"`)

	for _, o := range []ImportOptions{{}, {Zeros: models.ZerosAfter}} {
		for _, from := range []string{path[models.ZerosAfter], old} {
			require.NoError(t, Import(from, after.model, o))
			refusesImport(t, from, around.model, o, ErrMismatch, `got them "after"`)
		}
	}
	refusesImport(t, old, around.model, ImportOptions{Zeros: models.ZerosAround}, ErrMismatch, `got them "after" in the file`)
	require.NoError(t, Import(path[models.ZerosAround], around.model, ImportOptions{}))
}

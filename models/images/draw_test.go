// SPDX-License-Identifier: Apache-2.0

package images_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/models/images"
)

// Drawn pictures are a folder, the same in a larger one, and tell their classes apart.
func TestDraw(t *testing.T) {
	small, large := t.TempDir(), t.TempDir()
	require.NoError(t, images.Draw(small, images.DrawOptions{Classes: "Q7", PerClass: 3, Seed: 4, Side: 40}))
	require.NoError(t, images.Draw(large, images.DrawOptions{PerClass: 4, Seed: 4, Side: 40}))
	p, err := images.Folder(large, images.FolderOptions{Preprocessing: images.Preprocessing{Size: 32, Grey: true}})
	require.NoError(t, err)
	assert.Len(t, p.Classes, 34)
	assert.Equal(t, 4*34, p.Len())
	for _, name := range []string{"Q/0001.jpg", "7/0003.jpg"} {
		a, err := os.ReadFile(filepath.Join(small, name))
		require.NoError(t, err)
		b, err := os.ReadFile(filepath.Join(large, name))
		require.NoError(t, err)
		assert.Equal(t, a, b)
	}
	x, y := make([]float32, 32*32), make([]float32, 32*32)
	require.NoError(t, p.Example(0, []any{x}, nil))
	require.NoError(t, p.Example(4, []any{y}, nil))
	assert.NotEqual(t, x, y)

	err = images.Draw(small, images.DrawOptions{Classes: "Q", PerClass: 4, Seed: 4})
	assert.ErrorIs(t, err, os.ErrExist)
	assert.NoFileExists(t, filepath.Join(small, "Q", "0004.jpg"))
	require.NoError(t, images.Draw(small, images.DrawOptions{Classes: "q", PerClass: 1, PNG: true}))
	for classes, want := range map[string]string{"a/": "want letters and digits", "aA": "in either case", "漢": "want characters that the Go typefaces have"} {
		assert.ErrorContains(t, images.Draw(small, images.DrawOptions{Classes: classes}), want)
	}
}

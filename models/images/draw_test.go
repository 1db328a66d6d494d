// SPDX-License-Identifier: Apache-2.0

package images_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/models/images"
)

// Drawn pictures are a folder, the same in a larger one, and tell their classes apart.
func TestDraw(t *testing.T) {
	small, large := t.TempDir(), t.TempDir()
	require.NoError(t, images.Draw(t.Context(), small, images.DrawOptions{Classes: "Q7", PerClass: 3, Seed: 4, Side: 40}))
	require.NoError(t, images.Draw(t.Context(), large, images.DrawOptions{PerClass: 4, Seed: 4, Side: 40}))
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

	for classes, want := range map[string]string{"a/": "want letters and digits", "aA": "in either case", "漢": "want characters that the Go typefaces have"} {
		assert.ErrorContains(t, images.Draw(t.Context(), t.TempDir(), images.DrawOptions{Classes: classes}), want)
	}
}

// Draw adds nothing to a folder that holds something, and leaves whole pictures when its context ends.
func TestDrawRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "new", "folder")
	require.NoError(t, images.Draw(t.Context(), path, images.DrawOptions{Classes: "q", PerClass: 2, PNG: true}))
	assert.FileExists(t, filepath.Join(path, "q", "0002.png"))
	err := images.Draw(t.Context(), dir, images.DrawOptions{Classes: "AB", PerClass: 1})
	assert.ErrorIs(t, err, os.ErrExist)
	assert.ErrorContains(t, err, "images: draw: want a new or an empty folder, got "+dir+" with new in it")
	there, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, there, 1)
	file := filepath.Join(path, "q", "0001.png")
	assert.Error(t, images.Draw(t.Context(), file, images.DrawOptions{Classes: "A"}))

	ctx, cancel := context.WithCancel(t.Context())
	dir = t.TempDir()
	end := make(chan error)
	go func() { end <- images.Draw(ctx, dir, images.DrawOptions{Classes: "A", PerClass: 100000, Side: 32}) }()
	drawn := func() bool {
		_, err := os.Stat(filepath.Join(dir, "A", "0001.jpg"))
		return err == nil
	}
	require.Eventually(t, drawn, 10*time.Second, time.Millisecond)
	cancel()
	assert.ErrorIs(t, <-end, context.Canceled)
	p, err := images.Folder(dir, images.FolderOptions{Preprocessing: images.Preprocessing{Size: 8}})
	require.NoError(t, err)
	_, err = p.Check(t.Context())
	assert.NoError(t, err)
	assert.Less(t, p.Len(), 100000)
}

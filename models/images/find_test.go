// SPDX-License-Identifier: Apache-2.0

package images_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/models/images"
)

func TestFind(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b.png", "a/c.JPG", "a/d.txt", "a/.e.png", ".git/f.png", "g.png/h.tiff", "empty/i"} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
		require.NoError(t, os.WriteFile(path, nil, 0o666))
	}
	in := func(names ...string) (paths []string) {
		for _, n := range names {
			paths = append(paths, filepath.Join(dir, filepath.FromSlash(n)))
		}
		return paths
	}
	all := in("a/c.JPG", "b.png", "g.png/h.tiff")
	got, err := images.Find(dir)
	require.NoError(t, err)
	assert.Equal(t, all, got)
	got, err = images.Find(filepath.Join(dir, "a", "d.txt"), filepath.Join(dir, "a"), "nowhere")
	require.NoError(t, err)
	assert.Equal(t, append(in("a/d.txt", "a/c.JPG"), "nowhere"), got)
	_, err = images.Find(filepath.Join(dir, "empty"))
	assert.ErrorContains(t, err, "empty: want pictures in the folder, got none")
	for name, want := range map[string]bool{"": true, "a": true, "g.png": true, "b.png": false, "empty": false, ".git": true, "nowhere": false} {
		assert.Equal(t, want, images.HasPictures(filepath.Join(dir, name)), name)
	}
	if link := filepath.Join(t.TempDir(), "link"); os.Symlink(dir, link) == nil {
		got, err = images.Find(link)
		require.NoError(t, err)
		assert.Len(t, got, 3)
		assert.True(t, images.HasPictures(link))
	}
}

// A picture read from memory is the same as one read from the file.
func TestReadImage(t *testing.T) {
	set, err := images.Digits(1, 10, 10, images.DigitOptions{})
	require.NoError(t, err)
	path := filepath.Join("testdata", "pictures")
	files, err := images.Find(path)
	require.NoError(t, err)
	read := 0
	for _, f := range files {
		want, err := set.LoadImage(f)
		if err != nil {
			continue
		}
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		got, err := set.ReadImage(bytes.NewReader(b), "name")
		require.NoError(t, err)
		assert.Equal(t, want, got)
		read++
	}
	assert.Positive(t, read)
	_, err = set.ReadImage(bytes.NewReader([]byte("text")), "name.png")
	assert.ErrorIs(t, err, images.ErrFormat)
	assert.ErrorContains(t, err, "images: name.png: want a JPEG, PNG")
}

// SPDX-License-Identifier: Apache-2.0

//go:build unix

package images_test

import (
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/models/images"
)

// Nothing waits for a named pipe.
func TestPipes(t *testing.T) {
	files := mnist()
	delete(files, trainImages)
	dir := write(t, files)
	pipe := filepath.Join(dir, trainImages)
	require.NoError(t, syscall.Mkfifo(pipe, 0o666))
	for _, path := range []string{dir, pipe} {
		_, err := images.Load(path, 0)
		assert.ErrorContains(t, err, pipe+": want a regular file, got a named pipe")
	}
	set := &images.Set{Channels: 1, Height: 8, Width: 8, Mean: []float32{0}, Std: []float32{1}}
	_, err := set.LoadImage(pipe)
	assert.ErrorContains(t, err, "got a named pipe")
}

// SPDX-License-Identifier: Apache-2.0

//go:build unix

package disk

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What is no file, such as a pipe or a device, is not replaced by one.
func TestReplaceRefusesPipes(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "pipe"), filepath.Join(dir, "link")
	require.NoError(t, syscall.Mkfifo(path, 0o666))
	require.NoError(t, os.Symlink("pipe", link))
	for _, p := range []string{path, link} {
		assert.ErrorContains(t, WriteFile(p, nil), p+": want a regular file, got a named pipe")
	}
	assert.ElementsMatch(t, []string{"pipe", "link"}, list(t, dir))
}

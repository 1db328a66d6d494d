// SPDX-License-Identifier: Apache-2.0

//go:build unix

package files_test

import (
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/internal/files"
)

// A named pipe to which nobody writes would keep a plain open waiting for ever.
func TestOpenRefusesPipes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(path, 0o666))
	_, _, err := files.Open(path)
	assert.ErrorContains(t, err, path+": want a regular file, got a named pipe")
	_, _, err = files.Open("/dev/null")
	assert.ErrorContains(t, err, "got a device")
}

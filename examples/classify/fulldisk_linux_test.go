// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A run that fills the disk says so and keeps the checkpoints that it has. With more room it continues as if it had never stopped.
func TestFullDisk(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=600k"); err != nil {
		t.Skipf("cannot mount a small disk: %v", err)
	}
	t.Cleanup(func() { assert.NoError(t, syscall.Unmount(disk, 0)) })
	lenet := func(dir string) []string {
		return []string{"-model", "lenet", "-limit", "200", "-epochs", "3", "-batch", "10", "-out", dir}
	}
	dir, whole := filepath.Join(disk, "run"), filepath.Join(t.TempDir(), "run")

	status, _, errs := program(context.Background(), lenet(dir)...)
	require.Equal(t, 1, status)
	assert.Regexp(t, `classify: train: checkpoint: save .*safetensors: .*: no space left on device`, errs)
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	require.NoError(t, err)
	assert.Empty(t, left, "no half-written file")

	require.NoError(t, syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT, "size=10m"))
	status, _, errs = program(context.Background(), "-out", dir, "-resume")
	require.Zero(t, status, errs)
	status, _, errs = program(context.Background(), lenet(whole)...)
	require.Zero(t, status, errs)
	tensors := func(dir string) string { // without the header, which has times
		file := read(t, filepath.Join(dir, "last.safetensors"))
		return file[8+binary.LittleEndian.Uint64([]byte(file)):]
	}
	assert.True(t, tensors(whole) == tensors(dir), "weights and state as of a run that was not cut off")
}

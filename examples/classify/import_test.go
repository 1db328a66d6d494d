// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/checkpoint"
)

// Imported weights are evaluated and trained further by a net with the same shortcuts as the net they come from.
func TestImport(t *testing.T) {
	m, err := models.ResNet(1, 8, models.Options{Shape: [3]int{1, 20, 20}, Classes: 10, Zeros: models.ZerosAround, Seed: 7})
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "weights.safetensors")
	require.NoError(t, checkpoint.Export(file, m))
	evaluate := []string{"-evaluate", "-import", file, "-model", "resnet8", "-limit", "80"}

	status, stdout, stderr := program(context.Background(), append(evaluate, "-shortcut", "zeros-around")...)
	require.Zero(t, status, stderr)
	assert.Contains(t, stdout, "digits: 16 test images, loss ")

	dir := filepath.Join(t.TempDir(), "run")
	status, _, stderr = program(context.Background(), tiny("-out", dir, "-import", file, "-shortcut", "zeros-around", "-lr", "1e-9", "-manifold", "none")...)
	require.Zero(t, status, stderr)
	run, err := readRecord(dir)
	require.NoError(t, err)
	assert.Equal(t, "zeros-around", run.Settings.Shortcut)
	assert.Equal(t, file, run.Settings.Import)
	again, err := models.ResNet(1, 8, models.Options{Shape: [3]int{1, 20, 20}, Classes: 10, Zeros: models.ZerosAround})
	require.NoError(t, err)
	require.NoError(t, checkpoint.Load(filepath.Join(dir, "last.safetensors"), again, nil, nil))
	for i, n := range m.Learnables {
		assert.InDeltaSlice(t, n.Value().Data(), again.Learnables[i].Value().Data(), 1e-5, n.Name())
	}
	require.NoError(t, os.Remove(file)) // which the run no longer needs
	status, _, stderr = program(context.Background(), "-out", dir, "-resume", "-epochs", "3")
	assert.Zero(t, status, stderr)
	status, _, stderr = program(context.Background(), "-out", dir, "-evaluate")
	assert.Zero(t, status, stderr)
}

func TestImportRefuses(t *testing.T) {
	m, err := models.ResNet(1, 8, models.Options{Shape: [3]int{1, 20, 20}, Classes: 10})
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "weights.safetensors")
	require.NoError(t, checkpoint.Export(file, m))
	for _, test := range []struct {
		status int
		args   []string
		want   string
	}{
		{2, []string{"-import", file}, "-import: want -shortcut zeros or zeros-around beside it"},
		{1, []string{"-import", file, "-shortcut", "zeros-around"}, "want channels of zeros"},
		{1, []string{"-import", file, "-shortcut", "projection"}, `want the tensors "layer2.0.shortcut.0.weight", `},
		{1, []string{"-import", "nowhere", "-shortcut", "zeros"}, "nowhere"},
		{2, []string{"-import", file, "-shortcut", "none"}, "-shortcut: want one of zeros, zeros-around, projection"},
		{2, []string{"-import", file, "-shortcut", "zeros", "-model", "lenet"}, "LeNet has no option Zeros"},
	} {
		for _, mode := range [][]string{nil, {"-evaluate"}} {
			status, _, stderr := program(context.Background(), append(append([]string{"-model", "resnet8", "-limit", "80"}, mode...), test.args...)...)
			assert.Equal(t, test.status, status, test.args)
			oneLine(t, stderr, test.want)
		}
	}
	status, _, stderr := program(context.Background(), "-evaluate", "-import", file, "-lr", "1")
	assert.Equal(t, 2, status)
	oneLine(t, stderr, "-lr: want no flags beside -evaluate but -import, -model, -width, -shortcut, -data, -size")
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
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
	after, err := models.ResNet(1, 8, models.Options{Shape: [3]int{1, 20, 20}, Classes: 10, Seed: 7})
	require.NoError(t, err)
	said := filepath.Join(t.TempDir(), "weights.safetensors")
	require.NoError(t, checkpoint.Export(said, after))
	status, _, stderr = program(context.Background(), "-evaluate", "-import", said, "-model", "resnet8", "-limit", "80")
	require.Zero(t, status, "the file says where zeros are: %s", stderr)

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
	unsaid := filepath.Join(t.TempDir(), "unsaid.safetensors")
	const said = `"kernelfold.zeros":"after"` // another key of the same length says nothing
	b := []byte(read(t, file))
	require.Contains(t, string(b), said)
	require.NoError(t, os.WriteFile(unsaid, bytes.Replace(b, []byte(said), []byte(`"kernelfold.other":"after"`), 1), 0o666))
	for _, test := range []struct {
		status int
		args   []string
		want   string
	}{
		{2, []string{"-import", unsaid}, "-import: want -shortcut zeros or zeros-around beside it"},
		{1, []string{"-import", file, "-shortcut", "zeros-around"}, "want channels of zeros"},
		{1, []string{"-import", file, "-shortcut", "projection"}, `want the tensors "layer2.0.shortcut.0.weight", `},
		{1, []string{"-import", unsaid, "-shortcut", "projection"}, `want the tensors "layer2.0.shortcut.0.weight", `},
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

// A run is exported beside its files, but never over one of its checkpoints.
func TestExport(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	does(t, tiny("-out", dir)...)
	mine := filepath.Join(dir, "mine.safetensors")
	require.NoError(t, os.WriteFile(mine, []byte(read(t, dir, "last.safetensors")), 0o666))
	before := contents(t, dir)
	for _, name := range []string{"last.safetensors", "best.safetensors", "BEST.safetensors", "checkpoint-00000001.safetensors", "checkpoint-99999999.safetensors"} {
		for _, from := range [][]string{{"-out", dir}, {"-checkpoint", mine}} {
			path := filepath.Join(dir, name)
			status, stdout, stderr := program(context.Background(), append(from, "-export", path)...)
			assert.Equal(t, 2, status)
			assert.Empty(t, stdout)
			oneLine(t, stderr, "-export: want a file other than the checkpoints of a run, got "+path)
		}
	}
	status, _, stderr := program(context.Background(), "-checkpoint", mine, "-export", filepath.Join(dir, ".", "mine.safetensors"))
	assert.Equal(t, 2, status)
	oneLine(t, stderr, "got "+mine)
	assert.Equal(t, before, contents(t, dir))
	folder := filepath.Join(t.TempDir(), "net.onnx")
	require.NoError(t, os.Mkdir(folder, 0o777))
	status, _, stderr = program(context.Background(), "-out", dir, "-export", folder)
	assert.Equal(t, 2, status)
	oneLine(t, stderr, "-export: want the name of a file, got the folder "+folder)
	for name, kind := range map[string]string{"net.onnx": "ONNX", "net.safetensors": "weights, under the names of a net without batch normalisation"} {
		stdout, _ := does(t, "-out", dir, "-export", filepath.Join(dir, name))
		assert.Contains(t, stdout, name+": "+kind+"; images are 1x20x20")
	}

}

// The net of a run is read where it lies, from a folder or from a checkpoint of it: there is no file that an interruption could leave.
func TestImportRun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	does(t, tiny("-out", dir)...)
	before := contents(t, dir)
	t.Setenv("TMPDIR", filepath.Join(dir, "none"))
	best := filepath.Join(dir, "best.safetensors")
	var lines []string
	for _, args := range [][]string{{"-out", dir, "-figures", t.TempDir()}, {"-model", "resnet8", "-limit", "80", "-import", dir}, {"-model", "resnet8", "-limit", "80", "-import", best}} {
		stdout, _ := does(t, append(args, "-evaluate")...)
		line, _, _ := strings.Cut(stdout, "\n")
		lines = append(lines, line)
	}
	assert.Contains(t, lines[0], "digits: 16 test images, loss ")
	assert.Equal(t, []string{lines[0], lines[0]}, lines[1:])
	for _, from := range []string{dir, best} { // what does not fit says which file it is
		status, _, stderr := program(context.Background(), "-evaluate", "-import", from, "-model", "resnet14", "-limit", "80")
		assert.Equal(t, 1, status)
		oneLine(t, stderr, "classify: checkpoint: import "+best+": want the tensors ")
	}
	assert.Equal(t, before, contents(t, dir))
	status, _, stderr := program(context.Background(), "-evaluate", "-import", t.TempDir(), "-model", "resnet8", "-limit", "80")
	assert.Equal(t, 1, status)
	oneLine(t, stderr, "classify: -import: want a run in ")
}

// Batch normalisations that come before their convolutions cannot be folded: such a net is exported with them.
func TestExportPreActivation(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	does(t, tiny("-model", "wrn-10-1", "-out", dir)...)
	stdout, _ := does(t, "-out", dir, "-export", filepath.Join(dir, "net.onnx"))
	assert.Contains(t, stdout, "net.onnx: ONNX, with the batch normalisations; images are 1x20x20")
	assert.Contains(t, read(t, dir, "net.onnx"), "BatchNormalization")
	file := filepath.Join(dir, "net.safetensors")
	stdout, _ = does(t, "-out", dir, "-export", file)
	assert.Contains(t, stdout, "net.safetensors: weights and statistics, under the names of the net with its batch normalisations, which cannot be folded; images are")
	build := func() *models.Model {
		m, err := models.WideResNet(1, 10, 1, models.Options{Shape: [3]int{1, 20, 20}, Classes: 10})
		require.NoError(t, err)
		return m
	}
	want, got := build(), build()
	require.NoError(t, checkpoint.Load(filepath.Join(dir, "best.safetensors"), want, nil, nil))
	require.NoError(t, checkpoint.Import(file, got, checkpoint.ImportOptions{Zeros: got.Zeros()}))
	for i, n := range want.Learnables {
		assert.Equal(t, n.Value().Data(), got.Learnables[i].Value().Data(), n.Name())
	}
	assert.Equal(t, want.Buffers[0].Statistics.Mean, got.Buffers[0].Statistics.Mean)
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/examples/internal/cli/clitest"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
)

func TestMain(m *testing.M) { clitest.Main(m, main) }

func TestOutputLost(t *testing.T) { clitest.LosesOutput(t, "classify", tiny("-epochs", "1")...) }

// The report at the end knows the kernels, also if the garbage collector has just run.
func TestReport(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			runtime.GC()
		}
	}()
	status, out, errs := program(context.Background(), tiny("-model", "lenet", "-manifold", "sphere", "-out", filepath.Join(t.TempDir(), "run"))...)
	require.Zero(t, status, errs)
	assert.Contains(t, out, "kernels on Sphere")
	assert.Contains(t, out, "membership <=")
	assert.NotContains(t, out, "graph is gone")
}

// contents returns the files below a directory.
func contents(t *testing.T, dir string) map[string]string {
	files := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			files[path] = ""
			return err
		}
		b, err := os.ReadFile(path)
		files[path] = string(b)
		return err
	}))
	return files
}

// A record that describes no net that can be used is an error of one line, whatever reads it.
func TestBrokenRecord(t *testing.T) {
	c, err := parse([]string{"-model", "lenet"}, io.Discard)
	require.NoError(t, err)
	dir := t.TempDir()
	write := func(edit func(*record), times int) {
		r := record{
			Settings: c.settings, Classes: []string{"a", "b"}, Shape: [3]int{3, 32, 32}, Mean: []float32{0, 0, 0}, Std: []float32{1, 1, 1},
			Preprocessing: &images.Preprocessing{Size: 32},
		}
		edit(&r)
		b, err := json.Marshal(r)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, recordFile), bytes.Repeat(b, times), 0o666))
	}
	write(func(*record) {}, 1)
	_, err = readRecord(dir)
	require.NoError(t, err)
	const channels = "want a mean and a positive standard deviation for each of 3 channels, got "
	for _, broken := range []struct {
		want  string
		edit  func(*record)
		times int
	}{
		{channels + "[] and [1 1 1]", func(r *record) { r.Mean = nil }, 1},
		{channels + "[0 0 0] and [1 1]", func(r *record) { r.Std = r.Std[:2] }, 1},
		{channels + "[0 0 0] and [1 0 1]", func(r *record) { r.Std[1] = 0 }, 1},
		{"want at least 2 classes, got 1", func(r *record) { r.Classes = r.Classes[:1] }, 1},
		{"want images with positive sides, got [0 32 32]", func(r *record) { r.Shape[0] = 0 }, 1},
		{"want pictures of the shape of the images, [3 32 32], got [3 31 31]", func(r *record) { r.Preprocessing.Size = 31 }, 1},
		{"want one JSON value, got more", func(*record) {}, 2},
	} {
		write(broken.edit, broken.times)
		for _, args := range [][]string{{"-evaluate"}, {"-resume"}, {"-predict", "a.png"}} {
			status, _, stderr := program(context.Background(), append([]string{"-out", dir}, args...)...)
			assert.Equal(t, 1, status)
			oneLine(t, stderr, recordFile+": ", broken.want)
		}
	}
}

// A run that is refused leaves its directory unchanged, byte for byte.
func TestRefusedChangesNothing(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "run")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	run(ctx, tiny("-epochs", "4", "-save-steps", "2", "-out", whole), &bytes.Buffer{}, &interruption{&bytes.Buffer{}, cancel, 2})
	flip := func(t *testing.T, path string) {
		b := []byte(read(t, path))
		b[len(b)/2] ^= 1
		require.NoError(t, os.WriteFile(path, b, 0o666))
	}
	edit := func(from, to string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, recordFile)
			text := read(t, path)
			require.Contains(t, text, from)
			require.NoError(t, os.WriteFile(path, []byte(strings.Replace(text, from, to, 1)), 0o666))
		}
	}
	for name, test := range map[string]struct {
		spoil func(t *testing.T, dir string)
		args  string
		want  string
	}{
		"all checkpoints damaged": {func(t *testing.T, dir string) {
			paths, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
			require.NoError(t, err)
			for _, p := range paths {
				flip(t, p)
			}
		}, "-resume", "want a whole checkpoint"},
		"no checkpoint but the best": {func(t *testing.T, dir string) {
			for _, pattern := range []string{"last*", "check*"} {
				paths, err := filepath.Glob(filepath.Join(dir, pattern))
				require.NoError(t, err)
				for _, p := range paths {
					require.NoError(t, os.Remove(p))
				}
			}
		}, "-resume", "-out: want a directory without a run"},
		"fewer epochs":     {nil, "-resume -epochs 1", "want at least the 2 epochs that are complete, got 1"},
		"a new run":        {nil, "-limit 80", "-out: want a directory without a run, or -resume"},
		"a new run of one": {nil, "-resume=false -solver stock-adam", "-out: want a directory without a run, or -resume"},
		"no record":        {func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, recordFile))) }, "-resume", "want a run in "},
		"damaged record":   {edit("{", "("), "-resume", "run.json"},
		"another net":      {edit("resnet8", "resnet14"), "-resume", "does not match"},
		"another batch":    {edit(`"batch": 12`, `"batch": 8`), "-resume", "want the batches of the run that was saved"},
		"another solver":   {edit(`"sgd"`, `"adam"`), "-resume", "does not match"},
		"a stock solver":   {edit(`"sgd"`, `"stock-adam"`), "-resume", "whose state can be saved"},
		"no images":        {edit(`"data": ""`, `"data": "nowhere"`), "-resume", "nowhere"},
		"no such flag":     {nil, "-resume -nonesuch", "-nonesuch"},
		"a log in the way": {func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(filepath.Join(dir, "log.csv")))
			require.NoError(t, os.MkdirAll(filepath.Join(dir, "log.csv", "full"), 0o777))
		}, "-resume -epochs 7", "log.csv"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "run")
			require.NoError(t, os.CopyFS(dir, os.DirFS(whole)))
			if test.spoil != nil {
				test.spoil(t, dir)
			}
			before := contents(t, dir)
			status, stdout, stderr := program(context.Background(), append([]string{"-out", dir}, strings.Fields(test.args)...)...)
			assert.NotZero(t, status)
			assert.NotContains(t, stdout, "SGD after", "there is nothing to report")
			if name != "a log in the way" { // by then the run has begun
				oneLine(t, stderr)
			}
			assert.Contains(t, stderr, test.want)
			assert.Equal(t, before, contents(t, dir))
		})
	}

	// A damaged checkpoint beside an intact one is reported, and the run continues.
	dir := filepath.Join(t.TempDir(), "run")
	require.NoError(t, os.CopyFS(dir, os.DirFS(whole)))
	flip(t, filepath.Join(dir, train.LastFile))
	status, stdout, stderr := program(context.Background(), "-out", dir, "-resume", "-epochs", "3")
	require.Zero(t, status, stderr)
	assert.Contains(t, stderr, "classify: 3 epochs instead of 4, which the schedule now spans: the learning rate of the next step is 0.01, not 0.1\n")
	assert.Contains(t, stderr, "last.safetensors: want the checksum")
	assert.Contains(t, stderr, "classify: continues from "+filepath.Join(dir, "checkpoint-0"))
	assert.Contains(t, stdout, "epoch 3, the last")
	assert.Len(t, withoutTime(t, dir), 4)
	assert.Contains(t, read(t, dir, recordFile), `"epochs": 3`)
	status, _, stderr = program(context.Background(), "-out", dir, "-resume", "-epochs", "2")
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "want at least the 3 epochs that are complete, got 2")
	status, _, stderr = program(context.Background(), "-out", dir, "-resume", "-epochs", "12")
	require.Zero(t, status, stderr)
	assert.Contains(t, stderr, "classify: 12 epochs instead of 3, which the schedule now spans: the learning rate of the next step is 0.1, not 0.001\n")
}

// until waits for a moment of a program under way.
func until(t *testing.T, moment func() bool) {
	for end := time.Now().Add(time.Minute); !moment(); time.Sleep(time.Millisecond) {
		require.True(t, time.Now().Before(end), "the moment did not come within a minute")
	}
}

// exists is the moment when files that match are there.
func exists(pattern string) func() bool {
	return func() bool {
		paths, _ := filepath.Glob(pattern)
		return len(paths) > 0
	}
}

// Programs are killed at several moments, and each run, once resumed, ends like one that was not.
func TestKilled(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the file system may hold on to files of a process that was killed")
	}
	root := t.TempDir()
	args := tiny("-epochs", "2", "-augment", "crop", "-save-steps", "2", "-out")
	whole := filepath.Join(root, "whole")
	status, _, stderr := program(context.Background(), append(args, whole)...)
	require.Zero(t, status, stderr)
	for name, file := range map[string]string{
		"nothing": "", "lock": "*/lock", "record": "*/run.json", "first save": "*/.last*", "checkpoint": "*/last*", "second": "*/check*2*", "best": "*/best*",
	} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			dir := filepath.Join(base, "run")
			c := clitest.Command(append(args, dir)...)
			require.NoError(t, c.Start())
			if file != "" {
				over := make(chan error, 1)
				go func() { over <- c.Wait() }()
				until(t, func() bool { return exists(filepath.Join(base, file))() || len(over) > 0 })
				_ = c.Process.Kill()
				<-over
			} else {
				require.NoError(t, c.Process.Kill())
				_ = c.Wait()
			}
			again := []string{"-out", dir, "-resume"}
			if _, err := os.Stat(filepath.Join(dir, recordFile)); err != nil {
				again = append(args, dir) // killed before there was a run
			}
			status, _, stderr := program(context.Background(), again...)
			require.Zero(t, status, stderr)
			assert.Equal(t, withoutTime(t, whole), withoutTime(t, dir))
			assert.Equal(t, 2, strings.Count(read(t, dir, "log.json"), "\n"))
			assert.Equal(t, tensors(t, whole), tensors(t, dir))
			left, err := filepath.Glob(filepath.Join(dir, ".*"))
			require.NoError(t, err)
			assert.Empty(t, left)
		})
	}
}

// long is a run that is under way until somebody ends it.
func long(dir string) *exec.Cmd {
	return clitest.Command(tiny("-epochs", "100000", "-patience", "100000", "-out", dir)...)
}

// Only one program at a time may use a directory.
func TestTwoPrograms(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	c := long(dir)
	require.NoError(t, c.Start())
	defer func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	}()
	until(t, exists(filepath.Join(dir, train.LastFile)))
	status, _, stderr := program(context.Background(), "-out", dir, "-resume")
	assert.Equal(t, 1, status)
	oneLine(t, stderr, "want a directory that no run is using, got "+dir+", where one is under way")
}

// Ctrl-C takes effect at once in every phase, and the run continues afterwards; a second one ends the program.
func TestInterrupted(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot be sent an interrupt")
	}
	interrupt := func(when func() bool, args ...string) (stderr string, took time.Duration) {
		c := clitest.Command(args...)
		var notes bytes.Buffer
		c.Stderr = &notes
		require.NoError(t, c.Start())
		until(t, when)
		start := time.Now()
		require.NoError(t, c.Process.Signal(os.Interrupt))
		assert.Equal(t, 1, clitest.Status(c.Wait(), c), notes.String())
		return notes.String(), time.Since(start)
	}
	after := func(d time.Duration) func() bool {
		start := time.Now()
		return func() bool { return time.Since(start) > d }
	}
	base := t.TempDir()
	dir := filepath.Join(base, "run")

	// Building the net takes much longer than the program may take to end.
	for _, d := range []time.Duration{time.Second, 3 * time.Second} {
		stderr, took := interrupt(after(d), "-model", "wrn-40-10", "-limit", "80", "-out", dir)
		oneLine(t, stderr, "interrupted before the first step; nothing is written")
		assert.Less(t, took, 5*time.Second)
		assert.Empty(t, contents(t, base)[dir])
		assert.NoDirExists(t, dir)
	}
	stderr, took := interrupt(exists(filepath.Join(dir, train.LastFile)), tiny("-epochs", "200", "-schedule", "constant", "-out", dir)...)
	assert.Contains(t, stderr, "of 200 epochs and saved; to continue: classify -out "+dir+" -resume")
	assert.Less(t, took, 5*time.Second)
	stderr, took = interrupt(after(time.Second), "-evaluate", "-limit", "300000", "-out", dir)
	oneLine(t, stderr, "classify: interrupted")
	assert.Less(t, took, 5*time.Second)
	epochs := len(withoutTime(t, dir)) - 1
	status, _, stderr := program(context.Background(), "-out", dir, "-resume", "-epochs", strconv.Itoa(epochs+2))
	require.Zero(t, status, stderr)
	assert.Len(t, withoutTime(t, dir), epochs+3)
}

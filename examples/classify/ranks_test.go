// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/internal/mpi"
	"github.com/kernelfold/kernelfold/internal/mpi/mpitest"
	"github.com/kernelfold/kernelfold/solvers/distributed"
)

// onRanks runs the program on np ranks of this process, and returns what rank 0 did.
func onRanks(t *testing.T, ctx context.Context, np int, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	mpitest.Run(t, np, func(t *testing.T, c mpi.Comm) {
		var out, err bytes.Buffer
		s := runRank(ctx, distributed.Over(c), args, &out, &err)
		if c.Rank() == 0 {
			status, stdout, stderr = s, out.String(), err.String()
			return
		}
		assert.Empty(t, out.String()+err.String(), "only rank 0 prints")
	})
	return status, stdout, stderr
}

// column returns the numbers of a column of the log.
func column(t *testing.T, dir, name string) (numbers []float64) {
	rows := withoutTime(t, dir)
	for i, n := range rows[0] {
		if n != name {
			continue
		}
		for _, row := range rows[1:] {
			v, err := strconv.ParseFloat(row[i], 64)
			require.NoError(t, err)
			numbers = append(numbers, v)
		}
	}
	require.NotEmpty(t, numbers)
	return numbers
}

// Ranks train as one does if batch normalisations are those of the whole batch, and leave the same files; a run continues on another number of ranks.
func TestRanks(t *testing.T) {
	root := t.TempDir()
	args := tiny("-sync-batch-norm", "-augment", "crop", "-lr", "0.01", "-epochs", "3", "-out")
	one := filepath.Join(root, "one")
	status, _, stderr := program(context.Background(), append(args, one)...)
	require.Zero(t, status, stderr)

	two := filepath.Join(root, "two")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	mpitest.Run(t, 2, func(t *testing.T, c mpi.Comm) {
		var notes bytes.Buffer
		status := runRank(ctx, distributed.Over(c), append(args, two), &bytes.Buffer{}, &interruption{&notes, cancel, 1})
		assert.Equal(t, 1, status)
		if c.Rank() == 0 {
			assert.Contains(t, notes.String(), "classify: interrupted after 1 of 3 epochs and saved; to continue: classify -out "+two+" -resume")
		}
	})
	status, stdout, stderr := onRanks(t, context.Background(), 3, "-out", two, "-resume")
	require.Zero(t, status, stderr)
	assert.Contains(t, stdout, "3 epochs in batches of 12 on 3 ranks")
	assert.Contains(t, stdout, "7 kernels on Stiefel", "the report")
	for _, name := range []string{"loss", "test_loss", "validation_loss"} {
		assert.InDeltaSlice(t, column(t, one, name), column(t, two, name), 1e-4, name)
	}
	files := func(dir string) (names []string) {
		list, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, f := range list {
			names = append(names, f.Name())
		}
		return names
	}
	assert.Equal(t, files(one), files(two))

	status, stdout, stderr = onRanks(t, context.Background(), 2, "-out", two, "-evaluate")
	require.Zero(t, status, stderr)
	assert.Contains(t, stdout, "digits: 16 test images, loss ")

	// Runs with separate statistics for each rank, and with a stock solver, differ.
	own := filepath.Join(root, "own")
	status, _, stderr = onRanks(t, context.Background(), 2, append(tiny("-lr", "0.01", "-solver", "stock-momentum", "-out"), own)...)
	require.Zero(t, status, stderr)
	assert.NotEqual(t, column(t, one, "loss")[:2], column(t, own, "loss"))
}

func TestRanksFail(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct {
		args   []string
		status int
		want   string
	}{
		{tiny("-batch", "13"), 2, "-batch: want a multiple of the 2 ranks, got 13"},
		{tiny("-foo"), 2, "-foo"},
		{[]string{"-data", "nowhere"}, 1, "nowhere"},
		{[]string{"-resume", "-out", filepath.Join(dir, "nowhere")}, 1, "run.json"},
		{[]string{"-evaluate", "-out", filepath.Join(dir, "nowhere")}, 1, "run.json"},
		{tiny("-lr", "1e30"), 1, "diverged at step"},
	} {
		status, _, stderr := onRanks(t, context.Background(), 2, test.args...)
		assert.Equal(t, test.status, status, test.args)
		oneLine(t, stderr, test.want)
	}
}

// A program that was built without MPI says so when it is one of several that a launcher started.
func TestLaunchedWithoutMPI(t *testing.T) {
	t.Setenv("OMPI_COMM_WORLD_SIZE", "2")
	status, stdout, stderr := program(context.Background(), tiny()...)
	assert.Equal(t, 1, status)
	assert.Empty(t, stdout)
	assert.Equal(t, "classify: distributed: join: want one process, got 2 (OMPI_COMM_WORLD_SIZE=2): build with -tags mpi to join them\n", stderr)
}

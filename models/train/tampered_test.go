// SPDX-License-Identifier: Apache-2.0

package train_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kernelfold/kernelfold/internal/tampered"
	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/checkpoint"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/solvers"
)

// stopped is a run that was stopped in the middle of its second epoch of 11 steps.
type stopped struct {
	set  *images.Set
	dir  string
	file []byte // its checkpoint
}

func newStopped(t testing.TB) stopped {
	s := stopped{easy(t), t.TempDir(), nil}
	_, err := s.fit(stateful(t), false, func(at train.Step) error {
		if at.Number == 15 {
			return train.ErrStop
		}
		return nil
	})
	require.NoError(t, err)
	s.file, err = os.ReadFile(s.path())
	require.NoError(t, err)
	return s
}

func (s stopped) path() string { return filepath.Join(s.dir, train.LastFile) }

func (s stopped) fit(m *models.Model, resume bool, step func(train.Step) error) ([]train.Epoch, error) {
	solver := solvers.NewSGD(solvers.LearnRate(0.05), solvers.Momentum(0.9), solvers.Kernels(manifolds.Stiefel{}), solvers.Anneal(solvers.Cosine(100, 0)))
	return train.Fit(context.Background(), m, solver, s.set.Train, train.Options{
		Epochs: 3, Patience: 2, Checkpoint: train.Checkpoint{Dir: s.dir, Resume: resume}, AfterStep: step,
	})
}

// Nothing that a checkpoint says of the run is believed.
func TestResumeRefusesWhatNoRunHas(t *testing.T) {
	s := newStopped(t)
	for _, c := range []struct{ old, to, want string }{
		{`"BestSoFar":1`, `"BestSoFar":-1`, "best of 1 epochs, got epoch -1"},
		{`"BestSoFar":1`, `"BestSoFar":2`, "best of 1 epochs, got epoch 2"},
		{`"BestSoFar":1`, `"BestSoFar":0`, "best of 1 epochs, got epoch 0"},
		{`"Step":4`, `"Step":-4`, "0 to 11 steps of the epoch under way, got -4"},
		{`"Step":4`, `"Step":12`, "0 to 11 steps of the epoch under way, got 12"},
		{`"Step":4`, fmt.Sprintf(`"Step":%d`, math.MaxInt), "0 to 11 steps of the epoch"},
		{`"Steps":15`, `"Steps":16`, "want 15 steps, 11 for each of 1 epochs and 4 more, got 16"},
		{`"epoch":2`, `"epoch":1`, "want epoch 2 under way"},
		{`"epoch":1`, `"epoch":2`, "want epoch 1 with 220 images, got epoch 2 with 220"},
		{`"images":220`, `"images":221`, "got epoch 1 with 221"},
		{`"seconds":`, `"seconds":-1`, "seconds, got -1"},
		{`"seconds":`, `"seconds":1e99,"was":`, "seconds, got 1e+99"},
		{`"Done":[`, `"Done":[null,`, "want 26 steps, 11 for each of 2 epochs"},
		{`"Batch":20`, `"Batch":0`, "want the batches of the run"},
	} {
		c0, err := tampered.Read(s.file)
		require.NoError(t, err)
		before := c0.Metadata[tampered.Loop]
		c0.Metadata[tampered.Loop] = strings.Replace(before, c.old, c.to, 1)
		require.NotEqual(t, before, c0.Metadata[tampered.Loop], "%s in %s", c.old, before)
		require.NoError(t, c0.Write(s.path()))
		_, err = s.fit(stateful(t), true, nil)
		assert.ErrorIs(t, err, checkpoint.ErrMismatch, c.to)
		assert.ErrorContains(t, err, c.want, c.to)
		assert.NotContains(t, err.Error(), "\n")
	}
}

// FuzzResume: no content of a checkpoint with a right checksum makes Fit panic.
//
//	go test -fuzz FuzzResume -fuzztime 10m ./models/train
func FuzzResume(f *testing.F) {
	s := newStopped(f)
	for n := range uint16(70) {
		f.Add(uint8(2), n, "-1")
		f.Add(uint8(2), n, fmt.Sprint(math.MaxInt))
	}
	f.Add(uint8(0), uint16(1), "9e307")
	f.Fuzz(func(t *testing.T, part uint8, n uint16, value string) {
		c, err := tampered.Read(s.file)
		require.NoError(t, err)
		if part > 2 || !c.Edit(part, n, value) || c.Write(s.path()) != nil {
			return
		}
		steps := 0
		done, err := s.fit(stateful(t), true, func(train.Step) error {
			if steps++; steps == 8 { // past the end of the epoch
				return train.ErrStop
			}
			return nil
		})
		if err == nil {
			assert.LessOrEqual(t, len(done), 3)
			return
		}
		var diverged *train.DivergedError
		assert.True(t, errors.Is(err, checkpoint.ErrMismatch) || errors.As(err, &diverged) || strings.Contains(err.Error(), "checkpoint: load"), err)
	})
}

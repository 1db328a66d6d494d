// SPDX-License-Identifier: Apache-2.0

package train_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"

	"github.com/kernelfold/kernelfold/manifolds"
	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/checkpoint"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/solvers"
)

// stateful has everything that a net can remember beside its weights: running statistics
// and the noise of a dropout.
func stateful(t testing.TB) *models.Model {
	m, err := models.Build(models.Spec{Batch: 20, Shape: [3]int{1, 12, 12}, Classes: 10, Seed: 1},
		func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
			x = b.Rectify(b.BatchNorm("bn1", b.Conv("conv1", x, 4, 3, 2, 1)))
			x = b.Rectify(b.BatchNorm("bn2", b.Conv("conv2", x, 6, 3, 2, 1)))
			return b.Linear("fc", b.Dropout("dropout", x, 0.3), 10)
		})
	require.NoError(t, err)
	return m
}

// outcome is all that a run leaves behind, in comparable form.
type outcome struct {
	epochs  []train.Epoch
	weights [][]float32
	buffers []string
	solver  *solvers.Snapshot
}

func after(t *testing.T, m *models.Model, s *solvers.Solver, epochs []train.Epoch) outcome {
	var o outcome
	for _, e := range epochs {
		o.epochs = append(o.epochs, comparable(t, e))
	}
	for _, l := range m.Learnables {
		o.weights = append(o.weights, append([]float32(nil), l.Value().Data().([]float32)...))
	}
	for _, b := range m.Buffers {
		o.buffers = append(o.buffers, fmt.Sprintf("%s %x %x", b.Name, b.Statistics, b.Noise))
	}
	var err error
	o.solver, err = s.Snapshot()
	require.NoError(t, err)
	return o
}

// A run that is stopped at any of these steps, in the middle of an epoch, before its evaluation
// or between two, and resumed, ends as the one that was not, to the bit.
func TestResume(t *testing.T) {
	set := easy(t)
	rest, held, err := set.Train.Holdout(40, 1)
	require.NoError(t, err)
	const steps, epochs = 9, 4
	for name, solver := range map[string]func() *solvers.Solver{
		"SGD on Stiefel": func() *solvers.Solver {
			return solvers.NewSGD(solvers.LearnRate(0.05), solvers.Momentum(0.9), solvers.Kernels(manifolds.Stiefel{}),
				solvers.Anneal(solvers.Cosine(steps*epochs, 0)))
		},
		"Adam on spheres": func() *solvers.Solver {
			return solvers.NewAdam(solvers.LearnRate(0.01), solvers.Kernels(manifolds.Sphere{}), solvers.Anneal(solvers.StepDecay(10, 0.5)))
		},
	} {
		fit := func(ctx context.Context, m *models.Model, s *solvers.Solver, o train.Options) ([]train.Epoch, error) {
			o.Epochs, o.Seed, o.Test, o.Validation, o.Best = epochs, 3, set.Test, held, train.ByLoss
			o.Augment = images.Augmentation{Pad: 2}
			return train.Fit(ctx, m, s, rest, o)
		}
		m, s := stateful(t), solver()
		whole, err := fit(context.Background(), m, s, train.Options{})
		require.NoError(t, err)
		want := after(t, m, s, whole)

		for _, stops := range [][]int{{1}, {5}, {9}, {10, 14, 27, 28}, {18, 35}, {36}} {
			t.Run(fmt.Sprintf("%s, stopped after %v", name, stops), func(t *testing.T) {
				dir := t.TempDir()
				var got outcome
				var table bytes.Buffer
				for i := 0; i <= len(stops); i++ {
					ctx, cancel := context.WithCancel(context.Background())
					m, s := stateful(t), solver()
					table.Reset()
					done, err := fit(ctx, m, s, train.Options{
						Checkpoint: train.Checkpoint{Dir: dir, Resume: i > 0},
						Hooks:      []train.Hook{train.CSV(&table)},
						AfterStep: func(at train.Step) error {
							switch {
							case i == len(stops) || at.Number < stops[i]:
								return nil
							case i%2 == 1:
								return train.ErrStop
							}
							cancel()
							return nil
						},
					})
					switch {
					case i == len(stops) || i%2 == 1:
						require.NoError(t, err)
					default:
						require.ErrorIs(t, err, context.Canceled)
						assert.Len(t, done, (stops[i]-1)/steps, "an epoch is complete after its evaluation")
					}
					got = after(t, m, s, done)
					cancel()
				}
				assert.Equal(t, want, got)
				assert.Equal(t, epochs+1, strings.Count(table.String(), "\n"), "the log has the whole run")
			})
		}
	}
}

// More epochs may be asked for than there were to be at first; a run that is complete makes no
// step more.
func TestResumeLonger(t *testing.T) {
	set, dir := easy(t), t.TempDir()
	run := func(m *models.Model, s *solvers.Solver, epochs int, c train.Checkpoint) []train.Epoch {
		done, err := train.Fit(context.Background(), m, s, set.Train, train.Options{Epochs: epochs, Seed: 2, Checkpoint: c})
		require.NoError(t, err)
		return done
	}
	m, s := stateful(t), solvers.NewAdam()
	run(m, s, 2, train.Checkpoint{Dir: dir})
	m, s = stateful(t), solvers.NewAdam()
	run(m, s, 2, train.Checkpoint{Dir: dir, Resume: true})
	m, s = stateful(t), solvers.NewAdam()
	got := after(t, m, s, run(m, s, 3, train.Checkpoint{Dir: dir, Resume: true, Every: 5}))
	m, s = stateful(t), solvers.NewAdam()
	want := after(t, m, s, run(m, s, 3, train.Checkpoint{}))
	for i := range want.epochs {
		want.epochs[i].Of, got.epochs[i].Of = 0, 0
	}
	assert.Equal(t, want, got)
}

// The best epoch has a file of its own.
func TestBestFile(t *testing.T) {
	set, dir := easy(t), t.TempDir()
	m, s := stateful(t), solvers.NewAdam(solvers.LearnRate(0.01))
	var best []float32
	weights := func() []float32 { return append([]float32(nil), m.Learnables[0].Value().Data().([]float32)...) }
	_, err := train.Fit(context.Background(), m, s, set.Train, train.Options{
		Epochs: 8, Test: set.Test, Checkpoint: train.Checkpoint{Dir: dir},
		AfterEpoch: func(e train.Epoch) error {
			if e.Best {
				best = weights()
			} else if e.Number > 1 {
				return train.ErrStop // so that the last epoch is not the best one
			}
			return nil
		},
	})
	require.NoError(t, err)
	last := weights()
	require.NotEqual(t, best, last)
	for file, want := range map[string][]float32{train.BestFile: best, train.LastFile: last} {
		m = stateful(t)
		require.NoError(t, checkpoint.Load(filepath.Join(dir, file), m, nil, nil))
		assert.Equal(t, want, weights(), file)
	}
}

func TestCheckpointOptions(t *testing.T) {
	set, dir := easy(t), t.TempDir()
	fit := func(m *models.Model, s gorgonia.Solver, c train.Checkpoint, seed uint64) error {
		_, err := train.Fit(context.Background(), m, s, set.Train, train.Options{Seed: seed, Checkpoint: c})
		return err
	}
	stock := gorgonia.NewAdamSolver()
	assert.EqualError(t, fit(stateful(t), stock, train.Checkpoint{Dir: dir}, 1),
		"train: want a solver whose state can be saved, or Checkpoint.WeightsOnly, got *gorgonia.AdamSolver: checkpoint: want a solver with the methods Snapshot and Restore, such as those of package solvers, got *gorgonia.AdamSolver")
	assert.ErrorContains(t, fit(stateful(t), stock, train.Checkpoint{Dir: dir, WeightsOnly: true, Resume: true}, 1), "got WeightsOnly")
	assert.ErrorContains(t, fit(stateful(t), stock, train.Checkpoint{WeightsOnly: true}, 1), "want a directory, got none")
	assert.ErrorContains(t, fit(stateful(t), stock, train.Checkpoint{Dir: dir, Every: -1}, 1), "positive number of epochs, got -1")
	assert.ErrorContains(t, fit(stateful(t), stock, train.Checkpoint{Dir: dir, EverySteps: -1}, 1), "positive number of steps, got -1")
	assert.ErrorContains(t, fit(stateful(t), stock, train.Checkpoint{Dir: dir, EveryTime: -time.Second}, 1), "positive time between two saves, got -1s")
	assert.ErrorContains(t, fit(stateful(t), stock, train.Checkpoint{Dir: dir, Keep: -1}, 1), "positive number of checkpoints to keep, got -1")
	assert.ErrorContains(t, fit(stateful(t), stock, train.Checkpoint{Dir: dir, Resume: true, Replace: true}, 1), "want one of Resume and Replace, got both")
	assert.ErrorIs(t, fit(stateful(t), solvers.NewSGD(), train.Checkpoint{Dir: dir, Resume: true}, 1), os.ErrNotExist)

	require.NoError(t, fit(stateful(t), stock, train.Checkpoint{Dir: dir, WeightsOnly: true}, 1))
	require.NoError(t, checkpoint.Load(filepath.Join(dir, train.LastFile), stateful(t), nil, nil))
	assert.Error(t, fit(stateful(t), solvers.NewSGD(), train.Checkpoint{Dir: dir, Resume: true}, 1), "there is no solver in it")

	assert.ErrorContains(t, fit(stateful(t), solvers.NewSGD(), train.Checkpoint{Dir: dir}, 1), "want a directory without a run, or Resume or Replace, got "+dir+" with one")
	require.NoError(t, fit(stateful(t), solvers.NewSGD(), train.Checkpoint{Dir: dir, Replace: true}, 1))
	other := stateful(t)
	before := append([]float32(nil), other.Learnables[0].Value().Data().([]float32)...)
	assert.ErrorContains(t, fit(other, solvers.NewSGD(), train.Checkpoint{Dir: dir, Resume: true}, 2), "want the batches of the run that was saved")
	assert.Equal(t, before, other.Learnables[0].Value().Data(), "refused before anything changed")
	assert.Error(t, fit(stateful(t), solvers.NewAdam(), train.Checkpoint{Dir: dir, Resume: true}, 1), "another solver")

	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o666))
	assert.ErrorContains(t, fit(stateful(t), solvers.NewSGD(), train.Checkpoint{Dir: file}, 1), "train: checkpoint:")
}

// SPDX-License-Identifier: Apache-2.0

package train_test

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kernelfold/kernelfold/models"
	"github.com/kernelfold/kernelfold/models/checkpoint"
	"github.com/kernelfold/kernelfold/models/images"
	"github.com/kernelfold/kernelfold/models/train"
	"github.com/kernelfold/kernelfold/solvers"
	"github.com/kernelfold/kernelfold/solvers/distributed"
)

// A run with an average has the steps of one without; its epochs are evaluated with the average, which the best file holds, and which Swap and
// Recalibrate give back afterwards.
func TestAverage(t *testing.T) {
	set := easy(t)
	options := func() train.Options {
		return train.Options{Epochs: 4, Seed: 3, Test: set.Test, Best: train.ByLoss, Augment: images.Augmentation{Pad: 2}}
	}
	m, s := stateful(t), descent()
	plain, err := train.Fit(context.Background(), m, s, set.Train, options())
	require.NoError(t, err)
	want := after(t, m, s, plain)

	dir := t.TempDir()
	m, s = stateful(t), descent()
	ema := solvers.NewEMA(s, 0.8)
	o := options()
	o.Average, o.Recalibrate, o.Checkpoint.Dir = true, 7, dir
	around, _ := wrapped(ema, 2)
	epochs, err := train.Fit(context.Background(), m, around, set.Train, o)
	require.NoError(t, err)
	got := after(t, m, s, epochs)
	assert.Equal(t, want.weights, got.weights)
	assert.Equal(t, want.buffers, got.buffers)
	assert.Equal(t, want.solver, got.solver)
	assert.Equal(t, 44, ema.Count())
	best := 0
	for i, e := range epochs {
		assert.Equal(t, want.epochs[i].TrainLoss, e.TrainLoss)
		assert.NotEqual(t, want.epochs[i].TestLoss, e.TestLoss)
		if e.Best {
			best = i
		}
	}

	evaluate := func(m *models.Model) float64 {
		p, err := m.Predictor()
		require.NoError(t, err)
		defer p.Close()
		loss, _, err := train.Evaluate(context.Background(), p, set.Test)
		require.NoError(t, err)
		return loss
	}
	kept := stateful(t)
	require.NoError(t, checkpoint.Load(filepath.Join(dir, train.BestFile), kept, nil, nil))
	assert.Equal(t, epochs[best].TestLoss, evaluate(kept))

	require.NoError(t, ema.Swap(gorgonia.NodesToValueGrads(m.Learnables)))
	require.NoError(t, train.Recalibrate(context.Background(), m, set.Train, o))
	assert.Equal(t, epochs[3].TestLoss, evaluate(m))
	for _, l := range m.Learnables {
		g, err := l.Grad()
		require.NoError(t, err)
		for _, v := range g.Data().([]float32) {
			require.Zero(t, v)
		}
	}
	_, err = train.Fit(context.Background(), m, ema, set.Train, o)
	assert.ErrorContains(t, err, "call SwapBack")
}

// An average that begins later is used from then on.
func TestAverageBeginsLater(t *testing.T) {
	set := easy(t)
	fit := func(s gorgonia.Solver, average bool) []train.Epoch {
		epochs, err := train.Fit(context.Background(), stateful(t), s, set.Train, train.Options{Epochs: 3, Test: set.Test, Average: average})
		require.NoError(t, err)
		return epochs
	}
	without := fit(descent(), false)
	with := fit(solvers.NewSWA(descent(), solvers.AverageFrom(15)), true)
	assert.Equal(t, without[0].TestLoss, with[0].TestLoss)
	assert.NotEqual(t, without[1].TestLoss, with[1].TestLoss)
}

// A run that is stopped and resumed has the averages, and ends as the one that was not, to the bit; so does one of SAM.
func TestAverageResumes(t *testing.T) {
	set := easy(t)
	for _, around := range []func(*solvers.Solver) gorgonia.Solver{
		func(s *solvers.Solver) gorgonia.Solver { return solvers.NewEMA(s, 0.9) },
		func(s *solvers.Solver) gorgonia.Solver {
			return solvers.NewSWA(solvers.NewSAM(s, 0.05), solvers.AverageFrom(4), solvers.AverageIntrinsic())
		},
	} {
		fit := func(dir string, resume bool, stop int) outcome {
			m, s := stateful(t), descent()
			o := train.Options{Epochs: 3, Test: set.Test, Average: true, AfterStep: func(at train.Step) error {
				if at.Number == stop {
					return train.ErrStop
				}
				return nil
			}}
			if dir != "" {
				o.Checkpoint = train.Checkpoint{Dir: dir, Resume: resume}
			}
			epochs, err := train.Fit(context.Background(), m, around(s), set.Train, o)
			require.NoError(t, err)
			return after(t, m, s, epochs)
		}
		want := fit("", false, 0)
		dir := t.TempDir()
		for _, stop := range []int{5, 11, 17, 0} {
			if got := fit(dir, stop != 5, stop); stop == 0 {
				assert.Equal(t, want, got)
			}
		}
	}
}

// Ranks have the average of one.
func TestAverageOnRanks(t *testing.T) {
	set := easy(t)
	k := kind{of: tensor.Float64, norm: true, noise: true}
	var want []train.Epoch
	for _, np := range []int{1, 2} {
		dir := t.TempDir()
		together(t, np, func(t *testing.T, g *distributed.Group) {
			m := k.model(t, g)
			for _, stop := range []int{7, 0} { // resumed too
				s := distributed.Average(g, solvers.NewEMA(descent(), 0.9), distributed.DivideFrom(0))
				epochs, err := train.Fit(context.Background(), m, s, set.Train.First(5*whole), train.Options{
					Epochs: 2, Group: g, Average: true, Recalibrate: 3, Test: set.Test, Checkpoint: train.Checkpoint{Dir: dir, Resume: stop == 0},
					AfterStep: func(at train.Step) error {
						if at.Number == stop {
							return train.ErrStop
						}
						return nil
					},
				})
				require.NoError(t, err)
				if stop > 0 {
					continue
				}
				if np == 1 {
					want = epochs
				} else {
					for i := range epochs {
						assert.InDelta(t, want[i].TestLoss, epochs[i].TestLoss, 1e-8)
					}
				}
			}
			_, err := train.Fit(context.Background(), m, solvers.NewEMA(distributed.Average(g, descent()), 0.9), set.Train.First(5*whole), train.Options{Group: g})
			if np > 1 {
				assert.ErrorContains(t, err, "inside the solver of all ranks")
			} else {
				assert.NoError(t, err)
			}
		})
	}
}

// first is a net that normalises its input.
func first(t *testing.T) *models.Model {
	m, err := models.Build(models.Spec{Batch: 20, Shape: [3]int{1, 12, 12}, Classes: 10, Seed: 1},
		func(b *models.Builder, x *gorgonia.Node) *gorgonia.Node {
			return b.Linear("fc", b.Dropout("dropout", b.BatchNorm("bn", x), 0.3), 10)
		})
	require.NoError(t, err)
	return m
}

// The statistics of an input, over batches that are all of the data, are its mean and its mean variance; noise, counts, momentum and weights stay.
func TestRecalibrate(t *testing.T) {
	set := easy(t)
	data := set.Train.First(220)
	m := first(t)
	_, err := train.Fit(context.Background(), m, solvers.NewSGD(), data, train.Options{})
	require.NoError(t, err)
	before := numbers(m)
	var bn, noise = m.Buffers[0].Statistics, m.Buffers[1].Noise
	if bn == nil {
		bn, noise = m.Buffers[1].Statistics, m.Buffers[0].Noise
	}
	momentum, batches, drawn := bn.Momentum, bn.Batches, noise.Run
	require.NoError(t, train.Recalibrate(context.Background(), m, data, train.Options{Recalibrate: 1000}))
	mean := 0.0
	for _, v := range data.Images[:220*144] {
		mean += float64(v) / (220 * 144)
	}
	assert.InDelta(t, mean, bn.Mean[0], 1e-6)
	assert.Equal(t, []any{momentum, batches, drawn}, []any{bn.Momentum, bn.Batches, noise.Run})
	after := numbers(m)
	changed := 0
	for i, v := range before {
		if v != after[i] {
			changed++
		}
	}
	assert.Equal(t, 2, changed, "the mean and the variance")

	// A failure leaves the statistics as they are.
	variance := bn.Variance[0]
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	assert.ErrorIs(t, train.Recalibrate(ctx, m, data, train.Options{Seed: 9}), context.Canceled)
	bad := images.Split{Images: append([]float32(nil), data.Images...), Labels: data.Labels}
	bad.Images[len(bad.Images)-1] = float32(math.NaN())
	assert.ErrorContains(t, train.Recalibrate(context.Background(), m, bad, train.Options{Recalibrate: 1000}), "for the running statistics")
	assert.Equal(t, []any{momentum, batches, drawn, variance}, []any{bn.Momentum, bn.Batches, noise.Run, bn.Variance[0]})
}

func TestAverageRefuses(t *testing.T) {
	set := easy(t)
	m := stateful(t)
	for _, c := range []struct {
		solver gorgonia.Solver
		o      train.Options
		want   string
	}{
		{descent(), train.Options{Average: true}, "want a solver made by solvers.NewEMA or solvers.NewSWA, got *solvers.Solver"},
		{solvers.NewEMA(descent(), 0.9), train.Options{Average: true, Recalibrate: -1}, "Recalibrate: want 0 batches (64) or more, got -1"},
		{solvers.NewEMA(descent(), 0.9), train.Options{Recalibrate: 3}, "want Average beside it"},
		{solvers.NewEMA(descent(), 2), train.Options{Average: true}, "NewEMA: decay"},
	} {
		_, err := train.Fit(context.Background(), m, c.solver, set.Train, c.o)
		assert.ErrorContains(t, err, c.want)
	}
	for _, c := range []struct {
		m    models.Trainable
		data train.Data
		o    train.Options
		want string
	}{
		{nil, set.Train, train.Options{}, "want a net"},
		{m, nil, train.Options{}, "want examples"},
		{m, set.Train.First(19), train.Options{}, "want at least one batch of 20 examples, got 19"},
		{m, set.Train, train.Options{Recalibrate: -2}, "got -2"},
	} {
		assert.ErrorContains(t, train.Recalibrate(context.Background(), c.m, c.data, c.o), c.want, fmt.Sprint(c.o))
	}
}

// All ranks keep an average, with the statistics of as many batches, or none does.
func TestRanksWantOneAverage(t *testing.T) {
	set := easy(t)
	for name, o := range map[string]func(rank int) train.Options{
		"on one rank":             func(rank int) train.Options { return train.Options{Average: rank == 0} },
		"of other batches on one": func(rank int) train.Options { return train.Options{Average: true, Recalibrate: 1 + rank} },
	} {
		t.Run(name, func(t *testing.T) {
			together(t, 2, func(t *testing.T, g *distributed.Group) {
				options := o(g.Rank())
				options.Group = g
				m := kind{of: tensor.Float32, norm: true}.model(t, g)
				_, err := train.Fit(context.Background(), m, distributed.Average(g, solvers.NewEMA(descent(), 0.9)), set.Train.First(5*whole), options)
				assert.ErrorContains(t, err, "distributed: rank 1: train: want the data and the options of rank 0, ")
			})
		})
	}
}
